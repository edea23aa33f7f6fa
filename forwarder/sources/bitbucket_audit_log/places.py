"""How far each file is read, and which of the files that are there now is which."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import structlog

from forwarder.sources.bitbucket_audit_log.disk import Disk, LogFile

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

HEAD: Final = 16 << 10
"""Bytes at a file's beginning that tell it from others: with several lines, each dated."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far one file is read.

    `head` is the digest of its first `head_bytes`, which tells it again where its inode was given
    to another file, or its device got another number when a volume was mounted anew. `offset`
    counts bytes of its contents, uncompressed. `end` is its size on disk when it was last read to
    the end.
    """

    path: str
    device: int
    inode: int
    head: str = ""
    head_bytes: int = 0
    offset: int = 0
    end: int = 0


@dataclass(slots=True)
class Followed:
    """A file that is there now, and how far it is read; `last` where no newer one follows it."""

    file: LogFile
    place: Place
    last: bool = True

    @property
    def read(self) -> bool:
        """Whether nothing was added since it was read to its end."""
        place = self.place
        return place.end == self.file.size and (self.file.packed or place.offset == place.end)

    def moved(self, offset: int, head: bytes) -> None:
        """Everything up to `offset` was taken; `head` is the file's beginning."""
        place = self.place
        if place.head_bytes < HEAD and offset > place.head_bytes:
            known = head[: min(offset, HEAD)]
            place = replace(place, head=digest(known), head_bytes=len(known))
        self.place = replace(place, offset=offset)


def stored(places: Iterable[Place]) -> list[list[Any]]:
    """Return places in the form that a checkpoint holds: JSON values only."""
    return [list(astuple(place)) for place in places]


def known(extra: Mapping[str, Any]) -> list[Place]:
    """Return the places that a checkpoint holds."""
    return [Place(*each) for each in extra.get("files", ())]


def digest(head: bytes) -> str:
    """Return what tells a file by its beginning."""
    return blake2b(head, digest_size=10).hexdigest()


def match(
    files: Iterable[LogFile], places: Iterable[Place], disk: Disk, *, anew: Callable[[str], None]
) -> tuple[list[Followed], list[Place]]:
    """Return the files that are there, oldest first in each folder, and the places to keep.

    A file is known by its inode, else by its name (compressed or not), else, where it was moved,
    by its beginning alone. Kept is how far files were read whose folder is away. What has shrunk
    or was written anew is read from its beginning; `anew` is called with its folder.

    Raises:
        OSError: a file cannot be read.
    """
    left = {id(place): place for place in places}
    found: dict[str, Place] = {}
    ordered = sorted(files, key=lambda file: (file.folder, file.order))
    for alike in (_same_inode, _same_name, _moved):
        for file in ordered:
            if file.path in found:
                continue
            for key, place in left.items():
                if alike(file, place) and _head_fits(file, place, disk):
                    found[file.path] = replace(
                        place, path=file.path, device=file.device, inode=file.inode
                    )
                    del left[key]
                    break
    followed = []
    for file in ordered:
        place = found.get(file.path) or Place(file.path, file.device, file.inode)
        if not file.packed and file.size < place.offset:
            log.warning("file.shrunk", path=file.path, size=file.size, offset=place.offset)
            anew(file.folder)
            place = Place(file.path, file.device, file.inode)
        followed.append(Followed(file, place))
    for one, following in pairwise(followed):
        one.last = one.file.folder != following.file.folder
    return followed, _away(left.values(), ordered, disk, anew)


def _same_inode(file: LogFile, place: Place) -> bool:
    return (file.device, file.inode) == (place.device, place.inode) and not (
        file.packed and not place.path.endswith(".gz")
    )


def _same_name(file: LogFile, place: Place) -> bool:
    return file.stem == place.path.removesuffix(".gz")


def _moved(_file: LogFile, place: Place) -> bool:
    return place.head_bytes > 0


def _head_fits(file: LogFile, place: Place, disk: Disk) -> bool:
    if not place.head_bytes or (place.path == file.path and place.end == file.size):
        return True
    if not file.packed and file.size < place.head_bytes:
        return False
    try:
        with disk.open(file) as contents:
            return digest(contents.read(place.head_bytes)) == place.head
    except (FileNotFoundError, EOFError):  # rotated out just now, or broken off
        return False


def _away(
    left: Iterable[Place], files: list[LogFile], disk: Disk, anew: Callable[[str], None]
) -> list[Place]:
    """Return the places whose folder is away, and say what has gone from the others."""
    names = {file.path: file for file in files}
    kept = []
    for place in left:
        file = names.get(place.path)
        if file is not None:
            log.warning("file.replaced", path=place.path, offset=place.offset)
            anew(file.folder)
        elif disk.has_folder(place.path.rpartition("/")[0] or "/"):
            packed = place.path.endswith(".gz")
            if place.end == 0 if packed else place.end != place.offset:
                log.warning("file.vanished", path=place.path, offset=place.offset, unread=True)
            else:
                log.debug("file.vanished", path=place.path, offset=place.offset)
        else:
            kept.append(place)
    return kept
