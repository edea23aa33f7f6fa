"""The way of one event, out of what `trails` has kept. Off the hot path."""

from itertools import chain
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Row, select

from forwarder.model import EventFilter, StoredPage, StoredReceipt, Trail
from forwarder.store.schema import DEAD_LETTERS, EVENTS, PAGES, POSITIONS, RECEIPTS
from forwarder.store.transactions import dead_letters
from forwarder.store.transactions.events import decoded
from forwarder.times import moment

_wanted: Final = msgspec.json.Decoder(EventFilter).decode


def ids(connection: Connection, prefix: str, limit: int) -> list[str]:
    """Return the ids that begin with `prefix`, of stored events and of dead letters."""
    found: set[str] = set()
    for column in (EVENTS.c.event_id, DEAD_LETTERS.c.event_id):
        # Ids are lower-case hexadecimal, so that "g" is behind all that begin so.
        span = column >= prefix, column < f"{prefix}g", column != ""
        found |= set(
            connection.execute(
                select(column).where(*span).distinct().order_by(column).limit(limit)
            ).scalars()
        )
    return sorted(found)[:limit]


def trail(connection: Connection, event_id: str) -> Trail | None:
    """Return what is known of an event, or of what is left of it as a dead letter."""
    stored = connection.execute(
        select(EVENTS.c.place, EVENTS.c.body).where(EVENTS.c.event_id == event_id)
    ).first()
    letters = dead_letters.of_event(connection, event_id)
    if stored is None and not letters:
        return None
    place = stored.place if stored else None
    positions = connection.execute(select(POSITIONS.c.sink, POSITIONS.c.position)).all()
    receipts: list[StoredReceipt] = []
    if place is not None:
        found = (_receipts(connection, row.sink, place) for row in positions)
        receipts = sorted(
            chain.from_iterable(found), key=lambda each: (each.at, each.how != "turn")
        )
    return Trail(
        event=decoded(place or 0, stored.body if stored else letters[0].body),
        place=place,
        page=None if place is None else _page(connection, place),
        positions={row.sink: row.position for row in positions},
        receipts=tuple(receipts),
        letters=tuple(letters),
    )


def _page(connection: Connection, place: int) -> StoredPage | None:
    row = connection.execute(
        select(PAGES).where(PAGES.c.last >= place).order_by(PAGES.c.last).limit(1)
    ).first()
    if row is None or row.first > place:  # stored by a release that kept no pages
        return None
    has_window = row.window_start is not None
    return StoredPage(
        source=row.source,
        window=(moment(row.window_start), moment(row.window_end)) if has_window else None,
        records=row.records,
        first=row.first,
        last=row.last,
        stored_at=moment(row.stored_at),
    )


def _receipts(connection: Connection, sink: str, place: int) -> list[StoredReceipt]:
    rows = connection.execute(
        select(RECEIPTS).where(
            RECEIPTS.c.sink == sink, RECEIPTS.c.last >= place, RECEIPTS.c.first <= place
        )
    )
    return [_receipt(row) for row in rows]


def _receipt(row: Row[Any]) -> StoredReceipt:
    return StoredReceipt(
        sink=row.sink,
        how=_how(row),
        first=row.first,
        last=row.last,
        events=row.events,
        filtered=row.filtered,
        attempts=row.attempts,
        at=moment(row.settled_at),
        wanted=None if row.wanted is None else _wanted(row.wanted),
    )


def _how(row: Row[Any]) -> Literal["turn", "replay", "letter", "discarded"]:
    if row.number >= 0:
        return "replay" if row.number else "turn"
    return "letter" if row.events else "discarded"
