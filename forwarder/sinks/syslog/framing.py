"""How messages are told apart on a stream: RFC 6587. Pure."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

Framing = Literal["octet-counting", "lf"]


def octet_counted(messages: Sequence[bytes]) -> bytes:
    """Return the messages, each after its length in octets: RFC 6587 section 3.4.1."""
    return b"".join([b"%d %b" % (len(message), message) for message in messages])


def line_framed(messages: Sequence[bytes]) -> bytes:
    """Return the messages, each before a LF: RFC 6587 section 3.4.2.

    Safe because no message has a LF inside: see `message.without_controls`.
    """
    return b"\n".join([*messages, b""])


FRAMINGS: Final[Mapping[Framing, Callable[[Sequence[bytes]], bytes]]] = MappingProxyType(
    {"octet-counting": octet_counted, "lf": line_framed}
)
"""Every framing by the name that users type."""
