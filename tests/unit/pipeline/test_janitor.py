from datetime import UTC, datetime, timedelta

from forwarder.model import Checkpoint, EventFilter, Receipt
from forwarder.pipeline.janitor import Janitor
from tests.fakes.events import event
from tests.fakes.outbox import MemoryOutbox

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def held(outbox: MemoryOutbox) -> list[str]:
    return [each.event_id async for _, each in outbox.events(EventFilter())]


async def outbox_with(clock: Clock, count: int, *, mark: datetime, delivered: bool) -> MemoryOutbox:
    outbox = MemoryOutbox(now=clock)
    await outbox.register("siem")
    events = [event(n, occurred_at=clock.now) for n in range(1, count + 1)]
    await outbox.append("bitbucket", events, Checkpoint(mark=mark))
    if delivered:
        batch = await outbox.read("siem", limit=100, max_bytes=10**6)
        assert batch
        await outbox.settle("siem", batch, Receipt())
    return outbox


def janitor(outbox: MemoryOutbox, *sinks: str, rereads: float = 86400.0) -> Janitor:
    return Janitor(
        outbox,
        retention=30 * 86400.0,
        rereads={"bitbucket": rereads},
        sinks=sinks or ("siem",),
    )


async def test_what_is_delivered_and_past_retention_is_forgotten() -> None:
    clock = Clock()
    outbox = await outbox_with(clock, 3, mark=NOW + 40 * DAY, delivered=True)
    assert await janitor(outbox).tidy_once(now=NOW + 29 * DAY) == 0
    assert await janitor(outbox).tidy_once(now=NOW + 31 * DAY) == 3
    assert await held(outbox) == []


async def test_what_one_sink_has_not_taken_is_kept_for_ever() -> None:
    clock = Clock()
    outbox = await outbox_with(clock, 3, mark=NOW + 400 * DAY, delivered=True)
    await outbox.register("archive")
    subject = janitor(outbox, "siem", "archive")
    assert await subject.tidy_once(now=NOW + 400 * DAY) == 0
    assert len(await held(outbox)) == 3


async def test_what_a_source_will_read_again_is_remembered_however_old_it_is() -> None:
    """Bitbucket was away for two months: the next poll reads again what lies around the mark."""
    clock = Clock()
    outbox = await outbox_with(clock, 3, mark=NOW + 1 * DAY, delivered=True)
    assert await janitor(outbox).tidy_once(now=NOW + 60 * DAY) == 0
    assert len(await held(outbox)) == 3


async def test_a_clock_that_jumps_a_year_ahead_forgets_nothing() -> None:
    clock = Clock()
    outbox = await outbox_with(clock, 3, mark=NOW, delivered=True)
    assert await janitor(outbox).tidy_once(now=NOW + 365 * DAY) == 0


async def test_nothing_is_forgotten_before_the_first_poll() -> None:
    outbox = MemoryOutbox()
    assert await janitor(outbox).tidy_once(now=NOW) == 0
