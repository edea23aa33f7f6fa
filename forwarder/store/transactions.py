"""What each method of the outbox does inside its one transaction, in SQLAlchemy Core.

Plain functions of a connection; times are epoch milliseconds.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from forwarder.errors import Reason, StoreError
from forwarder.model import (
    Backlog,
    Batch,
    Checkpoint,
    DeadLetter,
    Event,
    Note,
    Receipt,
    StoredSink,
    StoredSource,
    Unreadable,
)
from forwarder.store.matching import milliseconds, moment
from forwarder.store.schema import (
    CHECKPOINTS,
    DEAD_LETTERS,
    EVENTS,
    NOTES,
    PLACES,
    POSITIONS,
)

PRUNED_AT_ONCE: Final = 2000
"""Events looked at in one pruning transaction: some 20 ms in which nothing else can be written."""
_ASKED_AT_ONCE: Final = 500  # ids in one question, rows in one insert

_encode: Final = msgspec.json.Encoder().encode
_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_checkpoint: Final = msgspec.json.Decoder(Checkpoint).decode

# Statements are built once: building one costs more than running it.
_LOCK_PLACES: Final = select(PLACES.c.last).with_for_update()
_KNOWN: Final = select(EVENTS.c.event_id).where(
    EVENTS.c.event_id.in_(bindparam("ids", expanding=True))
)
_POSITION: Final = select(POSITIONS.c.position).where(POSITIONS.c.sink == bindparam("sink"))
_AFTER: Final = (
    select(EVENTS.c.place, EVENTS.c.body)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place)
    .limit(bindparam("limit"))
)
_FIRST_AFTER: Final = (
    select(EVENTS.c.place, EVENTS.c.occurred_at)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place)
    .limit(1)
)
_LAST_AFTER: Final = (
    select(EVENTS.c.occurred_at)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place.desc())
    .limit(1)
)
_OLDEST: Final = (
    select(EVENTS.c.place, EVENTS.c.stored_at, EVENTS.c.occurred_at)
    .where(EVENTS.c.place > bindparam("after"), EVENTS.c.place <= bindparam("until"))
    .order_by(EVENTS.c.place)
    .limit(PRUNED_AT_ONCE)
)


def put(
    connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Update the row that has `key`, or insert it."""
    which = [table.c[name] == value for name, value in key.items()]
    if connection.execute(update(table).where(*which).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))


def append(
    connection: Connection,
    source: str,
    events: Sequence[Event],
    checkpoint: Checkpoint,
    unreadable: Sequence[Unreadable],
    now: int,
) -> int:
    """Store events, checkpoint and unreadable records; return how many events were new."""
    last: int = connection.execute(_LOCK_PLACES).scalar_one()
    new = _new(connection, events)
    rows = iter(enumerate(new.values(), last + 1))
    while part := list(islice(rows, _ASKED_AT_ONCE)):
        _insert(connection, part, now)
    if new:
        connection.execute(update(PLACES).values(last=last + len(new)))
    for record in unreadable:
        body = bytes(record.original)
        digest = hashlib.sha256(body).hexdigest()
        _bury(connection, (source, "", digest), "", ("unreadable", record.detail, 1), body, now)
    _store_checkpoint(connection, source, checkpoint, len(new), now)
    return len(new)


def _insert(connection: Connection, events: Iterable[tuple[int, Event]], now: int) -> None:
    # The driver is called directly: SQLAlchemy's own work for each row is half of what SQLite
    # needs to store it (2.5 µs of 5).
    connection.exec_driver_sql(
        _insert_text(connection.dialect),
        [
            (
                place,
                event.event_id,
                event.source,
                event.kind,
                milliseconds(event.occurred_at),
                now,
                _encode(event),
            )
            for place, event in events
        ],
    )


@cache
def _insert_text(dialect: Dialect) -> str:
    columns = ("place", "event_id", "source", "kind", "occurred_at", "stored_at", "body")
    return str(insert(EVENTS).values(dict.fromkeys(columns)).compile(dialect=dialect))


def _new(connection: Connection, events: Sequence[Event]) -> dict[str, Event]:
    """Return those of `events` that aren't stored, by id, in their order; of twins the first."""
    new: dict[str, Event] = {}
    for event in events:
        new.setdefault(event.event_id, event)
    ids = list(new)
    for start in range(0, len(ids), _ASKED_AT_ONCE):
        asked = {"ids": ids[start : start + _ASKED_AT_ONCE]}
        for known in connection.execute(_KNOWN, asked).scalars():
            del new[known]
    return new


def _store_checkpoint(
    connection: Connection, source: str, checkpoint: Checkpoint, new: int, now: int
) -> None:
    stored = connection.execute(
        select(CHECKPOINTS.c.stored).where(CHECKPOINTS.c.source == source)
    ).scalar()
    values = {
        "checkpoint": _encode(checkpoint).decode(),
        "stored": (stored or 0) + new,
        "stored_at": now,
    }
    put(connection, CHECKPOINTS, {"source": source}, values)


def _bury(
    connection: Connection,
    key: tuple[str, str, str],
    event_id: str,
    why: tuple[Reason, str, int],
    body: bytes,
    now: int,
) -> None:
    """Keep a dead letter; one that is known by its `key` (source, sink, known_as) is renewed."""
    reason, detail, attempts = why
    which = dict(zip(("source", "sink", "known_as"), key, strict=True))
    known = connection.execute(
        update(DEAD_LETTERS)
        .where(*(DEAD_LETTERS.c[name] == value for name, value in which.items()))
        .values(
            reason=reason,
            detail=detail,
            attempts=DEAD_LETTERS.c.attempts + attempts,
            last_seen_at=now,
        )
    )
    if known.rowcount:
        return
    connection.execute(
        insert(DEAD_LETTERS).values(
            **which,
            event_id=event_id,
            reason=reason,
            detail=detail,
            attempts=attempts,
            first_seen_at=now,
            last_seen_at=now,
            body=body,
        )
    )


def checkpoint_of(connection: Connection, source: str) -> Checkpoint | None:
    """Return the stored checkpoint."""
    found = connection.execute(
        select(CHECKPOINTS.c.checkpoint).where(CHECKPOINTS.c.source == source)
    ).scalar()
    return None if found is None else _decode_checkpoint(found)


def position_of(connection: Connection, sink: str) -> int:
    """Return the sink's position; 0 is before every event."""
    return connection.execute(_POSITION, {"sink": sink}).scalar() or 0


def register(connection: Connection, sink: str) -> None:
    """Make a position if there is none."""
    known = connection.execute(_POSITION, {"sink": sink}).first()
    if known is None:
        _insert_position(connection, sink)


def _insert_position(connection: Connection, sink: str) -> None:
    connection.execute(
        insert(POSITIONS).values(sink=sink, position=0, memo="{}", settled=0, buried=0)
    )


def has_more(connection: Connection, sink: str) -> bool:
    """Return whether something lies after the sink's position."""
    last: int = connection.execute(select(PLACES.c.last)).scalar_one()
    return last > position_of(connection, sink)


def read(connection: Connection, sink: str, limit: int, max_bytes: int) -> Batch | None:
    """Return the next batch; no more bodies are read than go into it, but for one."""
    position = position_of(connection, sink)
    found = connection.execute(_AFTER, {"position": position, "limit": limit})
    events: list[Event] = []
    places: list[int] = []
    total = 0
    rows: Any = found.cursor  # the driver's own: half the work for each row
    for place, body in rows:
        total += len(body)
        if total > max_bytes and events:
            break
        events.append(decoded(place, body))
        places.append(place)
    found.close()
    return Batch(tuple(events), tuple(places)) if events else None


def decoded(place: int, body: bytes) -> Event:
    """Return a stored event.

    Raises:
        StoreError: it is not what was stored.
    """
    try:
        return _decode_event(body)
    except msgspec.DecodeError as error:
        raise StoreError(
            f"event {place} in the store cannot be read: {error}",
            remedy="the file is damaged: restore a backup",
        ) from error


def settle(
    connection: Connection, sink: str, batch: Batch, receipt: Receipt, attempts: int, now: int
) -> None:
    """Store a receipt, unless the position has passed the batch's beginning already."""
    register(connection, sink)
    known = connection.execute(
        select(POSITIONS).where(POSITIONS.c.sink == sink).with_for_update()
    ).one()
    if batch.first <= known.position:
        return
    rejected = {rejection.event_id: rejection for rejection in receipt.rejections}
    events = {event.event_id: event for event in batch.events} if rejected else {}
    for event_id, rejection in rejected.items():
        event = events[event_id]
        why = (rejection.reason, rejection.detail, attempts)
        key = (event.source, sink, event_id)
        _bury(connection, key, event_id, why, _encode(event), now)
    connection.execute(
        update(POSITIONS)
        .where(POSITIONS.c.sink == sink)
        .values(
            position=batch.last,
            memo=known.memo if receipt.memo is None else _encode(receipt.memo).decode(),
            settled=known.settled + len(batch) - len(rejected),
            buried=known.buried + len(rejected),
            settled_at=now,
        )
    )


def load_memo(connection: Connection, sink: str) -> Mapping[str, Any]:
    """Return what the sink keeps."""
    found = connection.execute(select(POSITIONS.c.memo).where(POSITIONS.c.sink == sink)).scalar()
    return {} if found is None else msgspec.json.decode(found, type=dict[str, Any])


def save_memo(connection: Connection, sink: str, memo: Mapping[str, Any]) -> None:
    """Keep `memo` for the sink."""
    register(connection, sink)
    connection.execute(
        update(POSITIONS).where(POSITIONS.c.sink == sink).values(memo=_encode(memo).decode())
    )


def backlog(connection: Connection, sink: str) -> Backlog:
    """Return the sink's backlog, in the same time however long it is."""
    position = position_of(connection, sink)
    last, forgotten = connection.execute(select(PLACES.c.last, PLACES.c.forgotten)).one()
    # Places have no holes but where something was forgotten, and few are left to count there.
    left = 0
    if position < forgotten:
        left = connection.execute(
            select(func.count()).where(EVENTS.c.place > position, EVENTS.c.place <= forgotten)
        ).scalar_one()
    first = connection.execute(_FIRST_AFTER, {"position": position}).first()
    newest = connection.execute(_LAST_AFTER, {"position": position}).scalar()
    return Backlog(
        position=position,
        events=left + last - max(position, forgotten),
        oldest_at=None if first is None else moment(first.occurred_at),
        newest_at=None if newest is None else moment(newest),
    )


def bounds(connection: Connection, after: int, ids: tuple[str, str] | None) -> tuple[int, int]:
    """Return the places, exclusive and inclusive, between which events with `ids` lie."""
    if ids is not None and after == 0:
        span = EVENTS.c.event_id >= ids[0], EVENTS.c.event_id < ids[1]
        first, last = connection.execute(
            select(func.min(EVENTS.c.place), func.max(EVENTS.c.place)).where(*span)
        ).one()
        return (0, 0) if first is None else (first - 1, last)
    found = connection.execute(_FIRST_AFTER, {"position": after}).first()
    last = connection.execute(select(PLACES.c.last)).scalar_one()
    return (last, last) if found is None else (found.place - 1, last)


def kind_is(kinds: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that an event is of one of `kinds`; all, where there are none."""
    folded = func.lower(EVENTS.c.kind)
    return or_(
        *(
            folded.startswith(kind[:-1].lower(), autoescape=True)
            if kind.endswith("*")
            else folded == kind.lower()
            for kind in kinds
        )
    )


def window(
    connection: Connection,
    after: int,
    until: int,
    conditions: Sequence[ColumnElement[bool]],
    max_bytes: int,
) -> tuple[list[tuple[int, Event]], int]:
    """Return events from `after` to `until` that meet the conditions, and where the next begin."""
    found = connection.execute(
        select(EVENTS.c.place, EVENTS.c.body)
        .where(EVENTS.c.place > after, EVENTS.c.place <= until, *conditions)
        .order_by(EVENTS.c.place)
    )
    rows: list[tuple[int, Event]] = []
    total = 0
    for place, body in found:
        rows.append((place, decoded(place, body)))
        total += len(body)
        if total >= max_bytes:
            found.close()
            return rows, place
    return rows, until


def dead_letters(
    connection: Connection, sink: str | None, after: int, limit: int
) -> list[DeadLetter]:
    """Return dead letters after the id `after`, oldest first."""
    conditions = [DEAD_LETTERS.c.id > after]
    if sink is not None:
        conditions.append(DEAD_LETTERS.c.sink == sink)
    rows = connection.execute(
        select(DEAD_LETTERS).where(*conditions).order_by(DEAD_LETTERS.c.id).limit(limit)
    )
    return [
        DeadLetter(
            id=row.id,
            source=row.source,
            sink=row.sink,
            event_id=row.event_id,
            reason=row.reason,
            detail=row.detail,
            attempts=row.attempts,
            first_seen_at=moment(row.first_seen_at),
            last_seen_at=moment(row.last_seen_at),
            body=row.body,
        )
        for row in rows
    ]


def count_dead_letters(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the number of dead letters by sink and reason."""
    sink, reason = DEAD_LETTERS.c.sink, DEAD_LETTERS.c.reason
    rows = connection.execute(select(sink, reason, func.count()).group_by(sink, reason))
    return {(row[0], row[1]): row[2] for row in rows}


def settled_by(connection: Connection, sinks: Sequence[str]) -> int:
    """Return the place up to which every one of `sinks` has settled."""
    last: int = connection.execute(select(PLACES.c.last)).scalar_one()
    return min((position_of(connection, sink) for sink in sinks), default=last)


def prune(
    connection: Connection, after: int, until: int, before: int, now: int
) -> tuple[int, int | None]:
    """Forget old events among the next few; return how many, and where to go on (None: done)."""
    old = 0
    seen = after
    for place, stored_at, occurred_at in connection.execute(
        _OLDEST, {"after": after, "until": until}
    ):
        # Places are in the order of storing, so here the young begin; but a clock that had
        # jumped ahead for a while must not keep all that came later from being forgotten.
        if before <= stored_at <= now:
            break
        old += stored_at < before and occurred_at < before
        seen = place
    if seen == after:
        return 0, None
    if old:
        connection.execute(
            delete(EVENTS).where(
                EVENTS.c.place > after,
                EVENTS.c.place <= seen,
                EVENTS.c.stored_at < before,
                EVENTS.c.occurred_at < before,
            )
        )
        connection.execute(update(PLACES).where(PLACES.c.forgotten < seen).values(forgotten=seen))
    return old, seen


def note(connection: Connection, part: str, state: str, error: str, remedy: str, now: int) -> None:
    """Keep how a part is; `since_at` changes with the state only."""
    known = connection.execute(select(NOTES).where(NOTES.c.part == part)).first()
    since_at = known.since_at if known is not None and known.state == state else now
    values = {"state": state, "error": error, "remedy": remedy, "since_at": since_at}
    put(connection, NOTES, {"part": part}, values)


def notes(connection: Connection, of: str) -> dict[str, Note]:
    """Return the notes of ``sources`` or ``sinks`` by name."""
    rows = connection.execute(select(NOTES).where(NOTES.c.part.startswith(f"{of}.")))
    return {
        row.part.partition(".")[2]: Note(row.state, row.error, row.remedy, moment(row.since_at))
        for row in rows
    }


def sources(connection: Connection) -> dict[str, StoredSource]:
    """Return every source that was ever stored, by name."""
    noted = notes(connection, "sources")
    stored = {row.source: row for row in connection.execute(select(CHECKPOINTS))}
    return {
        name: StoredSource(
            checkpoint=_decode_checkpoint(stored[name].checkpoint) if name in stored else None,
            stored=stored[name].stored if name in stored else 0,
            stored_at=moment(stored[name].stored_at) if name in stored else None,
            note=noted.get(name),
        )
        for name in sorted(stored.keys() | noted.keys())
    }


def sinks(connection: Connection) -> dict[str, StoredSink]:
    """Return every sink that was ever stored, by name."""
    noted = notes(connection, "sinks")
    stored = {row.sink: row for row in connection.execute(select(POSITIONS))}
    return {
        name: StoredSink(
            backlog=backlog(connection, name),
            settled=row.settled if row else 0,
            buried=row.buried if row else 0,
            settled_at=moment(row.settled_at) if row and row.settled_at is not None else None,
            note=noted.get(name),
        )
        for name, row in _named(stored, noted)
    }


def _named(stored: Mapping[str, Any], noted: Mapping[str, Note]) -> Iterator[tuple[str, Any]]:
    for name in sorted(stored.keys() | noted.keys()):
        yield name, stored.get(name)
