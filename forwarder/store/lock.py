"""One process at a time on one store."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forwarder.errors import StoreError, StoreLocked


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
    except OSError as error:
        raise StoreError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            remedy="the folder must be writable for the user that runs the forwarder",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
