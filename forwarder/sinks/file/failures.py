"""What the operating system's errors mean for the daemon, and what a person can do about them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from forwarder.errors import AccessError, ForwarderError, TransientError

_LOCKED_OUT: Final = {
    errno.EACCES: "give the forwarder's user write access to the file and its folder",
    errno.EPERM: "give the forwarder's user write access to the file and its folder",
    errno.EROFS: "mount the file system writable, or write to another one",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EEXIST: "a part of the path is not a folder",
    errno.EISDIR: "the path is a folder: name a file in it",
    errno.ELOOP: "the path is a symbolic link: name the file itself",
    errno.ENXIO: "name a regular file",
    errno.ENAMETOOLONG: "choose a shorter path",
}
_PASSING: Final = {
    errno.ENOSPC: "free space on the file system; nothing is lost meanwhile",
    errno.EDQUOT: "raise the quota of the forwarder's user; nothing is lost meanwhile",
    errno.EFBIG: "raise the limit on file sizes, or lower rotate.size",
    errno.EIO: "check the disk and the kernel's log",
}


@contextmanager
def named_failures(path: Path) -> Iterator[None]:
    """Raise an OSError as TransientError or AccessError, with what to do about it."""
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        message = f"{path}: {error.strerror or error}"
        raised: ForwarderError = TransientError(message, remedy=_PASSING.get(number, ""))
        if number in _LOCKED_OUT:
            raised = AccessError(message, remedy=_LOCKED_OUT[number])
        raise raised from error
