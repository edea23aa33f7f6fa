"""The server itself: a starlette application, run by uvicorn inside the daemon's task group."""

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from forwarder.errors import ConfigError
from forwarder.model import Status
from forwarder.telemetry import REGISTRY, publish


class Daemon(Protocol):
    """What the server asks the daemon."""

    async def status(self) -> Status:
        """Return how everything is."""
        ...

    def stuck(self) -> list[str]:
        """Return the loops that make no progress and do not wait for a good reason."""
        ...

    def not_ready(self) -> list[str]:
        """Return what is still missing before the daemon does its work."""
        ...


def application(daemon: Daemon) -> Starlette:
    """Return the ASGI application.

    ``/livez`` never asks Bitbucket or a destination: their trouble is no reason for a restart.
    """

    async def livez(_: Request) -> Response:
        return _verdict(daemon.stuck(), "stuck")

    async def readyz(_: Request) -> Response:
        return _verdict(daemon.not_ready(), "not ready")

    async def metrics(_: Request) -> Response:
        publish(await daemon.status())
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def status(_: Request) -> Response:
        return Response(msgspec.json.encode(await daemon.status()), media_type="application/json")

    routes: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        ("/livez", livez),
        ("/readyz", readyz),
        ("/metrics", metrics),
        ("/api/status", status),
    ]
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path, answer in routes])


def _verdict(problems: list[str], word: str) -> Response:
    if problems:
        lines = "".join(f"{word}: {problem}\n" for problem in problems)
        return PlainTextResponse(lines, status_code=503)
    return PlainTextResponse("ok\n")


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
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(64)
    except OSError as error:
        bound.close()
        host, port = address
        raise ConfigError(
            [f"server.listen: cannot listen on {host}:{port}: {error.strerror}; choose another"]
        ) from error
    return bound


async def serve(daemon: Daemon, bound: socket.socket) -> None:
    """Answer on `bound` until cancelled."""
    settings = uvicorn.Config(
        application(daemon), lifespan="off", log_config=None, access_log=False, ws="none"
    )
    with bound:
        await _Server(settings).serve(sockets=[bound])
