"""An event's syslog header: RFC 5424, and RFC 3164 for old receivers. Pure but for the zone."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Literal, Protocol, get_args
from urllib.parse import urlsplit

import msgspec

from forwarder.model import Outgoing, Severity

Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news",
    "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip
"""RFC 5424 table 1, in the order of its codes, by the names that rsyslog gives them."""

# RFC 5424 table 2: critical, error, warning, notice, informational. Emergency and alert speak of
# the system that sends, not of what was seen on it.
SEVERITIES: Final[Mapping[Severity, int]] = MappingProxyType(
    {"critical": 2, "high": 3, "medium": 4, "low": 5, "info": 6}
)

BOM: Final = b"\xef\xbb\xbf"
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_CACHED: Final = 1024
_encode: Final = msgspec.json.Encoder().encode

# Every control character but TAB, which LEEF needs between its values.
_CONTROLS: Final = bytes(code for code in (*range(32), 127) if code != 9)


class Header(Protocol):
    """From an event to what stands before its message."""

    def __call__(self, event: Outgoing) -> bytes:
        """Return the header with what separates it from the message."""
        ...


def without_controls(text: bytes) -> bytes:
    """Return `text` with each control character but TAB as ``#`` and three octal digits.

    So nothing inside a message ends its frame. It is what rsyslog itself makes of them on receipt
    (``$EscapeControlCharactersOnReceive``), within what RFC 5424 section 6.4 allows.
    """
    if len(text.translate(None, _CONTROLS)) == len(text):
        return text
    for code in set(_CONTROLS).intersection(text):  # a megabyte of them takes 50 ms so
        text = text.replace(b"%c" % code, b"#%03o" % code)
    return text


class Rfc5424:
    """``<PRI>1 TIMESTAMP HOSTNAME APP-NAME - MSGID [SD] MSG``: RFC 5424 section 6.

    HOSTNAME is `hostname`, else the event's own host (`host_of`), else `own_host`; MSGID is the
    event's kind; PROCID is nil, because what a process number would say ("logging was restarted",
    section 6.2.6) is not true of an event that is sent again. `structured_data` is the SD-ID under
    which event id, source, kind and severity stand, None leaves them out. `bom` marks the message
    as UTF-8 (section 6.4).
    """

    def __init__(
        self,
        *,
        facility: Facility,
        app_name: str,
        hostname: str | None,
        own_host: str,
        structured_data: str | None,
        bom: bool,
    ) -> None:
        self._facility = get_args(Facility).index(facility)
        self._app_name = printable(app_name, 48)
        self._hostname = hostname
        self._own_host = own_host
        self._structured_data = structured_data
        self._bom = BOM if bom else b""
        # What changes with each event are its time and its id alone.
        self._constant = lru_cache(_CACHED)(self._make_constant)

    def __call__(self, event: Outgoing) -> bytes:
        """Return the header, up to the space before the message."""
        before, between, after = self._constant(
            event.kind, event.severity, event.source, event.system, event.node
        )
        time = _encode(_utc(event.occurred_at))[1:-1]  # RFC 3339, in a sixth of isoformat's time
        if not self._structured_data:
            return b"%b%b%b%b" % (before, time, between, after)
        return b"%b%b%b%b%b" % (before, time, between, _sd_value(event.event_id), after)

    def _make_constant(
        self, kind: str, severity: Severity, source: str, system: str | None, node: str | None
    ) -> tuple[bytes, bytes, bytes]:
        host = printable(self._hostname or host_of(system, node) or self._own_host, 255)
        before = b"<%d>1 " % (self._facility * 8 + SEVERITIES[severity])
        between = b" %b %b - %b " % (host, self._app_name, printable(kind, 32))
        if not self._structured_data:
            return before, between, b"- " + self._bom
        opening = b'[%b event_id="' % self._structured_data.encode()
        closing = b'" source="%b" kind="%b" severity="%b"] ' % (
            _sd_value(source),
            _sd_value(kind),
            _sd_value(severity),
        )
        return before, between + opening, closing + self._bom


class Rfc3164:
    """``<PRI>Mmm dd hh:mm:ss HOSTNAME TAG[EVENT ID]: MSG``: RFC 3164 section 4.1.

    The time is this machine's local time (or `zone`'s) without year or zone, as section 4.1.2
    wants it; HOSTNAME is without its domain. The id stands where a process number would, because
    there is no other field for it and a `raw` message has none.
    """

    def __init__(
        self,
        *,
        facility: Facility,
        app_name: str,
        hostname: str | None,
        own_host: str,
        zone: tzinfo | None = None,
    ) -> None:
        self._facility = get_args(Facility).index(facility)
        # Section 4.1.3: at most 32; what receivers take for the tag's end is kept out.
        self._tag = re.sub(rb"[^A-Za-z0-9_.-]", b"_", app_name.encode("ascii", "replace"))[:32]
        self._hostname = hostname
        self._own_host = own_host
        self._zone = zone
        self._constant = lru_cache(_CACHED)(self._make_constant)

    def __call__(self, event: Outgoing) -> bytes:
        """Return the header, up to the space before the message."""
        before, between = self._constant(event.severity, event.system, event.node)
        try:
            at = event.occurred_at.astimezone(self._zone)
        except OverflowError:  # at either end of the calendar, where only UTC is left
            at = event.occurred_at
        time = b"%b %2d %02d:%02d:%02d" % (
            _MONTHS[at.month - 1],
            at.day,
            at.hour,
            at.minute,
            at.second,
        )
        return b"%b%b%b%b]: " % (before, time, between, printable(event.event_id, 64))

    def _make_constant(
        self, severity: Severity, system: str | None, node: str | None
    ) -> tuple[bytes, bytes]:
        host = _without_domain(self._hostname or host_of(system, node) or self._own_host)
        before = b"<%d>" % (self._facility * 8 + SEVERITIES[severity])
        return before, b" %b %b[" % (printable(host, 255), self._tag or b"-")


def host_of(system: str | None, node: str | None) -> str | None:
    """Return the host that an event is from, or None where the event does not say.

    HOSTNAME is the machine that the message is originally from (RFC 5424 section 6.2.4): the host
    in Bitbucket's base URL, the same for every node of it, else the id of the node.
    """
    if system:
        try:
            return urlsplit(system).hostname or node
        except ValueError:
            return node
    return node


def printable(text: str, limit: int) -> bytes:
    """Return a header field: printable ASCII without spaces, at most `limit`, nil for nothing.

    RFC 5424 section 6: what is not PRINTUSASCII (33 to 126) becomes ``_``.
    """
    field = re.sub(rb"[^!-~]", b"_", text[:limit].encode("ascii", "replace"))
    return field or b"-"


def _sd_value(text: str) -> bytes:
    # RFC 5424 section 6.3.3: exactly these three are escaped; UTF-8 all through.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return without_controls(escaped.encode("utf-8", "replace"))


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo is UTC else at.astimezone(UTC)


def _without_domain(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return host.partition(".")[0] or host
