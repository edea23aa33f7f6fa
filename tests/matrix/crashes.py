"""A crash before and after every commit of the outbox, with each sink."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from forwarder.interfaces import Memory, Outbox
from forwarder.model import Batch, Checkpoint, Event, Receipt, Unreadable
from tests.contract.sinks.cloudwatch_logs import alone
from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import (
    CloudWatchDestination,
    FileDestination,
    HecDestination,
    SyslogDestination,
    keep_reading,
)
from tests.matrix.world import Destination, World, any_ca
from tests.receivers.cloudwatch import cloudwatch
from tests.receivers.socket_peer import socket_peer

MOMENTS = ("before", "after")
WAYS = ("killed", "cancelled")


class Killed(BaseException):
    """The process is no more: nothing but the edge of the cell may catch it."""


class Mortal:
    """The real outbox, with one commit at which the life of the daemon ends.

    A life ends before the commit, or once it is durable and before anybody is told.
    """

    def __init__(self, outbox: Outbox, fate: "Fate") -> None:
        self._outbox = outbox
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    async def append(
        self,
        source: str,
        events: Sequence[Event],
        checkpoint: Checkpoint,
        *,
        unreadable: Sequence[Unreadable] = (),
        window: tuple[datetime, datetime] | None = None,
    ) -> int:
        async with self._fate.commit("append"):
            return await self._outbox.append(
                source, events, checkpoint, unreadable=unreadable, window=window
            )

    async def settle(self, sink: str, batch: Batch, receipt: Receipt, *, attempts: int = 1) -> None:
        async with self._fate.commit("settle"):
            await self._outbox.settle(sink, batch, receipt, attempts=attempts)

    async def register(self, sink: str) -> None:
        async with self._fate.commit("register"):
            await self._outbox.register(sink)

    def memory(self, sink: str) -> Memory:
        return MortalMemory(self._outbox.memory(sink), self._fate)


class MortalMemory:
    def __init__(self, memory: Memory, fate: "Fate") -> None:
        self._memory = memory
        self._fate = fate

    async def load(self) -> Mapping[str, Any]:
        return await self._memory.load()

    async def save(self, memo: Mapping[str, Any]) -> None:
        async with self._fate.commit("save"):
            await self._memory.save(memo)


class Fate:
    """At which commit, and how, a life ends; `made` counts them all."""

    def __init__(self, call: str = "", at: int = 0, moment: str = "", way: str = "") -> None:
        self._call, self._at, self._moment, self._way = call, at, moment, way
        self.scope: anyio.CancelScope | None = None
        self.made: dict[str, int] = {}

    @asynccontextmanager
    async def commit(self, call: str) -> AsyncIterator[None]:
        self.made[call] = self.made.get(call, 0) + 1
        fatal = (call, self.made[call]) == (self._call, self._at)
        if fatal and self._moment == "before":
            await self._end()
        yield
        if fatal and self._moment == "after":
            await self._end()

    async def _end(self) -> None:
        if self._way == "killed":
            raise Killed
        assert self.scope is not None
        self.scope.cancel()
        await anyio.lowlevel.checkpoint()


async def live(folder: Path, destination: Destination, fate: Fate) -> Outcome:
    """Forward a backlog, dying as told and starting again; then two events more."""
    world = World(
        folder,
        destination,
        apart=timedelta(hours=2),
        durable=True,
        source={"page_size": 3},
        keep=lambda outbox: Mortal(outbox, fate),  # type: ignore[arg-type,return-value]
    )
    for _ in range(3):
        with anyio.CancelScope() as fate.scope:
            try:
                async with world.life() as life:
                    await life.poll()
                    await life.deliver()
                    break
            except* Killed:  # a poll reads ahead in a group of tasks
                pass
    else:
        world.failures.append("it died more than once")
    world.clock.advance(30)
    world.simulator.emit(copies=2)
    fate.scope = None
    async with world.life() as life:
        await life.poll()
        await life.deliver()
    world.told.lives -= 1  # the last one was of our own making
    return await world.outcome()


@contextmanager
def to_file(folder: Path, *, rotate: bool = False) -> Iterator[Destination]:
    yield FileDestination(folder, rotate=rotate)


@contextmanager
def to_hec(folder: Path, *, ack: bool) -> Iterator[Destination]:
    yield HecDestination(folder, ack=ack)


@contextmanager
def to_syslog(folder: Path) -> Iterator[Destination]:
    streams: list[bytearray] = []

    def receive(connection: Any) -> None:
        streams.append(bytearray())
        keep_reading(connection, streams[-1])

    with socket_peer(receive) as port:
        destination = SyslogDestination(f"tcp://127.0.0.1:{port}")
        destination.streams = streams  # type: ignore[assignment]
        yield destination


@contextmanager
def to_cloudwatch(folder: Path) -> Iterator[Destination]:
    with pytest.MonkeyPatch.context() as patch, cloudwatch() as receiver:
        alone(patch, folder)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
        patch.setenv("AWS_CA_BUNDLE", str(any_ca(folder)))
        yield CloudWatchDestination(receiver)


SINKS: dict[str, Callable[[Path], Any]] = {
    "file": to_file,
    "file with rotation": partial(to_file, rotate=True),
    "HEC with ack": partial(to_hec, ack=True),
    "HEC without ack": partial(to_hec, ack=False),
    "syslog over TCP": to_syslog,
    "CloudWatch Logs": to_cloudwatch,
}
REMEMBERING = ("file with rotation", "HEC with ack")
"""Keep something between two sends, so that what a cancelled one leaves behind matters."""
BLOCKING = ("syslog over TCP", "CloudWatch Logs")
APPENDS, SETTLES = 4, 3
SAVES = {"file": 1, "file with rotation": 3, "HEC with ack": 6}
"""How often `live` commits without a crash; a test holds it."""


async def crashed(folder: Path, *, sink: str, **fate: Any) -> Outcome:
    with SINKS[sink](folder) as destination:
        return await live(folder, destination, Fate(**fate))


async def made(sink: str) -> dict[str, int]:
    """Return how often each commit is made before the two last events."""
    import tempfile

    fate = Fate()
    with tempfile.TemporaryDirectory() as folder, SINKS[sink](Path(folder)) as destination:
        world = World(
            Path(folder),
            destination,
            apart=timedelta(hours=2),
            durable=True,
            source={"page_size": 3},
            keep=lambda outbox: Mortal(outbox, fate),  # type: ignore[arg-type,return-value]
        )
        async with world.life() as life:
            await life.poll()
            await life.deliver()
    return fate.made


def _cells() -> Iterator[tuple[str, str, str, Callable[[Path], Awaitable[Outcome]], bool]]:
    for sink in SINKS:
        commits = {"register": 1, "append": APPENDS, "settle": SETTLES, "save": SAVES.get(sink, 0)}
        if sink == "CloudWatch Logs":
            commits = {"settle": SETTLES}
        for call, count in commits.items():
            for at in range(1, count + 1):
                for moment in MOMENTS:
                    for way in WAYS if sink in REMEMBERING else WAYS[:1]:
                        fault = f"{way} {moment} {call} {at}"
                        play = partial(crashed, sink=sink, call=call, at=at, moment=moment, way=way)
                        sentence = f"the daemon is {fault} with {sink}"
                        yield fault, sink, sentence, play, sink not in BLOCKING


def families() -> list[Family]:
    title = "The daemon ends at a commit"
    return [
        Family(
            title,
            "Twelve events in pages of three and batches of four; the daemon is killed or "
            "cancelled right before or after a commit of the outbox (register: a sink's position; "
            "append: events and checkpoint; settle: a receipt; save: a sink's memo) and started "
            "again on the same file.",
            tuple(Cell(title, *each) for each in _cells()),
        )
    ]
