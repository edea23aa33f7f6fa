"""Syslog over UDP: RFC 5426."""

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

import anyio
import structlog

from forwarder.errors import PermanentError, TransientError
from forwarder.model import Concern
from forwarder.sinks.syslog.address import Address
from forwarder.sinks.syslog.sink import Answers

LARGEST: Final = 65_507
"""Of a datagram's payload over IPv4: 65,535 less 20 for IP and 8 for UDP (RFC 5426 section 3.2)."""

_UNFRAGMENTED: Final = 1_180
"""What passes every IPv6 path in one piece: RFC 5426 section 3.2."""

_BURST: Final = 32
"""Datagrams sent without a pause: a third of what Linux's default receive buffer holds."""

log = structlog.get_logger()


class UdpTransport:
    """One datagram a message. Nothing is acknowledged, and nothing says what was lost.

    `deliver` returning means that the datagrams left this machine. A receiver that is not there is
    only noticed where it, or a router, says so (ICMP) before the next datagram. At most `rate`
    datagrams a second go out, because a batch at once overruns a receiver's buffer: of 1,000
    syslog-ng took 152. Use TCP or TLS wherever the receiver has it.
    """

    largest = LARGEST

    def __init__(self, address: Address, *, rate: int, name: str) -> None:
        self._address = address
        self._pause = _BURST / rate
        self._name = name
        self._socket: socket.socket | None = None
        self._peer: Any = None
        self._warned = False

    async def deliver(self, messages: Sequence[bytes], _: Answers) -> None:
        """Send each message as a datagram, in order.

        Raises:
            TransientError: no such host, no way to it, or nobody listens there.
            PermanentError: a datagram larger than this system sends.
        """
        self._warn(messages)
        try:
            opened = await self._open()
            for start in range(0, len(messages), _BURST):
                if start:
                    await anyio.sleep(self._pause)
                for message in messages[start : start + _BURST]:
                    await self._send(opened, message)
            _raise_refusal(opened)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise PermanentError(
                    f"{self._address}: a datagram is too large for this system: {error}",
                    reason="too_large",
                    remedy="set max_message_bytes lower",
                ) from error
            self._let_go()
            raise TransientError(
                f"{self._address}: cannot send: {error}",
                remedy="check the address and the port, and that the receiver listens on UDP",
            ) from error

    async def probe(self) -> str:
        """Find the host and a way to it; that is all that UDP can say without a message."""
        try:
            await self._open()
        except OSError as error:
            self._let_go()
            raise TransientError(
                f"{self._address}: {error}", remedy="check the address and the network"
            ) from error
        return f"{self._address}: there is a way to it; over UDP nothing says whether it listens"

    def concerns(self) -> list[Concern]:
        """Return what UDP cannot promise."""
        return [
            Concern(
                "nothing tells whether a receiver listens, and datagrams are lost unnoticed",
                "use tcp://, tls:// or relp:// where the receiver has it",
            )
        ]

    async def close(self) -> None:
        """Let go of the socket."""
        self._let_go()

    def _let_go(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    async def _open(self) -> socket.socket:
        # Asked each time, so that a receiver that moves is followed; the socket is kept, because
        # a refusal that comes late is told to the same socket only.
        found = await anyio.getaddrinfo(
            self._address.host, self._address.port, type=socket.SOCK_DGRAM
        )
        family, kind, protocol, _, peer = found[0]
        if self._socket is not None and self._peer == peer:
            return self._socket
        self._let_go()
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setblocking(False)  # noqa: FBT003  the library's signature
            opened.connect(peer)
        except OSError:
            opened.close()
            raise
        self._socket, self._peer = opened, peer
        return opened

    async def _send(self, opened: socket.socket, message: bytes) -> None:
        while True:
            try:
                opened.send(message)
            except BlockingIOError:
                await anyio.wait_writable(opened)
            else:
                return

    def _warn(self, messages: Sequence[bytes]) -> None:
        if self._warned:
            return
        largest = max(len(message) for message in messages)
        if largest > _UNFRAGMENTED:
            self._warned = True
            log.warning(
                "datagram.exceeded", sink=self._name, bytes=largest, unfragmented=_UNFRAGMENTED
            )


def _raise_refusal(opened: socket.socket) -> None:
    if refused := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(refused, os.strerror(refused))
