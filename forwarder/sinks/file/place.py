"""Where a file ended, in words that find it again after a rename, a restart or a move."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_HEAD: Final = 256
"""Bytes at a file's beginning that tell it apart: an event id is among the first hundred."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A file and a length of it: the memo that the outbox keeps for this sink.

    A file is known by its inode and a digest of its first bytes. Not by its device: that number
    changes with a reboot (device mapper, NFS, overlayfs) or when a volume is mounted on another
    machine, which is just when it would be needed; the digest also sees an inode used again.
    """

    path: str
    inode: int
    length: int
    """Bytes; everything up to here is settled."""
    head: str
    began_at: float
    """When its first event was written, seconds since 1970."""
    part: int
    """The number of the last part that was rotated away; 0 where none was."""

    @classmethod
    def of(cls, memo: Mapping[str, Any]) -> "Place | None":
        """Return what `memo` says, or None where it is no place (empty, or another sink's)."""
        try:
            return msgspec.convert(dict(memo), cls)
        except msgspec.ValidationError:
            return None

    def memo(self) -> dict[str, Any]:
        """Return the JSON values for the outbox."""
        return msgspec.structs.asdict(self)


def head_of(descriptor: int, length: int) -> str:
    """Return the digest of an open file's first bytes, as far as `length` goes."""
    return hashlib.sha256(os.pread(descriptor, min(length, _HEAD), 0)).hexdigest()[:32]
