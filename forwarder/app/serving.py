"""The server beside the loops: begun, moved and ended while they run."""

import socket
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from forwarder.server import ServerConfig

if TYPE_CHECKING:
    from forwarder.server.api import Daemon


class Serving:
    """The daemon's server, in a task of `group`."""

    def __init__(self, daemon: "Daemon", group: TaskGroup) -> None:
        self._daemon = daemon
        self._group = group
        self._options = ServerConfig(listen="")
        self._bound: socket.socket | None = None
        self._scope = anyio.CancelScope()

    def apply(self, options: ServerConfig) -> None:
        """Answer as `options` say from now on.

        Raises:
            ConfigError: the address cannot be bound; what was answered before still is.
        """
        if options == self._options:
            return
        if options.address is None:
            bound = None
        elif self._bound and options.address == self._options.address:
            bound = self._bound.dup()
        else:
            from forwarder.server.http import bind

            bound = bind(options.address)
        self._scope.cancel()
        self._options, self._bound, self._scope = options, bound, anyio.CancelScope()
        if bound:
            self._group.start_soon(self._serve, bound, options, self._scope)

    async def _serve(
        self, bound: socket.socket, options: ServerConfig, scope: anyio.CancelScope
    ) -> None:
        from forwarder.server.http import serve

        with scope:
            await serve(self._daemon, bound, options)
