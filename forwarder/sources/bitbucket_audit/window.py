"""The closed time ranges that are read as a whole: which comes next, and how wide it is. Pure.

All bounds are milliseconds, both inclusive; neighbours share one, so that nothing falls between
them whether a server's bounds are inclusive or not. Load is what a window holds in proportion to
what one should hold: 1.0 is full.
"""

from dataclasses import dataclass
from typing import Final

TARGET_PAGES: Final = 4
"""Full pages in a window of load 1: enough that a page wasted by a wrong guess is cheap."""
TARGET_ROWS: Final = 2_000
"""Rows in a window of load 1, where these come first; but never less than a page."""
TARGET_BYTES: Final = 8 << 20
"""Bytes of records in a window of load 1, where these come first."""
ROOMY: Final = 1.5
"""The load foreseen from a window's first page over which it is narrowed before it is read."""
CROWDED: Final = 2.5
"""The load that a window does not pass, unless it cannot be narrowed: it bounds our memory."""
FIRST_WIDTH: Final = 3_600_000
_GROWTH: Final = 8.0
_STRETCH: Final = 1.25
"""How much wider a window may be where that spares a small one after it."""
_AIM: Final = 0.9
"""The load that the next window is made for: a little over full costs a page for a few rows."""


@dataclass(frozen=True, slots=True)
class Window:
    """The milliseconds from `start` to `end`, both in it."""

    start: int
    end: int

    @property
    def width(self) -> int:
        """How far apart the bounds are; a window of width 1 cannot be narrowed."""
        return self.end - self.start

    def holds(self, ms: int) -> bool:
        """Whether the millisecond lies in it."""
        return self.start <= ms <= self.end


def load(*, rows: int, size: int, page_size: int) -> float:
    """Return the load of `rows` records of together `size` bytes."""
    full = max(page_size, min(TARGET_PAGES * page_size, TARGET_ROWS))
    return max(rows / full, size / TARGET_BYTES)


class Plan:
    """The windows that cover `start` to `end`, oldest first, each sized by what the last ones held.

    Read `window` whole and say so (`done`), or say after each page of it what it held so far
    (`crowded`). Where that says that it is too much, look for the window's first row and begin
    there (`skip`) with a narrower one. `window` is None at the end. `width` is for the next plan.
    """

    def __init__(self, start: int, end: int, *, width: int = FIRST_WIDTH) -> None:
        self.width = width
        self._end = max(start, end)
        self.window: Window | None = self._cut(start)

    def _cut(self, start: int) -> Window:
        if self._end - start <= self.width * _STRETCH:
            return Window(start, self._end)
        return Window(start, start + max(self.width, 1))

    def crowded(self, so_far: float, *, newest: int, oldest: int, first: bool) -> bool:
        """Whether to leave the window unread, after pages of it from `newest` down to `oldest`.

        Its first page foretells by its density how much it holds: so a guess that was far too
        wide costs one page. The walk of a window whose rows lie closer towards its beginning ends
        where it would pass what memory has room for. `width` then fits the density that was seen.
        """
        window = self.window
        if window is None or window.width <= 1:
            return False
        passed = max(newest - oldest, 1)
        foreseen = so_far * (1 + (oldest - window.start) / passed)
        if foreseen <= ROOMY if first else so_far <= CROWDED:
            return False
        self.width = min(max(int(passed * _AIM / so_far), 1), window.width // 2)
        return True

    def skip(self, start: int) -> None:
        """Go on at `start`: before it the window holds nothing."""
        self.window = self._cut(start)

    def done(self, held: float) -> None:
        """Go on to the next window: this one was read whole and had load `held`.

        Windows widen fast over empty stretches. A window that was short for another reason than
        its load (there was no more to read) is no reason to make the next one short.
        """
        window = self.window
        if window is None:
            return
        if held >= 1.0:
            self.width = max(int(window.width * _AIM / held), 1)
        else:
            growth = min(_GROWTH, _AIM / held) if held else _GROWTH
            self.width = max(self.width, int(window.width * growth))
        self.window = self._cut(window.end) if window.end < self._end else None
