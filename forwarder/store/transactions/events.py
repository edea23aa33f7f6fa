"""Stored events are looked at, and forgotten."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import force_setattr
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, or_, select, update

from forwarder.errors import StoreError
from forwarder.model import Event, EventFilter, Stored
from forwarder.store.schema import DISCARDED, EVENTS, PLACES
from forwarder.store.transactions import trails
from forwarder.times import milliseconds

PRUNED_AT_ONCE: Final = 2000
"""Events looked at in one pruning transaction: some 20 ms in which nothing else can be written."""

STREAMED: Final = {"stream_results": True, "max_row_buffer": 100}
"""Of statements whose bodies are taken one by one until there are enough: PostgreSQL's driver would
else have all that they find in memory before the first."""

_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_stored: Final = msgspec.json.Decoder(Stored).decode

FIRST_AFTER: Final = (
    select(EVENTS.c.place, EVENTS.c.occurred_at)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place)
    .limit(1)
)

_FIRST_STORED_AFTER: Final = (
    select(EVENTS.c.place, EVENTS.c.stored_at)
    .where(EVENTS.c.place > bindparam("position"))
    .order_by(EVENTS.c.place)
    .limit(1)
)
_LATE: Final = 1000  # events whose pace is the present one

_OLDEST: Final = (
    select(EVENTS.c.place, EVENTS.c.stored_at, EVENTS.c.occurred_at)
    .where(EVENTS.c.place > bindparam("after"), EVENTS.c.place <= bindparam("until"))
    .order_by(EVENTS.c.place)
    .limit(PRUNED_AT_ONCE)
)


def decoded(place: int, body: bytes) -> Event:
    """Return a stored event.

    Raises:
        StoreError: it is not what was stored.
    """
    try:
        return _decode_event(body)
    except msgspec.DecodeError as error:
        raise _damaged(place, error) from error


def stored(place: int, body: bytes) -> Stored:
    """Return a stored event as it goes to a sink.

    Raises:
        StoreError: it is not what was stored.
    """
    try:
        event = _decode_stored(body)
    except msgspec.DecodeError as error:
        raise _damaged(place, error) from error
    force_setattr(event, "body", body)
    return event


def _damaged(place: int, error: Exception) -> StoreError:
    return StoreError(
        f"event {place} in the store cannot be read: {error}",
        remedy="the file is damaged: restore a backup",
    )


def bounds(connection: Connection, after: int, ids: tuple[str, str] | None) -> tuple[int, int]:
    """Return the places, exclusive and inclusive, between which events with `ids` lie."""
    if ids is not None and after == 0:
        span = EVENTS.c.event_id >= ids[0], EVENTS.c.event_id < ids[1]
        first, last = connection.execute(
            select(func.min(EVENTS.c.place), func.max(EVENTS.c.place)).where(*span)
        ).one()
        return (0, 0) if first is None else (first - 1, last)
    found = connection.execute(FIRST_AFTER, {"position": after}).first()
    last = connection.execute(select(PLACES.c.last)).scalar_one()
    return (last, last) if found is None else (found.place - 1, last)


def conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    """Return what SQL can narrow down; times to the whole millisecond, so `matcher` has the say."""
    narrowed: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        narrowed.append(EVENTS.c.occurred_at >= milliseconds(wanted.since))
    if wanted.until is not None:
        narrowed.append(EVENTS.c.occurred_at <= milliseconds(wanted.until))
    if wanted.kinds:
        narrowed.append(_kind_is(wanted.kinds))
    if wanted.event_ids:
        narrowed.append(EVENTS.c.event_id.in_(wanted.event_ids))
    return narrowed


def _kind_is(kinds: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that an event is of one of `kinds`; all, where there are none."""
    folded = func.lower(EVENTS.c.kind)
    asked = [kind.lower() for kind in kinds]
    whole = [kind for kind in asked if not kind.endswith("*")]
    beginnings = [kind[:-1] for kind in asked if kind.endswith("*")]
    return or_(
        *([folded.in_(whole)] if whole else []),
        *(folded.startswith(beginning, autoescape=True) for beginning in beginnings),
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
        .execution_options(**STREAMED)
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


def newest(
    connection: Connection, before: int | None, limit: int, max_bytes: int
) -> list[tuple[int, Event]]:
    """Return events below the place `before`, newest first: one at least if there is one."""
    wanted = select(EVENTS.c.place, EVENTS.c.body).order_by(EVENTS.c.place.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(EVENTS.c.place < before)
    found = connection.execute(wanted)
    rows: list[tuple[int, Event]] = []
    total = 0
    for place, body in found:
        rows.append((place, decoded(place, body)))
        total += len(body)
        if total >= max_bytes:
            break
    found.close()
    return rows


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
        connection.execute(delete(DISCARDED).where(DISCARDED.c.seen_at < before))
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
        trails.prune(connection, seen)
    return old, seen


def count_and_rate(connection: Connection, now: int) -> tuple[int, float]:
    """Return how many events are stored, and how many a second came of late.

    Late are the last thousand, however long ago that was; 0 where nothing is stored.
    """
    last, forgotten = connection.execute(select(PLACES.c.last, PLACES.c.forgotten)).one()
    left = connection.execute(select(func.count()).where(EVENTS.c.place <= forgotten)).scalar_one()
    first = connection.execute(_FIRST_STORED_AFTER, {"position": max(last - _LATE, 0)}).first()
    if first is None:
        return left, 0.0
    seconds = max(now - first.stored_at, 1000) / 1000
    return left + last - forgotten, (last - first.place + 1) / seconds
