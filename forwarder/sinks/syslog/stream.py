"""Syslog over TCP (RFC 6587) and TLS (RFC 5425), settled by the half-close checkpoint."""

import socket
import ssl
from collections.abc import Callable, Sequence

import anyio

from forwarder.errors import TransientError
from forwarder.model import Concern
from forwarder.sinks.syslog.connection import is_open, receive, send_all, was_heard_out
from forwarder.sinks.syslog.framing import octet_counted
from forwarder.sinks.syslog.link import Receiver
from forwarder.sinks.syslog.sink import Answers
from forwarder.sinks.syslog.tls import TlsClient


class StreamTransport:
    """A connection for each batch, which is taken once the peer has read up to its end.

    What `send` accepts is in our kernel, not at the receiver. So a batch is sent whole, our side is
    closed for writing (over TLS after a close_notify), and then the peer's end is awaited, which
    comes after it has read everything (measured: no message lost over ten kills of rsyslogd whose
    queue is Direct; a receiver that queues in memory can still lose what it holds there). A bare
    end without the peer's close_notify is as good: rsyslog's GnuTLS driver ends so. Any other end
    keeps the batch.
    """

    largest = None

    def __init__(
        self,
        receiver: Receiver,
        *,
        frame: Callable[[Sequence[bytes]], bytes],
        timeout: float,
    ) -> None:
        self._receiver = receiver
        self._frame = frame
        self._timeout = timeout

    async def deliver(self, messages: Sequence[bytes], _: Answers) -> None:
        """Return when the peer has read all messages; it answers for none of them.

        Raises:
            TransientError: no connection, or one that ended in any other way or not in time.
            AccessError: one side does not accept the other's certificate.
        """
        await self._converse(self._frame(messages))

    async def probe(self) -> str:
        """Connect, agree on TLS, and part without a message."""
        return f"{self._receiver.address}: connected ({await self._converse(b'')})"

    def concerns(self) -> list[Concern]:
        """Return what a receiver over TCP never tells: whether it parts messages as we do."""
        if self._frame is not octet_counted:
            return []
        return [
            Concern(
                "no receiver tells whether it takes octet counting (RFC 6587)",
                "send an event and look at the receiver: if its messages begin with a number, "
                'set framing = "lf"',
            )
        ]

    async def close(self) -> None:
        """Nothing is kept between batches."""

    async def _converse(self, data: bytes) -> str:
        link = await self._receiver.link()
        with link.connection, self._receiver.explained():
            if link.tls is not None:
                data = link.tls.seal(data)
            await self._hand_over(link.connection, data, link.tls)
        return link.protocol

    async def _hand_over(
        self, connection: socket.socket, data: bytes, client: TlsClient | None
    ) -> None:
        """Send `data`, close for writing, and return when the peer has ended because of that."""
        farewell = client is not None
        complete = False
        broken: OSError | None = None

        async def speak() -> None:
            nonlocal complete, broken
            try:
                await send_all(connection, data)
                complete = farewell or is_open(connection)
                connection.shutdown(socket.SHUT_WR)
            except OSError as error:
                broken = error  # but what the peer said before, an alert, tells more

        async def listen() -> None:
            nonlocal broken
            try:
                while said := await receive(connection):
                    if client is not None:
                        client.take(said)
            except OSError as error:
                broken = error
                tasks.cancel_scope.cancel()

        with anyio.fail_after(self._timeout):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(speak)
                tasks.start_soon(listen)
        if isinstance(broken, ssl.SSLError):
            raise broken
        if broken is not None or not complete or not was_heard_out(connection, farewell=farewell):
            raise TransientError(
                f"{self._receiver.address}: closed before it had read everything"
                + (f": {broken}" if broken else ""),
                remedy="check the receiver's log",
            )
