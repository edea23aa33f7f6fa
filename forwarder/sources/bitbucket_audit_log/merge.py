"""Whole lines out of files that others write to, the files of several nodes merged by time."""

import heapq
import time
import zlib
from collections.abc import Iterable, Iterator
from gzip import BadGzipFile
from itertools import groupby
from typing import BinaryIO, Final, NamedTuple

import structlog

from forwarder import times
from forwarder.model import Record, Unreadable
from forwarder.sources.bitbucket_audit import instants
from forwarder.sources.bitbucket_audit_log.disk import Disk
from forwarder.sources.bitbucket_audit_log.lines import Reading
from forwarder.sources.bitbucket_audit_log.places import HEAD, Followed

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LONGEST: Final = 32 << 20
"""Bytes of a line: as much as an answer of the API may have."""
SETTLED: Final = 600.0
"""Seconds after which the torn last line of a file that has a successor gets no end any more."""
_CHUNK: Final = 256 << 10
_KEPT: Final = 64 << 10
"""Bytes that are kept of a line that is longer than LONGEST."""


class Item(NamedTuple):
    """What was read up to `end` of a file: a record, what is none, or (None) nothing wanted.

    `ended` says that this is all there is in it now. `head` is the file's beginning.
    """

    ms: int
    found: Record | Unreadable | None
    followed: Followed
    end: int
    ended: bool
    head: bytes


def items(followed: Iterable[Followed], reading: Reading, disk: Disk) -> Iterator[Item]:
    """Yield what was added to the files, by time across folders, in file order within each.

    Raises:
        OSError: a file cannot be read.
    """
    folders = [
        _folder(list(files), reading, disk)
        for _, files in groupby(followed, key=lambda one: one.file.folder)
    ]
    return heapq.merge(*folders, key=lambda item: item.ms)


def _folder(files: list[Followed], reading: Reading, disk: Disk) -> Iterator[Item]:
    ms = instants.EARLIEST
    for followed in files:
        if followed.read:
            continue
        path = followed.file.path
        try:
            with disk.open(followed.file) as contents:
                head = contents.read(HEAD) if followed.place.head_bytes < HEAD else b""
                start = end = followed.place.offset
                for line, end in lines(contents, start, settled=_settled(followed)):
                    found = reading.record(line) if line.strip() else None
                    if isinstance(found, Record):
                        ms = times.milliseconds(found.occurred_at)
                    if found is not None or not line:
                        yield Item(ms, found, followed, end, False, head)  # noqa: FBT003
                yield Item(ms, None, followed, end, True, head)  # noqa: FBT003
        except FileNotFoundError:
            log.info("file.vanished", path=path, offset=followed.place.offset)
        except (BadGzipFile, EOFError, zlib.error) as error:  # half copied, perhaps
            log.warning("file.broken", path=path, error=str(error))


def _settled(followed: Followed) -> bool:
    file = followed.file
    return file.packed or (not followed.last and time.time() - file.modified > SETTLED)


def lines(contents: BinaryIO, offset: int, *, settled: bool) -> Iterator[tuple[bytes, int]]:
    """Yield each line from `offset` on without its end, and the offset behind it.

    An empty one says how far the reading has come. A last line that has no end yet is waited
    for, unless the file is `settled`. One that passes LONGEST is cut, so that no parser takes it.
    """
    contents.seek(offset)
    rest = b""
    while chunk := contents.read(max(_CHUNK, min(len(rest), LONGEST - len(rest)))):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            offset += len(line) + 1
            if line:
                yield line, offset
        if len(rest) > LONGEST:
            skipped = _to_the_end_of_the_line(contents)
            if skipped is None:
                if settled:
                    yield rest[:_KEPT], contents.tell()
                return
            offset += len(rest) + skipped
            yield rest[:_KEPT], offset
            contents.seek(offset)
            rest = b""
        yield b"", offset
    if rest and settled:
        yield rest, offset + len(rest)


def last_line_end(contents: BinaryIO, size: int) -> int:
    """Return the offset behind the last line end within the first `size` bytes."""
    stop = size
    while stop > 0:
        start = max(stop - _CHUNK, 0)
        contents.seek(start)
        at = contents.read(stop - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        stop = start
    return 0


def _to_the_end_of_the_line(contents: BinaryIO) -> int | None:
    skipped = 0
    while chunk := contents.read(_CHUNK):
        at = chunk.find(b"\n")
        if at >= 0:
            return skipped + at + 1
        skipped += len(chunk)
    return None
