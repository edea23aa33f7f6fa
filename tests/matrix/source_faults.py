"""Every fault of the simulated Bitbucket, at every request that the source makes."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from forwarder.simulator import FAULTS, FaultName
from forwarder.simulator.catalogue import invented
from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import HecDestination
from tests.matrix.world import World

PROJECTS = [project.key for project in invented().projects]
ANSWERS = {"retry_after_seconds": 100.0, "slow_seconds": 0.001}
PAGES = 12
"""Pages that `walk` reads without a fault: windows, then an hour later the overlap and a deep
re-read. A test holds it."""
LOOKUPS = 1 + 2 * len(PROJECTS)


async def walk(folder: Path, fault: FaultName | None = None, at: int = 1) -> Outcome:
    """Read a backlog page by page, and an hour later again; fail request `at` of both together."""
    world = _world(folder)
    world.simulator.faults.next = [*[None] * (at - 1), fault]
    return await _an_hour_of(world)


async def count() -> tuple[int, int]:
    """Return how many pages `walk` reads without a fault, and how many other questions it asks."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        world = _world(Path(folder), projects=PROJECTS)
        await _an_hour_of(world)
        simulator = world.simulator
        return simulator.searches, simulator.requests - simulator.searches


async def look_up(folder: Path, fault: FaultName, at: int) -> Outcome:
    """Fail request `at` of those that come before the first page."""
    world = _world(folder, projects=PROJECTS)
    world.simulator.faults.next_other = [*[None] * (at - 1), fault]
    return await _an_hour_of(world)


def _world(folder: Path, **source: object) -> World:
    return World(
        folder,
        HecDestination(folder, ack=False),
        events=22,
        batch=100,
        simulator=ANSWERS,
        source={"page_size": 5, **source},
    )


async def _an_hour_of(world: World) -> Outcome:
    async with world.life() as life:
        await life.poll()
        now = world.clock.now()
        world.simulator.emit(at=now - timedelta(seconds=10), late=20, copies=2)
        world.simulator.emit(at=now - timedelta(minutes=20), late=40)  # for the deep re-read alone
        world.clock.advance(3700)
        world.simulator.emit(copies=2)
        await life.poll()
        await life.deliver()
    return await world.outcome()


def families() -> list[Family]:
    title = "Bitbucket fails: a page of the audit log"
    other = "Bitbucket fails: what is asked before"
    return [
        Family(
            title,
            f"A backlog is read in {PAGES} pages (windows, overlap, deep re-read, with late events "
            "and twins); the column says which of them fails.",
            tuple(
                Cell(
                    title,
                    fault,
                    str(page),
                    f"bitbucket answers page {page} of the walk with {fault}",
                    partial(walk, fault=fault, at=page),
                )
                for fault in FAULTS
                for page in range(1, PAGES + 1)
            ),
        ),
        Family(
            other,
            "The version (1), then the id of each of five projects; these again an hour later.",
            tuple(
                Cell(
                    other,
                    fault,
                    str(at),
                    f"bitbucket answers lookup {at} with {fault}",
                    partial(look_up, fault=fault, at=at),
                )
                for fault in FAULTS
                for at in (1, 2, 1 + len(PROJECTS), 2 + len(PROJECTS), LOOKUPS)
            ),
        ),
    ]
