"""Where a receiver is, as users type it: ``tls://siem.example.com:6514``."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

Scheme = Literal["udp", "tcp", "tls", "relp", "relp+tls"]

# RFC 5426 section 3.3 and RFC 5425 section 4.1; plain TCP has no assigned port, and RFC 6587
# section 3.2 says that 514 is what is used. RELP has none either: 2514 is in the examples
# of rsyslog's imrelp and omrelp.
_PORTS: Final[dict[str, int]] = {
    "udp": 514,
    "tcp": 514,
    "tls": 6514,
    "relp": 2514,
    "relp+tls": 2514,
}


@dataclass(frozen=True, slots=True)
class Address:
    """A receiver's place; as text it is what the user typed, the port filled in."""

    scheme: Scheme
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address.

    Raises:
        ValueError: it is none; the message says what is understood.
    """
    known = (
        "write udp://host:514, tcp://host:514, tls://host:6514, relp://host:2514 or "
        "relp+tls://host:2514"
    )
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that hold no IPv6 address
        raise ValueError(f'"{text}" is not a syslog address: {known}') from None
    if parts.scheme not in _PORTS:
        raise ValueError(f'"{text}" is not a syslog address: {known}')
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f'"{text}" has no usable port: {known}') from None
    if not parts.hostname or parts.username is not None or port == 0:
        raise ValueError(f'"{text}" is not a host and a port: {known}')
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f'"{text}" has something after the port: {known}')
    scheme: Scheme = parts.scheme  # type: ignore[assignment]  # one of _PORTS
    return Address(scheme, parts.hostname, port or _PORTS[scheme])
