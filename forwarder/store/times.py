"""Times as the store keeps them. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """Return whole epoch milliseconds, rounded down; negative before 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(epoch_milliseconds: int) -> datetime:
    """Return the aware UTC time of epoch milliseconds."""
    return _EPOCH + epoch_milliseconds * _MILLISECOND
