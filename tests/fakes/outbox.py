"""An outbox in memory: the same behaviour as the one on SQL, without threads or files.

It is what lets the loops be tested under trio's virtual clock, which jumps while a thread works.
It passes tests/contract/test_outbox.py.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from forwarder.errors import Reason
from forwarder.model import (
    Backlog,
    Batch,
    Checkpoint,
    DeadLetter,
    Event,
    EventFilter,
    Note,
    Receipt,
    StoredSink,
    StoredSource,
    StoreStatus,
    Unreadable,
)
from forwarder.store.matching import matcher


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class _Position:
    position: int = 0
    memo: Mapping[str, Any] = field(default_factory=dict)
    settled: int = 0
    buried: int = 0
    settled_at: datetime | None = None


@dataclass(frozen=True)
class _Stored:
    event: Event
    body: bytes
    stored_at: datetime


class MemoryOutbox:
    """`now` dates what is stored. `failures` are raised by the next calls that would write."""

    def __init__(self, *, now: Callable[[], datetime] = utc_now) -> None:
        self.failures: list[Exception] = []
        self._now = now
        self._events: dict[int, _Stored] = {}  # by place, in order
        self._places: dict[str, int] = {}  # by event id
        self._last = 0
        self._checkpoints: dict[str, StoredSource] = {}
        self._positions: dict[str, _Position] = {}
        self._dead: dict[tuple[str, str, str], DeadLetter] = {}
        self._notes: dict[str, Note] = {}
        self._changed: anyio.Event | None = None

    async def _write(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)

    async def append(
        self,
        source: str,
        events: Sequence[Event],
        checkpoint: Checkpoint,
        *,
        unreadable: Sequence[Unreadable] = (),
    ) -> int:
        await self._write()
        before = self._last
        for event in events:
            if event.event_id in self._places:
                continue
            self._last += 1
            self._places[event.event_id] = self._last
            body = msgspec.json.encode(event)
            self._events[self._last] = _Stored(event, body, self._now())
        for record in unreadable:
            digest = hashlib.sha256(record.original).hexdigest()
            self._bury(
                source, "", "", digest, "unreadable", record.detail, 1, bytes(record.original)
            )
        new = self._last - before
        known = self._checkpoints.get(source)
        self._checkpoints[source] = StoredSource(
            checkpoint, (known.stored if known else 0) + new, self._now(), None
        )
        if new and self._changed is not None:
            self._changed.set()
            self._changed = None
        return new

    def _bury(
        self,
        source: str,
        sink: str,
        event_id: str,
        digest: str,
        reason: Reason,
        detail: str,
        attempts: int,
        body: bytes,
    ) -> None:
        key = (source, sink, digest)
        now = self._now()
        known = self._dead.get(key)
        self._dead[key] = DeadLetter(
            id=known.id if known else len(self._dead) + 1,
            source=source,
            sink=sink,
            event_id=event_id,
            reason=reason,
            detail=detail,
            attempts=attempts + (known.attempts if known else 0),
            first_seen_at=known.first_seen_at if known else now,
            last_seen_at=now,
            body=body,
        )

    async def checkpoint(self, source: str) -> Checkpoint | None:
        await anyio.lowlevel.checkpoint()
        known = self._checkpoints.get(source)
        return known.checkpoint if known else None

    async def register(self, sink: str) -> None:
        await self._write()
        self._positions.setdefault(sink, _Position())

    def _after(self, sink: str) -> list[int]:
        known = self._positions.get(sink)
        position = known.position if known else 0
        return [place for place in self._events if place > position]

    async def read(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        await anyio.lowlevel.checkpoint()
        places: list[int] = []
        total = 0
        for place in self._after(sink)[:limit]:
            total += len(self._events[place].body)
            if places and total > max_bytes:
                break
            places.append(place)
        if not places:
            return None
        return Batch(tuple(self._events[place].event for place in places), tuple(places))

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        rejected = {rejection.event_id: rejection for rejection in receipt.rejections}
        events = {event.event_id: event for event in batch.events}
        if strangers := rejected.keys() - events.keys():
            raise ValueError(f"rejected but not in the batch: {', '.join(sorted(strangers))}")
        await self._write()
        known = self._positions.setdefault(sink, _Position())
        if batch.first <= known.position:
            return
        for event_id, rejection in rejected.items():
            event = events[event_id]
            self._bury(
                event.source,
                sink,
                event_id,
                event_id,
                rejection.reason,
                rejection.detail,
                attempts,
                msgspec.json.encode(event),
            )
        known.position = batch.last
        known.settled += len(batch) - len(rejected)
        known.buried += len(rejected)
        known.settled_at = self._now()
        if receipt.memo is not None:
            known.memo = dict(receipt.memo)

    def _backlog(self, sink: str) -> Backlog:
        known = self._positions.get(sink)
        waiting = self._after(sink)
        return Backlog(
            position=known.position if known else 0,
            events=len(waiting),
            oldest_at=self._events[waiting[0]].event.occurred_at if waiting else None,
            newest_at=self._events[waiting[-1]].event.occurred_at if waiting else None,
        )

    async def backlog(self, sink: str) -> Backlog:
        await anyio.lowlevel.checkpoint()
        return self._backlog(sink)

    def memory(self, sink: str) -> "MemoryMemory":
        return MemoryMemory(self, sink)

    async def wait(self, sink: str) -> None:
        await anyio.lowlevel.checkpoint()
        while not self._after(sink):
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    async def events(
        self, wanted: EventFilter, *, after: int = 0
    ) -> AsyncIterator[tuple[int, Event]]:
        matches = matcher(wanted)
        await anyio.lowlevel.checkpoint()
        for place, stored in tuple(self._events.items()):
            if place > after and matches(stored.event):
                yield place, stored.event

    async def dead_letters(self, *, sink: str | None = None) -> AsyncIterator[DeadLetter]:
        await anyio.lowlevel.checkpoint()
        for letter in sorted(self._dead.values(), key=lambda letter: letter.id):
            if sink is None or letter.sink == sink:
                yield letter

    def _count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for letter in self._dead.values():
            key = (letter.sink, letter.reason)
            counts[key] = counts.get(key, 0) + 1
        return counts

    async def count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        await anyio.lowlevel.checkpoint()
        return self._count_dead_letters()

    async def prune(self, *, stored_before: datetime, sinks: Sequence[str]) -> int:
        await self._write()
        known = [self._positions.get(sink, _Position()).position for sink in sinks]
        settled = min(known, default=self._last)
        old = [
            place
            for place, stored in self._events.items()
            if place <= settled
            and stored.stored_at < stored_before
            and stored.event.occurred_at < stored_before
        ]
        for place in old:
            del self._places[self._events.pop(place).event.event_id]
        return len(old)

    async def note(self, part: str, *, state: str, error: str = "", remedy: str = "") -> None:
        await self._write()
        known = self._notes.get(part)
        since_at = known.since_at if known and known.state == state else self._now()
        self._notes[part] = Note(state, error, remedy, since_at)

    async def status(self) -> StoreStatus:
        await anyio.lowlevel.checkpoint()
        nothing = StoredSource(None, 0, None, None)
        noted = {
            kind: {part.partition(".")[2] for part in self._notes if part.startswith(f"{kind}.")}
            for kind in ("sources", "sinks")
        }
        return StoreStatus(
            sources={
                name: replace(
                    self._checkpoints.get(name, nothing), note=self._notes.get(f"sources.{name}")
                )
                for name in sorted(self._checkpoints.keys() | noted["sources"])
            },
            sinks={
                name: StoredSink(
                    backlog=self._backlog(name),
                    settled=known.settled,
                    buried=known.buried,
                    settled_at=known.settled_at,
                    note=self._notes.get(f"sinks.{name}"),
                )
                for name in sorted(self._positions.keys() | noted["sinks"])
                for known in (self._positions.get(name, _Position()),)
            },
            dead_letters=self._count_dead_letters(),
            size=sum(len(stored.body) for stored in self._events.values()),
        )

    async def size(self) -> int:
        await anyio.lowlevel.checkpoint()
        return sum(len(stored.body) for stored in self._events.values())


class MemoryMemory:
    """The memo of one sink in a `MemoryOutbox`."""

    def __init__(self, outbox: MemoryOutbox, sink: str) -> None:
        self._outbox = outbox
        self._sink = sink

    async def load(self) -> Mapping[str, Any]:
        await anyio.lowlevel.checkpoint()
        known = self._outbox._positions.get(self._sink)
        return dict(known.memo) if known else {}

    async def save(self, memo: Mapping[str, Any]) -> None:
        await self._outbox._write()
        self._outbox._positions.setdefault(self._sink, _Position()).memo = dict(memo)
