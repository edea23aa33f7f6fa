"""What PutLogEvents takes in one call, and which events its answer means. Pure.

Every number is from AWS's API reference of PutLogEvents, as in botocore's `logs/2014-03-28`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final

import msgspec

from forwarder import times
from forwarder.errors import Reason

MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 1_048_576
EVENT_OVERHEAD: Final = 26
"""Bytes that AWS adds to the UTF-8 size of each message."""
MAX_SPAN: Final = 24 * 3600 * 1000
"""Milliseconds; a put stays under it, so that it does not matter which side of it is meant."""

_timestamp: Final = attrgetter("timestamp")


class Entry(msgspec.Struct, frozen=True):
    """One log event: `timestamp` in epoch milliseconds, `size` the message's bytes as UTF-8."""

    event_id: str
    timestamp: int
    message: str
    size: int


def milliseconds(at: datetime) -> int:
    """Return the epoch milliseconds of `at`, rounded down; 0 before 1970, which AWS cannot say."""
    return max(times.milliseconds(at), 0)


def pack(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield puts that break no limit: every entry once, in order of time, equals as they came.

    An entry that fits no put (over 1,048,550 bytes) goes alone; keep it out beforehand.
    """
    ordered = sorted(entries, key=_timestamp)
    start = size = 0
    for index, entry in enumerate(ordered):
        cost = entry.size + EVENT_OVERHEAD
        if index > start and (
            size + cost > MAX_BYTES
            or index - start == MAX_EVENTS
            or entry.timestamp - ordered[start].timestamp >= MAX_SPAN
        ):
            yield ordered[start:index]
            start, size = index, 0
        size += cost
    if ordered:
        yield ordered[start:]


def rejected(info: Mapping[str, int], count: int) -> Mapping[int, Reason]:
    """Return why which of a put's `count` entries were refused, by their index, increasing.

    `info` is the answer's ``rejectedLogEventsInfo``: both ends are exclusive, the start is
    inclusive. What is both too old and expired is called too old, which no retention heals.
    """
    old = min(info.get("tooOldLogEventEndIndex", 0), count)
    expired = min(info.get("expiredLogEventEndIndex", 0), count)
    new = max(info.get("tooNewLogEventStartIndex", count), old, expired)
    reasons: dict[int, Reason] = dict.fromkeys(range(old), "too_old")
    reasons.update(dict.fromkeys(range(old, expired), "expired"))
    reasons.update(dict.fromkeys(range(new, count), "too_new"))
    return reasons
