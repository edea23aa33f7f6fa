"""Near the store's limit, under trio's virtual clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import trio.testing

from forwarder.model import Checkpoint, Event, EventFilter, Receipt, Unreadable
from forwarder.options import SourceOptions
from forwarder.pipeline.janitor import Janitor
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.pressure import Pressure
from forwarder.pipeline.progress import HoldError
from forwarder.pipeline.stop import Stop
from tests.fakes.events import event
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.source import FakeSource, make_page

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SIZE = 1600
"""Bytes of one event in memory, and a little more."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def event_at(number: int, at: datetime) -> Event:
    return event(number, occurred_at=at, event_id=f"{number:032x}")


async def outbox_of(count: int, clock: Clock, *, at: datetime = NOW) -> MemoryOutbox:
    """Return an outbox that `count` events fill to 95 %."""
    outbox = MemoryOutbox(now=clock)
    await outbox.register("siem")
    some = [event_at(n, at) for n in range(1, count + 1)]
    await outbox.append("bitbucket", some, Checkpoint(at))
    outbox.capacity = int(await outbox.size() / 0.95)
    return outbox


async def deliver(outbox: MemoryOutbox) -> None:
    while batch := await outbox.read("siem", limit=100, max_bytes=10**9):
        await outbox.settle("siem", batch, Receipt())


async def held(outbox: MemoryOutbox) -> int:
    return len([each async for each in outbox.events(EventFilter())])


def pressure(outbox: MemoryOutbox, *, letters: int = 100) -> Pressure:
    janitor = Janitor(
        outbox, retention=30 * 86400.0, rereads={"bitbucket": 86400.0}, sinks=["siem"]
    )
    return Pressure(outbox, janitor, letters=letters)


@asynccontextmanager
async def polling(
    source: FakeSource, outbox: MemoryOutbox, subject: Pressure
) -> AsyncIterator[Poller]:
    stop = Stop()
    poller = Poller("bitbucket", source, normalize, outbox, SourceOptions(), subject)
    with anyio.fail_after(100_000):
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run, stop)
            yield poller
            stop.request()


async def test_a_poller_without_room_asks_for_nothing_and_says_so() -> None:
    outbox = await outbox_of(100, Clock())
    source = FakeSource(make_page(1))
    async with polling(source, outbox, pressure(outbox)) as poller:
        await anyio.sleep(3600)
        assert source.asked == []
        assert poller.progress.state == "waiting"
        assert poller.progress.error.startswith("waiting for room")
        assert poller.progress.remedy
        assert not poller.progress.stuck
        note = (await outbox.status()).sources["bitbucket"].note
        assert note
        assert note.state == "waiting"
    assert await held(outbox) == 100


async def test_it_goes_on_by_itself_once_there_is_more_room() -> None:
    outbox = await outbox_of(100, Clock())
    source = FakeSource(make_page(1))
    async with polling(source, outbox, pressure(outbox)) as poller:
        await anyio.sleep(3600)
        assert outbox.capacity
        outbox.capacity *= 2
        await anyio.sleep(5)
        assert poller.progress.state == "running"
    assert await held(outbox) == 101


async def test_it_goes_on_by_itself_once_what_was_owed_is_delivered() -> None:
    """The events are from before what is read again; their retention is far from over."""
    clock = Clock()
    outbox = await outbox_of(100, clock, at=NOW - 3 * DAY)
    clock.now += 2 * DAY
    await outbox.append("bitbucket", [], Checkpoint(NOW + 2 * DAY))
    source = FakeSource(make_page(1))
    async with polling(source, outbox, pressure(outbox)) as poller:
        await anyio.sleep(3600)
        assert poller.progress.state == "waiting"
        await deliver(outbox)
        await anyio.sleep(5)
        assert poller.progress.state == "running"


async def test_a_source_that_is_not_read_keeps_what_is_delivered_and_is_named_as_a_cause() -> None:
    """A renamed source will read again what its events came from, so they are remembered."""
    clock = Clock()
    outbox = await outbox_of(100, clock)
    clock.now += 90 * DAY
    await deliver(outbox)
    await outbox.append("bitbucket", [], Checkpoint(clock.now))
    rereads = {"bitbucket": 86400.0, "refused": 86400.0}
    janitor = Janitor(outbox, retention=30 * 86400.0, rereads=rereads, sinks=["siem"])
    with pytest.raises(HoldError) as caught:
        await Pressure(outbox, janitor, letters=100).admit()
    assert "every source is read" in caught.value.remedy
    assert await held(outbox) == 100


async def test_delivered_events_are_forgotten_early_but_not_those_that_are_read_again() -> None:
    clock = Clock()
    outbox = await outbox_of(60, clock, at=NOW)
    clock.now += 3 * DAY
    young = [event_at(n, clock.now) for n in range(61, 101)]
    await outbox.append("bitbucket", young, Checkpoint(clock.now))
    await deliver(outbox)
    outbox.capacity = int(await outbox.size() / 0.95)
    await pressure(outbox).admit()
    kept = [each.event_id async for _, each in outbox.events(EventFilter())]
    assert kept == [each.event_id for each in young]


async def test_nothing_is_forgotten_early_while_there_is_room() -> None:
    clock = Clock()
    outbox = await outbox_of(100, clock)
    await outbox.append("bitbucket", [], Checkpoint(NOW + 10 * DAY))
    await deliver(outbox)
    clock.now += 10 * DAY
    outbox.capacity = int(await outbox.size() / 0.85)
    await pressure(outbox).admit()
    assert await held(outbox) == 100


async def test_a_long_catch_up_stops_between_two_pages_and_goes_on_where_it_was() -> None:
    outbox = MemoryOutbox(capacity=50 * SIZE)
    pages = [make_page(*range(n, n + 10)) for n in range(1, 201, 10)]
    source = FakeSource(*pages)
    async with polling(source, outbox, pressure(outbox)) as poller:
        await anyio.sleep(3600)
        assert poller.progress.state == "waiting"
        stored = await held(outbox)
        assert 0 < stored < 200
        assert await outbox.size() <= outbox.capacity
        outbox.capacity = 10**9
        await anyio.sleep(60)
    assert await held(outbox) == 200


async def test_unreadable_records_past_their_limit_pause_the_source_and_none_is_dropped() -> None:
    outbox = MemoryOutbox()
    page = make_page(1, unreadable=(Unreadable(b"a", "?"), Unreadable(b"b", "?")))
    after = make_page(2, unreadable=(Unreadable(b"c", "?"),))
    source = FakeSource(page, after)
    async with polling(source, outbox, pressure(outbox, letters=2)) as poller:
        await anyio.sleep(3600)
        assert poller.progress.state == "paused"
        assert "2 records could not be read" in poller.progress.error
        assert await outbox.checkpoint("bitbucket") == page.checkpoint
        await outbox.discard_letters([1])
        await anyio.sleep(5)
        assert poller.progress.state == "running"
    assert [letter.body async for letter in outbox.dead_letters()] == [b"b", b"c"]
