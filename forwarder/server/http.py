"""The server itself: a starlette application, run by uvicorn inside the daemon's task group."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any, Final

import anyio
import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from forwarder.errors import ConfigError
from forwarder.server import ServerConfig, api, letters
from forwarder.server.access import Guard
from forwarder.server.api import Daemon
from forwarder.telemetry import REGISTRY, publish

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_PAGE: Final = Path(__file__).with_name("page")
_CONNECTIONS: Final = 100
"""Open at once: a browser has six, Prometheus and an orchestrator one each."""
_WAITING: Final = 64
"""Connections that the kernel holds for us, and that are let in at once."""


def application(daemon: Daemon, config: ServerConfig) -> ASGIApp:
    """Return the ASGI application.

    ``/livez`` never asks Bitbucket or a destination: their trouble is no reason for a restart.
    """

    async def livez(_: Request) -> Response:
        return _verdict(daemon.stuck(), "stuck")

    async def readyz(_: Request) -> Response:
        return _verdict(await daemon.not_ready(), "not ready")

    async def metrics(_: Request) -> Response:
        publish(await daemon.status())
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def page(_: Request) -> Response:
        return FileResponse(_PAGE / "index.html", headers={"cache-control": "no-cache"})

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *api.routes(daemon),
            *letters.routes(daemon, config),
            Mount("/static", _Files(directory=_PAGE / "static")),
        ]
    )
    return Guard(app, config)


class _Files(StaticFiles):
    """Asked for again each time, and answered with 304 where they have not changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401  starlette's own
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _verdict(problems: list[str], word: str) -> Response:
    if problems:
        lines = "".join(f"{word}: {problem}\n" for problem in problems)
        return PlainTextResponse(lines, status_code=503)
    return PlainTextResponse("ok\n")


class _Connection(H11Protocol):
    """One of `_CONNECTIONS`: whoever comes when all are taken is let in for one that is idle.

    Without an end to them connections that ask nothing would take every file that the process may
    have open, and neither a sink nor the store could open its own.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.made_at = monotonic()
        if len(self.connections) > _CONNECTIONS:
            known = [each for each in self.connections if isinstance(each, _Connection)]
            idle = [each for each in known if each.cycle is None or each.cycle.response_complete]
            oldest = min(idle or known, key=attrgetter("made_at"))
            self.connections.discard(oldest)
            oldest.transport.abort()


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the daemon decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(address: tuple[str, int]) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the address cannot be bound, taken by another process for instance.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Else each answer waits 40 ms for the acknowledgement of its head (Nagle's algorithm
        # against delayed ones, RFC 1122, 4.2.3.4): asyncio sets it on sockets of its own alone.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_WAITING)
    except OSError as error:
        bound.close()
        host, port = address
        raise ConfigError(
            [f"server.listen: cannot listen on {host}:{port}: {error.strerror}; choose another"]
        ) from error
    return bound


async def serve(daemon: Daemon, bound: socket.socket, config: ServerConfig) -> None:
    """Answer on `bound` until cancelled; an answer under way then has a second."""
    if config.risk:
        log.warning("server.unprotected", listen=config.listen, risk=config.risk)
    settings = uvicorn.Config(
        application(daemon, config),
        lifespan="off",
        http=_Connection,
        backlog=_WAITING,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        # A proxy's word on who asks is only for the log; nothing depends on it.
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(settings)
    with bound:
        try:
            await server.serve(sockets=[bound])
        finally:
            if server.started:  # a closed socket alone would stay in the event loop's books
                with anyio.CancelScope(shield=True):
                    await server.shutdown([bound])
