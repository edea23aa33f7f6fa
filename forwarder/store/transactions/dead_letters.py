"""What was given up on is kept whole, and sent again when somebody asks for it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from forwarder.errors import Reason
from forwarder.model import Batch, DeadLetter, Event, Rejection, Stored, Unreadable, body_of
from forwarder.store.schema import DEAD_LETTERS, DISCARDED
from forwarder.store.transactions import trails
from forwarder.store.transactions.events import STREAMED, stored
from forwarder.times import milliseconds, moment

_TEST: Final[Reason] = "test"
_AT_ONCE: Final = 500  # ids in one statement

_ASKED: Final = (
    select(DEAD_LETTERS.c.id, DEAD_LETTERS.c.body)
    .where(DEAD_LETTERS.c.sink == bindparam("sink"), DEAD_LETTERS.c.asked_at.is_not(None))
    .order_by(DEAD_LETTERS.c.id)
    .limit(bindparam("limit"))
)

_COUNT_ASKED: Final = select(func.count()).where(
    DEAD_LETTERS.c.sink == bindparam("sink"), DEAD_LETTERS.c.asked_at.is_not(None)
)


def bury(
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


def bury_record(connection: Connection, source: str, record: Unreadable, now: int) -> None:
    """Keep a record that cannot be read, unless it was discarded before."""
    body = bytes(record.original)
    digest = hashlib.sha256(body).hexdigest()
    discarded = connection.execute(
        update(DISCARDED)
        .where(DISCARDED.c.source == source, DISCARDED.c.known_as == digest)
        .values(seen_at=now)
    )
    if not discarded.rowcount:
        bury(connection, (source, "", digest), "", ("unreadable", record.detail, 1), body, now)


def conditions(
    *,
    sink: str | None,
    reason: Reason | None,
    since: datetime | None,
    ids: Sequence[int],
) -> list[ColumnElement[bool]]:
    """Return what a wanted letter meets."""
    wanted: list[ColumnElement[bool]] = []
    if sink is not None:
        # Of a sink alone the index on sinks and reasons would find all that are left, to be sorted
        # anew for each few: so that it is not taken, and letters are read on in their order.
        by = DEAD_LETTERS.c.sink if reason is not None else DEAD_LETTERS.c.sink.concat("")
        wanted.append(by == sink)
    if reason is not None:
        wanted.append(DEAD_LETTERS.c.reason == reason)
    if since is not None:
        wanted.append(DEAD_LETTERS.c.last_seen_at >= milliseconds(since))
    if ids:
        wanted.append(DEAD_LETTERS.c.id.in_(ids))
    return wanted


def dead_letters(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    after: int,
    limit: int,
    max_bytes: int,
) -> list[DeadLetter]:
    """Return dead letters after the id `after` that meet the conditions, oldest first.

    One at least if there is one.
    """
    rows = connection.execute(
        select(DEAD_LETTERS)
        .where(DEAD_LETTERS.c.id > after, *conditions)
        .order_by(DEAD_LETTERS.c.id)
        .limit(limit)
        .execution_options(**STREAMED)
    )
    letters: list[DeadLetter] = []
    total = 0
    for row in rows:
        letters.append(_letter(row))
        total += len(row.body)
        if total >= max_bytes:
            break
    rows.close()
    return letters


def of_event(connection: Connection, event_id: str) -> list[DeadLetter]:
    """Return the dead letters of one event, oldest first."""
    rows = connection.execute(
        select(DEAD_LETTERS).where(DEAD_LETTERS.c.event_id == event_id).order_by(DEAD_LETTERS.c.id)
    )
    return [_letter(row) for row in rows]


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
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
        asked_at=None if row.asked_at is None else moment(row.asked_at),
    )


def count_dead_letters(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the number of dead letters by sink and reason."""
    sink, reason = DEAD_LETTERS.c.sink, DEAD_LETTERS.c.reason
    rows = connection.execute(
        select(sink, reason, func.count()).where(reason != _TEST).group_by(sink, reason)
    )
    return {(row[0], row[1]): row[2] for row in rows}


def asked(connection: Connection, sink: str) -> int:
    """Return how many letters the sink is to be sent again."""
    return int(connection.execute(_COUNT_ASKED, {"sink": sink}).scalar_one())


def ask(connection: Connection, ids: Sequence[int], now: int) -> int:
    """Have letters sent again; return how many there are. Records have no sink to go to."""
    return _each_part(
        connection,
        ids,
        lambda part: (
            update(DEAD_LETTERS)
            .where(DEAD_LETTERS.c.id.in_(part), DEAD_LETTERS.c.sink != "")
            .values(asked_at=func.coalesce(DEAD_LETTERS.c.asked_at, now))
        ),
    )


def ask_test(connection: Connection, sink: str, event: Event, now: int) -> int:
    """Have an event that is not stored sent to a sink as a letter; return the letter's id."""
    made = connection.execute(
        insert(DEAD_LETTERS).values(
            source=event.source,
            sink=sink,
            known_as=event.event_id,
            event_id=event.event_id,
            reason=_TEST,
            detail="a test event: nothing has happened",
            attempts=0,
            first_seen_at=now,
            last_seen_at=now,
            body=body_of(event),
            asked_at=now,
        )
    )
    (letter,) = made.inserted_primary_key or (0,)
    return int(letter)


def withdraw(connection: Connection, sink: str) -> int:
    """Ask for none of the sink's letters any more; return how many had been."""
    return connection.execute(
        update(DEAD_LETTERS)
        .where(DEAD_LETTERS.c.sink == sink, DEAD_LETTERS.c.asked_at.is_not(None))
        .values(asked_at=None)
    ).rowcount


def discard(connection: Connection, ids: Sequence[int]) -> int:
    """Forget letters; return how many there were."""
    return _each_part(
        connection, ids, lambda part: delete(DEAD_LETTERS).where(DEAD_LETTERS.c.id.in_(part))
    )


def give_up(connection: Connection, ids: Sequence[int], now: int) -> int:
    """Forget letters that are not to be delivered any more; return how many there were."""
    for part in _parts(ids):
        trails.keep_letters(connection, part, attempts=None, now=now)
        _remember_records(connection, part, now)
    return discard(connection, ids)


def _remember_records(connection: Connection, ids: Sequence[int], now: int) -> None:
    source, known_as = DEAD_LETTERS.c.source, DEAD_LETTERS.c.known_as
    is_known = exists().where(DISCARDED.c.source == source, DISCARDED.c.known_as == known_as)
    records = select(source, known_as, literal(now)).where(
        DEAD_LETTERS.c.id.in_(ids), DEAD_LETTERS.c.sink == "", ~is_known
    )
    connection.execute(insert(DISCARDED).from_select(["source", "known_as", "seen_at"], records))


def _each_part(connection: Connection, ids: Sequence[int], statement: Any) -> int:  # noqa: ANN401  a function to a statement
    return sum(connection.execute(statement(part)).rowcount for part in _parts(ids))


def _parts(ids: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while part := list(islice(rest, _AT_ONCE)):
        yield part


def read(connection: Connection, sink: str, limit: int, max_bytes: int) -> Batch | None:
    """Return the next letters to be sent again, as a batch."""
    found = connection.execute(_ASKED, {"sink": sink, "limit": limit})
    events: list[Stored] = []
    letters: list[int] = []
    total = 0
    for letter, body in found:
        total += len(body)
        if total > max_bytes and events:
            break
        events.append(stored(letter, body))
        letters.append(letter)
    found.close()
    return Batch(tuple(events), tuple(letters), 0) if events else None


def settle(
    connection: Connection,
    batch: Batch,
    rejected: Mapping[str, Rejection],
    attempts: int,
    now: int,
) -> bool:
    """Forget the letters that are delivered, renew the others; False where none was asked for."""
    still = {
        letter
        for part in _parts(batch.positions)
        for letter in connection.execute(
            select(DEAD_LETTERS.c.id).where(
                DEAD_LETTERS.c.id.in_(part), DEAD_LETTERS.c.asked_at.is_not(None)
            )
        ).scalars()
    }
    delivered = []
    for letter, event in zip(batch.positions, batch.events, strict=True):
        if letter not in still:
            continue
        rejection = rejected.get(event.event_id)
        if rejection is None:
            delivered.append(letter)
            continue
        connection.execute(
            update(DEAD_LETTERS)
            .where(DEAD_LETTERS.c.id == letter)
            .values(
                reason=rejection.reason,
                detail=rejection.detail,
                attempts=DEAD_LETTERS.c.attempts + attempts,
                last_seen_at=now,
                asked_at=None,
            )
        )
    for part in _parts(delivered):
        trails.keep_letters(connection, part, attempts=attempts, now=now)
    discard(connection, delivered)
    return bool(still)
