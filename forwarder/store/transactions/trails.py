"""What is remembered of the way of events: a row for each page and each batch, none for an event.

So an event costs nothing; `ways` reads it again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    null,
    select,
)

from forwarder.model import Batch
from forwarder.store.schema import DEAD_LETTERS, EVENTS, PAGES, POSITIONS, RECEIPTS
from forwarder.times import milliseconds

_PAGE: Final = insert(PAGES)
_RECEIPT: Final = insert(RECEIPTS)

_PAGES_OF: Final = (
    select(PAGES.c.last)
    .where(PAGES.c.last >= bindparam("least"), PAGES.c.first <= bindparam("most"))
    .order_by(PAGES.c.last)
    .limit(10)
)

_FORGET_PAGES: Final = delete(PAGES).where(
    PAGES.c.last <= bindparam("seen"),
    ~exists().where(EVENTS.c.place.between(PAGES.c.first, PAGES.c.last)),
)
_FORGET_RECEIPTS: Final = delete(RECEIPTS).where(
    RECEIPTS.c.sink == bindparam("of_sink"),
    RECEIPTS.c.last <= bindparam("seen"),
    ~exists().where(EVENTS.c.place.between(RECEIPTS.c.first, RECEIPTS.c.last)),
)


def keep_page(
    connection: Connection,
    source: str,
    page: Mapping[str, int],
    window: tuple[datetime, datetime] | None,
    now: int,
) -> None:
    """Remember a page that brought the events `first` to `last`, of `records` in all."""
    start, end = map(milliseconds, window) if window else (None, None)
    row = {"source": source, "window_start": start, "window_end": end, "stored_at": now}
    connection.execute(_PAGE, {**page, **row})


def pages_of(connection: Connection, first: int, last: int) -> tuple[int, ...]:
    """Return the first few pages that brought the places `first` to `last`, by their own last."""
    return tuple(connection.execute(_PAGES_OF, {"least": first, "most": last}).scalars())


def keep_receipt(
    connection: Connection,
    sink: str,
    batch: Batch,
    attempts: int,
    now: int,
    *,
    wanted: str | None = None,
) -> None:
    """Remember a batch that `sink` has settled; `wanted` is its replay's, where it is one's."""
    row = {
        "sink": sink,
        "first": batch.first,
        "last": batch.last,
        "number": batch.replay or 0,
        "events": len(batch),
        "filtered": len(batch.positions) - len(batch),
        "attempts": attempts,
        "settled_at": now,
        "wanted": wanted,
    }
    connection.execute(_RECEIPT, row)


def keep_letters(
    connection: Connection, ids: Sequence[int], *, attempts: int | None, now: int
) -> None:
    """Remember what becomes of dead letters that go: delivered, or, without `attempts`, discarded.

    Of those whose event is still stored; records have none.
    """
    rows = (
        select(
            DEAD_LETTERS.c.sink,
            EVENTS.c.place,
            -DEAD_LETTERS.c.id,
            EVENTS.c.place,
            literal(0 if attempts is None else 1, BigInteger),
            literal(0, BigInteger),
            DEAD_LETTERS.c.attempts + (attempts or 0),
            literal(now, BigInteger),
            null(),
        )
        .join_from(DEAD_LETTERS, EVENTS, DEAD_LETTERS.c.event_id == EVENTS.c.event_id)
        .where(DEAD_LETTERS.c.id.in_(ids), DEAD_LETTERS.c.sink != "")
    )
    names = ("sink", "last", "number", "first", "events", "filtered", "attempts")
    connection.execute(insert(RECEIPTS).from_select([*names, "settled_at", "wanted"], rows))


def prune(connection: Connection, seen: int) -> None:
    """Forget the pages and receipts up to the place `seen` that have no event left."""
    connection.execute(_FORGET_PAGES, {"seen": seen})
    for sink in connection.execute(select(POSITIONS.c.sink)).scalars().all():
        connection.execute(_FORGET_RECEIPTS, {"of_sink": sink, "seen": seen})
