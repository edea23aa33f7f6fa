"""The server beside the loops: begun, moved and ended while they run."""

import socket
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskGroup

from forwarder.errors import ConfigError
from forwarder.server import ServerConfig

if TYPE_CHECKING:
    from forwarder.server.api import Daemon

_SILENT: Final = ServerConfig(listen="")


class Serving:
    """The daemon's server, in a task of `group`."""

    def __init__(self, daemon: "Daemon", group: TaskGroup) -> None:
        self._daemon = daemon
        self._group = group
        self._options = _SILENT
        self._bound: socket.socket | None = None
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def apply(self, options: ServerConfig) -> None:
        """Answer as `options` say from now on.

        Raises:
            ConfigError: the address cannot be bound; what was answered before still is.
        """
        before = self._options
        if options == before:
            return
        if _is_in_the_way(before.address, options.address):
            await self._end()
        try:
            bound = self._bind(options)
        except ConfigError:
            if self._bound is None:
                self._begin(before, self._bind(before))
            raise
        self._scope.cancel()
        self._begin(options, bound)

    def _bind(self, options: ServerConfig) -> socket.socket | None:
        if options.address is None:
            return None
        if self._bound and options.address == self._options.address:
            return self._bound.dup()
        from forwarder.server.http import bind

        return bind(options.address)

    def _begin(self, options: ServerConfig, bound: socket.socket | None) -> None:
        self._options, self._bound = options, bound
        self._scope, self._ended = anyio.CancelScope(), anyio.Event()
        if bound:
            self._group.start_soon(self._serve, bound, options, self._scope, self._ended)

    async def _end(self) -> None:
        self._scope.cancel()
        await self._ended.wait()
        self._options, self._bound = _SILENT, None

    async def _serve(
        self,
        bound: socket.socket,
        options: ServerConfig,
        scope: anyio.CancelScope,
        ended: anyio.Event,
    ) -> None:
        from forwarder.server.http import serve

        with scope:
            await serve(self._daemon, bound, options)
        ended.set()


def _is_in_the_way(before: tuple[str, int] | None, now: tuple[str, int] | None) -> bool:
    """Whether `now` may be taken by ourselves: 0.0.0.0 is each address of one port."""
    return before is not None and now is not None and before != now and before[1] == now[1]
