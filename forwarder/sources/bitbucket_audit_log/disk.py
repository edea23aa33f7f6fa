"""The audit log files as they lie on disk."""

import glob
import gzip
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Final, cast

PATTERN: Final = "*.audit.log"
"""Of a folder's files: ``yyyyMMdd.NNNNN.audit.log`` (Atlassian, "Audit log integrations")."""
_PACKED: Final = ".gz"


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that is there now; `size` is bytes on disk, `modified` epoch seconds."""

    path: str
    device: int
    inode: int
    size: int
    modified: float

    @property
    def packed(self) -> bool:
        """Whether somebody has compressed it since; nothing is written to it any more."""
        return self.path.endswith(_PACKED)

    @property
    def stem(self) -> str:
        """Its path before anybody compressed it."""
        return self.path.removesuffix(_PACKED)

    @property
    def folder(self) -> str:
        """Where it lies: the folder of one node."""
        return os.path.dirname(self.path)  # noqa: PTH120  text in, text out, often

    @property
    def order(self) -> tuple[int | str, ...]:
        """What sorts the files of a folder by age: numbers in their names count as numbers."""
        parts = re.split(r"(\d+)", os.path.basename(self.stem))  # noqa: PTH119  as above
        return tuple(int(part) if part.isdecimal() else part for part in parts)


class Disk:
    """The file system, as far as this source looks at it; every method may raise OSError."""

    def find(self, pattern: str) -> list[LogFile]:
        """Return the files that match a pattern, or that lie in the folder it names, in any order.

        Folders, pipes and devices are none, nor is what has a name that no checkpoint can hold
        (Bitbucket's are dates and numbers). One that was compressed is there too, as long as its
        original is not.
        """
        if os.path.isdir(pattern):  # noqa: PTH112  a pattern is text
            os.scandir(pattern).close()  # glob is silent about what it may not see
            pattern = f"{glob.escape(pattern.rstrip('/'))}/{PATTERN}"
        plain = glob.glob(pattern)  # noqa: PTH207  Path.glob takes no absolute pattern
        known = set(plain)
        packed = [
            path
            for path in glob.glob(f"{pattern}{_PACKED}")  # noqa: PTH207  as above
            if path.removesuffix(_PACKED) not in known
        ]
        return [file for path in (*plain, *packed) if (file := self._look(path))]

    def has_folder(self, path: str) -> bool:
        """Whether the folder is there: a volume can be away for a while."""
        return Path(path).is_dir()

    @contextmanager
    def open(self, file: LogFile) -> Iterator[BinaryIO]:
        """Yield the file's contents, uncompressed, from their beginning."""
        with Path(file.path).open("rb") as raw:
            if not file.packed:
                yield raw
                return
            with gzip.open(raw) as unpacked:
                yield cast("BinaryIO", unpacked)

    def _look(self, path: str) -> LogFile | None:
        try:
            status = Path(path).stat()
        except FileNotFoundError:  # rotated out just now
            return None
        if not S_ISREG(status.st_mode):  # to open a pipe waits for whoever writes to it
            return None
        if not _is_utf8(path):
            return None
        return LogFile(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
