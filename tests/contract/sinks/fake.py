"""The fake passes the suite too, so that what is proven with it holds for the real ones."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from forwarder.errors import AccessError, TransientError
from forwarder.interfaces import Memory, Sink
from tests.fakes.sink import FakeSink

LEVERS = frozenset({"break_down", "lock_out", "refuse"})


class FakeDestination:
    def __init__(self) -> None:
        self.sink = FakeSink()

    @asynccontextmanager
    async def open(self, memory: Memory) -> AsyncIterator[Sink]:
        yield self.sink

    async def held(self, count: int) -> Sequence[str]:
        return self.sink.held_ids

    async def break_down(self) -> None:
        self.sink.broken = TransientError("the fake is down")

    async def lock_out(self) -> None:
        self.sink.broken = AccessError("the fake is locked", remedy="unlock it")

    async def recover(self) -> None:
        self.sink.broken = None

    async def refuse(self, event_id: str) -> None:
        self.sink.refused.add(event_id)


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[FakeDestination]:
    yield FakeDestination()
