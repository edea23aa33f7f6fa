"""Event ids found again in what a destination holds, whatever the format. Pure."""

import re
from datetime import datetime
from typing import Final

from forwarder.times import milliseconds, moment

_ID: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")


class Span:
    """The ids of events that happened from `since` to `until` (exclusive), whole milliseconds.

    Ids begin with the time: no other 32 hexadecimal digits are likely to look like one of a span.
    """

    def __init__(self, since: datetime, until: datetime) -> None:
        self.first, self.end = _milliseconds(since), _milliseconds(until)
        self._first, self._end = (f"{ms:012x}".encode() for ms in (self.first, self.end))

    def of(self, text: bytes) -> str | None:
        """Return the first id of the span that `text` holds, or None."""
        for found in _ID.finditer(text):
            if self._first <= found[0][:12] < self._end:
                return found[0].decode()
        return None

    @staticmethod
    def any(text: bytes) -> bool:
        """Return whether `text` holds anything that looks like an id."""
        return _ID.search(text) is not None


def happened_at(event_id: str) -> datetime:
    """Return the time that an id begins with."""
    return moment(int(event_id[:12], 16))


def _milliseconds(at: datetime) -> int:
    """Return epoch milliseconds; 0 before 1970, whose ids sort behind all others."""
    return max(milliseconds(at), 0)
