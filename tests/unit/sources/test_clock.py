"""The server's time is taken from its answers, and never trusted alone."""

from datetime import UTC, datetime, timedelta

from forwarder.sources.bitbucket_audit.clock import ServerClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"


class Times:
    """Our two clocks, moved by hand."""

    def __init__(self, wall: datetime) -> None:
        self.wall = wall.timestamp()
        self.steady = 1000.0

    def clock(self) -> ServerClock:
        return ServerClock(wall=lambda: self.wall, steady=lambda: self.steady)


def test_before_the_first_answer_our_own_clock_is_all_there_is() -> None:
    clock = Times(NOON).clock()
    assert clock.now() == (NOON_MS, NOON_MS)
    assert clock.ahead() is None


def test_the_servers_time_goes_on_with_our_steady_clock() -> None:
    times = Times(NOON - timedelta(days=900))
    clock = times.clock()
    clock.hear(DATE)
    times.steady += 2.5
    assert clock.now() == (NOON_MS + 2500, NOON_MS + 3500)


def test_our_own_clock_may_be_set_without_moving_the_servers_time() -> None:
    times = Times(NOON - timedelta(days=900))
    clock = times.clock()
    clock.hear(DATE)
    times.wall += 10_000_000
    assert clock.now() == (NOON_MS, NOON_MS + 1000)


def test_two_clocks_that_differ_by_hours_bound_the_time_from_both_sides() -> None:
    for hours in (-3, 3):
        clock = Times(NOON + timedelta(hours=hours)).clock()
        clock.hear(DATE)
        ours = NOON_MS + hours * 3_600_000
        assert clock.now() == (min(ours, NOON_MS), max(ours, NOON_MS + 1000))


def test_a_date_header_that_says_nothing_changes_nothing() -> None:
    clock = Times(NOON).clock()
    for nothing in (None, "", "soon", "Sun, 99 Mar 2026 12:00:00 GMT"):
        clock.hear(nothing)
    assert clock.ahead() is None


def test_the_difference_to_ours_is_told() -> None:
    clock = Times(NOON - timedelta(seconds=90)).clock()
    clock.hear(DATE)
    assert clock.ahead() == 90.5
