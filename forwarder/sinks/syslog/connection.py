"""A TCP connection without a transport in between, so that its end can be read exactly.

An event loop's own streams close at the first failed write, with what the peer said before (an
alert about our certificate) unread; and they do not tell how a connection ended.
"""

import fcntl
import os
import socket
import sys
import termios
from typing import Final

import anyio

_RECEIVED: Final = 65_536
_ESTABLISHED: Final = 1
_UNANSWERED: Final = (8, 9, 11)
"""CLOSE_WAIT, LAST_ACK and CLOSING in Linux's tcp_states.h: the peer closed before our FIN came."""


async def connect(host: str, port: int, *, timeout: float) -> socket.socket:  # noqa: ASYNC109  divided
    """Return a connected, non-blocking socket; `timeout` seconds are shared by all addresses.

    Raises:
        OSError: no such host, or none of its addresses answered; TimeoutError is one.
    """
    with anyio.fail_after(timeout):
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failures: list[str] = []
    last: OSError | None = None
    for family, kind, protocol, _, peer in found:
        opened = socket.socket(family, kind, protocol)
        try:
            with anyio.fail_after(timeout / len(found)):
                await _connect(opened, peer)
        except OSError as error:
            opened.close()
            failures.append(f"{peer[0]}: {error.strerror or 'no answer in time'}")
            last = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise OSError("; ".join(failures)) from last


async def _connect(opened: socket.socket, peer: tuple[str | int, ...]) -> None:
    opened.setblocking(False)  # noqa: FBT003  the library's signature
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        opened.connect(peer)
    except BlockingIOError:
        await anyio.wait_writable(opened)
        if failure := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failure, os.strerror(failure)) from None


async def send_all(connection: socket.socket, data: bytes) -> None:
    """Return when the kernel has all of `data`; raise OSError where it cannot."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(connection)


async def receive(connection: socket.socket) -> bytes:
    """Return what there is next, nothing at the peer's end; raise OSError after a reset."""
    while True:
        try:
            return connection.recv(_RECEIVED)
        except BlockingIOError:
            await anyio.wait_readable(connection)


def is_open(connection: socket.socket) -> bool:
    """Say whether the peer has not ended yet, as far as it is known here; Linux alone knows."""
    return _state(connection) in (None, _ESTABLISHED)


def was_heard_out(connection: socket.socket, *, farewell: bool) -> bool:
    """Say whether the peer's end, just read, is its answer to ours.

    It is not where a reset followed it (reading does not tell, SO_ERROR does), nor where it was
    on its way before the peer had what it should answer to: our FIN or, where a `farewell` was
    sent within the data (close_notify), all data. Without Linux only the reset is known.
    """
    if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return False
    if farewell:
        return _unacknowledged(connection) <= 1  # our FIN counts as one
    return _state(connection) not in _UNANSWERED


def _state(connection: socket.socket) -> int | None:
    if sys.platform != "linux":
        return None
    return int(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])  # tcpi_state


def _unacknowledged(connection: socket.socket) -> int:
    if sys.platform != "linux":
        return 0
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))  # tcp(7): SIOCOUTQ
    return int.from_bytes(answer, sys.byteorder)
