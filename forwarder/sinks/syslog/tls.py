"""TLS without a socket: bytes in, bytes out (RFC 5425 over `ssl.MemoryBIO`)."""

import ssl

from anyio.abc import SocketStream

from forwarder.errors import AccessError, ForwarderError, TransientError

_RECEIVED = 65_536


class TlsClient:
    """One side of one TLS connection.

    Why not a TLS stream: closing one does not wait for the peer, and against rsyslog's OpenSSL
    driver that lost up to a fifth of a batch without an error.
    """

    def __init__(self, context: ssl.SSLContext, *, server_name: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    @property
    def version(self) -> str:
        """The protocol agreed on, such as ``TLSv1.3``."""
        return self._tls.version() or "TLS"

    async def shake_hands(self, stream: SocketStream) -> None:
        """Return when both sides agree.

        Raises:
            ssl.SSLError: they do not; the peer was told.
            anyio.EndOfStream: the peer closed the connection.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send(self._outgoing.read())
                self._incoming.write(await stream.receive(_RECEIVED))
            except ssl.SSLError:
                await stream.send(self._outgoing.read())
                raise
            else:
                await stream.send(self._outgoing.read())
                return

    def seal(self, data: bytes) -> bytes:
        """Return `data` encrypted, and our close_notify after it: nothing can follow."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        self._close()
        return self._outgoing.read()

    def take(self, data: bytes) -> None:
        """Read what the peer says after `seal`: tickets and its close_notify, or an alert.

        Raises:
            ssl.SSLError: an alert, for instance about our certificate (TLS 1.3 tells it late).
        """
        self._incoming.write(data)
        self._close()

    def _close(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            if error.reason != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                raise
            self._drain()

    def _drain(self) -> None:
        # A receiver has nothing to say in syslog; what it says all the same is ignored.
        try:
            while self._tls.read(_RECEIVED):
                pass
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            return


def refusal(where: str, error: ssl.SSLError) -> ForwarderError:
    """Return the error that a TLS failure stands for: certificates are a person's to mend."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AccessError(
            f"{where}: its certificate is not accepted: {error.verify_message}",
            remedy="set tls.ca_file to the CA that signed it, tls.server_name to a name in it",
        )
    if error.reason in ("TLSV1_ALERT_INTERNAL_ERROR", "UNEXPECTED_EOF_WHILE_READING"):
        return TransientError(f"{where}: TLS failed: {error.reason}")
    return AccessError(
        f"{where}: TLS was refused: {error.reason or error}",
        remedy="check tls.cert_file and tls.key_file against what the receiver trusts, and that "
        "its port speaks TLS",
    )


def hung_up(where: str) -> TransientError:
    """Return the error for a connection closed in the middle of the handshake."""
    return TransientError(
        f"{where}: the connection was closed during the TLS handshake",
        remedy="check that the port speaks TLS, and whether it wants a client certificate "
        "(tls.cert_file, tls.key_file)",
    )
