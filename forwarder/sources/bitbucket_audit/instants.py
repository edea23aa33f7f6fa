"""Instants as Bitbucket counts them: whole milliseconds since 1970, before it negative. Pure."""

from datetime import UTC, datetime
from typing import Final

from forwarder.times import milliseconds, moment

EARLIEST: Final = milliseconds(datetime(1, 1, 1, tzinfo=UTC))
"""The first instant that can be written: the year 1."""
LATEST: Final = milliseconds(datetime.max.replace(tzinfo=UTC))
"""The last one: the year 9999."""


def parse(text: str) -> datetime:
    """Return the aware UTC time of an ISO-8601 instant, its fraction cut to microseconds.

    Raises:
        ValueError: not such an instant.
        OverflowError: outside of the years 1 to 9999 once it is UTC.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is UTC:
        return at
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def written(ms: int) -> str:
    """Return the form that the API takes: always three digits of fraction, always a Z."""
    return f"{moment(ms).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
