"""Plays every cell of the fault matrix, prints them as a table, and writes docs/fault-matrix.md.

python -m tests.matrix
"""

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.matrix.cell import Outcome
from tests.matrix.run import PAGE, families, page, play, rows


def _play(number: int) -> tuple[tuple[str, str, str], Outcome]:
    cell = list(chain.from_iterable(family.cells for family in families()))[number]
    return cell.key, play(cell)


def main() -> int:
    """Return how many cells do not hold, as an exit code."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    total = sum(len(family.cells) for family in families())
    with ProcessPoolExecutor(2) as pool:
        played: Iterable[tuple[tuple[str, str, str], Outcome]] = track(
            pool.map(_play, range(total), chunksize=8), total=total, console=Console(stderr=True)
        )
        outcomes = dict(played)
    table = Table("what fails", "fault", "where", "what was done", "the promise")
    for row in rows(outcomes):
        table.add_row(*row)
    console.print(table)
    PAGE.write_text(page({key: outcome.did for key, outcome in outcomes.items()}))
    broken = [key for key, outcome in outcomes.items() if outcome.problems]
    console.print(f"{total} cells, of which {total - len(broken)} hold")
    for key in broken:
        console.print(*key, *outcomes[key].problems, style="red", sep=": ")
    return min(len(broken), 1)


if __name__ == "__main__":
    sys.exit(main())
