"""The outbox on SQL. What each call does inside its transaction is in `transactions`."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread
from sqlalchemy import ColumnElement

from forwarder.model import (
    Backlog,
    Batch,
    Checkpoint,
    DeadLetter,
    Event,
    EventFilter,
    Receipt,
    StoreStatus,
    Unreadable,
)
from forwarder.store.database import Database, make_folder, opened
from forwarder.store.lock import exclusive, lock_file
from forwarder.store.matching import matcher, milliseconds
from forwarder.store.schema import EVENTS
from forwarder.store.transactions import append, dead_letters, events, positions, status

_WINDOW: Final = 10_000  # places looked at in one step of `events`, so that it can be stopped
_WINDOW_BYTES: Final = 4 * 1024**2  # stored bytes held in one step
_LETTERS: Final = 50  # dead letters held in one step


@asynccontextmanager
async def open_outbox(
    path: Path, *, lock: bool, now: Callable[[], datetime]
) -> AsyncIterator["SqlOutbox"]:
    """Open the outbox in the file `path`; see `StoreConfig.open`."""
    async with AsyncExitStack() as stack:
        if lock:
            path = await to_thread.run_sync(make_folder, path)
            stack.enter_context(exclusive(lock_file(path)))
        database = await stack.enter_async_context(opened(path, writable=lock))
        yield SqlOutbox(database, now)


class SqlOutbox:
    """The outbox of interfaces.py on one `Database`."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._appended = anyio.Event()

    def _time(self) -> int:
        return milliseconds(self._now())

    async def append(
        self,
        source: str,
        events: Sequence[Event],
        checkpoint: Checkpoint,
        *,
        unreadable: Sequence[Unreadable] = (),
    ) -> int:
        """Store events, checkpoint and unreadable records in one transaction."""
        time = self._time()
        new = await self._database.write(
            lambda connection: append.append(
                connection, source, events, checkpoint, unreadable, time
            )
        )
        if new:
            self._appended.set()
            self._appended = anyio.Event()
        return new

    async def checkpoint(self, source: str) -> Checkpoint | None:
        """Return what the last `append` for `source` stored, or None."""
        return await self._database.read(partial(append.checkpoint_of, source=source))

    async def register(self, sink: str) -> None:
        """Make a position for `sink` before the oldest event stored, if it has none."""
        await self._database.write(partial(positions.register, sink=sink))

    async def read(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        """Return what comes after the sink's position, or None where nothing does."""
        return await self._database.read(
            partial(positions.read, sink=sink, limit=limit, max_bytes=max_bytes)
        )

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        """Store a receipt in one transaction: position, memo, and a dead letter a rejection."""
        if receipt.rejections:
            rejected = {rejection.event_id for rejection in receipt.rejections}
            if strangers := rejected - {event.event_id for event in batch.events}:
                raise ValueError(f"rejected but not in the batch: {', '.join(sorted(strangers))}")
        time = self._time()
        await self._database.write(
            lambda connection: positions.settle(connection, sink, batch, receipt, attempts, time)
        )

    async def backlog(self, sink: str) -> Backlog:
        """Return the sink's position and what lies after it."""
        return await self._database.read(partial(positions.backlog, sink=sink))

    def memory(self, sink: str) -> "SqlMemory":
        """Return the memory of `sink`."""
        return SqlMemory(self._database, sink)

    async def wait(self, sink: str) -> None:
        """Return when something lies after the sink's position; at once if it already does."""
        while True:
            appended = self._appended  # taken first: what comes after the look sets it
            if await self._database.read(partial(positions.has_more, sink=sink)):
                return
            await appended.wait()

    async def events(
        self, wanted: EventFilter, *, after: int = 0
    ) -> AsyncIterator[tuple[int, Event]]:
        """Yield places and events that match, in the order of their places, then end."""
        matches = matcher(wanted)
        conditions = _conditions(wanted)
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

    async def dead_letters(self, *, sink: str | None = None) -> AsyncIterator[DeadLetter]:
        """Yield dead letters, oldest first."""
        after = 0
        while letters := await self._database.read(
            partial(dead_letters.dead_letters, sink=sink, after=after, limit=_LETTERS)
        ):
            for letter in letters:
                yield letter
            after = letters[-1].id

    async def count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        """Return how many dead letters there are for each sink ("" for records) and reason."""
        return await self._database.read(dead_letters.count_dead_letters)

    async def prune(self, *, stored_before: datetime, sinks: Sequence[str]) -> int:
        """Forget some events that every one of `sinks` has settled and that are old."""
        time, before = self._time(), milliseconds(stored_before)
        until = await self._database.read(partial(positions.settled_by, sinks=sinks))
        after: int | None = 0
        while after is not None:
            forgotten, after = await self._database.write(
                partial(events.prune, after=after, until=until, before=before, now=time)
            )
            if forgotten:
                return forgotten
        await self._database.give_back()
        return 0

    async def note(self, part: str, *, state: str, error: str = "", remedy: str = "") -> None:
        """Keep how a part is, for those who look without the daemon."""
        await self._database.write(
            partial(
                status.note,
                part=part,
                state=state,
                error=error,
                remedy=remedy,
                now=self._time(),
            )
        )

    async def status(self) -> StoreStatus:
        """Return what is known of every source and sink that was ever stored."""
        size = await self._database.size()
        return await self._database.read(partial(status.status, size=size))

    async def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        return await self._database.size()


class SqlMemory:
    """What the outbox remembers for one sink."""

    def __init__(self, database: Database, sink: str) -> None:
        self._database = database
        self._sink = sink

    async def load(self) -> Mapping[str, Any]:
        """Return what was kept last, or an empty mapping."""
        return await self._database.read(partial(positions.load_memo, sink=self._sink))

    async def save(self, memo: Mapping[str, Any]) -> None:
        """Keep `memo` in place of what was kept before; durable on return."""
        await self._database.write(partial(positions.save_memo, sink=self._sink, memo=memo))


def _conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    """Return what SQL can narrow down; times to the whole millisecond, so `matcher` has the say."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(EVENTS.c.occurred_at >= milliseconds(wanted.since))
    if wanted.until is not None:
        conditions.append(EVENTS.c.occurred_at <= milliseconds(wanted.until))
    if wanted.kinds:
        conditions.append(events.kind_is(wanted.kinds))
    return conditions


def _ids(wanted: EventFilter) -> tuple[str, str] | None:
    """Return the span of ids that the wanted times lead to, or None where it says nothing.

    Ids begin with the time in 48 bits, so those of before 1970 sort behind all others: a span
    without a beginning, or with one that early, would miss them.
    """
    if wanted.since is None or (since := milliseconds(wanted.since)) <= 0:
        return None
    # A millisecond more on either side: how a source rounds is its own affair.
    until = "g" if wanted.until is None else f"{milliseconds(wanted.until) + 2:012x}"
    return f"{since - 1:012x}", until
