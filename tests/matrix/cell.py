"""What a cell of the matrix is, and what came of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What the daemon did, in words that a second run gives again, and what was wrong with it.

    `problems` is empty where what the sink holds, together with the dead letters, is the source's
    truth, and in order.
    """

    did: str
    problems: tuple[str, ...] = ()


Play = Callable[[Path], Awaitable[Outcome]]


@dataclass(frozen=True)
class Cell:
    """One fault at one place. `play` is given an empty folder."""

    family: str
    fault: str
    place: str
    sentence: str
    play: Play = field(repr=False, compare=False)
    virtual: bool = True
    """Whether it can be played in virtual time, on trio; threads that block on sockets cannot."""

    races: bool = False
    """Whether two processes' clocks decide how often is tried and how much comes again."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.family, self.fault, self.place


@dataclass(frozen=True)
class Family:
    """Cells that belong together, with a line that says how they are played."""

    title: str
    about: str
    cells: tuple[Cell, ...]
