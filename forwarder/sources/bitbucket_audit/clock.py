"""What time it is at the server: its own word, carried on by our steady clock."""

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from forwarder import times

_BELIEVABLE: Final = 86_400_000
JITTER: Final = 2_000
"""Milliseconds by which two readings may differ because a Date header has whole seconds."""


class ServerClock:
    """Tells a time that is surely past at the server, and one that is surely reached.

    The Date header of its last answer (RFC 9110 section 6.6.1: whole seconds) is carried on by a
    clock that nobody sets. It can be a proxy's: so where our own clock differs by less than a
    day, neither is trusted alone. Where it differs by more, ours is wrong.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._heard: tuple[int, float] | None = None

    @property
    def set(self) -> bool:
        """Whether the server has told its time."""
        return self._heard is not None

    def hear(self, date: str | None) -> None:
        """Take the Date header of an answer that has just come, if it says something."""
        try:
            at = parsedate_to_datetime(date or "")
        except (ValueError, OverflowError):
            return
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        self._heard = times.milliseconds(at), self._steady()

    def now(self) -> tuple[int, int]:
        """Return the milliseconds that are past at the server, and those that it has reached."""
        ours = int(self._wall() * 1000)
        if self._heard is None:
            return ours, ours
        date, at = self._heard
        past = date + int((self._steady() - at) * 1000)
        reached = past + 1000
        if abs(ours - past) < _BELIEVABLE:
            return min(past, ours), max(reached, ours)
        return past, reached

    def ahead(self) -> float | None:
        """Return by how many seconds the server is ahead of us, None where it never said."""
        if self._heard is None:
            return None
        date, at = self._heard
        return date / 1000 + 0.5 + (self._steady() - at) - self._wall()
