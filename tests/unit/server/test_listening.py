"""The socket that the server answers on."""

import socket
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection

import anyio
from anyio import to_thread

from forwarder.server import ServerConfig
from forwarder.server.http import bind, serve
from tests.fakes.daemon import FakeDaemon


def test_no_answer_waits_for_an_acknowledgement_of_its_head() -> None:
    with bind(("127.0.0.1", 0)) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_connections_that_ask_nothing_are_let_go_for_those_that_ask() -> None:
    with bind(("127.0.0.1", 0)) as bound, ExitStack() as opened:
        address = bound.getsockname()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, FakeDaemon(), bound, ServerConfig())
            idle: list[socket.socket] = []
            for _ in range(10):
                some = [socket.create_connection(address) for _ in range(40)]
                idle += map(opened.enter_context, some)
                assert await to_thread.run_sync(_asked, address) == 200
            assert sum(map(_is_open, idle)) <= 100
            tasks.cancel_scope.cancel()


def _asked(address: tuple[str, int]) -> int:
    connection = HTTPConnection(*address, timeout=10)
    with closing(connection):
        connection.request("GET", "/livez")
        return connection.getresponse().status


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    with suppress(BlockingIOError):
        with suppress(ConnectionError):
            connection.recv(1)
        return False
    return True
