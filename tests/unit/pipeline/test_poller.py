"""The poller under trio's virtual clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
import trio
import trio.testing
from msgspec.structs import replace

from forwarder.errors import AccessError, StoreError, TransientError
from forwarder.model import Event, EventFilter, Record, Unreadable
from forwarder.options import RetryOptions, SourceOptions
from forwarder.pipeline.poller import Polled, Poller
from forwarder.pipeline.progress import STUCK_AFTER, Progress
from forwarder.pipeline.stop import Stop
from forwarder.telemetry import REGISTRY
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.source import FakeSource, make_page, make_record


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def poller(source: FakeSource, outbox: MemoryOutbox, normalizer: Any = normalize) -> Poller:
    return Poller("bitbucket", source, normalizer, outbox, SourceOptions())


@asynccontextmanager
async def running(subject: Poller) -> AsyncIterator[Stop]:
    stop = Stop()
    async with anyio.create_task_group() as group:
        group.start_soon(subject.run, stop)
        yield stop
        stop.request()


async def stored(outbox: MemoryOutbox) -> list[str]:
    return [event.event_id async for _, event in outbox.events(EventFilter())]


def ids(*numbers: int) -> list[str]:
    return [make_record(number).event_id for number in numbers]


async def test_a_poll_stores_every_page_and_the_last_checkpoint() -> None:
    source, outbox = FakeSource(make_page(1, 2), make_page(3)), MemoryOutbox()
    polled = await poller(source, outbox).poll_once()
    assert polled == Polled(pages=2, records=3, stored=3)
    assert await stored(outbox) == ids(1, 2, 3)
    assert await outbox.checkpoint("bitbucket") == make_page(3).checkpoint


async def test_the_first_bug_is_an_increase_of_what_was_counted_before() -> None:
    outcome = {"source": "fresh", "outcome": "bug"}
    Poller("fresh", FakeSource(), normalize, MemoryOutbox(), SourceOptions())
    assert REGISTRY.get_sample_value("forwarder_polls_total", outcome) == 0


async def test_an_error_between_two_pages_keeps_the_first_and_goes_on_behind_it() -> None:
    source = FakeSource(make_page(1), TransientError("away"), make_page(2))
    outbox = MemoryOutbox()
    async with running(poller(source, outbox)):
        await anyio.sleep(3600)
    assert await stored(outbox) == ids(1, 2)
    assert source.asked[:2] == [None, make_page(1).checkpoint]


async def test_records_read_again_are_not_stored_again() -> None:
    source, outbox = FakeSource(make_page(1, 2, mark=2), make_page(1, 2, 3, mark=3)), MemoryOutbox()
    polled = await poller(source, outbox).poll_once()
    assert (polled.records, polled.stored) == (5, 3)
    assert await stored(outbox) == ids(1, 2, 3)


async def test_a_source_is_asked_each_interval() -> None:
    source, outbox = FakeSource(make_page(1)), MemoryOutbox()
    async with running(poller(source, outbox)):
        await anyio.sleep(301)
    assert len(source.asked) == 11


async def test_a_log_in_page_pauses_the_source_so_that_no_account_is_locked() -> None:
    source = FakeSource(*[AccessError("log-in page")] * 3, make_page(1))
    outbox = MemoryOutbox()
    subject = poller(source, outbox)
    async with running(subject):
        await anyio.sleep(899)
        assert subject.progress.state == "paused"
        assert len(source.asked) == 3
        await anyio.sleep(10)
        assert subject.progress.state == "running"
    assert await stored(outbox) == ids(1)


async def test_an_unreadable_record_is_buried_as_it_came_and_the_mark_moves_on() -> None:
    page = make_page(1, unreadable=(Unreadable(b"{broken", "no timestamp"),))
    source, outbox = FakeSource(page), MemoryOutbox()
    polled = await poller(source, outbox).poll_once()
    (letter,) = [letter async for letter in outbox.dead_letters()]
    assert (letter.body, letter.reason, letter.detail) == (b"{broken", "unreadable", "no timestamp")
    assert polled.unreadable == 1
    assert await outbox.checkpoint("bitbucket") == page.checkpoint


async def test_an_unreadable_record_that_is_read_again_is_told_once() -> None:
    first, second = Unreadable(b"{broken", "no timestamp"), Unreadable(b"7", "it is no JSON object")
    pages = [
        make_page(mark=mark, unreadable=some)
        for mark, some in enumerate([(first,), (first,), (second, first)], 1)
    ]
    with structlog.testing.capture_logs() as logs:
        polled = await poller(FakeSource(*pages), MemoryOutbox()).poll_once()
    told = [one["detail"] for one in logs if one["event"] == "record.buried"]
    assert told == [first.detail, second.detail]
    assert polled.unreadable == 2


async def detail_of_the_second(normalizer: Any) -> str:
    """Return why the second of three records was buried; the others are stored."""
    source, outbox = FakeSource(make_page(1, 2, 3)), MemoryOutbox()
    await poller(source, outbox, normalizer).poll_once()
    (letter,) = [letter async for letter in outbox.dead_letters()]
    assert letter.body == b'{"number":2}'
    assert await stored(outbox) == ids(1, 3)
    return letter.detail


async def test_a_record_on_which_the_normalizer_fails_is_buried_alone() -> None:
    def picky(record: Record, *, source: str) -> Event:
        if record.event_id in ids(2):
            raise KeyError("surprise")
        return normalize(record, source=source)

    assert "KeyError" in await detail_of_the_second(picky)


async def test_a_record_whose_event_cannot_be_written_is_buried_alone() -> None:
    def generous(record: Record, *, source: str) -> Event:
        event = normalize(record, source=source)
        return replace(event, node="\ud800") if record.event_id in ids(2) else event

    assert "UnicodeEncodeError" in await detail_of_the_second(generous)


async def test_a_disk_without_room_stores_nothing_of_a_page_and_later_all_of_it() -> None:
    source, outbox = FakeSource(make_page(1, 2)), MemoryOutbox()
    outbox.failures.append(TransientError("disk full"))
    async with running(poller(source, outbox)):
        await anyio.lowlevel.checkpoint()
        assert await outbox.checkpoint("bitbucket") is None
        await anyio.sleep(3600)
    assert await stored(outbox) == ids(1, 2)


async def test_a_bug_in_a_source_does_not_end_its_loop() -> None:
    source, outbox = FakeSource(ZeroDivisionError(), make_page(1)), MemoryOutbox()
    async with running(poller(source, outbox)):
        await anyio.sleep(3600)
    assert await stored(outbox) == ids(1)


async def test_a_store_that_cannot_be_used_stops_the_loop() -> None:
    source, outbox = FakeSource(make_page(1)), MemoryOutbox()
    outbox.failures.append(StoreError("unreadable"))
    with pytest.raises(StoreError):
        await poller(source, outbox).attempt(0)


async def test_catching_up_ends_after_the_first_poll_that_reads_to_the_end() -> None:
    source = FakeSource(TransientError("away"), TransientError("away"), make_page(1))
    outbox = MemoryOutbox()
    await poller(source, outbox).catch_up(Stop())
    assert await stored(outbox) == ids(1)


async def test_a_loop_is_stuck_when_it_has_not_moved_for_long_unless_it_waits() -> None:
    now = 0.0
    progress = Progress("source", "bitbucket", RetryOptions(), clock=lambda: now)
    now = STUCK_AFTER + 1
    assert progress.stuck
    with progress.idle():
        assert not progress.stuck
    assert not progress.stuck
