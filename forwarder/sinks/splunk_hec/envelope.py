"""From an event to one HEC envelope: pure.

https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data/format-events-for-http-event-collector
"""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec

from forwarder.interfaces import Format
from forwarder.model import Outgoing

_LAST_SECOND: Final = 2**31 - 1
"""Splunk's times are 32-bit epoch seconds: what happens after 2038-01-19 cannot be indexed (Splunk,
"Configure timestamp recognition")."""

_encode = msgspec.json.encode


class Envelope:
    """The frame that HEC wants around an event: seven keys and no other.

    An unknown key is answered with 200 while the rest of the batch is dropped, so users cannot
    add any. What is None is left out and Splunk takes the token's own. Without `host` it is the
    host of the Bitbucket that the event names.
    """

    def __init__(
        self,
        format_: Format,
        *,
        index: str | None = None,
        source: str | None = None,
        sourcetype: str | None = None,
        host: str | None = None,
    ) -> None:
        self._format = format_
        self._is_json = format_.media_type == "application/json"
        self._host = host
        self.index = index
        named = {"index": index, "source": source, "sourcetype": sourcetype, "host": host}
        head = _encode({key: value for key, value in named.items() if value is not None})[1:-1]
        self._head = b"{" + head + b"," if head else b"{"

    def encode(self, event: Outgoing, *, possible_duplicate: bool = False) -> bytes:
        """Return the envelope on one line, without a line end.

        `time` is in seconds with milliseconds; before 1970 and after 2038 it is left out, so
        that Splunk takes the time of arrival, and the field ``time_out_of_range`` says so.
        """
        payload = self._format.encode(event)
        if not self._is_json:
            payload = _encode(payload.decode())
        host = b"" if self._host is not None or event.system is None else _host_of(event.system)
        seconds = event.occurred_at.timestamp()
        in_range = 0.0 <= seconds < _LAST_SECOND
        return b'%b%b%b"fields":{"event_id":%b,"kind":%b,"severity":%b%b%b},"event":%b}' % (
            self._head,
            host,
            b'"time":%.3f,' % seconds if in_range else b"",
            _encode(event.event_id),
            _encode(event.kind),
            _encode(event.severity),
            b"" if in_range else b',"time_out_of_range":true',
            b',"possible_duplicate":true' if possible_duplicate else b"",
            payload,
        )


@lru_cache(maxsize=256)
def _host_of(system: str) -> bytes:
    """Return the envelope's host, with a comma behind it, from a base URL; nothing for others."""
    try:
        host = urlsplit(system).hostname
    except ValueError:
        host = None
    return b'"host":%b,' % _encode(host) if host else b""
