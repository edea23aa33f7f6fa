"""The simulated server's clock: the real one, or one that tests move by hand.

Two times are told apart. `elapsed_ms` is the true one: it only ever goes on, and everything that
the simulator schedules (live events, late rows) follows it. `now_ms` is what the server believes
and stamps on events and on its `Date` header: the true time plus `offset_ms`, which a `jump`
changes, as an administrator or a broken NTP would. Both are epoch milliseconds.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(at: datetime) -> int:
    """Return epoch milliseconds, cut off (not rounded) at the millisecond."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """Return the aware UTC time of epoch milliseconds."""
    return EPOCH + timedelta(milliseconds=ms)


class Clock(Protocol):
    """What the simulator asks of a clock."""

    offset_ms: int

    def elapsed_ms(self) -> int:
        """Return the true time; never goes back."""
        ...

    def now_ms(self) -> int:
        """Return the time that the server believes."""
        ...

    def now(self) -> datetime:
        """Return the time that the server believes, aware UTC."""
        ...

    def jump(self, seconds: float) -> None:
        """Set the server's clock forward or, with a negative number, back; no time passes."""
        ...


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self.offset_ms = 0
        self._start_ms = time.time_ns() // 1_000_000
        self._start_ns = time.monotonic_ns()

    def elapsed_ms(self) -> int:
        """Return the machine's time at the start, gone on by its monotonic clock."""
        return self._start_ms + (time.monotonic_ns() - self._start_ns) // 1_000_000

    def now_ms(self) -> int:
        """Return the time that the server believes."""
        return self.elapsed_ms() + self.offset_ms

    def now(self) -> datetime:
        """Return the time that the server believes, aware UTC."""
        return from_ms(self.now_ms())

    def jump(self, seconds: float) -> None:
        """Set the server's clock; no time passes."""
        self.offset_ms += round(seconds * 1000)


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.offset_ms = 0
        self._elapsed_ms = to_ms(at)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError("time does not run back; jump() sets the server's clock back")
        self._elapsed_ms += round(seconds * 1000)

    def elapsed_ms(self) -> int:
        """Return the true time."""
        return self._elapsed_ms

    def now_ms(self) -> int:
        """Return the time that the server believes."""
        return self._elapsed_ms + self.offset_ms

    def now(self) -> datetime:
        """Return the time that the server believes, aware UTC."""
        return from_ms(self.now_ms())

    def jump(self, seconds: float) -> None:
        """Set the server's clock; no time passes."""
        self.offset_ms += round(seconds * 1000)
