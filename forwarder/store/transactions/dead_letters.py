"""What was given up on is kept whole."""

from sqlalchemy import Connection, func, insert, select, update

from forwarder.errors import Reason
from forwarder.model import DeadLetter
from forwarder.store.matching import moment
from forwarder.store.schema import DEAD_LETTERS


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
