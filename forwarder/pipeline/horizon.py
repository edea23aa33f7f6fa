"""How long until something is lost, if nothing moves until then. Pure.

An event is lost where it leaves the only place that holds it before it has come to the next: from
Bitbucket before it is read, or past the age that a destination takes before it is delivered. The
store itself loses nothing; when it is full, reading stops, and what Bitbucket removes is lost.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from forwarder.model import Backlog, LossHorizon, Room
from forwarder.pipeline.pressure import NEAR

_OWED: Final = 300.0
"""Seconds of lag after which a sink counts as not taking its events."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds: its room, how many events, and how many a second came of late."""

    room: Room
    events: int
    rate: float


def loss_horizons(
    *,
    marks: Mapping[str, tuple[datetime, float | None]],
    backlogs: Mapping[str, tuple[Backlog, float | None]],
    stored: Stored,
    now: datetime,
) -> tuple[LossHorizon, ...]:
    """Return every horizon that is known, the nearest first.

    `marks` has each source's mark and for how many seconds its upstream keeps a record, if that is
    known: what is unread lies after the mark, so it goes then. `backlogs` has each sink's backlog
    and the greatest age in seconds that its destination takes, if it has one: only what is unsent
    can pass it. The store has a horizon while a sink lags by over five minutes: what is left of
    its room at the present rate.
    """
    found = [
        *(
            LossHorizon(
                part=f"sources.{name}",
                cause="source_retention",
                seconds=kept - (now - mark).total_seconds(),
            )
            for name, (mark, kept) in marks.items()
            if kept is not None
        ),
        *(
            LossHorizon(
                part=f"sinks.{name}",
                cause="sink_age",
                seconds=age - (now - backlog.oldest_at).total_seconds(),
            )
            for name, (backlog, age) in backlogs.items()
            if backlog.oldest_at is not None and age is not None
        ),
        *_capacity([backlog for backlog, _ in backlogs.values()], stored, now),
    ]
    return tuple(sorted(found, key=lambda horizon: horizon.seconds))


def _capacity(backlogs: list[Backlog], stored: Stored, now: datetime) -> Iterator[LossHorizon]:
    owed = max(
        (
            backlog.events
            for backlog in backlogs
            if backlog.oldest_at and (now - backlog.oldest_at).total_seconds() > _OWED
        ),
        default=0,
    )
    limit = stored.room.limit
    if limit is None or not (owed and stored.events and stored.rate and stored.room.used):
        return
    size = stored.room.used / stored.events
    left = NEAR * limit - owed * size
    yield LossHorizon(part="store", cause="store_capacity", seconds=left / (stored.rate * size))
