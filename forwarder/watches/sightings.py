"""What the pages of a source told since the last look: kept by its poller, a page at a time."""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final

from forwarder.model import Event
from forwarder.normalizers.soteri import CATEGORY

_kind: Final = attrgetter("kind")


class Sightings:
    """Kinds of events, and when Soteri spoke for the first and the last time of late."""

    def __init__(self, since: datetime | None = None) -> None:
        self.since = since
        self.kinds: set[str] = set()
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None

    def heard(self, events: Sequence[Event]) -> None:
        """Take in what a page holds, oldest first; it may have been stored before."""
        self.kinds.update(map(_kind, events))
        newest = next((event for event in reversed(events) if _is_soteris(event)), None)
        after = self.last_at or self.since
        if newest is None or (after and newest.occurred_at <= after):
            return
        times = (event.occurred_at for event in events if _is_soteris(event))
        self.first_at = self.first_at or next(at for at in times if not after or at > after)
        self.last_at = newest.occurred_at

    def taken(self) -> "Sightings":
        """Return what was heard, and begin anew behind it."""
        taken = Sightings(self.since)
        taken.kinds, taken.first_at, taken.last_at = self.kinds, self.first_at, self.last_at
        self.since = self.last_at or self.since
        self.kinds, self.first_at, self.last_at = set(), None, None
        return taken


def _is_soteris(event: Event) -> bool:
    return event.category == CATEGORY or "soteri" in event.category_key.casefold()
