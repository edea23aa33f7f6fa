"""The source itself: pages out of the files that are there, and where that leaves it."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import structlog
from anyio import to_thread

from forwarder import times
from forwarder.errors import AccessError, TransientError
from forwarder.model import Checkpoint, Page, Record, Unreadable
from forwarder.sources.bitbucket_audit import instants
from forwarder.sources.bitbucket_audit.source import Start
from forwarder.sources.bitbucket_audit_log import merge, places
from forwarder.sources.bitbucket_audit_log.disk import Disk, LogFile
from forwarder.sources.bitbucket_audit_log.lines import Reading
from forwarder.sources.bitbucket_audit_log.merge import Item
from forwarder.sources.bitbucket_audit_log.places import Followed, Place
from forwarder.sources.bitbucket_audit_log.tally import Tally

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

PAGE_RECORDS: Final = 1000
PAGE_BYTES: Final = 8 << 20
_LOOKED_AT: Final = 64 << 20
"""Bytes of lines after which a page ends although nothing in them was wanted."""
_PRIMED: Final = 16 << 20
"""Bytes of each folder that are read again at the start, for the equals among them."""


@dataclass(slots=True)
class _Look:
    """What is there: the files, how far each was read, and the items that follow."""

    followed: list[Followed]
    away: list[Place]
    mark: int
    floor: int
    items: Iterator[Item]

    def checkpoint(self) -> Checkpoint:
        """Return where the reading stands."""
        stand = [*(one.place for one in self.followed), *self.away]
        extra: dict[str, Any] = {"files": places.stored(stand)}
        if self.floor > instants.EARLIEST:
            extra["start_at"] = instants.written(self.floor)
        return Checkpoint(times.moment(self.mark), extra)


class BitbucketAuditLog:
    """The audit log files of Bitbucket's nodes as a `Source`.

    Each line is read once: the checkpoint says how far each file was read. Ids are those that the
    API's events have.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        reading: Reading,
        *,
        start_at: Start,
        page_records: int = PAGE_RECORDS,
        disk: Disk | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._paths = paths
        self._reading = reading
        self._start_at = start_at
        self._page_records = page_records
        self._disk = disk or Disk()
        self._now = now
        self._tally = Tally()
        self._counted: Checkpoint | None = None

    async def poll(self, after: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield what was added after `after`, and a last page that moves the mark.

        See `interfaces.Source.poll`.
        """
        now = int(self._now() * 1000)
        look = await to_thread.run_sync(self._look, after, now)
        while page := await to_thread.run_sync(self._page, look, now):
            self._counted = page.checkpoint
            yield page
        look.mark = max(look.mark, now)
        self._counted = look.checkpoint()
        yield Page((), self._counted)

    def decode(self, original: bytes) -> Record | Unreadable:
        """Return what a line that was kept tells; see `interfaces.Rereads`."""
        return self._reading.decode(original)

    async def probe(self) -> str:
        """Look which files there are, and at the first bytes of the newest of each folder."""
        return await to_thread.run_sync(self._probe)

    def _probe(self) -> str:
        with self._translated():
            followed, _ = self._match(())
            for one in followed:
                if one.last:
                    with self._disk.open(one.file) as contents:
                        contents.read(1)
        folders = len({one.file.folder for one in followed})
        size = sum(one.file.size for one in followed)
        newest = max(one.file.modified for one in followed)
        written = datetime.fromtimestamp(newest, tz=times.EPOCH.tzinfo)
        return (
            f"{len(followed)} {'file' if len(followed) == 1 else 'files'} in "
            f"{folders} {'folder' if folders == 1 else 'folders'}, "
            f"{size:,} bytes; last written to {written:%Y-%m-%d %H:%M:%S} UTC"
        )

    def _match(self, known: list[Place] | tuple[()]) -> tuple[list[Followed], list[Place]]:
        files: dict[tuple[int, int], LogFile] = {}
        for pattern in self._paths:
            for file in self._disk.find(pattern):
                files.setdefault((file.device, file.inode), file)
        if not files:
            raise AccessError(
                f"there is no audit log file at {', '.join(self._paths)}",
                remedy="check paths, and that the volume is mounted and may be read; Bitbucket "
                "writes to log/audit in the local home of each node",
            )
        return places.match(files.values(), known, self._disk, anew=self._tally.forget)

    def _look(self, after: Checkpoint | None, now: int) -> _Look:
        extra: Mapping[str, Any] = after.extra if after else {}
        with self._translated():
            if after is None or after != self._counted:
                self._tally.forget()
            primed = after is not None and after == self._counted
            followed, away = self._match(places.known(extra))
            floor, mark = instants.EARLIEST, now
            if after is not None:
                mark = times.milliseconds(after.mark)
                if "start_at" in extra:
                    floor = times.milliseconds(instants.parse(extra["start_at"]))
            elif isinstance(self._start_at, datetime):
                floor = mark = min(times.milliseconds(self._start_at), now)
            elif self._start_at == "now":
                for one in followed:
                    self._skip(one)
            else:
                mark = 0
            if not primed:
                self._prime(followed)
        return _Look(followed, away, mark, floor, merge.items(followed, self._reading, self._disk))

    def _skip(self, followed: Followed) -> None:
        """Take every whole line that is there as read."""
        file = followed.file
        followed.place = replace(followed.place, end=file.size)
        if file.packed:
            return
        with self._disk.open(file) as contents:
            head = contents.read(places.HEAD)
            offset = merge.last_line_end(contents, file.size) if followed.last else file.size
        followed.moved(offset, head)

    def _prime(self, followed: list[Followed]) -> None:
        """Count the equals among what was read last, up to where the reading stands."""
        left: dict[str, int] = {}
        spans: list[tuple[Followed, int]] = []
        for one in reversed(followed):
            room = left.setdefault(one.file.folder, _PRIMED)
            if room > 0 and one.place.offset and not one.file.packed:
                spans.append((one, max(one.place.offset - room, 0)))
                left[one.file.folder] -= one.place.offset
        for one, start in reversed(spans):
            with self._disk.open(one.file) as contents:
                for line, end in merge.lines(contents, start, settled=True):
                    if end > one.place.offset:
                        break
                    found = self._reading.record(line) if line.strip() else None
                    if isinstance(found, Record):
                        self._tally.numbered(found, folder=one.file.folder)

    def _page(self, look: _Look, now: int) -> Page | None:
        """Return the next page, or None where nothing follows."""
        records: list[Record] = []
        unreadable: list[Unreadable] = []
        size = looked_at = 0
        with self._translated():
            for item in look.items:
                followed = item.followed
                looked_at += item.end - followed.place.offset
                followed.moved(item.end, item.head)
                if item.ended:
                    followed.place = replace(followed.place, end=followed.file.size)
                if isinstance(item.found, Unreadable):
                    unreadable.append(item.found)
                    size += len(item.found.original)
                elif item.found is not None and item.ms >= look.floor:
                    folder = followed.file.folder
                    records.append(self._tally.numbered(item.found, folder=folder))
                    size += len(item.found.original)
                    look.mark = max(look.mark, min(item.ms, now))
                full = len(records) >= self._page_records or size >= PAGE_BYTES
                if full or looked_at >= _LOOKED_AT:
                    break
        if not looked_at:
            return None
        records.sort(key=attrgetter("occurred_at"))
        return Page(tuple(records), look.checkpoint(), tuple(unreadable))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise AccessError(
                f"{error.filename or 'a file'} may not be read: {error.strerror}",
                remedy="give the forwarder's user the right to read the audit log's folder and "
                "files: Bitbucket's group, or an access control list",
            ) from error
        except OSError as error:
            raise TransientError(
                f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
            ) from error
