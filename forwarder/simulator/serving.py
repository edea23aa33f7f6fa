"""The simulator on a real socket, by uvicorn."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from forwarder.simulator.simulator import Connection, Simulator


@asynccontextmanager
async def serve(
    simulator: Simulator, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Yield the base URL (context path included) at which `simulator` answers; then end it.

    Port 0 takes a free one. Signals are left to the caller.

    Raises:
        OSError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    # Else each answer waits 40 ms for the acknowledgement of its head (Nagle's algorithm against
    # delayed ones, RFC 1122, 4.2.3.4): asyncio sets it on sockets of its own alone.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{listener.getsockname()[1]}{simulator.options.context.rstrip('/')}"
    server = _Server(
        uvicorn.Config(
            simulator.app,
            http=_protocol(simulator),
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            date_header=False,  # the simulated clock says it
            server_header=False,
            proxy_headers=False,  # a client is its connection here
            timeout_graceful_shutdown=1,
        )
    )

    async def answer() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=[listener])

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            await server.ready.wait()
            try:
                yield url
            finally:
                server.should_exit = True
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn, which offers these two steps for overriding and no other way to them."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal: they belong to the process that serves this."""
        yield


def _protocol(simulator: Simulator) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, with each connection known to `simulator`, so it can be cut."""

    class Known(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client:
                simulator.connections[self.client] = cast("Connection", transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client:
                simulator.connections.pop(self.client, None)
            super().connection_lost(exc)

    return Known
