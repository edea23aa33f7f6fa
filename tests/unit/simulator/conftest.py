"""A simulator on a clock that stands still, and a client of it in the same process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from forwarder.simulator import HandClock, Simulator, SimulatorOptions

Opened = AbstractAsyncContextManager[tuple[Simulator, httpx.AsyncClient]]


@asynccontextmanager
async def _opened(token: str | None = None, **options: object) -> AsyncIterator:
    simulator = Simulator(SimulatorOptions(**options), clock=HandClock())  # type: ignore[arg-type]
    bearer = simulator.options.token if token is None else token
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(simulator.app, client=("10.9.8.7", 1)),
        base_url=f"http://bitbucket.example.com{simulator.options.context}",
        headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
    ) as client:
        yield simulator, client


@pytest.fixture
def opened() -> Callable[..., Opened]:
    """Return what opens a simulator with given options, and a client with a token ("": none)."""
    return _opened
