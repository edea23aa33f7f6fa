"""The Sink contract: every sink passes it, the fake included; see destination.py."""

import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import anyio
import msgspec
import pytest

from forwarder.errors import AccessError, PermanentError, Reason, TransientError
from forwarder.interfaces import Sink
from forwarder.model import Batch, Rejection
from tests.contract.destination import Destination, Lever
from tests.fakes.events import batch, event, ids, numbered
from tests.fakes.memory import FakeMemory

SINKS = {
    path.stem: importlib.import_module(f"tests.contract.sinks.{path.stem}")
    for path in sorted((Path(__file__).parent / "sinks").glob("*.py"))
}


def with_lever(*levers: Lever) -> pytest.MarkDecorator:
    """Run a test on the destinations that have these levers."""
    able = [name for name, module in SINKS.items() if set(levers) <= module.LEVERS]
    return pytest.mark.parametrize("module", [SINKS[name] for name in able], ids=able)


every_sink = with_lever()


@pytest.fixture
async def destination(module: ModuleType, tmp_path: Path) -> AsyncIterator[Destination]:
    async with module.destination(tmp_path) as opened:
        yield opened


@pytest.fixture
def memory() -> FakeMemory:
    return FakeMemory()


async def deliver(
    sink: Sink, sent: Batch, memory: FakeMemory, *, tries: int = 3
) -> list[Rejection]:
    """Do what the dispatcher does with a batch; return what is refused for good."""
    try:
        receipt = await sink.send(sent)
    except TransientError:
        if tries == 1:
            raise
        return await deliver(sink, sent, memory, tries=tries - 1)
    except PermanentError as error:
        if len(sent) == 1:
            return [Rejection(sent.events[0].event_id, error.reason, str(error))]
        middle = len(sent) // 2
        first = await deliver(sink, sent.part(0, middle), memory)
        return first + await deliver(sink, sent.part(middle, len(sent)), memory)
    if receipt.memo is not None:
        await memory.save(receipt.memo)
    return list(receipt.rejections)


def without_doubles(held: object) -> list[str]:
    return list(dict.fromkeys(held))  # type: ignore[call-overload]


@every_sink
async def test_a_batch_that_was_taken_is_held_whole_and_in_order(destination, memory):
    sent = numbered(25)
    async with destination.open(memory) as sink:
        rejections = await deliver(sink, sent, memory)
    assert rejections == []
    assert await destination.held(25) == ids(sent)


@every_sink
async def test_batches_are_held_in_the_order_in_which_they_were_sent(destination, memory):
    first, second, third = numbered(3), numbered(1, first=4), numbered(5, first=5)
    async with destination.open(memory) as sink:
        for sent in (first, second, third):
            await deliver(sink, sent, memory)
    assert await destination.held(9) == ids(first) + ids(second) + ids(third)


@every_sink
async def test_a_sink_opened_again_goes_on_where_the_first_ended(destination, memory):
    first, second = numbered(3), numbered(3, first=4)
    async with destination.open(memory) as sink:
        await deliver(sink, first, memory)
    async with destination.open(memory) as sink:
        await deliver(sink, second, memory)
    assert await destination.held(6) == ids(first) + ids(second)


@every_sink
async def test_a_batch_sent_again_after_a_restart_is_not_lost(destination, memory):
    sent = numbered(5)
    async with destination.open(memory) as sink:
        await sink.send(sent)  # the crash comes before the receipt is settled
    async with destination.open(memory) as sink:
        await deliver(sink, sent, memory)
    assert without_doubles(await destination.held(5)) == ids(sent)


@every_sink
async def test_a_longer_batch_from_the_same_event_on_is_held_whole(destination, memory):
    async with destination.open(memory) as sink:
        await sink.send(numbered(3))
    async with destination.open(memory) as sink:
        await deliver(sink, numbered(7), memory)
    assert sorted(set(await destination.held(7))) == ids(numbered(7))


@every_sink
async def test_a_shorter_batch_from_the_same_event_on_loses_nothing(destination, memory):
    async with destination.open(memory) as sink:
        await sink.send(numbered(7))
    async with destination.open(memory) as sink:
        await deliver(sink, numbered(3), memory)
        await deliver(sink, numbered(4, first=4), memory)
    assert sorted(set(await destination.held(7))) == ids(numbered(7))


@every_sink
async def test_a_send_cancelled_at_its_first_await_can_be_sent_again(destination, memory):
    sent = numbered(5)
    async with destination.open(memory) as sink:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await sink.send(sent)
        await deliver(sink, sent, memory)
    assert without_doubles(await destination.held(5)) == ids(sent)


@every_sink
async def test_hostile_text_arrives_as_one_event(destination, memory):
    hostile = 'a"b\\c\r\nd\te\x00f\x1b[31mg\u2028h\u202ei]=|}{"event":1}\U0001f600'
    sent = batch(
        event(1),
        event(2, action=hostile, original=msgspec.Raw(msgspec.json.encode({hostile: hostile}))),
        event(3),
    )
    async with destination.open(memory) as sink:
        await deliver(sink, sent, memory)
    assert await destination.held(3) == ids(sent)


@every_sink
async def test_a_very_large_event_is_held_or_refused_but_never_passed_over(destination, memory):
    huge = msgspec.Raw(msgspec.json.encode({"text": "x" * 6_000_000}))
    sent = batch(event(1), event(2, original=huge), event(3))
    async with destination.open(memory) as sink:
        rejections = await deliver(sink, sent, memory)
    accounted = {rejection.event_id for rejection in rejections}
    held = await destination.held(3 - len(accounted))
    assert accounted.isdisjoint(held)
    assert accounted | set(held) == set(ids(sent))
    assert {rejection.reason for rejection in rejections} <= {"too_large"}


@every_sink
async def test_a_probe_says_one_line_and_delivers_nothing(destination, memory):
    async with destination.open(memory) as sink:
        said = await sink.probe()
        assert said
        assert said.splitlines() == [said]
        await deliver(sink, numbered(1), memory)
    assert await destination.held(1) == ids(numbered(1))


@with_lever("break_down")
async def test_a_breakdown_is_transient_and_the_batch_can_be_sent_again(destination, memory):
    sent = numbered(5)
    async with destination.open(memory) as sink:
        await destination.break_down()
        with pytest.raises(TransientError):
            await sink.send(sent)
        with pytest.raises(TransientError):
            await sink.send(sent)
        await destination.recover()
        await deliver(sink, sent, memory)
    assert without_doubles(await destination.held(5)) == ids(sent)


@with_lever("break_down")
async def test_a_probe_of_what_is_broken_is_transient(destination, memory):
    async with destination.open(memory) as sink:
        await destination.break_down()
        with pytest.raises(TransientError):
            await sink.probe()


@with_lever("lock_out")
async def test_a_lock_out_holds_the_batch_and_says_what_to_do(destination, memory):
    sent = numbered(5)
    async with destination.open(memory) as sink:
        await destination.lock_out()
        with pytest.raises(AccessError) as caught:
            await sink.send(sent)
        assert caught.value.remedy
        await destination.recover()
        await deliver(sink, sent, memory)
    assert without_doubles(await destination.held(5)) == ids(sent)


@with_lever("lock_out")
async def test_a_probe_of_what_is_locked_says_what_to_do(destination, memory):
    async with destination.open(memory) as sink:
        await destination.lock_out()
        with pytest.raises(AccessError) as caught:
            await sink.probe()
    assert caught.value.remedy


@with_lever("refuse")
@pytest.mark.parametrize("culprit", [1, 4, 7], ids=["first", "middle", "last"])
async def test_one_refused_event_is_named_and_all_others_are_held(destination, memory, culprit):
    sent = numbered(7)
    refused = event(culprit).event_id
    await destination.refuse(refused)
    async with destination.open(memory) as sink:
        rejections = await deliver(sink, sent, memory)
    assert [rejection.event_id for rejection in rejections] == [refused]
    assert rejections[0].reason in get_args(Reason)
    assert rejections[0].detail
    held = await destination.held(6)
    assert without_doubles(held) == [each for each in ids(sent) if each != refused]


@with_lever("refuse")
async def test_a_batch_of_refused_events_alone_is_refused_event_by_event(destination, memory):
    sent = numbered(2)
    for each in ids(sent):
        await destination.refuse(each)
    async with destination.open(memory) as sink:
        rejections = await deliver(sink, sent, memory)
    assert [rejection.event_id for rejection in rejections] == ids(sent)
    assert await destination.held(0) == []
