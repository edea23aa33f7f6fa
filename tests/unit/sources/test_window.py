"""Windows cover everything, fit our memory, and waste little, however the rows lie."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from forwarder.sources.bitbucket_audit.window import (
    CROWDED,
    TARGET_PAGES,
    TARGET_ROWS,
    Plan,
    Window,
    load,
)

HOUR = 3_600_000
DAY = 24 * HOUR
YEAR = 365 * DAY


@dataclass
class Reading:
    """What reading a log by a plan did; `held` is the number of rows in each window."""

    windows: list[Window] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    requests: int = 0
    wasted: int = 0


def read(
    rows: list[int],
    start: int,
    end: int,
    *,
    page_size: int = 1000,
    width: int = HOUR,
    newcomers: int = 0,
) -> Reading:
    """Walk the rows as the source does: newest first inside a window, which may be given up.

    Each request makes `newcomers` rows at the end of time, as our own searches are.
    """
    log = sorted(rows)
    done = Reading()
    plan = Plan(start, end, width=width)
    while window := plan.window:
        low, above = bisect_left(log, window.start), bisect_right(log, window.end)
        held, first, given_up, newest = 0, True, False, window.start
        while not given_up:
            done.requests += 1
            log += [end] * newcomers
            page = log[max(low, above - page_size) : above]
            held += len(page)
            above -= len(page)
            newest = max(newest, *page[-1:], window.start)
            if above <= low:
                break
            part = load(rows=held, size=0, page_size=page_size)
            given_up = plan.crowded(part, newest=newest, oldest=page[0], first=first)
            first = False
        if given_up:
            done.wasted += -(-held // page_size)
            first_row = seek(log, window, plan.width, done)
            if first_row > window.start:
                done.windows.append(Window(window.start, first_row))
                done.held.append(0)
            plan.skip(first_row)
            continue
        done.windows.append(window)
        done.held.append(held)
        done.seen.update(log[low : bisect_right(log, window.end)])
        plan.done(load(rows=held, size=0, page_size=page_size))
    return done


def seek(log: list[int], window: Window, within: int, done: Reading) -> int:
    """Find the window's first row as the source does: each question halves what is left."""
    start, end = window.start, window.end
    while end - start > within:
        done.requests += 1
        middle = (start + end) // 2
        found = log[bisect_left(log, start) : bisect_right(log, middle)]
        start, end = (start, found[-1]) if found else (middle, end)
    return start


rows = st.lists(
    st.one_of(
        st.integers(0, 10 * DAY),
        st.integers(5 * DAY, 5 * DAY + 50),  # a cluster
        st.just(7 * DAY),  # twins
    ),
    max_size=400,
)


@given(
    rows=rows,
    start=st.integers(0, 10 * DAY),
    length=st.integers(0, 10 * DAY),
    page_size=st.integers(1, 20),
    width=st.integers(1, 20 * DAY),
    newcomers=st.integers(0, 1),
)
def test_windows_cover_the_range_without_a_gap_and_end(
    rows: list[int], start: int, length: int, page_size: int, width: int, newcomers: int
) -> None:
    done = read(rows, start, start + length, page_size=page_size, width=width, newcomers=newcomers)
    assert done.windows[0].start == start
    assert done.windows[-1].end == start + length
    for before, after in zip(done.windows, done.windows[1:], strict=False):
        assert after.start == before.end
        assert after.end > after.start
    assert {row for row in rows if start <= row <= start + length} <= done.seen


@given(rows=rows, page_size=st.integers(1, 20), width=st.integers(1, 20 * DAY))
def test_only_a_window_that_cannot_be_narrowed_holds_more_than_the_bound(
    rows: list[int], page_size: int, width: int
) -> None:
    done = read(rows, 0, 10 * DAY, page_size=page_size, width=width)
    bound = CROWDED * TARGET_PAGES * page_size + page_size
    for window, held in zip(done.windows, done.held, strict=True):
        assert held <= bound or window.width <= 1


TO_TWO_CLUSTERS = 2 * 2 * 30
"""Requests: to halve ten days down to a millisecond takes 30 steps, each asked for twice."""


@given(rows=rows, page_size=st.integers(2, 20))
def test_the_requests_stay_in_proportion_to_the_rows(rows: list[int], page_size: int) -> None:
    done = read(rows, 0, 10 * DAY, page_size=page_size)
    assert done.requests <= 150 + TO_TWO_CLUSTERS + 8 * len(rows) / page_size


@given(rows=rows, page_size=st.integers(10, 20))
def test_the_rows_that_asking_makes_do_not_keep_us_asking(rows: list[int], page_size: int) -> None:
    done = read(rows, 0, 10 * DAY, page_size=page_size, newcomers=1)
    asked = len(rows) + done.requests
    assert done.requests <= 150 + TO_TWO_CLUSTERS + 8 * asked / page_size


def test_decades_of_nothing_take_few_requests() -> None:
    assert read([], 0, 50 * YEAR).requests <= 10


def test_a_dense_backlog_is_read_in_full_windows_almost_without_waste() -> None:
    rows = list(range(0, DAY, 432))  # 200,000 rows, one each 432 ms
    done = read(rows, 0, DAY)
    assert done.wasted <= 2
    assert done.requests <= 230
    assert max(done.held) <= 2 * TARGET_ROWS


def test_a_dense_backlog_behind_days_of_silence_wastes_little() -> None:
    rows = list(range(0, 2 * DAY, 864))  # 200,000 rows
    done = read(rows, -6 * DAY, 2 * DAY)
    assert done.wasted <= 5
    assert done.requests <= 280


def test_a_burst_in_a_silent_year_is_walked_in_vain_at_most_once() -> None:
    burst = [YEAR // 2 + n // 10 for n in range(50_000)]
    done = read(burst, 0, YEAR)
    assert done.wasted <= 5
    assert max(done.held) <= CROWDED * TARGET_ROWS + 1000


def test_more_twins_than_a_window_may_hold_are_read_whole() -> None:
    done = read([DAY] * 1000, 0, 2 * DAY, page_size=10)
    assert max(done.held) == 1000
    assert done.requests <= 450


def test_a_poll_with_little_to_read_keeps_the_width_for_the_next() -> None:
    plan = Plan(0, 60_000, width=HOUR)
    plan.done(0.0)
    assert plan.window is None
    assert plan.width == HOUR


def test_large_rows_fill_a_window_as_many_rows_do() -> None:
    assert load(rows=10, size=32 << 20, page_size=1000) == 4.0
    assert load(rows=TARGET_ROWS, size=0, page_size=1000) == 1.0
    assert load(rows=10_000, size=0, page_size=10_000) == 1.0
