"""Each sink takes events at its own position."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, exists, func, insert, or_, select, update

from forwarder.model import Backlog, Batch, Receipt, Rejection, Stored, body_of
from forwarder.store.recent import Recent
from forwarder.store.schema import DEAD_LETTERS, EVENTS, PLACES, POSITIONS, REPLAYS
from forwarder.store.transactions import dead_letters, replays, trails
from forwarder.store.transactions.events import FIRST_AFTER, stored
from forwarder.times import moment

_encode: Final = msgspec.json.Encoder().encode

_POSITION: Final = select(POSITIONS.c.position).where(POSITIONS.c.sink == bindparam("sink"))

_HAS_MORE: Final = select(
    or_(
        select(PLACES.c.last).scalar_subquery() > func.coalesce(_POSITION.scalar_subquery(), 0),
        exists().where(REPLAYS.c.sink == bindparam("sink")),
        exists().where(
            DEAD_LETTERS.c.sink == bindparam("sink"), DEAD_LETTERS.c.asked_at.is_not(None)
        ),
    )
)

_AFTER: Final = (
    select(EVENTS.c.place, EVENTS.c.body)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place)
    .limit(bindparam("limit"))
)

_PLACE: Final = select(EVENTS.c.place).where(EVENTS.c.event_id == bindparam("event_id"))

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
    """Return the place up to which every one of `sinks` has settled, replays included."""
    last: int = connection.execute(select(PLACES.c.last)).scalar_one()
    replayed = replays.oldest(connection, sinks)
    places = [position_of(connection, sink) for sink in sinks]
    return min(places + ([] if replayed is None else [replayed]), default=last)


def register(connection: Connection, sink: str) -> None:
    """Make a position if there is none."""
    known = connection.execute(_POSITION, {"sink": sink}).first()
    if known is None:
        _insert_position(connection, sink)


def _insert_position(connection: Connection, sink: str) -> None:
    connection.execute(
        insert(POSITIONS).values(sink=sink, position=0, memo="{}", settled=0, buried=0, filtered=0)
    )


def has_more(connection: Connection, sink: str) -> bool:
    """Return whether something lies after the sink's position, or is to be sent again."""
    return bool(connection.execute(_HAS_MORE, {"sink": sink}).scalar())


def read(
    connection: Connection, sink: str, limit: int, max_bytes: int, recent: Recent
) -> Batch | None:
    """Return the next batch; no more bodies are read than go into it, but for one."""
    position = position_of(connection, sink)
    batch = recent.after(position, limit=limit, max_bytes=max_bytes)
    batch = batch or _read(connection, position, limit, max_bytes)
    if batch is None:
        return None
    return replace(batch, pages=trails.pages_of(connection, batch.first, batch.last))


def _read(connection: Connection, position: int, limit: int, max_bytes: int) -> Batch | None:
    found = connection.execute(_AFTER, {"position": position, "limit": limit})
    events: list[Stored] = []
    places: list[int] = []
    total = 0
    rows: Any = found.cursor  # the driver's own: half the work for each row
    for place, body in rows:
        total += len(body)
        if total > max_bytes and events:
            break
        events.append(stored(place, body))
        places.append(place)
    found.close()
    return Batch(tuple(events), tuple(places)) if events else None


def settle(
    connection: Connection, sink: str, batch: Batch, receipt: Receipt, attempts: int, now: int
) -> bool:
    """Store a receipt; return False, and store nothing, where the batch is settled already.

    Nor is anything stored where what comes in its turn lies elsewhere here: a standby without the
    last commits has taken over, and what is read again gets places anew, with other events among
    it. So it is delivered again.
    """
    register(connection, sink)
    known = connection.execute(
        select(POSITIONS).where(POSITIONS.c.sink == sink).with_for_update()
    ).one()
    rejected = {rejection.event_id: rejection for rejection in receipt.rejections}
    if batch.replay is None:
        if batch.first <= known.position or not _holds(connection, batch):
            return False
        buried = _bury(connection, sink, batch, rejected, attempts, now)
        moved = {
            "position": batch.last,
            "settled": known.settled + len(batch) - buried,
            "buried": known.buried + buried,
            "filtered": known.filtered + len(batch.positions) - len(batch),
        }
        trails.keep_receipt(connection, sink, batch, attempts, now)
    elif batch.replay:
        if (wanted := replays.settle(connection, batch)) is None:
            return False
        trails.keep_receipt(connection, sink, batch, attempts, now, wanted=wanted)
        moved = {"buried": known.buried + _bury(connection, sink, batch, rejected, attempts, now)}
    else:
        if not dead_letters.settle(connection, batch, rejected, attempts, now):
            return False
        moved = {}
    memo = known.memo if receipt.memo is None else _encode(receipt.memo).decode()
    connection.execute(
        update(POSITIONS).where(POSITIONS.c.sink == sink).values(memo=memo, settled_at=now, **moved)
    )
    return True


def _holds(connection: Connection, batch: Batch) -> bool:
    """Return whether the last event of `batch` lies here where it lay when it was read."""
    if not batch.events:
        return bool(connection.execute(select(PLACES.c.last)).scalar_one() >= batch.last)
    found = connection.execute(_PLACE, {"event_id": batch.events[-1].event_id}).scalar()
    # Where all are wanted, that is the last place; unwanted ones may lie before it and behind.
    return found in batch.positions[len(batch) - 1 :]


def _bury(
    connection: Connection,
    sink: str,
    batch: Batch,
    rejected: Mapping[str, Rejection],
    attempts: int,
    now: int,
) -> int:
    """Keep what was rejected; return how many events that are."""
    for event in batch.events if rejected else ():
        if rejection := rejected.get(event.event_id):
            why = (rejection.reason, rejection.detail, attempts)
            key = (event.source, sink, event.event_id)
            dead_letters.bury(connection, key, event.event_id, why, body_of(event), now)
    return len(rejected)


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
