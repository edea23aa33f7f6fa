"""An application of a test's own on a real socket, by uvicorn."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp


@asynccontextmanager
async def listening(app: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """Serve `app` on a free port of this machine and yield its URL; `options` are uvicorn's."""
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, **options)
    server = uvicorn.Server(config)
    scheme = "https" if config.is_ssl else "http"
    # Closed here: a server that is to end before it has begun leaves that to others.
    with socket.create_server(("127.0.0.1", 0)) as bound:
        # Else each answer waits for the acknowledgement of its head.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [bound])
            try:
                yield f"{scheme}://127.0.0.1:{bound.getsockname()[1]}"
            finally:
                server.should_exit = True
