"""Syslog over TCP (RFC 6587) and TLS (RFC 5425), settled by the half-close checkpoint."""

import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Callable, Sequence
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream

from forwarder.errors import TransientError
from forwarder.sinks.syslog.address import Address
from forwarder.sinks.syslog.tls import TlsClient, hung_up, refusal

_RECEIVED: Final = 65_536
_ESTABLISHED: Final = 1
_UNANSWERED: Final = (8, 9, 11)
"""CLOSE_WAIT, LAST_ACK and CLOSING in Linux's tcp_states.h: the peer closed before our FIN came."""


class StreamTransport:
    """A connection for each batch, which is taken once the peer has read up to its end.

    What `send` accepts is in our kernel, not at the receiver. So a batch is sent whole, our side is
    closed for writing (over TLS after a close_notify), and then the peer's end is awaited, which
    comes after it has read everything (measured: no message lost over ten kills of rsyslogd whose
    queue is Direct; a receiver that queues in memory can still lose what it holds there). A bare
    end without the peer's close_notify is as good: rsyslog's GnuTLS driver ends so.

    Not taken is a batch whose peer ended before our own end had reached it, which a reset may or
    may not follow. On Linux the kernel tells (`_heard_out`); elsewhere the reset has to.
    """

    largest = None

    def __init__(
        self,
        address: Address,
        *,
        frame: Callable[[Sequence[bytes]], bytes],
        connect_timeout: float,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self._address = address
        self._frame = frame
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._tls = tls
        self._server_name = server_name or address.host

    async def deliver(self, messages: Sequence[bytes]) -> None:
        """Return when the peer has read all messages.

        Raises:
            TransientError: no connection, or one that ended in any other way or not in time.
            AccessError: one side does not accept the other's certificate.
        """
        await self._converse(self._frame(messages))

    async def probe(self) -> str:
        """Connect, agree on TLS, and part without a message."""
        return f"{self._address}: connected ({await self._converse(b'')})"

    def close(self) -> None:
        """Nothing is kept between batches."""

    async def _converse(self, data: bytes) -> str:
        where = str(self._address)
        try:
            with anyio.fail_after(self._connect_timeout):
                stream = await self._connect()
            async with stream:
                if self._tls is None:
                    await self._hand_over(stream, data)
                    return "TCP"
                client = TlsClient(self._tls, server_name=self._server_name)
                await self._shake_hands(client, stream)
                await self._hand_over(stream, client.seal(data), client)
                return client.version
        except TimeoutError as error:
            raise TransientError(f"{where}: no answer in time") from error
        except ssl.SSLError as error:
            raise refusal(where, error) from error
        except anyio.BrokenResourceError as error:
            raise TransientError(f"{where}: the connection broke: {error.__cause__}") from error

    async def _connect(self) -> SocketStream:
        try:
            return await anyio.connect_tcp(self._address.host, self._address.port)
        except OSError as error:
            raise TransientError(
                f"{self._address}: cannot connect: {_reasons(error)}",
                remedy="check the address, the port, and that the receiver listens",
            ) from error

    async def _shake_hands(self, client: TlsClient, stream: SocketStream) -> None:
        try:
            with anyio.fail_after(self._connect_timeout):
                await client.shake_hands(stream)
        except anyio.EndOfStream as error:
            raise hung_up(str(self._address)) from error

    async def _hand_over(
        self, stream: SocketStream, data: bytes, client: TlsClient | None = None
    ) -> None:
        """Send `data`, close for writing, and return when the peer has ended because of that."""
        closed = False

        async def speak() -> None:
            nonlocal closed
            try:
                await stream.send(data)
                closed = client is not None or _state(stream) in (None, _ESTABLISHED)
                await stream.send_eof()
            except anyio.BrokenResourceError:
                return  # whoever listens is told why: an alert that came first says more

        broken: Exception | None = None
        with anyio.fail_after(self._timeout):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(speak)
                try:
                    while True:
                        said = await stream.receive(_RECEIVED)
                        if client is not None:
                            client.take(said)
                except anyio.EndOfStream:
                    pass
                except (anyio.BrokenResourceError, ssl.SSLError) as error:
                    broken = error
                    tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken
        if not closed or not _heard_out(stream, farewell=client is not None):
            raise TransientError(
                f"{self._address}: closed before it had read everything",
                remedy="check the receiver's log",
            )


def _heard_out(stream: SocketStream, *, farewell: bool) -> bool:
    """Say whether the peer's end, just read, is the answer to ours.

    It is not where a reset followed it (reading does not tell, SO_ERROR does), nor where it was
    on its way before the peer had what it should answer to: our FIN or, where a `farewell` was
    sent within the data (close_notify), all data.
    """
    if _socket(stream).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return False
    if farewell:
        return _unacknowledged(stream) <= 1  # the FIN counts as one
    return _state(stream) not in _UNANSWERED


def _state(stream: SocketStream) -> int | None:
    """Return the connection's state as Linux numbers it, None on other systems."""
    if sys.platform != "linux":
        return None
    return int(_socket(stream).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])


def _unacknowledged(stream: SocketStream) -> int:
    """Return how many bytes the peer's system has not acknowledged, 0 on other systems."""
    if sys.platform != "linux":
        return 0
    answer = fcntl.ioctl(_socket(stream).fileno(), termios.TIOCOUTQ, bytes(4))  # tcp(7), SIOCOUTQ
    return int.from_bytes(answer, sys.byteorder)


def _socket(stream: SocketStream) -> socket.socket:
    return stream.extra(SocketAttribute.raw_socket)  # noqa: S610  anyio's, not Django's


def _reasons(error: OSError) -> str:
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(str(one) for one in cause.exceptions)
    return str(cause or error)
