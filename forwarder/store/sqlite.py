"""SQLite in worker threads: connections, their settings, and what its errors mean for us."""

import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from anyio import CancelScope, CapacityLimiter, to_thread
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from forwarder.errors import ForwarderError, StoreError, TransientError
from forwarder.model import Room
from forwarder.store import schema
from forwarder.store.database import News

T = TypeVar("T")

READERS: Final = 4
_BUSY_SECONDS: Final = 5.0
_SETTINGS: Final = (
    # Readers (sinks, `status`, `events`) never wait for the writer, nor it for them. Kept in the
    # file; needs a local disk, as the lock beside it does.
    "pragma journal_mode = wal",
    # Each commit is on the disk before it returns (an fsync of the log). NORMAL would lose the
    # last commits in a power cut: events whose checkpoint had been reported, and positions that
    # the file sink relies on to write nothing twice.
    "pragma synchronous = full",
    # The log goes into the file after 8 MiB instead of 4: half as many fsyncs during a catch-up,
    # and it is cut back to that after a long reader let it grow.
    "pragma wal_autocheckpoint = 512",
    "pragma journal_size_limit = 8388608",
    # 2 MiB for each connection: places and ids only grow, so the pages in use are few, and the
    # system caches the file anyway. No memory map: its pages would count as ours.
    "pragma cache_size = -2048",
    "pragma mmap_size = 0",
    "pragma temp_store = memory",
    # Debian's SQLite overwrites what is deleted, at the price of writing it once more; what is
    # forgotten here is old, not secret.
    "pragma secure_delete = off",
    # There are no foreign keys.
    "pragma foreign_keys = off",
)
_CREATION: Final = (
    # A stored event is 1 to 2 KiB: pages of 4 KiB would be up to half empty. Set before the first
    # table; it cannot be changed later without copying the file.
    "pragma page_size = 16384",
    # Lets the janitor give room back to the disk bit by bit.
    "pragma auto_vacuum = incremental",
)
# Kept free on the disk for the log: it is 8 MiB, and more while a reader keeps it from being
# emptied. Without it not even a position could be stored.
_LOG_ROOM: Final = 16 * 1024**2
_GIVEN_BACK: Final = 256  # pages (4 MiB) at once
# https://sqlite.org/rescode.html. SHMSIZE is what a full disk answers where the log's index grows.
_LATER: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM})
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


class SqliteDatabase:
    """One SQLite file: one writer at a time, a few readers beside it, each in a worker thread.

    A call returns, or is cancelled, only when its thread has let go of the connection: a write
    that has begun is stored or rolled back as a whole.
    """

    def __init__(self, path: Path, *, writable: bool, busy_timeout: float = _BUSY_SECONDS) -> None:
        self.path = path
        self._log = path.with_name(path.name + "-wal")
        self._writable = writable
        self._engine = _engine(path, writable=writable, busy_timeout=busy_timeout)
        self._writer = CapacityLimiter(1)
        self._readers = CapacityLimiter(READERS)

    async def write(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns, once all that it changed is durable.

        Raises:
            TransientError: there is no room or another process is in the way; nothing changed.
            StoreError: the file cannot be used.
        """
        if not self._writable:
            raise StoreError(f"the store {self.path} is open for reading only")
        return await to_thread.run_sync(self._write, do, limiter=self._writer)

    async def read(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns: all that it reads is of one moment. Raises as `write` does."""
        return await to_thread.run_sync(self._read, do, limiter=self._readers)

    def _write(self, do: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection, connection.begin():
                return do(connection)
        except (DBAPIError, sqlite3.Error) as error:
            raise self._named(error) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hand out a transaction for this thread, rolled back unless it is committed."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, sqlite3.Error) as error:
            raise self._named(error) from error

    def _read(self, do: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return do(connection.execution_options(reads=True))
        except (DBAPIError, sqlite3.Error) as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> ForwarderError:
        code = _code(error)
        cause = getattr(error, "orig", error)
        if code in _FULL:
            return TransientError(
                f"no room to write to the store {self.path}: {cause}",
                remedy=f"make room on the disk that holds {self.path.parent}",
            )
        if code & 0xFF in _LATER:
            return TransientError(
                f"the store {self.path} is busy: {cause}",
                remedy="end what else has the file open, such as a backup or a database browser",
            )
        return StoreError(f"the store {self.path} cannot be used: {cause}", remedy=_remedy(code))

    def announce(self, connection: Connection, news: News) -> None:
        """Do nothing: who else has the file open looks every few seconds."""

    def stamp(self) -> object:
        """Return how its files are: whoever stores something, in whatever process, changes them."""
        return [_changed(path) for path in (self.path, self._log)]

    async def size(self) -> int:
        """Return the bytes in use: pages of the file that are free count as room."""
        return await self.read(lambda connection: _used(connection) + _length(self._log))

    async def room(self, capacity: int | None) -> Room:
        """Return what is in use, and the limit: `capacity`, or less where the disk has less."""
        return await self.read(partial(self._room, capacity=capacity))

    def _room(self, connection: Connection, capacity: int | None) -> Room:
        used, unused = _used_and_unused(connection)
        written = _length(self._log)
        # What is in the log alone will take room in the file too.
        unwritten = max(used + unused - _length(self.path), 0)
        used += written
        free = unused - unwritten + _free(self.path.parent)
        free -= max(_LOG_ROOM - written, 0)
        limit = used + max(free, 0)
        return Room(used, limit if capacity is None else min(capacity, limit))

    async def give_back(self) -> None:
        """Shrink the file, bit by bit, while more than a quarter of it is free."""
        while await self.read(_is_sparse):
            await self.write(_shrink)

    async def close(self) -> None:
        """Let go of the file, even when cancelled: the log goes into the file and is removed."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self._engine.dispose)


@asynccontextmanager
async def opened(path: Path, *, writable: bool, make: bool) -> AsyncIterator[SqliteDatabase]:
    """Open the file: made or brought up to date with `make`, else as it is.

    Raises:
        StoreError: it cannot be used, whatever the reason: nothing can start without it.
    """
    database = SqliteDatabase(path, writable=writable)
    try:
        try:
            if make:
                await to_thread.run_sync(_create, path)
                await database.write(schema.migrate)
            else:
                await to_thread.run_sync(_must_exist, path)
                await database.read(schema.must_be_current)
        except ForwarderError as error:
            if str(path) in str(error) and isinstance(error, StoreError):
                raise
            known = isinstance(error, TransientError)
            text = str(error) if known else f"the store {path} is {error}"
            raise StoreError(text, remedy=error.remedy) from error
        yield database
    finally:
        await database.close()


def _engine(path: Path, *, writable: bool, busy_timeout: float) -> Engine:
    mode = "rw" if writable else "ro"
    engine = create_engine(
        f"sqlite:///file:{quote(str(path))}?mode={mode}&uri=true",
        connect_args={"timeout": busy_timeout, "check_same_thread": False},
        pool_size=READERS + 1,
        pool_use_lifo=True,  # the connection that was used last has the pages in memory
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:  # noqa: ANN401  the pool's own
        # Python's own idea of when a transaction begins is switched off: `begin` below says it.
        connection.isolation_level = None
        for setting in (*_CREATION, *_SETTINGS) if writable else _SETTINGS[1:]:
            connection.execute(setting)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that has read first could be refused later on.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("begin" if reads else "begin immediate")

    return engine


def make_folder(path: Path) -> Path:
    """Make the folder of `path` (0700) if it is missing; return the path without links.

    Raises:
        StoreError: it cannot be made.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"the folder {path.parent} for the store cannot be made: {error.strerror}",
            remedy="make it, writable for the user that runs the forwarder",
        ) from error
    return path


def _create(path: Path) -> None:
    """Make the file (0600) if it is missing; those that SQLite puts beside it get its mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _unopened(path, error) from error


def _must_exist(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise _unopened(path, error) from error


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"pragma {name}").scalar_one())


def _used(connection: Connection) -> int:
    pages = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return pages * _pragma(connection, "page_size")


def _used_and_unused(connection: Connection) -> tuple[int, int]:
    """Return the bytes of the file's pages that hold something, and of those that do not."""
    free = _pragma(connection, "freelist_count")
    size = _pragma(connection, "page_size")
    return (_pragma(connection, "page_count") - free) * size, free * size


def _free(folder: Path) -> int:
    """Return the bytes that may still be written to the disk."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _changed(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _is_sparse(connection: Connection) -> bool:
    free = _pragma(connection, "freelist_count")
    # auto_vacuum is 2 (incremental) in every file that this program has made.
    shrinks = _pragma(connection, "auto_vacuum") == 2
    return shrinks and free > _GIVEN_BACK and free * 4 > _pragma(connection, "page_count")


def _shrink(connection: Connection) -> None:
    # Frees a page at each step, and Python takes one step of a statement that has no rows; a
    # script is run to its end. It commits what has begun (nothing yet) and is then its own.
    raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    raw.executescript(f"pragma incremental_vacuum({_GIVEN_BACK})")


def _unopened(path: Path, error: OSError) -> StoreError:
    if error.errno == errno.ENOENT:
        return StoreError(
            f"there is no store at {path}",
            remedy="start the daemon first (soteri-forwarder run), or mend [store] url",
        )
    return StoreError(
        f"the store {path} cannot be opened: {error.strerror}",
        remedy="run this as the user that runs the forwarder, or as root (sudo);"
        f" {path.parent} must be a writable folder of that user, and {path.name} a file in it",
    )


def _code(error: Exception) -> int:
    return int(getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) or 0)


def _remedy(code: int) -> str:
    if code & 0xFF == sqlite3.SQLITE_NOTADB:
        return "the file is no database: mend [store] url, or move the file away to begin anew"
    if code & 0xFF == sqlite3.SQLITE_CORRUPT:
        return (
            "the file is damaged: restore a backup, or move the file away and set start_at to a"
            " time from which Bitbucket shall be read again"
        )
    if code & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return "file and folder must be writable for the user that runs the forwarder"
    return "look at the disk (dmesg, free room); the forwarder can be started again at any time"
