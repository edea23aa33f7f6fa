"""Every cell of the fault matrix holds, and docs/fault-matrix.md says of it what happens."""

import re
from itertools import chain

import pytest

from tests.matrix import crashes, file_errors, source_faults
from tests.matrix.cell import Cell
from tests.matrix.run import PAGE, families, play, read

SAID = read(PAGE.read_text())
CHANCE = re.compile(r"sink retried( \d+ times)?|went on at once|,? ?(\d+|perhaps some) doubled")
CELLS = list(chain.from_iterable(family.cells for family in families()))


def sentence(cell: Cell) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", cell.sentence.lower()).strip("_")


def certain(cell: Cell, did: str) -> str:
    """Return what was done but for what is chance in a race of two ends."""
    return CHANCE.sub("", did) if cell.races else did


@pytest.mark.parametrize("cell", CELLS, ids=sentence)
def test_nothing_is_lost_where(cell: Cell) -> None:
    outcome = play(cell)
    assert outcome.problems == ()
    said = SAID.get(cell.key, "nothing")
    assert certain(cell, said) == certain(cell, outcome.did), "run python -m tests.matrix"


def test_the_page_names_every_cell_and_no_other() -> None:
    assert SAID.keys() == {cell.key for cell in CELLS}


def test_no_two_cells_have_one_name() -> None:
    assert (
        len({cell.key for cell in CELLS}) == len({sentence(cell) for cell in CELLS}) == len(CELLS)
    )


async def test_the_walk_has_as_many_requests_as_the_matrix_fails() -> None:
    assert await source_faults.count() == (source_faults.PAGES, source_faults.LOOKUPS)


@pytest.mark.parametrize("sink", crashes.SINKS)
async def test_the_outbox_commits_as_often_as_the_matrix_crashes(sink: str) -> None:
    expected = {"register": 1, "append": crashes.APPENDS, "settle": crashes.SETTLES}
    if saves := crashes.SAVES.get(sink):
        expected["save"] = saves
    assert await crashes.made(sink) == expected


async def test_the_file_sink_makes_each_call_as_often_as_the_matrix_fails_it() -> None:
    assert await file_errors.made() == file_errors.MADE
