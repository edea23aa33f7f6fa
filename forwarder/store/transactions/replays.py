"""What a sink has taken and is sent again, beside what comes in its turn."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from forwarder.model import Batch, EventFilter, Replay, Stored
from forwarder.selection import matcher
from forwarder.store.schema import EVENTS, REPLAYS
from forwarder.store.transactions.events import STREAMED, conditions, stored
from forwarder.times import milliseconds

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(EventFilter).decode

_OF: Final = select(REPLAYS).where(REPLAYS.c.sink == bindparam("sink")).order_by(REPLAYS.c.id)


def ask(connection: Connection, replay: Replay) -> int:
    """Have a planned replay sent; return its id."""
    made = connection.execute(
        insert(REPLAYS).values(
            sink=replay.sink,
            wanted=_encode(replay.wanted).decode(),
            after=replay.after,
            until=replay.until,
            events=replay.events,
            done=0,
            oldest_at=None if replay.oldest_at is None else milliseconds(replay.oldest_at),
            newest_at=None if replay.newest_at is None else milliseconds(replay.newest_at),
        )
    )
    (made_id,) = made.inserted_primary_key or (0,)
    return int(made_id)


def left(connection: Connection, sink: str) -> tuple[int, int]:
    """Return how many events were asked for in replays that have not ended, and are left."""
    events, done = connection.execute(
        select(func.sum(REPLAYS.c.events), func.sum(REPLAYS.c.done)).where(REPLAYS.c.sink == sink)
    ).one()
    asked = int(events or 0)
    return asked, max(asked - int(done or 0), 0)


def oldest(connection: Connection, sinks: Sequence[str]) -> int | None:
    """Return the place after which replays to `sinks` still need events; None without any."""
    return connection.execute(
        select(func.min(REPLAYS.c.after)).where(REPLAYS.c.sink.in_(sinks))
    ).scalar()


def cancel(connection: Connection, sink: str) -> int:
    """Forget the sink's replays; return how many events were left."""
    _, count = left(connection, sink)
    connection.execute(delete(REPLAYS).where(REPLAYS.c.sink == sink))
    return count


def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Forget replays that have nothing to send."""
    connection.execute(delete(REPLAYS).where(REPLAYS.c.id.in_(ids)))


def read(
    connection: Connection, sink: str, limit: int, max_bytes: int
) -> tuple[Batch | None, list[int]]:
    """Return the next batch of the oldest replay, and the ids of those that hold nothing more."""
    ended: list[int] = []
    for replay in connection.execute(_OF, {"sink": sink}).all():
        batch = _next(connection, replay, limit, max_bytes)
        if batch is not None:
            return batch, ended
        ended.append(replay.id)
    return None, ended


def _next(connection: Connection, replay: Any, limit: int, max_bytes: int) -> Batch | None:  # noqa: ANN401  a row
    wanted = _decode(replay.wanted)
    matches = matcher(wanted)
    found = connection.execute(
        select(EVENTS.c.place, EVENTS.c.body)
        .where(EVENTS.c.place > replay.after, EVENTS.c.place <= replay.until, *conditions(wanted))
        .order_by(EVENTS.c.place)
        .execution_options(**STREAMED)
    )
    events: list[Stored] = []
    places: list[int] = []
    total = 0
    for place, body in found:
        event = stored(place, body)
        if not matches(event.whole()):
            continue
        total += len(body)
        if total > max_bytes and events:
            break
        events.append(event)
        places.append(place)
        if len(events) == limit:
            break
    found.close()
    return Batch(tuple(events), tuple(places), replay.id) if events else None


def settle(connection: Connection, batch: Batch) -> str | None:
    """Move the replay behind the batch, or end it, and return what it wanted.

    None where it was there already, or ended.
    """
    known = connection.execute(select(REPLAYS).where(REPLAYS.c.id == batch.replay)).first()
    if known is None or batch.first <= known.after:
        return None
    if batch.last >= known.until:
        forget(connection, [known.id])
    else:
        connection.execute(
            update(REPLAYS)
            .where(REPLAYS.c.id == known.id)
            .values(after=batch.last, done=known.done + len(batch.positions))
        )
    return str(known.wanted)
