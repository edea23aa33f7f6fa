"""Splunk HEC, with indexer acknowledgement."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx

from forwarder.formats import FORMATS
from forwarder.interfaces import Memory, Sink
from forwarder.sinks.splunk_hec import SplunkHecConfig
from tests.receivers.hec import Fault, Hec

LEVERS = frozenset({"break_down", "lock_out", "refuse"})


class HecDestination:
    def __init__(self, *, ack: bool) -> None:
        self.hec = Hec(acking=ack)
        self.config = SplunkHecConfig(
            type="splunk_hec",
            url="http://splunk.test:8088",
            token=self.hec.token,
            index="security",
            ack=ack,
            ack_timeout="100ms",
        )

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        return self.config.open(
            name="splunk",
            format=FORMATS["json"],
            memory=memory,
            transport=httpx.ASGITransport(self.hec.app),
        )

    async def held(self, count: int) -> Sequence[str]:
        self.hec.index()
        return self.hec.ids

    async def break_down(self) -> None:
        self.hec.always = Fault(code=9)

    async def lock_out(self) -> None:
        self.hec.enabled = False

    async def recover(self) -> None:
        self.hec.always = None
        self.hec.enabled = True

    async def refuse(self, event_id: str) -> None:
        self.hec.poisoned[event_id] = 6


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[HecDestination]:
    yield HecDestination(ack=True)
