"""Parts that cannot be opened yet, and the look at their files, under trio's virtual clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio.testing

from forwarder.app.parts import Key, Part, Parts
from forwarder.app.rotation import Rotation
from forwarder.errors import ConfigError, TransientError
from forwarder.interfaces import Outbox
from forwarder.options import SinkOptions
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.stop import Stop
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.sink import FakeSink


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def sink(failures: list[Exception], *settings: str) -> Part:
    """Return a sink that cannot be opened as often as there are failures."""

    @asynccontextmanager
    async def opened(outbox: Outbox) -> AsyncIterator[Dispatcher]:
        if failures:
            raise failures.pop(0)
        yield Dispatcher("siem", FakeSink(), outbox, SinkOptions(), letters=1)

    return Part(("sink", "siem"), settings, opened, lambda: opened(MemoryOutbox()))


async def test_a_part_is_tried_until_its_files_are_there_and_the_store_has_room() -> None:
    failures = [ConfigError(["no certificate"]), TransientError("no room"), TransientError("no")]
    async with anyio.create_task_group() as group:
        parts = Parts(group)
        await parts.put(sink(failures), MemoryOutbox(), patience=1)
        with anyio.fail_after(60):
            while not parts.loops:
                await anyio.sleep(1)
        assert [loop.name for loop in parts.loops] == ["siem"]
        group.cancel_scope.cancel()
    assert not failures


async def test_a_part_that_cannot_be_opened_keeps_no_other_in_its_place_waiting() -> None:
    failures: list[Exception] = [TransientError("no room")] * 1000
    mistaken, mended = sink(failures, "mistaken"), sink([], "mended")
    async with anyio.create_task_group() as group:
        parts = Parts(group)
        with anyio.fail_after(60):
            await parts.put(mistaken, MemoryOutbox(), patience=1)
            assert parts.open_parts == {mistaken.key: mistaken}
            await parts.put(mended, MemoryOutbox(), patience=1)
        tried = len(failures)
        await anyio.sleep(60)
        assert parts.open_parts == {mended.key: mended}
        assert len(failures) == tried
        group.cancel_scope.cancel()


async def test_a_part_that_cannot_be_opened_is_tried_no_more_once_it_is_removed() -> None:
    failures: list[Exception] = [TransientError("no room")]
    part = sink(failures)
    async with anyio.create_task_group() as group:
        parts = Parts(group)
        with anyio.fail_after(60):
            await parts.put(part, MemoryOutbox(), patience=1)
            await parts.close(part.key, patience=1)
        await anyio.sleep(60)
        assert parts.open_parts == {}
        group.cancel_scope.cancel()


async def test_a_look_at_the_files_that_fails_is_not_the_last() -> None:
    stop, looks = Stop(), [0]

    class Broken(Parts):
        @property
        def open_parts(self) -> dict[Key, Part]:
            looks[0] += 1
            stop.request() if looks[0] == 3 else None
            raise RuntimeError("a sink of another package")

    async def renew(part: Part) -> bool:
        return True

    async with anyio.create_task_group() as group:
        with anyio.fail_after(60):
            await Rotation(Broken(group), renew).run(stop)
    assert looks == [3]


async def test_a_part_that_cannot_be_opened_keeps_no_stop_waiting() -> None:
    failures: list[Exception] = [TransientError("no room")] * 1000
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            parts = Parts(group)
            group.start_soon(lambda: parts.put(sink(failures), MemoryOutbox(), patience=1))
            await anyio.sleep(30)
            parts.stop()
    assert failures
