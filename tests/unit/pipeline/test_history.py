"""A day of samples, taken once a minute."""

from datetime import UTC, datetime, timedelta

import pytest

from forwarder.errors import StoreError, TransientError
from forwarder.model import SinkStatus, SourceStatus, Status
from forwarder.pipeline.history import History
from forwarder.pipeline.stop import Stop
from tests.fakes.outbox import MemoryOutbox

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)


class Watched:
    """A status that a test changes, and a clock."""

    def __init__(self) -> None:
        self.stored = 0
        self.sent = 0
        self.backlog = 0
        self.lag = 0.0
        self.seconds = 0.0

    async def status(self) -> Status:
        return Status(
            version="1",
            at=NOON,
            running=True,
            sources=(
                SourceStatus(name="b", type="x", events_stored=self.stored, mark=NOON),
                SourceStatus(name="new", type="x"),
            ),
            sinks=(
                SinkStatus(
                    name="s",
                    type="x",
                    events_sent=self.sent,
                    backlog_events=self.backlog,
                    lag_seconds=self.lag,
                ),
            ),
        )

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox(now=lambda: NOON)


async def test_the_first_look_is_what_the_first_five_minutes_are_counted_from(
    watched: Watched, outbox: MemoryOutbox
) -> None:
    history = History(outbox, watched.status)
    watched.stored = 100
    await history.sample_once(now=NOON + timedelta(seconds=1))
    watched.stored = 107
    await history.sample_once(now=NOON + timedelta(seconds=61))
    found = [each for each in await outbox.samples() if each.part == "sources.b"]
    assert [(each.at, each.events) for each in found] == [
        (NOON - timedelta(minutes=5), 100),
        (NOON, 107),
    ]


async def test_a_second_daemon_goes_on_with_what_the_first_has_kept(
    watched: Watched, outbox: MemoryOutbox
) -> None:
    await History(outbox, watched.status).sample_once(now=NOON)
    await History(outbox, watched.status).sample_once(now=NOON + timedelta(hours=1))
    found = {each.at for each in await outbox.samples()}
    assert found == {NOON - timedelta(minutes=5), NOON + timedelta(hours=1)}


async def test_five_minutes_keep_the_worst_lag_and_backlog(
    watched: Watched, outbox: MemoryOutbox
) -> None:
    history = History(outbox, watched.status)
    await history.sample_once(now=NOON - timedelta(minutes=1))
    for minute, (watched.backlog, watched.lag) in enumerate([(5, 2.0), (90, 60.5), (0, 0.0)]):
        await history.sample_once(now=NOON + timedelta(minutes=minute))
    (found,) = [x for x in await outbox.samples() if (x.part, x.at) == ("sinks.s", NOON)]
    assert (found.backlog, found.lag_seconds) == (90, 60.5)


async def test_the_lag_of_a_source_is_the_age_of_its_mark_and_none_without_one(
    watched: Watched, outbox: MemoryOutbox
) -> None:
    history = History(outbox, watched.status)
    for minutes in (0, 5):
        await history.sample_once(now=NOON + timedelta(minutes=minutes))
    lags = {each.part: each.lag_seconds for each in await outbox.samples()}
    assert (lags["sources.b"], lags["sources.new"]) == (300.0, 0.0)


async def test_the_rate_is_of_the_last_minute_or_two(
    watched: Watched, outbox: MemoryOutbox
) -> None:
    history = History(outbox, watched.status, clock=watched.clock)
    assert history.rate("sinks.s", 1000) == 0.0
    for watched.seconds, watched.sent in ((0, 0), (60, 6000), (120, 6060)):
        await history.sample_once(now=NOON)
    watched.seconds = 150
    assert history.rate("sinks.s", 6090) == 1.0
    assert history.rate("sinks.unseen", 5) == 0.0


async def test_want_of_room_costs_a_sample_and_a_broken_store_the_daemon(
    watched: Watched, outbox: MemoryOutbox
) -> None:
    history = History(outbox, watched.status)
    outbox.failures = [TransientError("no room")]
    stop = Stop()
    stopped = watched.status

    async def status_then_stop() -> Status:
        stop.request()
        return await stopped()

    await History(outbox, status_then_stop).run(stop)
    assert await outbox.samples() == []
    outbox.failures = [StoreError("gone")]
    with pytest.raises(StoreError):
        await history.run(Stop())
