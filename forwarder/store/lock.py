"""One process at a time on one store."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from forwarder.errors import StoreError, StoreLocked

_TRIES: Final = 10
_PAUSE: Final = 0.05  # seconds: `held` looks for microseconds, a daemon stays


def lock_file(database: Path) -> Path:
    """Return the lock file that belongs to a database file, by whatever link it is named."""
    database = database.resolve()
    return database.with_name(database.name + ".lock")


def held(path: Path) -> bool:
    """Return whether a process holds the lock file `path`; it is not made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when the process ends, however it ends.

    The file says who holds it and stays behind: deleting it would let two processes lock two
    files of one name.

    Raises:
        StoreLocked: another process holds it.
        StoreError: the file cannot be made or locked.
    """
    descriptor = _locked(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise StoreError(
            f"there is no folder {path.parent}",
            remedy="check [store] url; the daemon makes it (soteri-forwarder run)",
        ) from error
    except OSError as error:
        raise StoreError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            remedy="run it as the user that the folder belongs to, or make the folder writable",
        ) from error
    try:
        _lock(descriptor)
    except OSError as error:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            raise StoreLocked(
                f"another forwarder runs on this store: {holder or 'it is just starting'}"
                f" holds {path}",
                remedy="stop it first, or give this one a store of its own ([store] url)",
            ) from error
        raise StoreError(
            f"the lock file {path} cannot be locked: {error.strerror}",
            remedy="put the store on a local disk",
        ) from error
    return descriptor


def _lock(descriptor: int) -> None:
    """Take the lock, a few times if need be: who only looks (`held`) is gone at once."""
    for _ in range(_TRIES - 1):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
