"""Instants are read as Bitbucket prints them, and written as it takes them."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder import times
from forwarder.sources.bitbucket_audit import instants


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2021-11-27T17:38:58.087Z", 1_638_034_738_087),
        ("2021-11-27T17:38:58.1Z", 1_638_034_738_100),
        ("2021-11-27T17:38:58.123456789Z", 1_638_034_738_123),
        ("2021-11-27T17:38:58.9999999Z", 1_638_034_738_999),
        ("2021-11-27T19:08:58.5+01:30", 1_638_034_738_500),
        ("2021-11-27T17:38:58", 1_638_034_738_000),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:59.9991Z", -1),
        ("0001-01-01T00:00:00Z", instants.EARLIEST),
        ("9999-12-31T23:59:59.999999999Z", instants.LATEST),
    ],
)
def test_an_instant_lies_in_its_millisecond(text: str, ms: int) -> None:
    at = instants.parse(text)
    assert at.tzinfo is UTC
    assert times.milliseconds(at) == ms


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2021-13-01T00:00:00Z", "9999-12-31T23:00-05:00"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        instants.parse(text)


@given(ms=st.integers(instants.EARLIEST, instants.LATEST))
def test_what_is_written_reads_the_same(ms: int) -> None:
    text = instants.written(ms)
    assert len(text) == len("2021-11-27T17:38:58.087Z")
    assert times.milliseconds(instants.parse(text)) == ms
    assert times.milliseconds(times.moment(ms)) == ms
