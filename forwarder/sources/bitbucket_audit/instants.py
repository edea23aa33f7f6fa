"""Instants as Bitbucket counts them: whole milliseconds since 1970, before it negative. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

EARLIEST: Final = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // _MILLISECOND
"""The first instant that can be written: the year 1."""
LATEST: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MILLISECOND
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


def millis(at: datetime) -> int:
    """Return the millisecond in which `at` lies."""
    return (at - EPOCH) // _MILLISECOND


def moment(ms: int) -> datetime:
    """Return the aware UTC time at the start of a millisecond.

    Raises:
        OverflowError: outside of the years 1 to 9999.
    """
    return EPOCH + ms * _MILLISECOND


def written(ms: int) -> str:
    """Return the form that the API takes: always three digits of fraction, always a Z."""
    return f"{moment(ms).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
