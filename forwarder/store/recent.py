"""What this process has appended last, at hand for the sinks that keep up with it."""

from collections.abc import Sequence
from math import inf
from threading import Lock
from typing import Final, NamedTuple, TypeAlias

import anyio

from forwarder.model import Batch, Stored
from forwarder.store.bell import Bell

RECENT_BYTES: Final = 10 * 1024**2
"""Of the events' own bytes: two full windows of the audit log, and what is left of a third."""
PATIENCE: Final = (0.2, 1.0)
"""Seconds that an append waits for those who follow, at least and at most. In between it is as long
as it took to have the next to append: so nobody makes that take more than twice the time."""
_NEAR: Final = 0.4
"""Share of what is kept that a follower may have before it: the next append fits beside it."""

Place: TypeAlias = int


class _Run(NamedTuple):
    first: Place
    events: Sequence[Stored]
    size: int


class Recent:
    """The events of the last appends, by place. A sink that is further behind reads the database.

    What was appended has been committed, is never changed, and has its place for good: so it is
    the same from here and from there, whoever else writes to the database.

    Sinks that take what is here *follow*, and are not run away from: to read an event back and
    look at it again costs more than to wait for them a moment.
    """

    def __init__(
        self, most_bytes: int = RECENT_BYTES, *, patience: tuple[float, float] = PATIENCE
    ) -> None:
        self._most = most_bytes
        self._patience = patience
        self._waited_at = -inf
        self._runs: list[_Run] = []
        self._changing = Lock()
        self._followers: dict[str, Place] = {}
        self._moved = Bell()

    def add(self, first: Place, events: Sequence[Stored], size: int) -> None:
        """Remember events of `size` bytes that lie side by side from the place `first` on."""
        with self._changing:
            self._runs.append(_Run(first, events, size))
            while sum(run.size for run in self._runs) > self._most:
                del self._runs[0]

    def forget(self) -> None:
        """Remember nothing: a server that was lost may come back without what it had taken last.

        From any thread: it is a worker's that meets the loss.
        """
        with self._changing:
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

    def takes(self, sink: str, batch: Batch) -> None:
        """Have `sink` follow where it has got its batch from here, and not where it has not."""
        if any(run.first <= batch.first < run.first + len(run.events) for run in self._runs):
            self._followers[sink] = batch.first - 1
        else:
            self._leave(sink)

    def settled(self, sink: str, position: Place) -> None:
        """Take note that `sink` has settled all up to `position`, if it follows."""
        if sink in self._followers:
            self._followers[sink] = position
            self._moved.ring()

    async def near(self) -> None:
        """Return when all who follow are near; whoever is not in time follows no longer."""
        least, most = self._patience
        pace = anyio.current_time() - self._waited_at
        with anyio.move_on_after(min(max(pace, least), most)):
            while self._far():
                await self._moved.next.wait()
        for sink in self._far():
            self._leave(sink)
        self._waited_at = anyio.current_time()

    def _far(self) -> list[str]:
        room = self._most * _NEAR
        return [sink for sink, place in self._followers.items() if self._bytes_after(place) > room]

    def _bytes_after(self, position: Place) -> float:
        """Return the bytes that lie after `position`, as if each event of a run had the same."""
        left = ((run, run.first + len(run.events) - 1 - position) for run in self._runs)
        return sum(run.size * min(max(count / len(run.events), 0), 1) for run, count in left)

    def _leave(self, sink: str) -> None:
        self._followers.pop(sink, None)
        self._moved.ring()
