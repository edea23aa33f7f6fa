"""A day of samples, for charts."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, case, delete, insert, select, update

from forwarder.model import Sample
from forwarder.store.schema import SAMPLES
from forwarder.times import milliseconds, moment

_DAY: Final = 86_400_000

_WORSE: Final = (
    update(SAMPLES)
    .where(SAMPLES.c.part == bindparam("which"), SAMPLES.c.at == bindparam("then"))
    .values(
        events=bindparam("events"),
        **{
            name: case((SAMPLES.c[name] > bindparam(name), SAMPLES.c[name]), else_=bindparam(name))
            for name in ("backlog", "lag")
        },
    )
)


def sample(connection: Connection, samples: Sequence[Sample]) -> None:
    """Keep samples, and forget those that are over a day older than the newest of them."""
    for each in samples:
        at = milliseconds(each.at)
        lag = round(each.lag_seconds * 1000)
        values = {"events": each.events, "backlog": each.backlog, "lag": lag}
        if not connection.execute(_WORSE, {"which": each.part, "then": at, **values}).rowcount:
            connection.execute(insert(SAMPLES).values(part=each.part, at=at, **values))
    if samples:
        newest = max(milliseconds(each.at) for each in samples)
        connection.execute(delete(SAMPLES).where(SAMPLES.c.at <= newest - _DAY))


def samples(connection: Connection) -> list[Sample]:
    """Return every sample, oldest first."""
    rows = connection.execute(select(SAMPLES).order_by(SAMPLES.c.at, SAMPLES.c.part))
    return [
        Sample(
            part=row.part,
            at=moment(row.at),
            events=row.events,
            backlog=row.backlog,
            lag_seconds=row.lag / 1000,
        )
        for row in rows
    ]
