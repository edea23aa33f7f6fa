"""Times as Bitbucket, the store and destinations count them: whole epoch milliseconds."""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def milliseconds(at: datetime) -> int:
    """Return the epoch millisecond in which `at` lies; negative before 1970."""
    return (at - EPOCH) // _MILLISECOND


def moment(epoch_milliseconds: int) -> datetime:
    """Return the aware UTC time at the start of a millisecond.

    Raises:
        OverflowError: outside of the years 1 to 9999.
    """
    return EPOCH + epoch_milliseconds * _MILLISECOND
