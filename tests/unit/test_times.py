"""Times are whole milliseconds, rounded down, before 1970 too."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from forwarder.times import milliseconds, moment

moments = st.datetimes(timezones=st.just(UTC))


@given(moments)
def test_milliseconds_round_down_and_come_back(at: datetime) -> None:
    back = moment(milliseconds(at))
    assert timedelta(0) <= at - back < timedelta(milliseconds=1)


@given(moments, moments)
def test_milliseconds_keep_the_order(one: datetime, other: datetime) -> None:
    assert one > other or milliseconds(one) <= milliseconds(other)
