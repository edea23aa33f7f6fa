"""The dispatcher under trio's virtual clock: an hour passes in no time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from forwarder.errors import (
    AccessError,
    ForwarderError,
    PermanentError,
    StoreError,
    TransientError,
)
from forwarder.model import Batch, Checkpoint, Receipt, Rejection
from forwarder.options import BatchOptions, RetryOptions, SinkOptions
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.stop import Stop
from forwarder.telemetry import REGISTRY
from tests.fakes.events import event
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.sink import FakeSink

MARK = Checkpoint(mark=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def stored(count: int) -> MemoryOutbox:
    outbox = MemoryOutbox()
    await outbox.register("siem")
    await outbox.append("bitbucket", [event(n) for n in range(1, count + 1)], MARK)
    return outbox


def dispatcher(sink: Any, outbox: MemoryOutbox, **batch: Any) -> Dispatcher:
    options = SinkOptions(batch=BatchOptions(**batch), retry=RetryOptions())
    return Dispatcher("siem", sink, outbox, options)


@asynccontextmanager
async def running(subject: Dispatcher) -> AsyncIterator[Stop]:
    stop = Stop()
    with anyio.fail_after(1_000_000):
        async with anyio.create_task_group() as group:
            group.start_soon(subject.run, stop)
            yield stop
            stop.request()


def ids(*numbers: int) -> list[str]:
    return [event(number).event_id for number in numbers]


async def test_everything_stored_is_delivered_in_order_in_batches() -> None:
    outbox, sink = await stored(25), FakeSink()
    async with running(dispatcher(sink, outbox, events=10)):
        await sink.wait_held(25)
    assert sink.held_ids == ids(*range(1, 26))
    assert [len(batch) for batch in sink.attempts] == [10, 10, 5]
    assert (await outbox.backlog("siem")).events == 0


async def test_the_first_bug_is_an_increase_of_what_was_counted_before() -> None:
    outcome = {"sink": "fresh", "outcome": "bug"}
    Dispatcher("fresh", FakeSink(), MemoryOutbox(), SinkOptions())
    assert REGISTRY.get_sample_value("forwarder_sends_total", outcome) == 0


async def test_an_outage_of_one_hour_loses_nothing_and_doubles_nothing() -> None:
    outbox, sink = await stored(5), FakeSink()
    sink.broken = TransientError("down")
    async with running(dispatcher(sink, outbox)):
        await anyio.sleep(3600)
        assert sink.held == []
        sink.broken = None
        await sink.wait_held(5)
    assert sink.held_ids == ids(1, 2, 3, 4, 5)


async def test_a_failing_sink_is_tried_less_and_less_often_but_at_least_each_maximum() -> None:
    outbox, sink = await stored(1), FakeSink()
    sink.broken = TransientError("down")
    async with running(dispatcher(sink, outbox)):
        await anyio.sleep(86_400)
    assert 86_400 / 60 <= len(sink.attempts) <= 86_400 / 60 * 4


async def test_a_server_that_says_when_to_come_back_is_not_asked_before() -> None:
    outbox = await stored(1)
    sink = FakeSink(TransientError("busy", retry_after=600))
    async with running(dispatcher(sink, outbox)):
        await anyio.sleep(599)
        assert len(sink.attempts) == 1
        await sink.wait_held(1)


async def test_a_revoked_token_pauses_the_sink_and_keeps_everything() -> None:
    outbox, sink = await stored(3), FakeSink()
    sink.broken = AccessError("token revoked", remedy="make a new one")
    subject = dispatcher(sink, outbox)
    async with running(subject):
        await anyio.sleep(3600)
        assert subject.progress.state == "paused"
        assert len(sink.attempts) <= 13  # once each five minutes, not once a second
        note = (await outbox.status()).sinks["siem"].note
        assert note is not None
        assert (note.state, note.error) == ("paused", "token revoked")
        sink.broken = None
        await sink.wait_held(3)
    assert sink.held_ids == ids(1, 2, 3)
    assert subject.progress.state == "running"


async def test_events_refused_by_the_receipt_become_dead_letters_and_the_rest_is_delivered() -> (
    None
):
    outbox, sink = await stored(4), FakeSink(refused=ids(2, 3))
    async with running(dispatcher(sink, outbox)):
        await sink.wait_held(2)
    letters = [letter async for letter in outbox.dead_letters(sink="siem")]
    assert sink.held_ids == ids(1, 4)
    assert [letter.event_id for letter in letters] == ids(2, 3)


class Choking:
    """A sink that takes no batch with a culprit in it, and does not say which event it is."""

    def __init__(self, *culprits: str) -> None:
        self.culprits = set(culprits)
        self.held: list[str] = []

    async def send(self, batch: Batch) -> Receipt:
        given = [each.event_id for each in batch.events]
        if self.culprits.intersection(given):
            raise PermanentError("cannot read this", reason="malformed")
        self.held += given
        return Receipt()

    async def probe(self) -> str:
        return ""


async def test_a_batch_refused_as_a_whole_is_split_down_to_the_culprits() -> None:
    outbox, sink = await stored(100), Choking(*ids(1, 50, 51, 100))
    subject = dispatcher(sink, outbox)
    await subject.dispatch_once()
    letters = [letter async for letter in outbox.dead_letters(sink="siem")]
    assert sorted(sink.held + [letter.event_id for letter in letters]) == ids(*range(1, 101))
    assert [letter.event_id for letter in letters] == ids(1, 50, 51, 100)
    assert {letter.reason for letter in letters} == {"malformed"}
    assert sink.held == sorted(sink.held)


async def test_an_outage_in_the_middle_of_a_split_keeps_what_was_not_settled() -> None:
    outbox = await stored(4)
    sink = FakeSink(
        PermanentError("one of these is bad"), Receipt(), TransientError("down"), Receipt()
    )
    async with running(dispatcher(sink, outbox)):
        await sink.wait_held(4)
    assert sink.held_ids == ids(1, 2, 3, 4)


async def test_a_bug_in_a_sink_neither_kills_the_loop_nor_loses_the_batch() -> None:
    outbox, sink = await stored(2), FakeSink(KeyError("oops"))
    subject = dispatcher(sink, outbox)
    async with running(subject):
        await sink.wait_held(2)
    assert sink.held_ids == ids(1, 2)


async def test_a_store_that_cannot_be_used_stops_the_loop() -> None:
    outbox, sink = await stored(1), FakeSink()
    outbox.failures.append(StoreError("unreadable"))
    with pytest.raises(StoreError):
        await dispatcher(sink, outbox).attempt(Stop())


async def test_a_store_without_room_is_tried_again_and_nothing_is_sent_twice_for_it() -> None:
    outbox, sink = await stored(2), FakeSink()
    outbox.failures += [TransientError("disk full")] * 3
    async with running(dispatcher(sink, outbox, events=1)):
        await anyio.sleep(3600)
    assert sink.held_ids == ids(1, 2)
    assert (await outbox.backlog("siem")).events == 0


class Away(MemoryOutbox):
    """An outbox that is asked in vain whether there is more, while it is away."""

    is_away = False

    async def wait(self, sink: str) -> None:
        if self.is_away:
            raise TransientError("the store cannot be reached")
        await super().wait(sink)


async def test_a_store_that_is_back_is_no_trouble_any_more_though_nothing_comes() -> None:
    outbox = Away()
    outbox.is_away = True
    subject = dispatcher(FakeSink(), outbox)
    async with running(subject):
        await anyio.sleep(600)
        assert subject.progress.state == "retrying"
        outbox.is_away = False
        await anyio.sleep(120)
        assert (subject.progress.state, subject.progress.error) == ("running", "")
        assert (await outbox.status()).sinks["siem"].note.state == "running"


class Unanswered(MemoryOutbox):
    """An outbox that stores what it is given, and whose answer is lost once."""

    is_lost = True

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        await super().settle(sink, batch, receipt, attempts=attempts)
        if self.is_lost:
            self.is_lost = False
            raise TransientError("the connection was lost in the commit")


async def test_a_receipt_that_was_stored_after_all_is_no_trouble_though_nothing_comes() -> None:
    outbox, sink = Unanswered(), FakeSink()
    await outbox.append("bitbucket", [event(1)], MARK)
    subject = dispatcher(sink, outbox)
    async with running(subject):
        await anyio.sleep(3600)
        assert subject.progress.state == "running"
    assert sink.held_ids == ids(1)


async def test_a_batch_waits_for_more_until_it_is_old_enough() -> None:
    outbox, sink = await stored(1), FakeSink()
    async with running(dispatcher(sink, outbox, events=10, age="30s")):
        await anyio.sleep(29)
        assert sink.attempts == []
        await outbox.append("bitbucket", [event(2)], MARK)
        await sink.wait_held(2)
    assert [len(batch) for batch in sink.attempts] == [2]


async def test_a_full_batch_does_not_wait() -> None:
    outbox, sink = await stored(10), FakeSink()
    async with running(dispatcher(sink, outbox, events=10, age="1h")):
        with anyio.fail_after(1):
            await sink.wait_held(10)


async def test_a_new_event_is_sent_at_once_to_an_idle_sink() -> None:
    outbox, sink = await stored(0), FakeSink()
    async with running(dispatcher(sink, outbox)):
        await anyio.sleep(3600)
        began = anyio.current_time()
        await outbox.append("bitbucket", [event(1)], MARK)
        await sink.wait_held(1)
        assert anyio.current_time() - began < 0.1


async def test_a_sink_that_asks_for_a_pause_gets_it_and_nothing_is_sent_again() -> None:
    outbox, sink = await stored(2), FakeSink(Receipt(slow_down=300))
    async with running(dispatcher(sink, outbox, events=1)):
        await anyio.sleep(299)
        assert sink.held_ids == ids(1)
        await sink.wait_held(2)
    assert sink.held_ids == ids(1, 2)


@pytest.mark.parametrize("error", [TransientError("down"), AccessError("denied"), None])
async def test_a_stop_ends_the_loop_at_once_however_long_it_would_wait(
    error: ForwarderError | None,
) -> None:
    outbox, sink = await stored(1 if error else 0), FakeSink()
    sink.broken = error
    async with running(dispatcher(sink, outbox)) as stop:
        await anyio.sleep(400)
        began = anyio.current_time()
        stop.request()
    assert anyio.current_time() == began


async def test_a_stop_lets_the_batch_in_flight_be_settled() -> None:
    outbox, sink = await stored(1), FakeSink()
    sink.hold()
    async with running(dispatcher(sink, outbox)) as stop:
        await sink.wait_attempts(1)
        stop.request()
        await anyio.sleep(1)
        sink.release()
    assert (await outbox.backlog("siem")).events == 0


async def test_a_dead_letter_says_how_often_it_was_tried() -> None:
    outbox = await stored(1)
    refusal = Receipt((Rejection(event(1).event_id, "too_old", "over 14 days"),))
    sink = FakeSink(TransientError("down"), TransientError("down"), refusal)
    async with running(dispatcher(sink, outbox)):
        await anyio.sleep(3600)
    (letter,) = [letter async for letter in outbox.dead_letters(sink="siem")]
    assert (letter.attempts, letter.reason) == (3, "too_old")
