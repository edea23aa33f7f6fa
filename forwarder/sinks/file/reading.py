"""What the file sink has written, read back: every part in order, while it may go on writing."""

import gzip
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Final

from forwarder.errors import PermanentError
from forwarder.event_ids import Span
from forwarder.sinks.file.rotation import parts

LONGEST: Final = 64 * 1024**2
"""Bytes of a line: more than any sink sends, and a bound for what a compressed part may unfold."""
_CLOCKS: Final = timedelta(days=1)
"""How far Bitbucket's clock may be ahead of ours: a part that is older than that holds nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """One open file: `lines` without compression, `raw` as it is on disk.

    `is_current` says that it is the file that the sink writes to.
    """

    path: Path
    lines: BufferedIOBase
    raw: BufferedReader
    is_current: bool


def opened(path: Path) -> Iterator[Part]:
    """Yield every part of `path`, oldest first, and then `path` itself; each is closed after use.

    Rotation and compression may go on meanwhile: no line is yielded twice or left out.

    Raises:
        OSError: a file or the folder cannot be read.
    """
    if not path.parent.is_dir():  # nothing was ever written
        return
    last = 0
    while True:
        while later := [each for each in parts(path) if each[0] > last]:
            for number, part in later:
                last = number
                with suppress(FileNotFoundError):  # the oldest may go any time (`keep`)
                    yield from _part(part)
        try:
            current = path.open("rb")
        except FileNotFoundError:  # nothing was written since the last rotation
            return
        with current:
            if any(number > last for number, _ in parts(path)):
                continue  # rotated just now: what is open may be that part
            yield Part(path, current, current, is_current=True)
            return


def _part(path: Path) -> Iterator[Part]:
    try:
        raw = path.open("rb")
    except FileNotFoundError:  # compressed just now
        path = path.with_name(path.name + ".gz")
        raw = path.open("rb")
    with raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=raw) as lines:
                yield Part(path, lines, raw, is_current=False)
        else:
            yield Part(path, raw, raw, is_current=False)


def event_ids(path: Path, since: datetime, until: datetime) -> Iterator[str]:
    """Yield the id of each line whose event happened from `since` to `until` (exclusive).

    Raises:
        PermanentError: the lines carry no event ids.
        OSError, EOFError, zlib.error: a file cannot be read.
    """
    span = Span(since, until)
    lines = 0
    has_ids = False
    for part in opened(path):
        written = datetime.fromtimestamp(part.path.stat().st_mtime, UTC)
        if written + _CLOCKS < since:
            continue
        while line := part.lines.readline(LONGEST):
            lines += 1
            if event_id := span.of(line):
                yield event_id
            has_ids = has_ids or span.any(line)
    if lines and not has_ids:
        raise PermanentError(
            f"{path}: its lines carry no event ids",
            remedy="write them in a format that does, such as json",
        )
