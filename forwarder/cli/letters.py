"""Dead letters for people and their tools: a table, JSON lines, CSV, or one of them whole."""

from __future__ import annotations

import base64
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.text import Text

from forwarder.cli.listing import Output, harmless
from forwarder.cli.terminal import out, say_json, show, shown, table

if TYPE_CHECKING:
    from forwarder.model import DeadLetter

COLUMNS: Final = (
    "id",
    "source",
    "sink",
    "event_id",
    "reason",
    "detail",
    "attempts",
    "first_seen_at",
    "last_seen_at",
    "asked_at",
)


def write_list(letters: Sequence[DeadLetter], output: Output | None) -> None:
    """Write letters without what they hold; unsaid, a terminal gets a table, a pipe JSON lines."""
    chosen: Output = output or ("table" if out.is_terminal else "json")
    if chosen == "table":
        _table(letters)
    elif chosen == "json":
        for letter in letters:
            say_json(_row(letter))
    else:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        rows = csv.writer(sys.stdout)
        rows.writerow(COLUMNS)
        rows.writerows([harmless(_cell(each)) for each in _row(x).values()] for x in letters)
    sys.stdout.flush()


def write_whole(letter: DeadLetter, *, json: bool) -> None:
    """Write one letter with what it holds."""
    if json:
        whole = _row(letter) | _body(letter)
        say_json(whole)
        return
    for name, value in _row(letter).items():
        out.print(f"[bold]{name}[/] {shown(_cell(value))}".rstrip())
    out.print("[bold]original[/]")
    for line in _readable(letter.body).splitlines() or [""]:
        out.print(Text(shown(line).replace("\\[", "[")))


def summary(letters: Sequence[DeadLetter]) -> list[str]:
    """Return a line for each sink and reason: how many."""
    counts = Counter((letter.sink, letter.reason) for letter in letters)
    return [
        f"{count:,} of {shown(f'sink {sink}' if sink else 'no sink (records)')}: {reason}"
        for (sink, reason), count in sorted(counts.items())
    ]


def _table(letters: Sequence[DeadLetter]) -> None:
    if not letters:
        out.print("no dead letters")
        return
    rows = table("id", "last seen", "sink", "reason", "tries", "event", "detail")
    for letter in letters:
        rows.add_row(
            str(letter.id),
            f"{letter.last_seen_at:%Y-%m-%d %H:%M:%S}Z",
            shown(letter.sink or f"({letter.source})"),
            letter.reason + (" (again)" if letter.asked_at else ""),
            str(letter.attempts),
            letter.event_id,
            shown(letter.detail),
        )
    show(rows)


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in COLUMNS}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else str(value)


def _body(letter: DeadLetter) -> dict[str, Any]:
    """Return the original: JSON as it is, other text as text, anything else in base64."""
    try:
        msgspec.json.decode(letter.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    else:
        return {"original": msgspec.Raw(letter.body)}
    try:
        return {"original": letter.body.decode()}
    except UnicodeDecodeError:
        return {"original_base64": base64.b64encode(letter.body).decode()}


def _readable(body: bytes) -> str:
    with suppress(msgspec.DecodeError, RecursionError):
        body = msgspec.json.format(body, indent=2)
    return body.decode("utf-8", "backslashreplace")
