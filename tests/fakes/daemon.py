"""A daemon for the server: an outbox in memory, and whatever status a test gives it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from forwarder.model import Replayed, Status
from forwarder.server import ServerConfig
from forwarder.server.http import application
from tests.fakes.outbox import MemoryOutbox


class FakeDaemon:
    def __init__(self, outbox: MemoryOutbox | None = None) -> None:
        self.outbox = outbox or MemoryOutbox()
        self.found = Status(
            version="1.2.3",
            at=datetime(2026, 1, 10, tzinfo=UTC),
            running=True,
            sources=(),
            sinks=(),
        )
        self.loops_stuck: list[str] = []
        self.missing: list[str] = []
        self.failure: Exception | None = None

    async def status(self) -> Status:
        if self.failure:
            raise self.failure
        return self.found

    def stuck(self) -> list[str]:
        return self.loops_stuck

    async def not_ready(self) -> list[str]:
        return self.missing

    async def replay_letters(self, ids: Sequence[int]) -> Replayed:
        return Replayed(asked=await self.outbox.ask_letters(ids), read=(), stay=())


@asynccontextmanager
async def asking(
    daemon: FakeDaemon, config: ServerConfig, *, host: str = "127.0.0.1:9187"
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the whole server, but for its socket."""
    transport = httpx.ASGITransport(application(daemon, config))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client
