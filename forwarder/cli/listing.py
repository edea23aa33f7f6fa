"""Events for people and their tools: a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, TextIO

import typer
from rich.text import Text

from forwarder.cli.terminal import harmless_json, out, plain

if TYPE_CHECKING:
    from forwarder.model import Event, Severity

Output = Literal["table", "json", "csv"]
COLUMNS: Final = (
    "time",
    "event_id",
    "kind",
    "severity",
    "category",
    "action",
    "actor",
    "address",
    "objects",
    "changes",
    "attributes",
    "node",
)
_COLOURS: Final[dict[Severity, str]] = {
    "info": "dim",
    "low": "cyan",
    "medium": "yellow",
    "high": "red",
    "critical": "bold red",
}


_STARTS: Final = (0, 21, 31, 52, 66, 88)
"""Where the columns begin: time, severity, kind, actor, place, action."""


class Listing(Protocol):
    """Something that takes events one by one."""

    def add(self, event: Event) -> None:
        """Write one event."""
        ...


class TableListing:
    """One line an event, in columns, coloured by severity where the terminal can."""

    def __init__(self) -> None:
        self._begun = False

    def add(self, event: Event) -> None:
        """Print the event; the heading comes before the first."""
        if not self._begun:
            self._print(_line("TIME", "SEVERITY", "KIND", "ACTOR", "WHERE", "ACTION"), "bold")
            self._begun = True
        line = _line(
            f"{event.occurred_at:%Y-%m-%d %H:%M:%S}",
            event.severity,
            event.kind,
            (event.actor.name if event.actor else None) or "-",
            where(event) or "-",
            event.action,
        )
        self._print(line, "", severity=_COLOURS[event.severity])

    def _print(self, line: str, style: str, *, severity: str = "") -> None:
        text = Text(plain(line), style)
        if severity:
            _, severities, kinds, *_ = _STARTS
            text.stylize("dim", 0, severities)
            text.stylize(severity, severities, kinds)
        if out.is_terminal:
            out.print(text, no_wrap=True, overflow="ellipsis", soft_wrap=False)
        else:
            out.print(text)


class JsonListing:
    """The `json` format, a line an event; `as_it_is` where no terminal can read it."""

    def __init__(self, target: TextIO, *, as_it_is: bool) -> None:
        from forwarder.formats import FORMATS

        self._target = target
        self._as_it_is = as_it_is
        self._encode = FORMATS["json"].encode

    def add(self, event: Event) -> None:
        """Write the event."""
        line = self._encode(event).decode()
        self._target.write((line if self._as_it_is else harmless_json(line)) + "\n")


class CsvListing:
    """RFC 4180 with a heading.

    A cell that a spreadsheet would run as a formula gets an apostrophe in front: what strangers
    wrote into a branch name must not run on an auditor's machine (OWASP, "CSV Injection").
    """

    def __init__(self, target: TextIO) -> None:
        self._writer = csv.writer(target)
        self._writer.writerow(COLUMNS)

    def add(self, event: Event) -> None:
        """Write the event as one row."""
        self._writer.writerow([harmless(cell) for cell in _cells(event)])


@contextmanager
def listing(output: Output | None, path: Path | None = None) -> Iterator[Listing]:
    """Yield a listing to `path` or stdout; unsaid, a terminal gets a table, a pipe JSON lines.

    Raises:
        typer.BadParameter: the file cannot be written.
    """
    if path is not None:
        with _file(path) as target:
            yield CsvListing(target) if output == "csv" else JsonListing(target, as_it_is=True)
        return
    chosen = output or ("table" if out.is_terminal else "json")
    if chosen == "table":
        yield TableListing()
        return
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    yield CsvListing(sys.stdout) if chosen == "csv" else JsonListing(sys.stdout, as_it_is=False)
    sys.stdout.flush()


def _file(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        said = f"{path} cannot be written: {error.strerror}"
        raise typer.BadParameter(said, param_hint="--to") from error


def where(event: Event) -> str:
    """Return the affected objects in short: ``SEC/payments``, or their names."""
    return "/".join(each.name or each.id or "?" for each in event.objects)


def _line(*cells: str) -> str:
    """Return the cells side by side; one that is too long pushes the next, not all of the rest."""
    line = ""
    for start, cell in zip(_STARTS, cells, strict=True):
        line = f"{line}  " if len(line) > start - 2 > 0 else line.ljust(start)
        line += cell
    return line


def _cells(event: Event) -> Iterable[str]:
    actor = event.actor
    yield event.occurred_at.isoformat(timespec="milliseconds")
    yield event.event_id
    yield event.kind
    yield event.severity
    yield event.category
    yield event.action
    yield (actor.name or actor.id or "") if actor else ""
    yield event.address or ""
    yield "; ".join(f"{o.type or '?'} {o.name or o.id or '?'}" for o in event.objects)
    yield "; ".join(f"{c.key}: {c.from_ or ''} -> {c.to or ''}" for c in event.changes)
    yield "; ".join(f"{a.name}: {a.value or ''}" for a in event.attributes)
    yield event.node or ""


def harmless(cell: str) -> str:
    """Return `cell` so that no spreadsheet runs it and no terminal obeys it, on one line."""
    text = plain(cell)
    return f"'{text}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else text
