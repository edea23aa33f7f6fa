"""The values that travel: Record, Event, Page, Checkpoint, Batch, Receipt, Rejection.

All are frozen. What is decoded or encoded by the hundred thousand is a `msgspec.Struct` (built in
C, six times as fast as a frozen dataclass) that the garbage collector need not look at (`gc=False`:
text and tuples make no cycles); the rest are dataclasses with slots.
Times are aware UTC; sizes are bytes; durations are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from forwarder.concealed import without_secrets
from forwarder.errors import Reason

Severity = Literal["info", "low", "medium", "high", "critical"]


class Actor(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who did it. `type` is free text ("NORMAL", "system", "SERVICE", ...)."""

    name: str | None = None
    type: str | None = None
    id: str | None = None


class AffectedObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What it was done to. `id` is absent for MISC objects and for deleted users."""

    type: str | None = None
    name: str | None = None
    id: str | None = None


class Change(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """One changed value; an absent side means that there was none."""

    key: str | None = None
    i18n_key: str | None = msgspec.field(default=None, name="i18nKey")
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None


class Attribute(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One extra attribute. `value` can be JSON inside a string, and can hold CR and LF."""

    name: str | None = None
    name_i18n_key: str | None = msgspec.field(default=None, name="nameI18nKey")
    value: str | None = None


class Context(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What the record itself does not say: names in full, and where people find the object.

    As they were when the record was read; a part that could not be looked up then is None.
    """

    actor_name: str | None = None
    project_name: str | None = None
    repository_name: str | None = None
    link: str | None = None


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One raw item as the source gave it: named, dated, and with its original beside it.

    `event_id` is 32 lower-case hexadecimal digits: the time in epoch milliseconds (48 bits), then
    80 bits of the digest of the record's content and its occurrence number among equals. So ids of
    one source sort by time, and the same record read again, by whatever road, has the same id.
    `original` is what the source sent: one JSON value on one line. It is the record's own JSON
    object wherever that is strict JSON, else a JSON string that holds its text.
    """

    event_id: str
    occurred_at: datetime
    category: str = ""
    category_key: str = ""
    action: str = ""
    action_key: str = ""
    actor: Actor | None = None
    objects: tuple[AffectedObject, ...] = ()
    changes: tuple[Change, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    address: str | None = None
    node: str | None = None
    system: str | None = None
    method: str | None = None
    context: Context | msgspec.UnsetType = msgspec.UNSET
    original: msgspec.Raw


class Link(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event's place in the chain of its source, which `forwarder.chain` makes.

    `sequence` counts the source's stored events from 1 without a hole; `digest` is 64 hexadecimal
    digits that take in the event and the digest before.
    """

    sequence: int
    digest: str


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One normalized, immutable item with a stable id: what every sink gets.

    Encoded as JSON by msgspec this is also what the outbox stores, and, with a version in front,
    what the `json` format sends; docs/formats.md describes it for those who read it.

    The digest in `chain` covers all other fields as they are encoded here, so a field that is
    added must be left out while it is unset, as `chain` is: what was stored before must still be
    encoded to the same bytes. The outbox sets `chain`; an event that was not stored has none.
    """

    event_id: str
    source: str
    kind: str
    severity: Severity
    occurred_at: datetime = msgspec.field(name="time")
    category: str = ""
    category_key: str = ""
    action: str = ""
    action_key: str = ""
    actor: Actor | None = None
    objects: tuple[AffectedObject, ...] = ()
    changes: tuple[Change, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    address: str | None = None
    node: str | None = None
    system: str | None = None
    method: str | None = None
    context: Context | msgspec.UnsetType = msgspec.UNSET
    original: msgspec.Raw
    chain: Link | msgspec.UnsetType = msgspec.UNSET

    def whole(self) -> "Event":
        """Return the event itself: see `Outgoing`."""
        return self


_TEST: Final = "7e57a1e77e57"
"""Where a test event's id has the beginning of its digest: no other id is likely to."""


def new_test_id(at: datetime, dice: int) -> str:
    """Return an id for a test event; `dice` has 32 bits."""
    return f"{int(at.timestamp() * 1000):012x}{_TEST}{dice:08x}"


def is_test(event_id: str) -> bool:
    """Return whether an event is one that `test-alert` has made: nothing has happened."""
    return event_id[12:24] == _TEST


class Stored(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event as the outbox holds it: all of it as bytes.

    Beside them is what a framing asks for, and what tells redaction where to look.
    """

    event_id: str
    source: str
    kind: str
    severity: Severity
    occurred_at: datetime = msgspec.field(name="time")
    node: str | None = None
    system: str | None = None
    attributes: tuple[Attribute, ...] = ()
    changes: tuple[Change, ...] = ()
    body: bytes = b""
    is_innocent: bool = False
    """Whether nothing in it looks like a credential, as far as anybody has looked: of bytes that
    never change that need not be found out twice."""

    def whole(self) -> Event:
        """Return the event with all its fields, decoded anew at each call."""
        return _event(self.body)


_event: Final = msgspec.json.Decoder(Event).decode
_encode: Final = msgspec.json.Encoder().encode

Outgoing: TypeAlias = Event | Stored
"""An event on its way to a sink. Decoding all of it costs more than sending what is stored, so
whoever looks at more than a framing does says `whole()`, and nobody else pays."""


def packed(event: Event) -> Stored:
    """Return the event as bytes, for all who look at it before it is stored, without its chain."""
    if event.chain is not msgspec.UNSET:
        event = msgspec.structs.replace(event, chain=msgspec.UNSET)
    return Stored(
        event_id=event.event_id,
        source=event.source,
        kind=event.kind,
        severity=event.severity,
        occurred_at=event.occurred_at,
        node=event.node,
        system=event.system,
        attributes=event.attributes,
        changes=event.changes,
        body=_encode(event),
    )


def body_of(event: Outgoing) -> bytes:
    """Return the event as the outbox stores it."""
    return event.body if isinstance(event, Stored) else _encode(event)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that could not be read, exactly as it came, and why."""

    original: bytes
    detail: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The stored position of a source.

    `mark` is the high-water mark: everything up to it was read and stored, but for rows that show
    up late, which the source's overlap and rescans still find. `extra` is whatever else the source
    wants to find again (JSON values only). The ids already stored around the mark are the
    outbox's own events.
    """

    mark: datetime
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Records that are stored together with `checkpoint`, oldest first."""

    records: tuple[Record, ...]
    checkpoint: Checkpoint
    unreadable: tuple[Unreadable, ...] = ()
    window: tuple[datetime, datetime] | None = None
    """The closed time range that was read as a whole for it, where the source has windows."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events handed to one `send`, with their places in the outbox (increasing, not contiguous).

    Places beyond those of the events are of events that the sink does not want: once the batch is
    settled they lie behind its position and count as filtered.

    `replay` is None for what comes in its turn. Else the batch is sent again: it names the
    `Replay` that asked for it, or is 0 for dead letters, whose ids `positions` then holds.

    `pages` are those that brought what comes in its turn, each by its last place, a few at most:
    the log names pages and batches so, and what brought an event is found from its receipt.
    """

    events: tuple[Outgoing, ...]
    positions: tuple[int, ...]
    replay: int | None = None
    pages: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.events)

    @property
    def first(self) -> int:
        """The place of the first event."""
        return self.positions[0]

    @property
    def last(self) -> int:
        """The place of the last event: the sink's position once the batch is settled."""
        return self.positions[-1]

    def part(self, start: int, stop: int) -> "Batch":
        """Return events `start` to `stop` (exclusive) as a batch of their own."""
        return Batch(self.events[start:stop], self.positions[start:stop], self.replay, self.pages)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One event that the destination refuses for good; no credential of ours is in `detail`."""

    event_id: str
    reason: Reason
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", without_secrets(self.detail))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sink says about a batch: every event that is not rejected is delivered.

    `memo`, where given, replaces what the outbox remembers for the sink, in the same transaction
    that moves its position (the file sink keeps its file's length there). `slow_down` asks the
    dispatcher to wait so many seconds before the next batch; nothing is sent again.
    """

    rejections: tuple[Rejection, ...] = ()
    memo: Mapping[str, Any] | None = None
    slow_down: float = 0.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a sink has not taken yet.

    `oldest_at` is when the oldest unsent event happened, None where nothing is unsent.
    """

    position: int
    events: int
    oldest_at: datetime | None
    newest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Note:
    """How a source or a sink said last that it is; `since_at` is when `state` was new."""

    state: str
    error: str
    remedy: str
    since_at: datetime


@dataclass(frozen=True, slots=True)
class StoredSource:
    """What the outbox knows of a source; `stored` counts the new events of its whole life.

    `chain` is the link of the event that was stored last, None before the first. `late` of its
    events showed up when the mark had passed their time already, by at most `late_by` seconds.
    """

    checkpoint: Checkpoint | None
    stored: int
    stored_at: datetime | None
    note: Note | None
    chain: Link | None = None
    late: int = 0
    late_by: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredSink:
    """What the outbox knows of a sink; `settled`, `buried` and `filtered` count its whole life.

    Of the replays under way, `replay_events` were asked for and `replay_left` are still to be sent.
    """

    backlog: Backlog
    settled: int
    buried: int
    settled_at: datetime | None
    note: Note | None
    replay_events: int = 0
    replay_left: int = 0
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one part, until another replica takes it: then the token has grown.

    `name` is ``sources.NAME``, ``sinks.NAME`` or ``janitor``.
    """

    name: str
    token: int


@dataclass(frozen=True, slots=True)
class Replica:
    """A forwarder that runs beside others on one store, and the parts it is configured for."""

    name: str
    parts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shares:
    """Who runs what, at one moment: replicas that live, longest first, and who holds each part.

    A part that nobody holds is not in `holders`. `changes_in` is in how many seconds a replica or
    a lease ends that is not renewed, None where there are none but our own.
    """

    replicas: tuple[Replica, ...]
    holders: Mapping[str, str]
    changes_in: float | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that the store uses, and how many it may: `[store] capacity` or what the disk has.

    `limit` is None where nobody can tell: on another machine's disk.
    """

    used: int
    limit: int | None

    @property
    def share(self) -> float:
        """How full it is: 1 is full."""
        if self.limit is None:
            return 0.0
        return self.used / self.limit if self.limit else 1.0


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What the outbox knows without the daemon; `size` is bytes on disk.

    `rate` is how many events a second were stored of late (the last thousand, up to now).
    `unknown` is how many of the stored events no kind of the catalogue fits.
    """

    sources: Mapping[str, StoredSource]
    sinks: Mapping[str, StoredSink]
    dead_letters: Mapping[tuple[str, str], int]
    size: int
    events: int = 0
    rate: float = 0.0
    unknown: int = 0
    shares: Shares = Shares((), {})


SAMPLE_SECONDS: Final = 300
"""What one `Sample` stands for: 288 of them are a day."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How a source or a sink was in the `SAMPLE_SECONDS` from `at` on.

    `part` is in the user's words (``sources.NAME``, ``sinks.NAME``). `events` counts what it had
    stored or sent in its whole life when they ended; `backlog` and `lag_seconds` are the worst that
    were seen, a source's lag being the age of its mark.
    """

    part: str
    at: datetime
    events: int
    backlog: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event or record given up on, kept whole with its reason.

    `sink` is empty for a record that no normalizer could read, `event_id` too. `body` is the
    event as the outbox stores it (JSON), or the record's bytes as they came.
    """

    id: int
    source: str
    sink: str
    event_id: str
    reason: Reason
    detail: str
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime
    body: bytes
    asked_at: datetime | None = None
    """When somebody asked to send it again, until that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of trying dead letters again, in lines for people where it was done at once.

    `asked` letters are sent again by their sinks. `read` are records that could be read now, `stay`
    are letters that nothing was done about.
    """

    asked: int
    read: tuple[str, ...]
    stay: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which stored events to read; empty fields ask for nothing.

    `since` is inclusive and `until` exclusive. `kinds` are matched whole or, with a trailing
    ``*``, by their beginning; `actor` is a user name; `project` a key; `repository` a slug or
    ``KEY/slug``. All are matched without regard to case. `event_ids` are whole ids, some thousands
    at most.
    """

    since: datetime | None = None
    until: datetime | None = None
    kinds: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """Stored events that one sink has taken and is to be sent again; it ends when all are.

    It goes on after the place `after` and ends with the place `until`, which the sink had settled
    when it was planned: what comes later comes in its turn. `id` is 0 where it is only planned.
    """

    id: int
    sink: str
    wanted: EventFilter
    after: int
    until: int
    events: int
    oldest_at: datetime | None
    newest_at: datetime | None


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a source's Bitbucket records, as a watch saw it last.

    `coverage` is the level of each area ("off", "base", "advanced", "full"), `excluded_actions` are
    recorded nowhere. None is what was not told; `not_allowed` says which of "coverage",
    "excluded_actions", "app" and "token" the account may not ask for. The app is Soteri's.
    """

    seen_at: datetime
    coverage: dict[str, str] | None = None
    excluded_actions: tuple[str, ...] | None = None
    app_installed: bool | None = None
    app_version: str | None = None
    app_enabled: bool | None = None
    token_expires_at: datetime | None = None
    clock_ahead_seconds: float | None = None
    not_allowed: tuple[str, ...] = ()


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a watch has found and that goes on; its events are of the kind `kind`.

    `part` is in the user's words (``sources.NAME``, ``sinks.NAME``, ``store``), `subject` what of
    it is meant, such as an area or an action.
    """

    kind: str
    part: str
    subject: str
    since_at: datetime
    detail: str


class Concern(msgspec.Struct, frozen=True):
    """What works now and is likely to hurt later, and what a person can do about it."""

    found: str
    remedy: str


class StoredPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page that brought new events, as the outbox remembers it; they lie from `first` to `last`.

    `records` is how many it held in all. `window` is None where nobody said, as in a repair.
    """

    source: str
    window: tuple[datetime, datetime] | None
    records: int
    first: int
    last: int
    stored_at: datetime


class StoredReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that a sink has settled, as the outbox remembers it: places `first` to `last`.

    `events` were sent, `filtered` passed over. `how` it was sent: in its turn, again by a replay
    (which sent what fits `wanted`), or alone as a dead letter, which may also have been discarded.
    """

    sink: str
    how: Literal["turn", "replay", "letter", "discarded"]
    first: int
    last: int
    events: int
    filtered: int
    attempts: int
    at: datetime
    wanted: EventFilter | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """What the outbox knows of the way of one event.

    `place` is None where the event itself is forgotten and only dead letters are left of it.
    `positions` has every sink that ever took part; `receipts` are those whose range holds the
    place, in the order of time.
    """

    event: Event
    place: int | None
    page: StoredPage | None
    positions: Mapping[str, int]
    receipts: tuple[StoredReceipt, ...]
    letters: tuple[DeadLetter, ...]


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one source fares, as `status` and ``/api/status`` say it.

    `state` is "stopped" where no daemon runs; `mark` is None before the first poll has ended.
    `chain` is the chain's head: kept elsewhere, it lets `verify --head` prove that a file was not
    cut off at its end. `audit` is None until a watch has looked.

    `late_events` showed up when the mark had passed their time already, by at most
    `late_by_seconds`; re-reading found them. `rate` is events stored a second over the last minute
    or two. `polled_at`, `poll_seconds`, `poll_records` and the window (the closed time range that
    was read) are of the last poll that succeeded; they, `rate` and `next_poll_at` come from the
    daemon alone.
    """

    name: str
    type: str
    replica: str = ""
    state: str = "stopped"
    since_at: datetime | None = None
    mark: datetime | None = None
    events_stored: int = 0
    stored_at: datetime | None = None
    late_events: int = 0
    late_by_seconds: float = 0.0
    rate: float = 0.0
    polled_at: datetime | None = None
    poll_seconds: float | None = None
    poll_records: int | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    next_poll_at: datetime | None = None
    chain: Link | None = None
    audit: AuditSettings | None = None
    error: str = ""
    remedy: str = ""
    failures: int = 0


class SinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one sink fares. `lag_seconds` is the age of the oldest unsent event, 0 without one.

    `rate` is events sent a second over the last minute or two. `unacknowledged` events were handed
    over and wait for the destination's own word; None where it gives none. `next_try_at` is when
    what failed is tried again. These come from the daemon alone.
    """

    name: str
    type: str
    replica: str = ""
    state: str = "stopped"
    since_at: datetime | None = None
    position: int = 0
    backlog_events: int = 0
    lag_seconds: float = 0.0
    events_sent: int = 0
    events_filtered: int = 0
    dead_letters: int = 0
    replay_events: int = 0
    replay_left: int = 0
    sent_at: datetime | None = None
    rate: float = 0.0
    unacknowledged: int | None = None
    next_try_at: datetime | None = None
    error: str = ""
    remedy: str = ""
    failures: int = 0


class LossHorizon(msgspec.Struct, frozen=True, kw_only=True):
    """How long until something unread or undelivered is lost, if nothing moves until then.

    `part` is in the user's words (``sources.NAME``, ``sinks.NAME``, ``store``); `seconds` is
    negative where it may have begun.
    """

    part: str
    cause: Literal["source_retention", "sink_age", "store_capacity"]
    seconds: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the forwarder is: the answer of ``/api/status``, documented in docs/status-api.md.

    `replicas` are those that run on a shared store; which of them runs a source or sink, that one's
    `replica` says. With a `store_error` the store is away, and what it said last is shown.
    """

    version: str
    at: datetime
    running: bool
    sources: tuple[SourceStatus, ...]
    sinks: tuple[SinkStatus, ...]
    unreadable_records: int = 0
    unknown_events: int = 0
    store_bytes: int = 0
    store_limit_bytes: int | None = 0
    loss_horizons: tuple[LossHorizon, ...] = ()
    conditions: tuple[Condition, ...] = ()
    heartbeat_at: datetime | None = None
    replicas: tuple[str, ...] = ()
    store_error: str = ""
