"""What every verb shares: where it prints, how it reads times, what it exits with."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Column, Table

from forwarder.errors import (
    AccessError,
    ConfigError,
    ForwarderError,
    StoreError,
    TransientError,
)
from forwarder.span import span

if TYPE_CHECKING:
    from forwarder.config import Config

OK: Final = 0
INCOMPLETE: Final = 1
USAGE: Final = 2
STORE: Final = 74  # EX_IOERR of sysexits.h
ACCESS: Final = 77  # EX_NOPERM
CONFIG: Final = 78  # EX_CONFIG
_OBEYED: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C1 controls, line ends and what turns the direction of writing (Unicode TR 36, 3.9)."""
_PIPE: Final = None if sys.stdout.isatty() else 10_000
"""Columns of what has no width: rows are not folded there, for `grep` and `awk`."""

out: Final = Console(soft_wrap=True, highlight=False, width=_PIPE)
err: Final = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration file; else FORWARDER_CONFIG, else "
        "/etc/soteri-forwarder/config.toml.",
        show_default=False,
    ),
]


def table(*columns: str) -> Table:
    """Return a table as all verbs have it: calm on a terminal, plain columns in a pipe."""
    made = Table(
        *(Column(name, overflow="fold") for name in columns),
        box=box.SIMPLE_HEAD if columns and out.is_terminal else None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    made.show_header = bool(columns)
    return made


def show(what: RenderableType) -> None:
    """Print a table: folded to a terminal's width, and in a pipe a row on a line."""
    if out.is_terminal:
        out.print(what, soft_wrap=False)
        return
    with out.capture() as captured:
        out.print(what, soft_wrap=False)
    for line in captured.get().splitlines():
        out.print(line.rstrip(), markup=False)


def quieten() -> None:
    """Keep log lines out of what verbs say: stdout is for answers; `run` sets its own log up."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def loaded(path: Path | None) -> Config:
    """Return the configuration; its warnings go to stderr.

    Raises:
        ConfigError: with every problem at once.
    """
    from forwarder.config import load

    quieten()
    config = load(path)
    for warning in config.warnings:
        err.print(f"[yellow]warning:[/] {shown(warning)}")
    return config


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn our errors into one clear message and the exit code that belongs to them."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where a reader that has gone can still be met quietly
    except ConfigError as error:
        for problem in error.problems:
            err.print(f"[red]error:[/] {shown(problem)}")
        sys.exit(CONFIG)
    except ForwarderError as error:
        err.print(f"[red]error:[/] {shown(str(error))}")
        if error.remedy:
            err.print(f"  [bold]remedy:[/] {shown(error.remedy)}")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our pipe has gone, as `head` does; nothing is wrong.
        _silence()
        sys.exit(OK)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        place = shown(str(error.filename or "the output"))
        err.print(f"[red]error:[/] no room for {place}: {error.strerror}")
        _silence()
        sys.exit(INCOMPLETE)


def _silence() -> None:
    """Have nothing more written to stdout: the interpreter flushes once more at its end.

    See Python's documentation of signal, "Note on SIGPIPE".
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: Exception) -> int:
    """Return the exit code for `error` (DESIGN: sysexits, which systemd knows)."""
    codes = {
        ConfigError: CONFIG,
        AccessError: ACCESS,
        StoreError: STORE,
        TransientError: INCOMPLETE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), INCOMPLETE)


def plain(text: str) -> str:
    """Return `text` on one line and without a character that does something to a terminal.

    Event text is written by strangers: an escape sequence in a commit message must not move the
    cursor of whoever reads the log.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(text: str) -> str:
    """Return `text` so that it is only text for `out` and `err`: plain, and without markup."""
    return plain(text).replace("[", "\\[")


def harmless_json(text: str) -> str:
    """Return the same JSON with escapes for what JSON allows in text and terminals obey."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say_json(value: object) -> None:
    """Print one JSON value on a line of stdout."""
    import msgspec

    said = harmless_json(msgspec.json.encode(value).decode(errors="replace"))
    sys.stdout.buffer.write(said.encode() + b"\n")


def seconds(text: str, option: str) -> float:
    """Return the seconds of a duration that `option` was given.

    Raises:
        typer.BadParameter: it is none.
    """
    from forwarder.options import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def parse_time(text: str, option: str) -> datetime:
    """Return an aware UTC time for ``2026-11-22``, ``2026-11-22T10:00:00Z`` or ``24h`` (ago).

    `option` is what it was given to.

    Raises:
        typer.BadParameter: none of these.
    """
    from forwarder.options import parse_duration

    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f'"{text}" is not a time: write "2026-11-22", "2026-11-22T10:00:00Z", '
            'or how long ago: "24h", "7d"',
            param_hint=option,
        ) from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def ago(at: datetime | None, *, now: datetime) -> str:
    """Return how long ago `at` was, in the largest unit that says it: ``42 s``, ``3.5 h``."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"
