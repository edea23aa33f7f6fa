"""Writes lines at a file's end so that each is there exactly once, whatever breaks in between.

One rule carries it: **a write begins only where the outbox remembers that the file ends.** Before
anything else is written to (a first file, the file after a rotation of ours or of logrotate's, one
that another program has cut or grown), its place is saved. So at any moment what lies behind
the remembered length is either nothing or the one batch that was not settled, it lies in the file
that the memo names, and cutting it off cuts nothing else; the outbox sends it again. Rotation
happens before a write, never after one: a file that is renamed is settled to its last byte.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from forwarder.errors import ForwarderError, TransientError
from forwarder.model import Concern
from forwarder.sinks.file.failures import named_failures
from forwarder.sinks.file.place import Place, head_of
from forwarder.sinks.file.rotation import part_path, parts, sync_folder

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

# A link, a pipe or a device must not be taken for the file: NOFOLLOW, NONBLOCK.
_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CLOSED: Final = -1
_FOLDER_MODE: Final = 0o750
_ROOM: Final = 1 << 20
"""Bytes that a probe wants free: about one batch."""
_SPARE: Final = 200 << 20
"""Bytes that are soon full: two files before they are rotated and compressed."""
_SPARE_SHARE: Final = 0.02
_NO_LOCKS: Final = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class Appender:
    """One growing file. Blocking: call it in a thread, one call at a time.

    `rotate_size` is bytes and `rotate_age` seconds; None never rotates for that reason.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int = 0o640,
        fsync: bool = True,
        rotate_size: int | None = None,
        rotate_age: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._mode = mode
        self._fsync = fsync
        self._rotate_size = rotate_size
        self._rotate_age = rotate_age
        self._clock = clock
        self._descriptor = _CLOSED
        self._asked_to_reopen = False
        # Where the file ends if all that was handed to the outbox has settled. None: not known,
        # so what lies behind the remembered length is to be cut off.
        self._place: Place | None = None

    def put(self, lines: bytes, kept: Place | None) -> tuple[Place, bool]:
        """Write `lines` after `kept`, or say where else; `kept` is what the outbox remembers.

        Returns (the place behind the lines, True) where they were written, durably if so asked.
        Returns (a place, False) where nothing was written because the write has to begin at
        that place: save it, call again.

        Raises:
            TransientError, AccessError: nothing of `lines` stays in the file, and should cutting
                it off have failed too, the next call does that first.
        """
        try:
            with named_failures(self.path):
                place = self._prepare(kept)
                if place == kept and self._is_due(place, len(lines)):
                    place = self._rotate(place)
                if place != kept:
                    self._place = place
                    return place, False
                self._place = None
                self._place = self._write(lines, place)
                return self._place, True
        except ForwarderError:
            with suppress(OSError):
                self.close()  # a descriptor gone stale (NFS) would fail for ever
            raise

    def reopen(self) -> None:
        """Open the path afresh at the next `put`, whatever it names by then."""
        self._asked_to_reopen = True

    def close(self) -> None:
        """Give the file back; `put` opens it again."""
        if self._descriptor != _CLOSED:
            descriptor, self._descriptor = self._descriptor, _CLOSED
            os.close(descriptor)

    def probe(self) -> str:
        """Return one line about the path, its size and the room; makes and changes nothing.

        Raises:
            TransientError, AccessError: as `put` would.
        """
        with named_failures(self.path):
            folder = next(each for each in self.path.parents if each.exists())
            status = os.statvfs(folder)
            free = status.f_bavail * status.f_frsize
            if not folder.is_dir():
                raise OSError(errno.ENOTDIR, f"not a folder: {folder}")
            if not os.access(folder, os.W_OK | os.X_OK):
                number = errno.EROFS if status.f_flag & os.ST_RDONLY else errno.EACCES
                raise OSError(number, f"{os.strerror(number)}: {folder}")
            said = "does not exist yet"
            if os.path.lexists(self.path):
                descriptor = os.open(self.path, _OPEN)
                said = f"{_regular(descriptor).st_size:,} bytes"
                os.close(descriptor)
            if free < _ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return f"{self.path}: {said}, {free / 2**30:,.1f} GiB free"

    def concerns(self) -> list[Concern]:
        """Return whether the disk is nearly full."""
        with named_failures(self.path):
            folder = next(each for each in self.path.parents if each.exists())
            status = os.statvfs(folder)
        free, size = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
        if free >= _SPARE and free >= size * _SPARE_SHARE:
            return []
        return [
            Concern(
                f"the disk that holds {folder} is nearly full: {free / 2**20:,.0f} MiB are free",
                "make room, or keep fewer parts (rotate.keep)",
            )
        ]

    def _prepare(self, kept: Place | None) -> Place:
        """Open the file, cut off what is not settled; return where the next write begins."""
        self._follow()
        if kept and kept != self._place:
            self._cut_back(kept)
        status = os.fstat(self._descriptor)
        same = kept if kept and kept.inode == status.st_ino else None
        if same and self._place and status.st_size > same.length:
            log.warning("file.grown", path=str(self.path), bytes=status.st_size - same.length)
        if same and status.st_size < same.length:
            log.warning(
                "file.shrunk",
                path=str(self.path),
                bytes=same.length - status.st_size,
                remedy="rotate without copytruncate: rename the file, then send SIGHUP",
            )
        return Place(
            path=str(self.path),
            inode=status.st_ino,
            length=status.st_size,
            head=head_of(self._descriptor, status.st_size),
            began_at=same.began_at if same else self._clock(),
            part=kept.part if kept else 0,
        )

    def _follow(self) -> None:
        """Open what the path names now, make and lock it, unless that is what is open."""
        if self._descriptor != _CLOSED:
            if not self._asked_to_reopen and self._is_named():
                return
            log.info("file.reopened", path=str(self.path), asked=self._asked_to_reopen)
            self.close()
        self._descriptor = self._open()
        self._asked_to_reopen = False

    def _is_named(self) -> bool:
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._descriptor))

    def _open(self) -> int:
        self.path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.path, _OPEN | os.O_CREAT | os.O_EXCL, self._mode)
            os.fchmod(descriptor, self._mode)  # the umask may have taken from it
            sync_folder(self.path.parent)
        except FileExistsError:
            descriptor = os.open(self.path, _OPEN)
        try:
            _regular(descriptor)
            _lock(descriptor, self.path)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _cut_back(self, kept: Place) -> None:
        """Cut what lies behind `kept` off the file that it names, wherever that is by now."""
        if os.fstat(self._descriptor).st_ino == kept.inode:
            if not _cut(self._descriptor, kept, self.path):
                log.warning("file.replaced", path=str(self.path))
            return
        last = Path(kept.path)
        with suppress(FileNotFoundError), os.scandir(last.parent) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another has gone since
                    # stat, not inode(): what the folder says differs on some layered file systems.
                    status = entry.stat(follow_symlinks=False)
                    if status.st_ino == kept.inode and _cut_moved(Path(entry.path), kept):
                        return
        log.warning(
            "file.lost",
            path=kept.path,
            remedy="let logrotate leave the last file uncompressed (delaycompress) and in its "
            "folder; was the forwarder killed just before, some lines are there twice",
        )

    def _is_due(self, place: Place, incoming: int) -> bool:
        if not place.length:
            return False
        too_large = self._rotate_size and place.length + incoming > self._rotate_size
        too_old = self._rotate_age and self._clock() - place.began_at >= self._rotate_age
        return bool(too_large or too_old)

    def _rotate(self, place: Place) -> Place:
        """Rename the file, all of which is settled; return the beginning of the next one."""
        present = parts(self.path)
        number = max(place.part, present[-1][0] if present else 0) + 1
        part = part_path(self.path, number, self._clock())
        self.path.rename(part)
        self.close()
        self._follow()
        log.info("file.rotated", path=str(self.path), part=str(part), bytes=place.length)
        return Place(
            path=str(self.path),
            inode=os.fstat(self._descriptor).st_ino,
            length=0,
            head=head_of(self._descriptor, 0),
            began_at=self._clock(),
            part=number,
        )

    def _write(self, lines: bytes, place: Place) -> Place:
        """Add `lines`, on a line of their own; on failure leave none of them."""
        descriptor = self._descriptor  # not what the path names by now: the memo does not name that
        if place.length and os.pread(descriptor, 1, place.length - 1) != b"\n":
            lines = b"\n" + lines
        try:
            _write_all(descriptor, lines)
            if self._fsync:
                os.fdatasync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, place.length)
            raise
        length = os.fstat(descriptor).st_size
        return Place(
            path=place.path,
            inode=place.inode,
            length=length,
            head=head_of(descriptor, length),
            began_at=place.began_at if place.length else self._clock(),
            part=place.part,
        )


def _regular(descriptor: int) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ENXIO, "not a regular file")
    return status


def _lock(descriptor: int, path: Path) -> None:
    """Keep a second forwarder out: each would cut off what the other has written.

    The lock is advisory, so readers and logrotate do not notice it, and ends with the process.
    File systems without locks are trusted.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TransientError(
            f"{path}: another process is writing to it",
            remedy="stop the other forwarder, or give each a file of its own",
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _cut_moved(path: Path, kept: Place) -> bool:
    descriptor = os.open(path, _OPEN)
    try:
        return os.fstat(descriptor).st_size >= kept.length and _cut(descriptor, kept, path)
    finally:
        os.close(descriptor)


def _cut(descriptor: int, kept: Place, path: Path) -> bool:
    """Return whether the file is the one that `kept` names; then it is no longer than that."""
    size = os.fstat(descriptor).st_size
    if size < kept.length:
        return True  # the caller tells
    if head_of(descriptor, kept.length) != kept.head:
        return False
    if size > kept.length:
        os.ftruncate(descriptor, kept.length)
        os.fsync(descriptor)
        log.warning("file.cut_back", path=str(path), bytes=size - kept.length)
    return True


def _write_all(descriptor: int, lines: bytes) -> None:
    left = memoryview(lines)
    while left:
        left = left[os.write(descriptor, left) :]
