"""What is sent again beside what is new, under trio's virtual clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trio.testing

from forwarder.errors import PermanentError, TransientError
from forwarder.model import Checkpoint, EventFilter, Receipt
from forwarder.options import BatchOptions, SinkOptions
from forwarder.pipeline.dispatcher import REPLAYED_AT_ONCE, Dispatcher
from forwarder.pipeline.stop import Stop
from tests.fakes.events import event
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.sink import FakeSink

MARK = Checkpoint(mark=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def ids(*numbers: int) -> list[str]:
    return [event(number).event_id for number in numbers]


async def delivered(count: int) -> MemoryOutbox:
    """Return an outbox from which the sink has taken `count` events."""
    outbox = MemoryOutbox()
    await store(outbox, *range(1, count + 1))
    batch = await outbox.read("siem", limit=count, max_bytes=10**9)
    assert batch
    await outbox.settle("siem", batch, Receipt())
    return outbox


async def store(outbox: MemoryOutbox, *numbers: int) -> None:
    await outbox.append("bitbucket", [event(n) for n in numbers], MARK)


async def replay(outbox: MemoryOutbox) -> None:
    await outbox.ask_replay(await outbox.plan_replay("siem", EventFilter()))


def dispatcher(sink: Any, outbox: MemoryOutbox, *, letters: int = 100, **batch: Any) -> Dispatcher:
    return Dispatcher(
        "siem", sink, outbox, SinkOptions(batch=BatchOptions(**batch)), letters=letters
    )


@asynccontextmanager
async def running(subject: Dispatcher) -> AsyncIterator[Stop]:
    stop = Stop()
    with anyio.fail_after(1_000_000):
        async with anyio.create_task_group() as group:
            group.start_soon(subject.run, stop)
            yield stop
            stop.request()


async def test_a_replay_is_sent_by_an_idle_sink_at_once_and_in_small_batches() -> None:
    outbox, sink = await delivered(1200), FakeSink()
    async with running(dispatcher(sink, outbox, events=1000)):
        await anyio.sleep(60)
        await replay(outbox)
        await sink.wait_held(1200)
    assert [len(batch) for batch in sink.attempts] == [REPLAYED_AT_ONCE, REPLAYED_AT_ONCE, 200]
    assert sink.held_ids == ids(*range(1, 1201))


async def test_what_is_new_and_what_is_sent_again_take_turns() -> None:
    outbox, sink = await delivered(4), FakeSink()
    await replay(outbox)
    await store(outbox, 5, 6, 7, 8)
    async with running(dispatcher(sink, outbox, events=2)):
        await sink.wait_held(8)
    assert sink.held_ids == ids(5, 6, 1, 2, 7, 8, 3, 4)
    assert (await outbox.backlog("siem")).events == 0


async def test_what_comes_during_a_replay_waits_for_one_batch_at_most() -> None:
    outbox, sink = await delivered(100), FakeSink()
    await replay(outbox)
    sink.hold()
    async with running(dispatcher(sink, outbox, events=10)):
        await sink.wait_attempts(1)
        await store(outbox, 101)
        sink.release()
        await sink.wait_held(101)
    assert sink.held_ids.index(event(101).event_id) == 10


@pytest.mark.parametrize("first", [[], [5]])
async def test_after_a_failure_the_same_batch_comes_again_whatever_came_meanwhile(
    first: list[int],
) -> None:
    outbox = await delivered(2)
    sink = FakeSink(TransientError("down"), TransientError("down"))
    if first:
        await store(outbox, *first)
    else:
        await replay(outbox)
    async with running(dispatcher(sink, outbox)):
        await sink.wait_attempts(1)
        if first:
            await replay(outbox)
        else:
            await store(outbox, 5)
        await sink.wait_held(3)
    assert sink.attempts[0] == sink.attempts[1] == sink.attempts[2]


async def test_a_replay_goes_on_after_a_restart_where_it_was() -> None:
    outbox, sink = await delivered(6), FakeSink()
    await replay(outbox)
    subject = dispatcher(sink, outbox, events=2)
    await subject.dispatch_once()
    async with running(dispatcher(sink, outbox, events=2)):
        await sink.wait_held(6)
        await anyio.sleep(60)
    assert sink.held_ids == ids(1, 2, 3, 4, 5, 6)


async def test_a_culprit_in_a_replay_is_found_and_buried_alone() -> None:
    class Choking(FakeSink):
        async def send(self, batch: Any) -> Receipt:
            if event(2).event_id in [each.event_id for each in batch.events]:
                raise PermanentError("cannot read this", reason="malformed")
            return await super().send(batch)

    outbox, sink = await delivered(3), Choking()
    await replay(outbox)
    async with running(dispatcher(sink, outbox)):
        await sink.wait_held(2)
    assert sink.held_ids == ids(1, 3)
    assert [letter.event_id async for letter in outbox.dead_letters(sink="siem")] == ids(2)


async def test_a_replay_does_not_wait_for_a_batch_to_fill() -> None:
    outbox, sink = await delivered(3), FakeSink()
    async with running(dispatcher(sink, outbox, events=10, age="1h")):
        await anyio.sleep(1)
        began = anyio.current_time()
        await replay(outbox)
        await sink.wait_held(3)
        assert anyio.current_time() - began < 1


async def test_a_replay_that_is_called_off_in_mid_batch_moves_nothing() -> None:
    outbox, sink = await delivered(3), FakeSink()
    await replay(outbox)
    sink.hold()
    async with running(dispatcher(sink, outbox)):
        await sink.wait_attempts(1)
        assert await outbox.cancel_replays("siem") == 3
        sink.release()
        await anyio.sleep(60)
    assert len(sink.attempts) == 1
    assert (await outbox.backlog("siem")).events == 0


async def full_of_letters(sink: FakeSink) -> MemoryOutbox:
    """Return an outbox with two dead letters of `sink` and two events that it has not had."""
    sink.refused = set(ids(1, 2))
    outbox = MemoryOutbox()
    await store(outbox, 1, 2)
    await dispatcher(sink, outbox).dispatch_once()
    await store(outbox, 3, 4)
    sink.refused = set()
    return outbox


async def test_a_sink_with_too_many_dead_letters_pauses_and_drops_nothing() -> None:
    sink = FakeSink()
    outbox = await full_of_letters(sink)
    subject = dispatcher(sink, outbox, letters=2)
    async with running(subject):
        await anyio.sleep(3600)
        assert subject.progress.state == "paused"
        assert "2 dead letters" in subject.progress.error
        assert "dead-letters list --sink siem" in subject.progress.remedy
        assert sink.held == []
        assert (await outbox.backlog("siem")).events == 2


@pytest.mark.parametrize("how", ["discard", "replay"])
async def test_it_goes_on_by_itself_once_they_are_replayed_or_discarded(how: str) -> None:
    sink = FakeSink()
    outbox = await full_of_letters(sink)
    subject = dispatcher(sink, outbox, letters=2)
    async with running(subject):
        await anyio.sleep(3600)
        began = anyio.current_time()
        if how == "discard":
            await outbox.discard_letters([1])
        else:
            await outbox.ask_letters([1, 2])
        expected = ids(3, 4) if how == "discard" else ids(1, 2, 3, 4)
        await sink.wait_held(len(expected))
        assert anyio.current_time() - began < 10
        await anyio.sleep(1)
        assert subject.progress.state == "running"
    assert sink.held_ids == expected


async def test_the_limit_is_passed_by_one_batch_at_most() -> None:
    outbox, sink = MemoryOutbox(), FakeSink(refused=ids(*range(1, 31)))
    await store(outbox, *range(1, 31))
    async with running(dispatcher(sink, outbox, letters=15, events=10)):
        await anyio.sleep(3600)
    assert len([letter async for letter in outbox.dead_letters()]) == 20
    assert (await outbox.backlog("siem")).events == 10
