"""An outbox in memory: the same behaviour as the one on SQL, without threads or files.

It is what lets the loops be tested under trio's virtual clock, which jumps while a thread works.
It passes tests/contract/test_outbox.py.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import anyio
import anyio.lowlevel
import msgspec

from forwarder import chain
from forwarder.errors import Reason
from forwarder.model import (
    Backlog,
    Batch,
    Checkpoint,
    DeadLetter,
    Event,
    EventFilter,
    Lease,
    Link,
    Note,
    Outgoing,
    Receipt,
    Rejection,
    Replay,
    Room,
    Sample,
    StoredPage,
    StoredReceipt,
    StoredSink,
    StoredSource,
    StoreStatus,
    Trail,
    Unreadable,
)
from forwarder.selection import matcher
from forwarder.times import utc_now


@dataclass
class _Position:
    position: int = 0
    memo: Mapping[str, Any] = field(default_factory=dict)
    settled: int = 0
    buried: int = 0
    settled_at: datetime | None = None
    filtered: int = 0


@dataclass(frozen=True)
class _Stored:
    event: Event
    body: bytes
    stored_at: datetime


@dataclass
class _Replaying:
    replay: Replay
    done: int = 0


class MemoryOutbox:
    """`now` dates what is stored. `failures` are raised by the next calls that would write.

    `capacity` is the room that it may take, in bytes.
    """

    def __init__(
        self, *, now: Callable[[], datetime] = utc_now, capacity: int | None = None
    ) -> None:
        self.leases = None
        self.failures: list[Exception] = []
        self.capacity = capacity
        self._now = now
        self._replays: dict[int, _Replaying] = {}
        self._letters = 0
        self._replays_made = 0
        self._events: dict[int, _Stored] = {}  # by place, in order
        self._places: dict[str, int] = {}  # by event id
        self._last = 0
        self._checkpoints: dict[str, StoredSource] = {}
        self._chains: dict[str, Link] = {}
        self._positions: dict[str, _Position] = {}
        self._dead: dict[tuple[str, str, str], DeadLetter] = {}
        self._discarded: dict[tuple[str, str], datetime] = {}
        self._notes: dict[str, Note] = {}
        self._samples: dict[tuple[datetime, str], Sample] = {}
        self._pages: list[StoredPage] = []
        self._receipts: list[StoredReceipt] = []
        self._changed: anyio.Event | None = None

    async def _write(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)

    def under(self, lease: Lease | None) -> "MemoryOutbox":
        return self

    async def append(
        self,
        source: str,
        events: Sequence[Outgoing],
        checkpoint: Checkpoint | None,
        *,
        unreadable: Sequence[Unreadable] = (),
        window: tuple[datetime, datetime] | None = None,
    ) -> range:
        await self._write()
        kept = self._checkpoints.get(source)
        mark = kept.checkpoint.mark if kept and kept.checkpoint and checkpoint else None
        checkpoint = checkpoint or (kept.checkpoint if kept else None)
        if checkpoint is None:
            raise ValueError(f"nothing was ever stored for the source {source}")
        before = self._last
        for event in (each.whole() for each in events):
            if event.event_id in self._places:
                continue
            self._last += 1
            self._places[event.event_id] = self._last
            stored = self._linked(event)
            body = msgspec.json.encode(stored)
            self._events[self._last] = _Stored(stored, body, self._now())
        for record in unreadable:
            digest = hashlib.sha256(record.original).hexdigest()
            if (source, digest) in self._discarded:
                self._discarded[source, digest] = self._now()
                continue
            self._bury(
                source, "", "", digest, "unreadable", record.detail, 1, bytes(record.original)
            )
        new = self._last - before
        if new:
            page = StoredPage(
                source=source,
                window=window,
                records=len(events),
                first=before + 1,
                last=self._last,
                stored_at=self._now(),
            )
            self._pages.append(page)
        known = self._checkpoints.get(source)
        times = [x.event.occurred_at for place, x in self._events.items() if place > before]
        behind = [(mark - at).total_seconds() for at in times if at < mark] if mark else []
        self._checkpoints[source] = StoredSource(
            checkpoint,
            (known.stored if known else 0) + new,
            self._now(),
            None,
            late=(known.late if known else 0) + len(behind),
            late_by=max([known.late_by if known else 0.0, *behind]),
        )
        if new:
            self._announce()
        return range(before + 1, self._last + 1)

    def _announce(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _linked(self, event: Event) -> Event:
        bare = msgspec.structs.replace(event, chain=msgspec.UNSET)
        before = self._chains.get(event.source, chain.BEGINNING)
        head = chain.link(before, msgspec.json.encode(bare))
        self._chains[event.source] = head
        return msgspec.structs.replace(bare, chain=head)

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
        self._letters += known is None
        self._dead[key] = DeadLetter(
            id=known.id if known else self._letters,
            source=source,
            sink=sink,
            event_id=event_id,
            reason=reason,
            detail=detail,
            attempts=attempts + (known.attempts if known else 0),
            first_seen_at=known.first_seen_at if known else now,
            last_seen_at=now,
            body=body,
            asked_at=known.asked_at if known else None,
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
        pages = tuple(
            page.last for page in self._pages if page.last >= places[0] and page.first <= places[-1]
        )
        events = tuple(self._events[place].event for place in places)
        return Batch(events, tuple(places), pages=pages[:10])

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        rejected = {rejection.event_id: rejection for rejection in receipt.rejections}
        events = {event.event_id: event for event in batch.events}
        if strangers := rejected.keys() - events.keys():
            raise ValueError(f"rejected but not in the batch: {', '.join(sorted(strangers))}")
        await self._write()
        known = self._positions.setdefault(sink, _Position())
        if batch.replay == 0:
            if not self._settle_letters(batch, rejected, attempts):
                return
        elif batch.replay:
            if not (wanted := self._settle_replay(batch)):
                return
            self._keep_receipt(sink, "replay", batch, attempts, wanted)
        elif batch.first <= known.position:
            return
        else:
            self._keep_receipt(sink, "turn", batch, attempts)
            known.position = batch.last
            known.settled += len(batch) - len(rejected)
            known.filtered += len(batch.positions) - len(batch)
        if batch.replay != 0:
            known.buried += len(rejected)
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
        known.settled_at = self._now()
        if receipt.memo is not None:
            known.memo = dict(receipt.memo)

    def _settle_letters(
        self, batch: Batch, rejected: Mapping[str, Rejection], attempts: int
    ) -> bool:
        asked = {x.id: key for key, x in self._dead.items() if x.asked_at is not None}
        settled = False
        for letter, event in zip(batch.positions, batch.events, strict=True):
            key = asked.get(letter)
            if key is None:
                continue
            settled = True
            known = self._dead[key]
            if rejection := rejected.get(event.event_id):
                self._dead[key] = replace(
                    known,
                    reason=rejection.reason,
                    detail=rejection.detail,
                    attempts=known.attempts + attempts,
                    last_seen_at=self._now(),
                    asked_at=None,
                )
            else:
                self._keep_letter(known, "letter", attempts)
                del self._dead[key]
        return settled

    def _keep_receipt(
        self,
        sink: str,
        how: Literal["turn", "replay"],
        batch: Batch,
        attempts: int,
        wanted: EventFilter | None = None,
    ) -> None:
        receipt = StoredReceipt(
            sink=sink,
            how=how,
            first=batch.first,
            last=batch.last,
            events=len(batch),
            filtered=len(batch.positions) - len(batch),
            attempts=attempts,
            at=self._now(),
            wanted=wanted,
        )
        self._receipts.append(receipt)

    def _keep_letter(
        self, letter: DeadLetter, how: Literal["letter", "discarded"], attempts: int
    ) -> None:
        place = self._places.get(letter.event_id)
        if place is None:
            return
        receipt = StoredReceipt(
            sink=letter.sink,
            how=how,
            first=place,
            last=place,
            events=how == "letter",
            filtered=0,
            attempts=letter.attempts + attempts,
            at=self._now(),
        )
        self._receipts.append(receipt)

    async def ids(self, prefix: str, *, limit: int) -> Sequence[str]:
        await anyio.lowlevel.checkpoint()
        known = {*self._places, *(each.event_id for each in self._dead.values() if each.event_id)}
        return sorted(each for each in known if each.startswith(prefix))[:limit]

    async def trail(self, event_id: str) -> Trail | None:
        await anyio.lowlevel.checkpoint()
        place = self._places.get(event_id)
        letters = [each for each in self._dead.values() if each.event_id == event_id]
        if place is None and not letters:
            return None
        decode = msgspec.json.Decoder(Event).decode
        page = None
        receipts: list[StoredReceipt] = []
        if place is not None:
            page = next(each for each in self._pages if each.first <= place <= each.last)
            receipts = [each for each in self._receipts if each.first <= place <= each.last]
        return Trail(
            event=decode(letters[0].body) if place is None else self._events[place].event,
            place=place,
            page=page,
            positions={name: each.position for name, each in self._positions.items()},
            receipts=tuple(receipts),
            letters=tuple(sorted(letters, key=lambda letter: letter.id)),
        )

    def _settle_replay(self, batch: Batch) -> EventFilter | None:
        known = self._replays.get(batch.replay or 0)
        if known is None or batch.first <= known.replay.after:
            return None
        known.replay = replace(known.replay, after=batch.last)
        known.done += len(batch.positions)
        if batch.last >= known.replay.until:
            del self._replays[known.replay.id]
        return known.replay.wanted

    def _asked(self, sink: str) -> list[DeadLetter]:
        letters = sorted(self._dead.values(), key=lambda letter: letter.id)
        return [each for each in letters if each.sink == sink and each.asked_at is not None]

    def _replays_of(self, sink: str) -> list[_Replaying]:
        return [each for each in self._replays.values() if each.replay.sink == sink]

    async def read_replay(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        await anyio.lowlevel.checkpoint()
        decode = msgspec.json.Decoder(Event).decode
        found = [(each.id, decode(each.body), len(each.body)) for each in self._asked(sink)]
        replay = 0
        if not found:
            for each in self._replays_of(sink):
                matches = matcher(each.replay.wanted)
                replay = each.replay.id
                found = [
                    (place, stored.event, len(stored.body))
                    for place, stored in self._events.items()
                    if each.replay.after < place <= each.replay.until and matches(stored.event)
                ]
                if found:
                    break
                del self._replays[replay]
        taken: list[tuple[int, Event, int]] = []
        for one in found[:limit]:
            if taken and sum(size for *_, size in [*taken, one]) > max_bytes:
                break
            taken.append(one)
        if not taken:
            return None
        return Batch(tuple(e for _, e, _ in taken), tuple(place for place, *_ in taken), replay)

    async def plan_replay(self, sink: str, wanted: EventFilter) -> Replay:
        last = self._backlog(sink).position
        found = [pair async for pair in self.events(wanted) if pair[0] <= last]
        times = [event.occurred_at for _, event in found]
        return Replay(
            id=0,
            sink=sink,
            wanted=wanted,
            after=found[0][0] - 1 if found else 0,
            until=found[-1][0] if found else 0,
            events=len(found),
            oldest_at=min(times, default=None),
            newest_at=max(times, default=None),
        )

    async def ask_replay(self, replay: Replay) -> int:
        if not replay.events:
            return 0
        await self._write()
        self._replays_made += 1
        self._replays[self._replays_made] = _Replaying(replace(replay, id=self._replays_made))
        self._announce()
        return self._replays_made

    async def cancel_replays(self, sink: str) -> int:
        await self._write()
        _, left = self._replaying(sink)
        self._replays = {i: x for i, x in self._replays.items() if x.replay.sink != sink}
        for key, letter in self._dead.items():
            if letter.sink == sink:
                self._dead[key] = replace(letter, asked_at=None)
        return left

    def _replaying(self, sink: str) -> tuple[int, int]:
        letters = len(self._asked(sink))
        replays = self._replays_of(sink)
        asked = sum(each.replay.events for each in replays)
        return asked + letters, asked + letters - sum(each.done for each in replays)

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
        while not (self._after(sink) or self._asked(sink) or self._replays_of(sink)):
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

    async def dead_letters(
        self,
        *,
        sink: str | None = None,
        reason: Reason | None = None,
        since: datetime | None = None,
        ids: Sequence[int] = (),
    ) -> AsyncIterator[DeadLetter]:
        await anyio.lowlevel.checkpoint()
        for letter in sorted(self._dead.values(), key=lambda letter: letter.id):
            if (
                (sink is None or letter.sink == sink)
                and (reason is None or letter.reason == reason)
                and (since is None or letter.last_seen_at >= since)
                and (not ids or letter.id in ids)
            ):
                yield letter

    async def ask_letters(self, ids: Sequence[int]) -> int:
        await self._write()
        found = [key for key, x in self._dead.items() if x.id in ids and x.sink]
        for key in found:
            known = self._dead[key]
            self._dead[key] = replace(known, asked_at=known.asked_at or self._now())
        self._announce()
        return len(found)

    async def ask_test(self, sink: str, event: Event) -> int:
        await self._write()
        body = msgspec.json.encode(event)
        said = "a test event: nothing has happened"
        key = (event.source, sink, event.event_id)
        self._bury(event.source, sink, event.event_id, event.event_id, "test", said, 0, body)
        self._dead[key] = replace(self._dead[key], asked_at=self._now())
        self._announce()
        return self._letters

    async def adopt(self, letter: int, event: Event) -> int:
        known = self._checkpoints.get(event.source)
        if known is None or known.checkpoint is None:
            raise ValueError(f"nothing was ever stored for the source {event.source}")
        new = len(await self.append(event.source, [event], None))
        self._dead = {key: known for key, known in self._dead.items() if known.id != letter}
        return new

    async def discard_letters(self, ids: Sequence[int]) -> int:
        await self._write()
        found = [key for key, letter in self._dead.items() if letter.id in ids]
        for key in found:
            self._keep_letter(self._dead[key], "discarded", 0)
            if not self._dead.pop(key).sink:
                self._discarded[key[0], key[2]] = self._now()
        return len(found)

    def _count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for letter in self._dead.values():
            key = (letter.sink, letter.reason)
            if letter.reason != "test":
                counts[key] = counts.get(key, 0) + 1
        return counts

    async def count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        await anyio.lowlevel.checkpoint()
        return self._count_dead_letters()

    async def prune(self, *, stored_before: datetime, sinks: Sequence[str]) -> int:
        await self._write()
        known = [self._positions.get(sink, _Position()).position for sink in sinks]
        known += [x.replay.after for sink in sinks for x in self._replays_of(sink)]
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
        if not old:
            known_ = self._discarded.items()
            self._discarded = {key: at for key, at in known_ if at >= stored_before}
        return len(old)

    async def note(self, part: str, *, state: str, error: str = "", remedy: str = "") -> None:
        await self._write()
        known = self._notes.get(part)
        since_at = known.since_at if known and known.state == state else self._now()
        self._notes[part] = Note(state, error, remedy, since_at)

    async def newest(self, *, before: int | None, limit: int) -> Sequence[tuple[int, Event]]:
        await anyio.lowlevel.checkpoint()
        places = [place for place in self._events if before is None or place < before]
        return [(place, self._events[place].event) for place in places[: -limit - 1 : -1]]

    async def sample(self, taken: Sequence[Sample]) -> None:
        await self._write()
        for each in taken:
            known = self._samples.get((each.at, each.part), each)
            self._samples[each.at, each.part] = msgspec.structs.replace(
                each,
                backlog=max(known.backlog, each.backlog),
                lag_seconds=max(known.lag_seconds, each.lag_seconds),
            )
        newest = max((at for at, _ in self._samples), default=self._now())
        kept = {key: x for key, x in self._samples.items() if key[0] > newest - timedelta(days=1)}
        self._samples = kept

    async def samples(self) -> Sequence[Sample]:
        await anyio.lowlevel.checkpoint()
        return [each for _, each in sorted(self._samples.items())]

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
                    self._checkpoints.get(name, nothing),
                    note=self._notes.get(f"sources.{name}"),
                    chain=self._chains.get(name),
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
                    replay_events=self._replaying(name)[0],
                    replay_left=self._replaying(name)[1],
                    filtered=known.filtered,
                )
                for name in sorted(self._positions.keys() | noted["sinks"])
                for known in (self._positions.get(name, _Position()),)
            },
            dead_letters=self._count_dead_letters(),
            size=self._size(),
            events=len(self._events),
            rate=self._rate(),
            unknown=sum(x.event.kind == "soteri.unknown" for x in self._events.values()),
        )

    def _size(self) -> int:
        return sum(len(stored.body) for stored in self._events.values())

    def _rate(self) -> float:
        late = [x.stored_at for place, x in self._events.items() if place > self._last - 1000]
        if not late:
            return 0.0
        seconds = max((self._now() - late[0]).total_seconds(), 1.0)
        first = next(place for place in self._events if place > self._last - 1000)
        return (self._last - first + 1) / seconds

    async def size(self) -> int:
        await anyio.lowlevel.checkpoint()
        return self._size()

    async def room(self) -> Room:
        await anyio.lowlevel.checkpoint()
        return Room(self._size(), 2**40 if self.capacity is None else self.capacity)

    def allow(self, capacity: int | None) -> None:
        self.capacity = capacity


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
