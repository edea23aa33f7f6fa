"""The contracts, in prose: Source, Sink, Format, Outbox, and the memory that a sink is given.

Implementations are not subclasses: they have these methods, and pass tests/contract.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import anyio

from forwarder.errors import Reason
from forwarder.model import (
    AuditSettings,
    Backlog,
    Batch,
    Checkpoint,
    Concern,
    DeadLetter,
    Event,
    EventFilter,
    Lease,
    Outgoing,
    Page,
    Receipt,
    Record,
    Replay,
    Room,
    Sample,
    Shares,
    StoreStatus,
    Trail,
    Unreadable,
)


class Source(Protocol):
    """An upstream log that is polled."""

    def poll(self, after: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield what came after `after`, oldest first, then end.

        Each page carries the checkpoint to store with it: restarting there neither skips nor
        repeats (the outbox refuses ids that it knows). A newest-first API is this source's
        problem alone. None means that nothing was ever stored: begin where the user said.

        Raises:
            TransientError: the same poll may work later.
            AccessError: the source does not let us in.

        Never sleeps, never retries: what was yielded is good, the caller asks again later. The
        caller closes the generator (`contextlib.aclosing`) where it stops before the end.
        """
        ...

    async def probe(self) -> str:
        """Really ask the source something cheap; return one line that says what was found.

        Raises the same errors as `poll`, with a remedy.
        """
        ...


@runtime_checkable
class Inspects(Protocol):
    """A source whose upstream can be asked what it records, and how it is."""

    categories: Sequence[str]
    """Display texts of the categories that are wanted; none asks for all."""

    async def inspect(self) -> AuditSettings:
        """Return what was told; what the account may not ask for is named in it.

        Raises:
            TransientError, AccessError: as `Source.poll`; nothing can be asked now.
        """
        ...

    async def has_moved(self, since: datetime) -> bool:
        """Return whether anything at all was logged since, but for our own asking.

        Raises:
            TransientError, AccessError: as `Source.poll`.
        """
        ...


@runtime_checkable
class Rereads(Protocol):
    """A source that can read a record again by itself, without asking upstream."""

    def decode(self, original: bytes) -> Record | Unreadable:
        """Return what this release reads in a record that another could not; never raises."""
        ...


class Normalizer(Protocol):
    """A pure function from a record to an event; raises ValueError where it cannot."""

    def __call__(self, record: Record, *, source: str) -> Event:
        """Return the event; `source` is the configured source's name."""
        ...


class Format(Protocol):
    """From an event to bytes: pure, and the same bytes for the same event."""

    media_type: str
    """``application/json`` where `encode` gives one JSON value, else ``text/plain``."""

    def encode(self, event: Outgoing) -> bytes:
        """Return the event on one line: UTF-8 without CR, LF or NUL.

        `event.whole()` has all its fields.
        """
        ...


class Sink(Protocol):
    """A destination."""

    async def send(self, batch: Batch) -> Receipt:
        """Return when the destination has taken the batch.

        The receipt names the events that are refused for good; all others are delivered.
        An exception says that nothing is known to be delivered: the caller keeps the whole batch
        and may send it again. So duplicates are possible and loss is not. Batches come one at a
        time, in order; the same batch, or another beginning at the same event, comes again after
        an exception, a cancellation or a crash.

        Raises:
            TransientError: the same batch may work later.
            PermanentError: this batch never works; nothing of it was delivered.
            AccessError: the destination does not let us in: hold everything.
        """
        ...

    async def probe(self) -> str:
        """Really try the destination without delivering anything; return one line about it.

        Raises the same errors as `send`, with a remedy.
        """
        ...


@runtime_checkable
class Advises(Protocol):
    """A source or sink that can tell what works now and is likely to hurt later."""

    async def concerns(self) -> Sequence[Concern]:
        """Return what there is to mend although the probe just before has succeeded.

        Raises the same errors as the probe. Nothing is delivered or changed.
        """
        ...


@runtime_checkable
class Reopens(Protocol):
    """A sink that writes to a file, which somebody else may move away."""

    def reopen(self) -> None:
        """Open the path afresh with the next batch."""
        ...


@runtime_checkable
class Acknowledged(Protocol):
    """A sink whose destination says later, in its own word, that it has what it took."""

    @property
    def unacknowledged(self) -> int | None:
        """Events handed over that wait for that word; None where it is not asked for."""
        ...


@runtime_checkable
class Asks(Protocol):
    """A sink whose destination can be asked what it holds."""

    def holds(self, since: datetime, until: datetime) -> AsyncIterator[str]:
        """Yield the id of each event there that happened from `since` to `until` (exclusive).

        In any order, and as often as it is there; both times are whole milliseconds.

        Raises:
            TransientError, AccessError: what was yielded is not all.
            PermanentError: it cannot be asked as it is configured; the message says why.
        """
        ...


class Memory(Protocol):
    """What the outbox remembers for one sink between runs: JSON values only.

    A sink gets it when it is opened. What must change together with the position goes into
    `Receipt.memo` instead; both are the same memo.
    """

    async def load(self) -> Mapping[str, Any]:
        """Return what was kept last, or an empty mapping."""
        ...

    async def save(self, memo: Mapping[str, Any]) -> None:
        """Keep `memo` in place of what was kept before; durable on return."""
        ...


class Leases(Protocol):
    """Several replicas share one outbox: each part is run by the one that holds its lease.

    A lease that is not renewed for `ttl` seconds may be taken by another replica, by the store's
    clock alone. The token says who has it: see `Outbox.under`. Errors are the outbox's.
    """

    replica: str
    """This process's own name, unlike any other's."""
    ttl: float
    """Seconds."""

    async def renew(
        self, parts: Collection[str], held: Collection[Lease]
    ) -> tuple[Sequence[Lease], Shares]:
        """Say that we live, run any of `parts`, and hold `held`, all for another `ttl`.

        Returns what of `held` is still held, and who has what.
        """
        ...

    async def claim(self, names: Collection[str]) -> Sequence[Lease]:
        """Take those of `names` that nobody holds, or that we held last; return them."""
        ...

    async def release(self, held: Collection[Lease]) -> None:
        """Let others take `held`, at once."""
        ...

    async def leave(self) -> None:
        """Live no longer: the others share all among them."""
        ...

    def change(self) -> anyio.Event:
        """Return what is set when another replica joins, leaves or releases something from now on.

        It may fail to be: look every few seconds too.
        """
        ...


class Outbox(Protocol):
    """The durable queue between the loops.

    Every method raises StoreError where the store cannot be used, and TransientError where it
    cannot be used now (no room, busy, not reachable); then nothing has changed. Where a connection
    is lost while a change is being stored, it may have changed all the same: every change that the
    loops make may be made again.
    """

    leases: Leases | None
    """How replicas share it; None where one process has it alone."""

    def under(self, lease: Lease | None) -> "Outbox":
        """Return this outbox with every write refused (LeaseLost) once `lease` has changed hands.

        That is decided in the write's own transaction. Without a lease, or leases, nothing is
        refused.
        """
        ...

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

        A `Stored` event is one that `packed` made.
        Events whose id is known are left as they are; the others get places after all others, in
        the order given. An unreadable record becomes a dead letter once, however often it is
        read: it is known by its bytes. Returns the places of those that were new, which are one
        page: it is known by the last of them. `window` is remembered with it, see `trail`.

        Without a checkpoint (a repair) the one that is stored stays, whoever moves it meanwhile;
        raises ValueError where there is none.
        """
        ...

    async def checkpoint(self, source: str) -> Checkpoint | None:
        """Return what the last `append` for `source` stored, or None."""
        ...

    async def register(self, sink: str) -> None:
        """Make a position for `sink` before the oldest event stored, if it has none."""
        ...

    async def read(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        """Return what comes after the sink's position, or None where nothing does.

        At most `limit` events and `max_bytes` of stored size; a larger event comes alone.
        """
        ...

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        """Store a receipt in one transaction: position, memo, and a dead letter a rejection.

        A batch that begins at or before the sink's position was settled already: nothing changes.
        A batch of a replay moves that replay in place of the position; of dead letters, what is
        delivered goes and what is rejected stays, no longer asked for. The memo is kept alike.
        Raises ValueError where a rejection names an event that is not in the batch.
        """
        ...

    async def read_replay(self, sink: str, *, limit: int, max_bytes: int) -> Batch | None:
        """Return what the sink is to be sent again, dead letters first, or None; as `read`."""
        ...

    async def plan_replay(self, sink: str, wanted: EventFilter) -> Replay:
        """Return what `ask_replay` would send: stored events that the sink has settled."""
        ...

    async def ask_replay(self, replay: Replay) -> int:
        """Have a planned replay sent; return its id, or 0 where it holds nothing.

        Its events are kept until they are sent, whatever `prune` is asked for the sink.
        """
        ...

    async def cancel_replays(self, sink: str) -> int:
        """Forget what the sink is to be sent again; letters stay. Return how many events."""
        ...

    async def backlog(self, sink: str) -> Backlog:
        """Return the sink's position and what lies after it."""
        ...

    def memory(self, sink: str) -> Memory:
        """Return the memory of `sink`."""
        ...

    async def wait(self, sink: str) -> None:
        """Return when something lies after the sink's position or is to be sent again.

        At once if it already does, and within a few seconds where another process asks for it.
        """
        ...

    def events(self, wanted: EventFilter, *, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield places and events that match, in the order of their places, then end."""
        ...

    async def newest(self, *, before: int | None, limit: int) -> Sequence[tuple[int, Event]]:
        """Return places and events, newest place first, of places below `before` if it is given.

        At most `limit`, and fewer where they are large; none means that there are no more.
        """
        ...

    def dead_letters(
        self,
        *,
        sink: str | None = None,
        reason: Reason | None = None,
        since: datetime | None = None,
        ids: Sequence[int] = (),
    ) -> AsyncIterator[DeadLetter]:
        """Yield dead letters, oldest first.

        Where given: only those of a sink ("" for records), for a reason, last seen at or after
        `since`, among `ids`.
        """
        ...

    async def ids(self, prefix: str, *, limit: int) -> Sequence[str]:
        """Return the ids that begin so, of stored events and dead letters, at most `limit`."""
        ...

    async def trail(self, event_id: str) -> Trail | None:
        """Return the way of one event, as far as it is remembered; None where nothing is.

        Pages and receipts are remembered as long as one of their events is stored.
        """
        ...

    async def ask_letters(self, ids: Sequence[int]) -> int:
        """Have dead letters sent again by their sinks; return how many there are among `ids`.

        Records that nobody could read have no sink: see `adopt`.
        """
        ...

    async def ask_test(self, sink: str, event: Event) -> int:
        """Have `event`, which is not stored, sent to `sink` alone; return its letter's id.

        It is a dead letter that is asked for, of the reason "test", and counts as none.
        """
        ...

    async def adopt(self, letter: int, event: Event) -> int:
        """Store the event that a record's dead letter is, after all others, and forget the letter.

        One transaction; returns 1 where the event was new.
        """
        ...

    async def discard_letters(self, ids: Sequence[int]) -> int:
        """Forget dead letters for good; return how many there were.

        A record among them is no letter again while a source still reads it again.
        """
        ...

    async def count_dead_letters(self) -> Mapping[tuple[str, str], int]:
        """Return how many dead letters there are for each sink ("" for records) and reason."""
        ...

    async def prune(self, *, stored_before: datetime, sinks: Sequence[str]) -> int:
        """Forget events that every one of `sinks` has settled and that are old; return how many.

        What one of them is to be sent again stays. Old means both stored and occurred before
        `stored_before`. Dead letters stay; which records were discarded is forgotten where none was
        read again since then. One call does bounded work, so that it keeps no writer
        waiting: 0 means that nothing is left to do.
        """
        ...

    async def note(self, part: str, *, state: str, error: str = "", remedy: str = "") -> None:
        """Keep how a part is, for those who look without the daemon; one write, so only on change.

        `part` is in the user's words: ``sources.NAME`` or ``sinks.NAME``.
        """
        ...

    async def sample(self, taken: Sequence[Sample]) -> None:
        """Keep samples for a day; one of a part and time that is known takes in what is worse."""
        ...

    async def samples(self) -> Sequence[Sample]:
        """Return what was kept of the last day, oldest first."""
        ...

    async def status(self) -> StoreStatus:
        """Return what is known of every source and sink that was ever stored."""
        ...

    async def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        ...

    async def room(self) -> Room:
        """Return how much of the room that it may take is in use."""
        ...

    def allow(self, capacity: int | None) -> None:
        """Take `capacity` bytes from now on, at most; None: what there is."""
        ...
