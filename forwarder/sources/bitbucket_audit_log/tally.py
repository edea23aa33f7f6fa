"""How many equals of a record were read: what tells twins apart where they come one by one."""

from collections import OrderedDict
from typing import Final

from forwarder.model import Record
from forwarder.sources.bitbucket_audit import identity

REMEMBERED: Final = 16_384
"""Ids of each node. Equals share their millisecond, so they lie close together in a file."""


class Tally:
    """Numbers equals as a window of the API does, where all of a millisecond are read at once.

    The numbers are the same because it does not matter in which order equals are counted, only
    that each is counted once. One node writes its events once, into its own folder; `node` is
    part of identity, so equals lie in one folder. A copy of a folder is thus counted apart, and
    gives the same ids again. Events that name no node are counted over all folders.
    """

    def __init__(self) -> None:
        self._seen: dict[str, OrderedDict[str, int]] = {}

    def numbered(self, record: Record, *, folder: str) -> Record:
        """Return the record with the id of its occurrence, and count it."""
        group = folder if record.node else ""
        seen = self._seen.setdefault(group, OrderedDict())
        occurrence = seen.get(record.event_id, 0)
        seen[record.event_id] = occurrence + 1
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
        return identity.again(record, occurrence) if occurrence else record

    def forget(self, folder: str | None = None) -> None:
        """Begin anew: for one folder, whose files are read anew, or for all."""
        if folder is None:
            self._seen.clear()
        else:
            self._seen.pop(folder, None)
