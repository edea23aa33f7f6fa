"""Each sink takes events at its own position."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from forwarder.model import Backlog, Batch, Event, Receipt
from forwarder.store.matching import moment
from forwarder.store.schema import EVENTS, PLACES, POSITIONS
from forwarder.store.transactions.dead_letters import bury
from forwarder.store.transactions.events import FIRST_AFTER, decoded

_encode: Final = msgspec.json.Encoder().encode

_POSITION: Final = select(POSITIONS.c.position).where(POSITIONS.c.sink == bindparam("sink"))

_AFTER: Final = (
    select(EVENTS.c.place, EVENTS.c.body)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place)
    .limit(bindparam("limit"))
)

_LAST_AFTER: Final = (
    select(EVENTS.c.occurred_at)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place.desc())
    .limit(1)
)


def position_of(connection: Connection, sink: str) -> int:
    """Return the sink's position; 0 is before every event."""
    return connection.execute(_POSITION, {"sink": sink}).scalar() or 0


def settled_by(connection: Connection, sinks: Sequence[str]) -> int:
    """Return the place up to which every one of `sinks` has settled."""
    last: int = connection.execute(select(PLACES.c.last)).scalar_one()
    return min((position_of(connection, sink) for sink in sinks), default=last)


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
        bury(connection, key, event_id, why, _encode(event), now)
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
    first = connection.execute(FIRST_AFTER, {"position": position}).first()
    newest = connection.execute(_LAST_AFTER, {"position": position}).scalar()
    return Backlog(
        position=position,
        events=left + last - max(position, forgotten),
        oldest_at=None if first is None else moment(first.occurred_at),
        newest_at=None if newest is None else moment(newest),
    )
