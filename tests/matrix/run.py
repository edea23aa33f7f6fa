"""Plays a cell, and the page that says what came of all of them."""

import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import anyio
import trio.testing

from tests.matrix import (
    cloudwatch_answers,
    crashes,
    file_errors,
    hec_answers,
    relp_endings,
    source_faults,
    syslog_endings,
)
from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.world import quiet

PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"
_FAST = Path("/dev/shm")
"""Memory: no cell is about power cuts, and a disk would take longer than all the rest."""
_HEAD = """\
# The fault matrix

Every line is one fault of a closed list; what is behind it is what the forwarder did, and in
parentheses at which places of the walk or in which settings the fault was played. Each was played
with the real source, loops and sink between the simulated Bitbucket and a strict receiver, the
outbox on SQLite where commits or sockets matter and in memory elsewhere. In every cell, what the
destination holds together with the dead letters was afterwards exactly what Bitbucket's audit log
holds, in the outbox's order, and nothing was both delivered and buried.

*Retried*: tried again with a growing pause. *Paused*: access was refused, everything was kept, and
it was tried again after five minutes. *Doubled*: arrived twice, each time with the same event id.
*Marked*: sent again with the field `possible_duplicate`, whether it had arrived or not.

Not here, because nothing can be promised: syslog over UDP.

`make matrix` plays them all, prints them as a table and writes this page; the test suite plays
them all and compares.
"""


@cache
def families() -> tuple[Family, ...]:
    sources = (
        source_faults,
        hec_answers,
        cloudwatch_answers,
        syslog_endings,
        relp_endings,
        file_errors,
        crashes,
    )
    return tuple(family for each in sources for family in each.families())


def play(cell: Cell) -> Outcome:
    """Play one cell in a folder of its own, where time passes only while nothing else happens."""
    quiet()
    # Not 0: the clock would be looked at without a pause while a thread has the outbox.
    clock = trio.testing.MockClock(autojump_threshold=0.002)
    options = {"clock": clock} if cell.virtual else {}
    with tempfile.TemporaryDirectory(dir=_FAST if _FAST.is_dir() else None) as folder:
        return anyio.run(
            cell.play,
            Path(folder),
            backend="trio" if cell.virtual else "asyncio",
            backend_options=options,
        )


def page(outcomes: Mapping[tuple[str, str, str], str]) -> str:
    """Return the page; places with one outcome share a line's part."""
    text = [_HEAD]
    total = 0
    for family in families():
        text.append(
            f"\n## {family.title}\n\n{family.about}\n\n| fault | what was done |\n|---|---|\n"
        )
        lines: dict[str, dict[str, list[str]]] = {}
        for cell in family.cells:
            lines.setdefault(cell.fault, {}).setdefault(outcomes[cell.key], []).append(cell.place)
            total += 1
        for fault, did in lines.items():
            parts = "; ".join(f"{what} ({', '.join(places)})" for what, places in did.items())
            text.append(f"| {fault} | {parts} |\n")
    text.append(f"\n{total} cells.\n")
    return "".join(text)


def read(text: str) -> dict[tuple[str, str, str], str]:
    """Return what a page says of each cell."""
    said = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line[3:]
        if not line.startswith("| ") or line == "| fault | what was done |":
            continue
        fault, parts = line[2:-2].split(" | ")
        for part in parts.removesuffix(")").split("); "):
            did, _, places = part.rpartition(" (")
            for place in places.split(", "):
                said[title, fault, place] = did
    return said


def rows(outcomes: Mapping[tuple[str, str, str], Outcome]) -> Iterable[tuple[str, ...]]:
    """Return the lines of the terminal's table."""
    for (family, fault, place), outcome in outcomes.items():
        yield family, fault, place, outcome.did, "; ".join(outcome.problems) or "holds"
