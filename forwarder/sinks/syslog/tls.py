"""TLS without a socket: bytes in, bytes out (RFC 5425 over `ssl.MemoryBIO`)."""

import ssl
from contextlib import suppress
from typing import Final

from forwarder import network
from forwarder.errors import AccessError, ForwarderError, TransientError

_READ: Final = 65_536

_REFUSED: Final = (
    "check tls.cert_file and tls.key_file against what the receiver trusts, and that its port "
    "speaks TLS"
)


class TlsClient:
    """One side of one TLS connection; what it wants sent is in `outgoing`.

    Why not a TLS socket or stream: closing one does not wait for the peer, and against rsyslog's
    OpenSSL driver that lost up to a fifth of a batch without an error.
    """

    def __init__(self, context: ssl.SSLContext, *, server_name: str) -> None:
        self._received = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._outgoing, server_hostname=server_name)

    @property
    def version(self) -> str:
        """The protocol agreed on, such as ``TLSv1.3``."""
        return self._tls.version() or "TLS"

    def outgoing(self) -> bytes:
        """Take what is to be sent."""
        return self._outgoing.read()

    def shake_hands(self, data: bytes) -> bool:
        """Go on with what the peer said; return True once both sides agree.

        Raises:
            ssl.SSLError: they do not; `outgoing` tells the peer.
        """
        self._received.write(data)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            return True
        return False

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` as it is to be sent."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        return self.outgoing()

    def seal(self, data: bytes) -> bytes:
        """Return `data` encrypted, and our close_notify after it: nothing can follow."""
        sealed = self.encrypt(data)
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()  # what it would wait for is `take`'s to read
        return sealed + self.outgoing()

    def decrypt(self, data: bytes) -> bytes | None:
        """Return what the peer says, which may be nothing yet; None at its close_notify.

        What it said right before that is returned first: ask again with nothing.

        Raises:
            ssl.SSLError: an alert, for instance about our certificate (TLS 1.3 tells it late).
        """
        self._received.write(data)
        said = b""
        try:
            while part := self._tls.read(_READ):
                said += part
        except ssl.SSLWantReadError:
            return said
        except ssl.SSLZeroReturnError:
            pass
        return said or None

    def take(self, data: bytes) -> None:
        """Read what the peer says after `seal`: tickets and its close_notify, or an alert.

        What else it says is ignored: a receiver of syslog has nothing to say.

        Raises:
            ssl.SSLError: an alert, for instance about our certificate (TLS 1.3 tells it late).
        """
        self._received.write(data)
        # Not by `unwrap`: that takes an alert for the peer's close_notify.
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while self._tls.read(_READ):
                pass


def refusal(where: str, error: ssl.SSLError) -> ForwarderError:
    """Return the error that a TLS failure stands for: certificates are a person's to mend."""
    if found := network.cause(error):
        return AccessError(f"{where}: {found.said}", remedy=found.remedy)
    reason = error.reason or str(error)
    if reason == "TLSV1_ALERT_INTERNAL_ERROR":
        return TransientError(f"{where}: TLS failed at the receiver: {reason}")
    return AccessError(f"{where}: TLS was refused: {reason}", remedy=_REFUSED)


def hung_up(where: str) -> TransientError:
    """Return the error for a connection that ended in the middle of the handshake."""
    return TransientError(
        f"{where}: the connection was closed during the TLS handshake", remedy=_REFUSED
    )
