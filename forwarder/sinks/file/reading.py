"""What the file sink has written, read back: every part in order, while it may go on writing."""

import gzip
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Final

import msgspec

from forwarder.errors import PermanentError
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


class _Head(msgspec.Struct):
    event_id: str = ""
    at: datetime | None = msgspec.field(default=None, name="time")


_decode: Final = msgspec.json.Decoder(_Head).decode


def opened(path: Path) -> Iterator[Part]:
    """Yield every part of `path`, oldest first, and then `path` itself; each is closed after use.

    Rotation and compression may go on meanwhile: no line is yielded twice or left out.

    Raises:
        OSError: a file or the folder cannot be read.
    """
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
        OSError, EOFError: a file cannot be read.
    """
    strange = known = 0
    for part in opened(path):
        written = datetime.fromtimestamp(part.path.stat().st_mtime, since.tzinfo)
        if written + _CLOCKS < since:
            continue
        while line := part.lines.readline(LONGEST):
            try:
                head = _decode(line)
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                head = _Head()
            if not head.event_id or head.at is None:
                strange += line.endswith(b"\n")  # the last one may be under way
                continue
            known += 1
            if since <= head.at < until:
                yield head.event_id
    if strange and not known:
        raise PermanentError(
            f"{path}: its lines carry no event ids",
            remedy='only a file with format = "json" can be asked what it holds',
        )
