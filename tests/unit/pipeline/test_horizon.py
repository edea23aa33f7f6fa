"""How long until something is lost."""

from datetime import UTC, datetime, timedelta

from forwarder.model import Backlog, LossHorizon, Room
from forwarder.pipeline.horizon import Stored, loss_horizons

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 86_400.0
EMPTY = Stored(Room(0, 10**9), 0, 0.0)
NONE_OWED = Backlog(position=5, events=0, oldest_at=None, newest_at=None)


def owed(events: int, age: float) -> Backlog:
    oldest = NOW - timedelta(seconds=age)
    return Backlog(position=5, events=events, oldest_at=oldest, newest_at=NOW)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def horizons(**given: object) -> tuple[LossHorizon, ...]:
    known = {"marks": {}, "backlogs": {}, "stored": EMPTY, "now": NOW}
    return loss_horizons(**(known | given))  # type: ignore[arg-type]


def test_what_is_unread_is_lost_when_the_source_removes_what_lies_after_the_mark() -> None:
    assert horizons(marks={"bitbucket": (ago(3 * DAY), 90 * DAY)}) == (
        LossHorizon(part="sources.bitbucket", cause="source_retention", seconds=87 * DAY),
    )


def test_a_source_of_unknown_retention_has_no_horizon() -> None:
    assert horizons(marks={"bitbucket": (ago(3 * DAY), None)}) == ()


def test_the_oldest_unsent_event_is_lost_past_the_age_that_the_destination_takes() -> None:
    assert horizons(backlogs={"aws": (owed(7, 13 * DAY), 14 * DAY)}) == (
        LossHorizon(part="sinks.aws", cause="sink_age", seconds=1 * DAY),
    )


def test_it_is_negative_where_it_is_past() -> None:
    (found,) = horizons(backlogs={"aws": (owed(7, 15 * DAY), 14 * DAY)})
    assert found.seconds == -1 * DAY


def test_a_sink_that_has_everything_or_takes_any_age_has_none() -> None:
    assert horizons(backlogs={"aws": (NONE_OWED, 14 * DAY), "siem": (owed(7, 1.0), None)}) == ()


def test_the_store_fills_at_the_present_rate_while_a_sink_takes_nothing() -> None:
    # 1000 events of 1000 bytes, 500 of them owed; 900 kB - 500 kB left, at 10 kB a second.
    stored = Stored(Room(10**6, 10**6), 1000, 10.0)
    assert horizons(backlogs={"siem": (owed(500, 3600.0), None)}, stored=stored) == (
        LossHorizon(part="store", cause="store_capacity", seconds=40.0),
    )
    assert horizons(backlogs={"siem": (owed(500, 10.0), None)}, stored=stored) == ()


def test_the_nearest_comes_first() -> None:
    found = horizons(
        marks={"bitbucket": (ago(0), 90 * DAY)},
        backlogs={"aws": (owed(7, 13 * DAY), 14 * DAY)},
    )
    assert [each.part for each in found] == ["sinks.aws", "sources.bitbucket"]
