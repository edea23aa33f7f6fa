"""A connection to a receiver, plain or over TLS from the first byte, and what its failures mean."""

import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from forwarder import network
from forwarder.errors import TransientError
from forwarder.sinks.syslog.address import Address
from forwarder.sinks.syslog.connection import connect, receive, send_all
from forwarder.sinks.syslog.tls import TlsClient, hung_up, refusal

_SLOW: Final = (
    "check that the receiver works; where it is only slow, raise timeout or lower batch.events"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A receiver and how it is reached; without `tls` in the clear."""

    address: Address
    connect_timeout: float
    tls: ssl.SSLContext | None = None
    server_name: str | None = None

    async def link(self) -> "Link":
        """Connect, and agree on TLS where it is wanted.

        Raises:
            TransientError: nobody answers, or not in time.
            AccessError: one side does not accept the other's certificate.
        """
        try:
            connection = await connect(
                self.address.host, self.address.port, timeout=self.connect_timeout
            )
        except OSError as error:
            found = network.cause(error)
            raise TransientError(
                f"{self.address}: cannot connect: {str(error) or 'no answer in time'}",
                remedy=found.remedy
                if found
                else "check the address, the port, and that the receiver listens",
            ) from error
        if self.tls is None:
            return Link(connection)
        try:
            client = TlsClient(self.tls, server_name=self.server_name or self.address.host)
            with self.explained(), anyio.fail_after(self.connect_timeout):
                await self._shake_hands(client, connection)
        except BaseException:
            connection.close()
            raise
        return Link(connection, client)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what goes wrong with the connection inside as what it means for the batch."""
        try:
            yield
        except TimeoutError as error:
            raise TransientError(f"{self.address}: no answer in time", remedy=_SLOW) from error
        except ssl.SSLError as error:
            raise refusal(str(self.address), error) from error
        except OSError as error:
            raise TransientError(f"{self.address}: the connection broke: {error}") from error

    async def _shake_hands(self, client: TlsClient, connection: socket.socket) -> None:
        said = b""
        agreed = False
        while not agreed:
            try:
                agreed = client.shake_hands(said)
            finally:
                await send_all(connection, client.outgoing())
            if not agreed and not (said := await receive(connection)):
                raise hung_up(str(self.address))


class Link:
    """An open connection; `tls` is None in the clear."""

    def __init__(self, connection: socket.socket, tls: TlsClient | None = None) -> None:
        self.connection = connection
        self.tls = tls

    @property
    def protocol(self) -> str:
        """What was agreed on: ``TCP``, or TLS with its version."""
        return self.tls.version if self.tls else "TCP"

    async def send(self, data: bytes) -> None:
        """Return when the kernel has all of `data`; raise OSError where it cannot."""
        await send_all(self.connection, self.tls.encrypt(data) if self.tls else data)

    async def receive(self) -> bytes:
        """Return what the peer says next, nothing at its end; raise OSError after a reset."""
        while data := await receive(self.connection):
            said = self.tls.decrypt(data) if self.tls else data
            if said is None:
                break
            if said:
                return said
        return b""

    def acknowledge_at_once(self) -> None:
        """Have the kernel acknowledge what it has got now; Linux alone can be asked to.

        A peer that sends small answers without TCP_NODELAY keeps the next one back until the last
        is acknowledged (RFC 896), and the kernel waits 40 ms with that for something to send
        along. It forgets that it was asked, so it is asked each time (tcp(7)).
        """
        if sys.platform == "linux":
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def is_quiet(self) -> bool:
        """Say whether the peer has neither said anything unread, nor ended, as far as we know."""
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def keep_alive(self) -> None:
        """Have the kernel ask for the peer while nothing is said, and notice where it has gone.

        Every minute, which is what no firewall or load balancer forgets a connection within; 4
        unanswered questions, 10 s apart, end it. Elsewhere than on Linux the system's own times
        hold.
        """
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)

    def close(self) -> None:
        """Let go of the connection, whatever is under way."""
        self.connection.close()
