"""Events and their checkpoint go in."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import chain as one_after_another
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Dialect, bindparam, insert, select, update

from forwarder import chain
from forwarder.model import Checkpoint, Event, Link, Outgoing, Stored, Unreadable, packed
from forwarder.store.schema import CHAINS, CHECKPOINTS, EVENTS, PLACES
from forwarder.store.transactions import put, trails
from forwarder.store.transactions.dead_letters import bury_record, discard
from forwarder.times import milliseconds

_ROWS_AT_ONCE: Final = 100  # in one insert
_FEW: Final = 50
"""Ids that are asked for one by one. More of them come from one window, which an id begins with:
then all that is stored between the first and the last are these very events, or none."""
_encode: Final = msgspec.json.Encoder().encode

decode_checkpoint: Final = msgspec.json.Decoder(Checkpoint).decode

_LOCK_PLACES: Final = select(PLACES.c.last).with_for_update()

_COUNTS: Final = select(CHECKPOINTS.c.stored, CHECKPOINTS.c.late, CHECKPOINTS.c.late_by).where(
    CHECKPOINTS.c.source == bindparam("source")
)

_KNOWN: Final = select(EVENTS.c.event_id).where(
    EVENTS.c.event_id.in_(bindparam("ids", expanding=True))
)
_KNOWN_BETWEEN: Final = select(EVENTS.c.event_id).where(
    EVENTS.c.event_id.between(bindparam("first"), bindparam("last"))
)


class Appended(NamedTuple):
    """What was new: events that lie side by side from the place `first` on, of `size` bytes."""

    first: int
    events: Sequence[Stored]
    size: int


def append(
    connection: Connection,
    source: str,
    events: Sequence[Outgoing],
    checkpoint: Checkpoint | None,
    unreadable: Sequence[Unreadable],
    now: int,
    window: tuple[datetime, datetime] | None = None,
) -> Appended | None:
    """Store events, checkpoint and unreadable records; return what was new, or None.

    Raises:
        ValueError: the checkpoint is to stay as it is, and there is none.
    """
    last: int = connection.execute(_LOCK_PLACES).scalar_one()  # before all that is read
    before = checkpoint_of(connection, source)
    mark = before.mark if before and checkpoint else None
    checkpoint = checkpoint or before
    if checkpoint is None:
        raise ValueError(f"nothing was ever stored for the source {source}")
    new = _new(connection, events)
    heads = chain_heads(connection) if new else {}
    stored = [_stored(each, heads) for each in new.values()]
    _insert(connection, enumerate(stored, last + 1), now)
    for name in {event.source for event in new.values()}:
        put(connection, CHAINS, {"source": name}, msgspec.structs.asdict(heads[name]))
    if new:
        connection.execute(update(PLACES).values(last=last + len(new)))
        page = {"first": last + 1, "last": last + len(new), "records": len(events)}
        trails.keep_page(connection, source, page, window, now)
    for record in unreadable:
        bury_record(connection, source, record, now)
    behind = _behind(mark, new.values())
    _store_checkpoint(connection, source, checkpoint, len(new), behind, now)
    return Appended(last + 1, stored, sum(len(each.body) for each in stored)) if stored else None


def _behind(mark: datetime | None, events: Collection[Outgoing]) -> list[timedelta]:
    """Return how far behind the mark the events lie that do: they came late."""
    oldest = next(iter(events), None)  # a source gives them oldest first
    if mark is None or oldest is None or oldest.occurred_at >= mark:
        return []
    return [mark - each.occurred_at for each in events if each.occurred_at < mark]


def _insert(connection: Connection, events: Iterable[tuple[int, Stored]], now: int) -> None:
    rows = [
        (
            place,
            event.event_id,
            event.source,
            event.kind,
            milliseconds(event.occurred_at),
            now,
            event.body,
        )
        for place, event in events
    ]
    # The driver is called directly: SQLAlchemy's own work for each row is half of what SQLite
    # needs to store it (2.5 µs of 5). And it hands the interpreter to another thread and waits for
    # it to come back with each call into SQLite, which costs as much again: so many rows a call.
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    for start in range(0, whole, _ROWS_AT_ONCE):
        values = one_after_another.from_iterable(rows[start : start + _ROWS_AT_ONCE])
        connection.exec_driver_sql(_insert_text(connection.dialect, _ROWS_AT_ONCE), tuple(values))
    if rest := rows[whole:]:
        connection.exec_driver_sql(_insert_text(connection.dialect), rest)


def _stored(event: Outgoing, heads: dict[str, Link]) -> Stored:
    """Return the event as it is stored, linked behind the head of its source, which moves on."""
    event = event if isinstance(event, Stored) else packed(event)
    head = chain.link(heads.get(event.source, chain.BEGINNING), event.body)
    heads[event.source] = head
    return msgspec.structs.replace(event, body=chain.linked(event.body, head))


def chain_heads(connection: Connection) -> dict[str, Link]:
    """Return the link of the event that was stored last, by source."""
    rows = connection.execute(select(CHAINS))
    return {row.source: Link(sequence=row.sequence, digest=row.digest) for row in rows}


@cache
def _insert_text(dialect: Dialect, rows: int = 1) -> str:
    columns = ("place", "event_id", "source", "kind", "occurred_at", "stored_at", "body")
    one = str(insert(EVENTS).values(dict.fromkeys(columns)).compile(dialect=dialect))
    head, _, row = one.rpartition("VALUES ")
    return f"{head}VALUES {', '.join([row] * rows)}"


def _new(connection: Connection, events: Sequence[Outgoing]) -> dict[str, Outgoing]:
    """Return those of `events` that aren't stored, by id, in their order; of twins the first."""
    new: dict[str, Outgoing] = {}
    for event in events:
        new.setdefault(event.event_id, event)
    if len(new) <= _FEW:
        known = connection.execute(_KNOWN, {"ids": list(new)}).scalars()
    else:
        known = connection.execute(_KNOWN_BETWEEN, {"first": min(new), "last": max(new)}).scalars()
    for event_id in known:
        new.pop(event_id, None)
    return new


def _store_checkpoint(
    connection: Connection,
    source: str,
    checkpoint: Checkpoint,
    new: int,
    behind: Sequence[timedelta],
    now: int,
) -> None:
    """Store the checkpoint; `behind` has how far behind the mark each late event lay."""
    known = connection.execute(_COUNTS, {"source": source}).first()
    stored, late, late_by = known or (0, 0, 0)
    values = {
        "checkpoint": _encode(checkpoint).decode(),
        "stored": stored + new,
        "stored_at": now,
        "late": late + len(behind),
        "late_by": max(late_by, max(behind, default=timedelta()) // timedelta(milliseconds=1)),
    }
    put(connection, CHECKPOINTS, {"source": source}, values)


def adopt(connection: Connection, letter: int, event: Event, now: int) -> int:
    """Store the event that a record's dead letter is, and forget the letter; return if it is new.

    Raises:
        ValueError: nothing was ever stored for the event's source.
    """
    new = append(connection, event.source, [event], None, (), now)
    discard(connection, [letter])
    return 1 if new else 0


def checkpoint_of(connection: Connection, source: str) -> Checkpoint | None:
    """Return the stored checkpoint."""
    found = connection.execute(
        select(CHECKPOINTS.c.checkpoint).where(CHECKPOINTS.c.source == source)
    ).scalar()
    return None if found is None else decode_checkpoint(found)
