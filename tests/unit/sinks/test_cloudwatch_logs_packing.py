from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.sinks.cloudwatch_logs.packing import (
    MAX_SPAN,
    Entry,
    milliseconds,
    pack,
    rejected,
)
from tests.receivers.cloudwatch import DAY, HOUR, check_events, rejected_info

NOW = 1_800_000_000_000

gaps = st.one_of(
    st.integers(0, 3), st.sampled_from([HOUR, DAY - 1, DAY, DAY + 1]), st.integers(0, 40 * DAY)
)
sizes = st.one_of(
    st.integers(1, 400), st.sampled_from([1, 262_118, 524_262, 524_263, 1_048_549, 1_048_550])
)


def entries_of(drawn: list[tuple[int, int]]) -> list[Entry]:
    return [
        Entry(f"id-{number}", NOW - gap, "", size) for number, (gap, size) in enumerate(drawn, 1)
    ]


some_entries = st.lists(st.tuples(gaps, sizes), max_size=60).map(entries_of)


@given(some_entries)
def test_every_entry_is_in_exactly_one_put(entries):
    put = [entry for each in pack(entries) for entry in each]
    assert sorted(entry.event_id for entry in put) == sorted(entry.event_id for entry in entries)


@given(some_entries)
def test_puts_follow_each_other_in_time_and_equals_stay_as_they_came(entries):
    put = [entry for each in pack(entries) for entry in each]
    assert put == sorted(entries, key=lambda entry: entry.timestamp)


@given(some_entries)
def test_no_put_breaks_a_limit(entries):
    for put in pack(entries):
        assert 1 <= len(put) <= 10_000
        assert sum(entry.size + 26 for entry in put) <= 1_048_576
        assert put[-1].timestamp - put[0].timestamp < 24 * HOUR


@given(some_entries)
def test_no_two_neighbouring_puts_would_have_gone_as_one(entries):
    puts = list(pack(entries))
    for first, second in pairwise(puts):
        size = sum(entry.size + 26 for entry in [*first, second[0]])
        assert size > 1_048_576 or second[0].timestamp - first[0].timestamp >= MAX_SPAN


@given(st.lists(st.tuples(gaps, st.text(min_size=1, max_size=30)), min_size=1, max_size=30))
def test_a_strict_check_of_awss_limits_takes_every_put(drawn):
    entries = [
        Entry(str(number), NOW - gap, text, len(text.encode()))
        for number, (gap, text) in enumerate(drawn)
        if text.isprintable()
    ]
    for put in pack(entries):
        events = [{"timestamp": one.timestamp, "message": one.message} for one in put]
        check_events(events, largest=262_144, now=NOW)


@pytest.mark.parametrize(("count", "puts"), [(10_000, 1), (10_001, 2), (20_001, 3)])
def test_a_put_holds_ten_thousand_entries_at_most(count, puts):
    entries = [Entry(str(number), NOW, "x", 1) for number in range(count)]
    assert [len(put) for put in pack(entries)] == [10_000] * (puts - 1) + [
        count - 10_000 * (puts - 1)
    ]


def test_a_put_may_be_filled_to_the_last_byte():
    entries = [Entry(str(number), NOW, "", 524_262) for number in range(2)]
    assert len(list(pack(entries))) == 1
    assert len(list(pack([*entries, Entry("2", NOW, "", 1)]))) == 2


def test_nothing_makes_no_put():
    assert list(pack([])) == []


times = st.lists(st.integers(NOW - 20 * DAY, NOW + 4 * HOUR), max_size=50).map(sorted)


@given(times, st.sampled_from([None, 1, 3, 5, 7, 14, 30]))
def test_the_rejected_indexes_name_what_aws_means(ordered, retention):
    info = rejected_info(ordered, now=NOW, retention_days=retention)
    reasons = rejected(info, len(ordered))
    for index, at in enumerate(ordered):
        if at < NOW - 14 * DAY:
            assert reasons[index] == "too_old"
        elif retention and at < NOW - retention * DAY:
            assert reasons[index] == "expired"
        elif at > NOW + 2 * HOUR:
            assert reasons[index] == "too_new"
        else:
            assert index not in reasons


@given(
    st.dictionaries(
        st.sampled_from(
            ["tooOldLogEventEndIndex", "expiredLogEventEndIndex", "tooNewLogEventStartIndex"]
        ),
        st.integers(0, 60),
    ),
    st.integers(0, 50),
)
def test_whatever_the_answer_says_only_entries_of_the_put_are_named(info, count):
    reasons = rejected(info, count)
    assert list(reasons) == sorted(reasons)
    assert set(reasons) <= set(range(count))


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, {}),
        ({"tooOldLogEventEndIndex": 0}, {}),
        ({"tooOldLogEventEndIndex": 1}, {0: "too_old"}),
        ({"tooNewLogEventStartIndex": 3}, {}),
        ({"tooNewLogEventStartIndex": 2}, {2: "too_new"}),
        ({"tooNewLogEventStartIndex": 0}, {0: "too_new", 1: "too_new", 2: "too_new"}),
        ({"expiredLogEventEndIndex": 2}, {0: "expired", 1: "expired"}),
        (
            {
                "tooOldLogEventEndIndex": 1,
                "expiredLogEventEndIndex": 2,
                "tooNewLogEventStartIndex": 2,
            },
            {0: "too_old", 1: "expired", 2: "too_new"},
        ),
    ],
)
def test_ends_are_exclusive_and_the_start_is_inclusive(info, expected):
    assert rejected(info, 3) == expected


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_is_exact_to_the_millisecond(at):
    assert milliseconds(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)) == at


def test_microseconds_are_rounded_down_and_the_time_before_1970_is_its_beginning():
    assert milliseconds(datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)) % 1000 == 999
    assert milliseconds(datetime(1969, 12, 31, tzinfo=UTC)) == 0
