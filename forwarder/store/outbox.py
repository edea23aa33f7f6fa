"""The outbox on SQL. What each call does inside its transaction is in `transactions`."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import anyio
from sqlalchemy import Connection

from forwarder.errors import Reason
from forwarder.interfaces import Leases
from forwarder.model import (
    Backlog,
    Batch,
    Checkpoint,
    DeadLetter,
    Event,
    EventFilter,
    Lease,
    Outgoing,
    Receipt,
    Replay,
    Room,
    Sample,
    StoreStatus,
    Trail,
    Unreadable,
)
from forwarder.selection import matcher
from forwarder.store.bell import Bell
from forwarder.store.database import Database
from forwarder.store.recent import Recent
from forwarder.store.transactions import (
    append,
    dead_letters,
    events,
    leases,
    positions,
    replays,
    samples,
    status,
    ways,
)
from forwarder.times import milliseconds

_WINDOW: Final = 10_000  # places looked at in one step of `events`, so that it can be stopped
_WINDOW_BYTES: Final = 4 * 1024**2  # stored bytes held in one step
_LETTERS: Final = 50  # dead letters held in one step
_LOOK: Final = 2.0  # seconds until a sink that waits looks for what another process asks for


T = TypeVar("T")


class Transact(Protocol):
    """One transaction of the outbox's database."""

    async def __call__(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns."""
        ...


class SqlOutbox:
    """The outbox of interfaces.py on one `Database`; `appended` rings when more is to be sent."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        capacity: int | None = None,
        *,
        appended: Bell | None = None,
        shared: Leases | None = None,
        recent: Recent | None = None,
    ) -> None:
        self.leases = shared
        self._database = database
        self._now = now
        self._capacity = capacity
        self._appended = appended or Bell()
        self._recent = recent or Recent()
        self._lease: Lease | None = None

    def under(self, lease: Lease | None) -> "SqlOutbox":
        """Return this outbox with its writes refused once `lease` has changed hands."""
        outbox = copy(self)
        outbox._lease = lease  # noqa: SLF001  our own class
        return outbox

    async def _write(self, do: Callable[[Connection], T], *, announce: bool = False) -> T:
        """Return what `do` returns; with `announce`, those who wait look where it is not 0.

        Raises:
            LeaseLost: somebody else holds the lease; nothing changed.
        """

        def held(connection: Connection) -> T:
            if self._lease:
                leases.fence(connection, self._lease)
            done = do(connection)
            if announce and done:
                self._database.announce(connection, "events")
            return done

        done = await self._database.write(held)
        if announce and done:
            self._appended.ring()
        return done

    def _time(self) -> int:
        return milliseconds(self._now())

    async def append(
        self,
        source: str,
        events: Sequence[Outgoing],
        checkpoint: Checkpoint | None,
        *,
        unreadable: Sequence[Unreadable] = (),
        window: tuple[datetime, datetime] | None = None,
    ) -> range:
        """Store events, checkpoint and unreadable records in one transaction.

        First wait a moment for the sinks that keep up; see `Recent`.
        """
        await self._recent.near()
        time = self._time()
        new = await self._write(
            lambda connection: append.append(
                connection, source, events, checkpoint, unreadable, time, window
            ),
            announce=True,
        )
        if new is None:
            return range(0)
        self._recent.add(*new)
        return range(new.first, new.first + len(new.events))

    async def checkpoint(self, source: str) -> Checkpoint | None:
        """Return what the last `append` for `source` stored, or None."""
        return await self._database.read(partial(append.checkpoint_of, source=source))

    async def register(self, sink: str) -> None:
        """Make a position for `sink` before the oldest event stored, if it has none."""
        await self._write(partial(positions.register, sink=sink))

    async def read(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        """Return what comes after the sink's position, or None where nothing does."""
        batch = await self._database.read(
            partial(
                positions.read, sink=sink, limit=limit, max_bytes=max_bytes, recent=self._recent
            )
        )
        if batch is not None:
            self._recent.takes(sink, batch)
        return batch

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        """Store a receipt in one transaction: position, memo, and a dead letter a rejection."""
        if receipt.rejections:
            rejected = {rejection.event_id for rejection in receipt.rejections}
            if strangers := rejected - {event.event_id for event in batch.events}:
                raise ValueError(f"rejected but not in the batch: {', '.join(sorted(strangers))}")
        time = self._time()
        is_stored = await self._write(
            lambda connection: positions.settle(connection, sink, batch, receipt, attempts, time)
        )
        if not is_stored:
            self._recent.forget()
        elif batch.replay is None:
            self._recent.settled(sink, batch.last)

    async def read_replay(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        """Return what the sink is to be sent again, dead letters first, or None."""

        def again(connection: Connection) -> tuple[Batch | None, list[int]]:
            letters = dead_letters.read(connection, sink, limit, max_bytes)
            return (letters, []) if letters else replays.read(connection, sink, limit, max_bytes)

        batch, ended = await self._database.read(again)
        if ended:
            await self._write(partial(replays.forget, ids=ended))
        return batch

    async def plan_replay(self, sink: str, wanted: EventFilter) -> Replay:
        """Return what `ask_replay` would send: stored events that the sink has settled."""
        last = (await self.backlog(sink)).position
        places: list[int] = []
        times: list[datetime] = []
        count = 0
        async for place, event in self.events(wanted):
            if place > last:
                break
            count += 1
            places = [*places[:1], place]
            times = (
                [
                    min(event.occurred_at, *times[:1]),
                    max(event.occurred_at, *times[-1:]),
                ]
                if times
                else [event.occurred_at]
            )
        return Replay(
            id=0,
            sink=sink,
            wanted=wanted,
            after=places[0] - 1 if places else 0,
            until=places[-1] if places else 0,
            events=count,
            oldest_at=times[0] if times else None,
            newest_at=times[-1] if times else None,
        )

    async def ask_replay(self, replay: Replay) -> int:
        """Have a planned replay sent; return its id, or 0 where it holds nothing."""
        if not replay.events:
            return 0
        return await self._write(partial(replays.ask, replay=replay), announce=True)

    async def cancel_replays(self, sink: str) -> int:
        """Forget what the sink is to be sent again; letters stay. Return how many events."""
        return await self._write(
            lambda connection: (
                replays.cancel(connection, sink) + dead_letters.withdraw(connection, sink)
            )
        )

    async def backlog(self, sink: str) -> Backlog:
        """Return the sink's position and what lies after it."""
        return await self._database.read(partial(positions.backlog, sink=sink))

    def memory(self, sink: str) -> "SqlMemory":
        """Return the memory of `sink`."""
        return SqlMemory(self._database.read, self._write, sink)

    async def wait(self, sink: str) -> None:
        """Return when something lies after the sink's position or is to be sent again."""
        while True:
            # Both taken first: what comes after the look changes them.
            appended, stamp = self._appended.next, self._database.stamp()
            if await self._database.read(partial(positions.has_more, sink=sink)):
                return
            while not appended.is_set():
                with anyio.move_on_after(_LOOK):  # what another process asks for sets nothing here
                    await appended.wait()
                if self._database.stamp() != stamp:
                    break

    async def events(
        self, wanted: EventFilter, *, after: int = 0
    ) -> AsyncIterator[tuple[int, Event]]:
        """Yield places and events that match, in the order of their places, then end."""
        matches = matcher(wanted)
        conditions = events.conditions(wanted)
        after, last = await self._database.read(
            partial(events.bounds, after=after, ids=_ids(wanted))
        )
        while after < last:
            rows, after = await self._database.read(
                partial(
                    events.window,
                    after=after,
                    until=min(after + _WINDOW, last),
                    conditions=conditions,
                    max_bytes=_WINDOW_BYTES,
                )
            )
            for place, event in rows:
                if matches(event):
                    yield place, event

    async def newest(self, *, before: int | None, limit: int) -> Sequence[tuple[int, Event]]:
        """Return places and events, newest place first, of places below `before` if given."""
        return await self._database.read(
            partial(events.newest, before=before, limit=limit, max_bytes=_WINDOW_BYTES)
        )

    async def dead_letters(
        self,
        *,
        sink: str | None = None,
        reason: Reason | None = None,
        since: datetime | None = None,
        ids: Sequence[int] = (),
    ) -> AsyncIterator[DeadLetter]:
        """Yield dead letters, oldest first."""
        conditions = dead_letters.conditions(sink=sink, reason=reason, since=since, ids=ids)
        after = 0
        while letters := await self._database.read(
            partial(
                dead_letters.dead_letters,
                conditions=conditions,
                after=after,
                limit=_LETTERS,
                max_bytes=_WINDOW_BYTES,
            )
        ):
            for letter in letters:
                yield letter
            after = letters[-1].id

    async def ids(self, prefix: str, *, limit: int) -> Sequence[str]:
        """Return the ids that begin so, of stored events and dead letters, at most `limit`."""
        return await self._database.read(partial(ways.ids, prefix=prefix, limit=limit))

    async def trail(self, event_id: str) -> Trail | None:
        """Return the way of one event, as far as it is remembered; None where nothing is."""
        return await self._database.read(partial(ways.trail, event_id=event_id))

    async def ask_letters(self, ids: Sequence[int]) -> int:
        """Have dead letters sent again by their sinks; return how many there are among `ids`."""
        return await self._write(
            partial(dead_letters.ask, ids=ids, now=self._time()), announce=True
        )

    async def ask_test(self, sink: str, event: Event) -> int:
        """Have `event`, which is not stored, sent to `sink` alone; return its letter's id."""
        return await self._write(
            partial(dead_letters.ask_test, sink=sink, event=event, now=self._time()),
            announce=True,
        )

    async def adopt(self, letter: int, event: Event) -> int:
        """Store the event that a record's dead letter is, after all others; forget the letter."""
        time = self._time()
        return await self._write(
            lambda connection: append.adopt(connection, letter, event, time), announce=True
        )

    async def discard_letters(self, ids: Sequence[int]) -> int:
        """Forget dead letters for good; return how many there were."""
        return await self._write(partial(dead_letters.give_up, ids=ids, now=self._time()))

    async def count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        """Return how many dead letters there are for each sink ("" for records) and reason."""
        return await self._database.read(dead_letters.count_dead_letters)

    async def prune(self, *, stored_before: datetime, sinks: Sequence[str]) -> int:
        """Forget some events that every one of `sinks` has settled and that are old."""
        time, before = self._time(), milliseconds(stored_before)
        until = await self._database.read(partial(positions.settled_by, sinks=sinks))
        after: int | None = 0
        while after is not None:
            forgotten, after = await self._write(
                partial(events.prune, after=after, until=until, before=before, now=time)
            )
            if forgotten:
                return forgotten
        await self._database.give_back()
        return 0

    async def note(self, part: str, *, state: str, error: str = "", remedy: str = "") -> None:
        """Keep how a part is, for those who look without the daemon."""
        await self._write(
            partial(
                status.note,
                part=part,
                state=state,
                error=error,
                remedy=remedy,
                now=self._time(),
            )
        )

    async def sample(self, taken: Sequence[Sample]) -> None:
        """Keep samples for a day; one of a part and time that is known takes in what is worse."""
        await self._write(partial(samples.sample, samples=taken))

    async def samples(self) -> Sequence[Sample]:
        """Return what was kept of the last day, oldest first."""
        return await self._database.read(samples.samples)

    async def status(self) -> StoreStatus:
        """Return what is known of every source and sink that was ever stored."""
        size = await self._database.size()
        return await self._database.read(partial(status.status, size=size, now=self._time()))

    async def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        return await self._database.size()

    async def room(self) -> Room:
        """Return how much of the room that it may take is in use."""
        return await self._database.room(self._capacity)

    def allow(self, capacity: int | None) -> None:
        """Take `capacity` bytes from now on, at most."""
        self._capacity = capacity


class SqlMemory:
    """What the outbox remembers for one sink."""

    def __init__(self, read: Transact, write: Transact, sink: str) -> None:
        self._read = read
        self._write = write
        self._sink = sink

    async def load(self) -> Mapping[str, Any]:
        """Return what was kept last, or an empty mapping."""
        return await self._read(partial(positions.load_memo, sink=self._sink))

    async def save(self, memo: Mapping[str, Any]) -> None:
        """Keep `memo` in place of what was kept before; durable on return."""
        await self._write(partial(positions.save_memo, sink=self._sink, memo=memo))


def _ids(wanted: EventFilter) -> tuple[str, str] | None:
    """Return the span of ids that the wanted ids or times lead to, or None where it says nothing.

    Ids begin with the time in 48 bits, so those of before 1970 sort behind all others: a span
    without a beginning, or with one that early, would miss them.
    """
    if wanted.event_ids:
        return min(wanted.event_ids), f"{max(wanted.event_ids)}g"
    if wanted.since is None or (since := milliseconds(wanted.since)) <= 0:
        return None
    # A millisecond more on either side: how a source rounds is its own affair.
    until = "g" if wanted.until is None else f"{milliseconds(wanted.until) + 2:012x}"
    return f"{since - 1:012x}", until
