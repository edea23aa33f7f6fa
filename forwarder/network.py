"""What it means that an address cannot be reached: one map for every protocol."""

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio

_SECONDS: Final = 5.0
"""For the look at whether a port speaks TLS."""


class Cause(NamedTuple):
    """What is wrong, in words, and what a person can do about it."""

    said: str
    remedy: str


# OpenSSL's X509_V_ERR codes (x509_vfy.h).
_CERTIFICATES: Final = {
    9: Cause(
        "its certificate is not valid yet",
        "check this machine's clock (NTP); if it is right, the server's certificate is wrong",
    ),
    10: Cause(
        "its certificate has expired",
        "renew the server's certificate; if it is not old, check this machine's clock (NTP)",
    ),
    23: Cause("its certificate was revoked", "have the server given a new certificate"),
}
_NAME: Final = Cause(
    "its certificate is for another name",
    "write the name that the certificate has into the address, or set tls.server_name to it",
)
_UNKNOWN_CA: Final = Cause(
    "its certificate is from a CA that is not trusted here",
    "set tls.ca_file to the PEM file of the CA that signed it, or add it to the system's",
)
_OTHER_NAME: Final = frozenset({62, 63, 64})
_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
)
_SYSTEM: Final = {
    errno.ECONNREFUSED: Cause(
        "nothing listens there (connection refused)",
        "check the host and the port, and that the server runs",
    ),
    errno.EHOSTUNREACH: Cause("there is no way to it", "check the network, routes and firewall"),
    errno.ENETUNREACH: Cause("there is no way to it", "check the network, routes and firewall"),
    errno.ECONNRESET: Cause(
        "the other side broke the connection off",
        "check that the scheme fits the port, and what stands between (a firewall, a proxy)",
    ),
}
_SILENT: Final = Cause(
    "no answer in time", "check the address and the port; a firewall may drop the packets"
)


def cause(error: BaseException) -> Cause | None:
    """Return what an error of the network means, found in whatever it is wrapped in; or None."""
    for each in within(error):
        if found := _of(each):
            return found
    return None


def _of(error: BaseException) -> Cause | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return _NAME._replace(said=f"{_NAME.said}: {error.verify_message}")
        return _CERTIFICATES.get(error.verify_code) or _UNKNOWN_CA._replace(
            said=f"{_UNKNOWN_CA.said}: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLError):
        return _of_tls(error.reason or "")
    if isinstance(error, socket.gaierror):
        return Cause(
            f"the host's name is not known ({error.strerror})",
            "check the spelling of the host, and this machine's DNS",
        )
    if isinstance(error, TimeoutError):
        return _SILENT
    return _SYSTEM.get(error.errno or 0) if isinstance(error, OSError) else None


def _of_tls(reason: str) -> Cause | None:
    if reason in _NO_TLS:
        return Cause(
            "the port does not speak TLS",
            "write the address without TLS (http://, tcp://, relp://), or the port that speaks TLS",
        )
    if "CERTIFICATE" in reason or reason in ("TLSV1_ALERT_UNKNOWN_CA", "HANDSHAKE_FAILURE"):
        return Cause(
            f"it does not accept our certificate ({reason})",
            "set tls.cert_file and tls.key_file to a client certificate that it trusts",
        )
    return None


def within(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that it was raised from, members of groups too, the deepest last."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        waiting += [each.__cause__, each.__context__]


def proxy_for(url: str, configured: str | None) -> tuple[str, str] | None:
    """Return the proxy on the way to `url` without its password, and who says so; or None.

    `configured` wins over the environment, as in the client that goes the way.
    """
    if configured:
        return _bare(urlsplit(configured)), "proxy"
    parts = urlsplit(url)
    found = getproxies()
    scheme = parts.scheme if parts.scheme in found else "all"
    if scheme not in found or proxy_bypass(parts.hostname or ""):
        return None
    return _bare(urlsplit(found[scheme])), f"{scheme.upper()}_PROXY"


def _bare(parts: SplitResult) -> str:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


async def speaks_tls(host: str, port: int) -> bool:
    """Return whether a port answers a TLS client's hello; whom it is, is not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with anyio.fail_after(_SECONDS):
            stream = await anyio.connect_tcp(host, port, ssl_context=context)
            await anyio.aclose_forcefully(stream)
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
        return False
    return True
