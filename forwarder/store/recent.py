"""What this process has appended last, at hand for the sinks that keep up with it."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from forwarder.model import Batch, Stored

RECENT_BYTES: Final = 6 * 1024**2
"""Of the events' own bytes: a full window of the audit log, and what is left of the one before."""

Place: TypeAlias = int


class Recent:
    """The events of the last appends, by place. A sink that is further behind reads the database.

    What was appended has been committed, is never changed, and has its place for good: so it is
    the same from here and from there, whoever else writes to the database.
    """

    def __init__(self, most_bytes: int = RECENT_BYTES) -> None:
        self._most = most_bytes
        self._runs: list[tuple[Place, Sequence[Stored], int]] = []

    def add(self, first: Place, events: Sequence[Stored]) -> None:
        """Remember events that lie side by side from the place `first` on."""
        size = sum(len(event.body) for event in events)
        self._runs.append((first, events, size))
        while sum(size for _, _, size in self._runs) > self._most:
            del self._runs[0]

    def forget(self) -> None:
        """Remember nothing: a server that was lost may come back without what it had taken last."""
        self._runs = []

    def after(self, position: Place, *, limit: int, max_bytes: int) -> Batch | None:
        """Return what comes right after `position`, or None where that is not here."""
        events: list[Stored] = []
        total = 0
        for first, run, _ in self._runs:
            following = position + 1 + len(events)
            if not first <= following < first + len(run):
                continue
            for event in run[following - first :]:
                total += len(event.body)
                if len(events) == limit or (total > max_bytes and events):
                    break
                events.append(event)
        if not events:
            return None
        return Batch(tuple(events), tuple(range(position + 1, position + 1 + len(events))))
