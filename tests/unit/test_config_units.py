"""Durations and sizes as users write them."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.options import parse_duration, parse_size
from forwarder.secret import Secret


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("7d", 604800),
        ("2w", 1209600),
        (" 10 s ", 10),
        ("0s", 0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("900 kB", 900_000), ("900KiB", 921_600), ("1.5MiB", 1_572_864), ("1GiB", 2**30)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("wrong", ["30", 30, 1.5, None, True, "", "s", "-5s", "5 minutes", "5S"])
def test_what_is_no_duration_is_refused_with_examples(wrong: object):
    with pytest.raises(ValueError, match=r'write a number and a unit, such as "30s"'):
        parse_duration(wrong)


@pytest.mark.parametrize("wrong", ["30", 30, None, "", "MiB", "-5MB", "5 mb", "1KB"])
def test_what_is_no_size_is_refused_with_examples(wrong: object):
    with pytest.raises(ValueError, match=r'write a number and a unit, such as "900KiB"'):
        parse_size(wrong)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str):
    with suppress(ValueError):
        assert parse_duration(text) >= 0
        assert re.search(r"\d", text)


@given(st.integers(0, 10**5), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.from_regex(r"\d{1,400}(\.\d+)?(ms|s|m|h|d|w)", fullmatch=True))
def test_any_duration_is_one_that_dates_can_take(text: str):
    with suppress(ValueError):
        seconds = parse_duration(text)
        assert datetime.now(UTC) - timedelta(seconds=seconds) < datetime.now(UTC) + timedelta(1)


@pytest.mark.parametrize("wrong", ["9" * 400 + "B", "2000000TiB"])
def test_a_size_beyond_every_disk_is_refused(wrong: str):
    with pytest.raises(ValueError, match="larger than any disk"):
        parse_size(wrong)


def test_secrets_are_equal_where_they_say_the_same():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert "a" not in repr(Secret("a")).replace("Secret", "")
