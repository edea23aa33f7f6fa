"""Syslog over TCP (RFC 6587) and TLS (RFC 5425), settled by the half-close checkpoint."""

import socket
import ssl
from collections.abc import Callable, Sequence

import anyio

from forwarder.errors import TransientError
from forwarder.sinks.syslog.address import Address
from forwarder.sinks.syslog.connection import connect, is_open, receive, send_all, was_heard_out
from forwarder.sinks.syslog.tls import TlsClient, hung_up, refusal


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
        with await self._connect() as connection:
            try:
                if self._tls is None:
                    await self._hand_over(connection, data)
                    return "TCP"
                client = TlsClient(self._tls, server_name=self._server_name)
                with anyio.fail_after(self._connect_timeout):
                    await self._shake_hands(client, connection)
                await self._hand_over(connection, client.seal(data), client)
            except TimeoutError as error:
                raise TransientError(f"{self._address}: no answer in time") from error
            except ssl.SSLError as error:
                raise refusal(str(self._address), error) from error
            except OSError as error:
                raise TransientError(f"{self._address}: the connection broke: {error}") from error
            return client.version

    async def _connect(self) -> socket.socket:
        try:
            return await connect(
                self._address.host, self._address.port, timeout=self._connect_timeout
            )
        except OSError as error:
            raise TransientError(
                f"{self._address}: cannot connect: {str(error) or 'no answer in time'}",
                remedy="check the address, the port, and that the receiver listens",
            ) from error

    async def _shake_hands(self, client: TlsClient, connection: socket.socket) -> None:
        said = b""
        agreed = False
        while not agreed:
            try:
                agreed = client.shake_hands(said)
            finally:
                await send_all(connection, client.outgoing())
            if not agreed and not (said := await receive(connection)):
                raise hung_up(str(self._address))

    async def _hand_over(
        self, connection: socket.socket, data: bytes, client: TlsClient | None = None
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
                f"{self._address}: closed before it had read everything"
                + (f": {broken}" if broken else ""),
                remedy="check the receiver's log",
            )
