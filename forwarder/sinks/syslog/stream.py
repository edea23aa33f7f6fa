"""Syslog over TCP (RFC 6587) and TLS (RFC 5425), settled by the half-close checkpoint."""

import socket
import ssl
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

    Not taken is a batch whose peer ended before our own end had reached it. The kernel knows
    (TCP_INFO), where it is Linux; elsewhere only what came before we had closed is noticed.
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
                    await self._hand_over(stream, data, lambda _: None)
                    return "TCP"
                client = TlsClient(self._tls, server_name=self._server_name)
                await self._shake_hands(client, stream)
                await self._hand_over(stream, client.seal(data), client.take)
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
        self, stream: SocketStream, data: bytes, take: Callable[[bytes], None]
    ) -> None:
        """Send `data`, close for writing, and return when the peer has ended after that."""
        closed = False

        async def speak() -> None:
            nonlocal closed
            try:
                await stream.send(data)
                if _state(stream) in (None, _ESTABLISHED):
                    closed = True
                    await stream.send_eof()
            except anyio.BrokenResourceError:
                return  # whoever listens is told why: an alert that came first says more

        broken: Exception | None = None
        with anyio.fail_after(self._timeout):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(speak)
                try:
                    while True:
                        take(await stream.receive(_RECEIVED))
                except anyio.EndOfStream:
                    pass
                except (anyio.BrokenResourceError, ssl.SSLError) as error:
                    broken = error
                tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken
        if not closed or not _was_read(stream):
            raise TransientError(
                f"{self._address}: closed before it had read everything",
                remedy="check the receiver's log",
            )


def _state(stream: SocketStream) -> int | None:
    """Return the connection's state as Linux numbers it, None on other systems."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    raw = _socket(stream)
    return int(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])


def _was_read(stream: SocketStream) -> bool:
    """Say whether the peer's end, just read, came after ours: no reset, and our FIN answered.

    A reset that follows the peer's FIN is not told by reading, only by SO_ERROR.
    """
    reset = _socket(stream).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return not reset and _state(stream) not in _UNANSWERED


def _socket(stream: SocketStream) -> socket.socket:
    return stream.extra(SocketAttribute.raw_socket)  # noqa: S610  anyio's, not Django's


def _reasons(error: OSError) -> str:
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(str(one) for one in cause.exceptions)
    return str(cause or error)
