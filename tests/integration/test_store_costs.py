"""What the outbox does often costs the same however much is stored."""

import re
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, event

from forwarder.errors import Reason
from forwarder.model import Batch, Checkpoint, EventFilter, Receipt, Rejection, Unreadable
from forwarder.store import StoreConfig
from forwarder.store.outbox import SqlOutbox
from tests.fakes.events import BEGINNING, events, numbered
from tests.fakes.events import event as numbered_event
from tests.receivers.postgres import Postgres

MARK = Checkpoint(BEGINNING)
LATER = BEGINNING + timedelta(days=36500)
SMALL = {"places", "schema_version", "checkpoints", "positions", "notes", "chains", "replays"}
NO_TABLE = {"CONSTANT"}
"""Tables of a few rows, which may be read whole."""


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqlOutbox]:
    async with StoreConfig(url=f"sqlite:///{tmp_path}/outbox.db").open() as opened:
        assert isinstance(opened, SqlOutbox)
        await opened.append("bitbucket", events(10), MARK)
        yield opened


class Plans:
    """What SQLite says that it does for each statement that runs."""

    def __init__(self) -> None:
        self.scans: list[str] = []
        self.statements: set[str] = set()

    def watch(self, outbox: SqlOutbox) -> None:
        event.listen(outbox._database._engine, "before_cursor_execute", self._explain)

    def _explain(
        self, _connection: Connection, cursor: object, text: str, values: object, *_: object
    ) -> None:
        if text in self.statements or not text.lower().startswith(("select", "update", "delete")):
            return
        self.statements.add(text)
        plan = cursor.connection.cursor()  # type: ignore[attr-defined]
        for *_, detail in plan.execute(f"explain query plan {text}", values):
            found = re.match(r"(SCAN (\w+)|USE TEMP B-TREE)", detail)
            if found and found[2] not in SMALL | NO_TABLE:
                self.scans.append(f"{detail}: {text}")


async def test_nothing_that_the_daemon_does_often_reads_a_table_whole_or_sorts_it(
    outbox: SqlOutbox,
) -> None:
    plans = Plans()
    plans.watch(outbox)
    await outbox.append("bitbucket", events(20), MARK, unreadable=[Unreadable(b"?", "d")])
    await outbox.checkpoint("bitbucket")
    await outbox.register("splunk")
    await outbox.wait("splunk")
    await outbox.backlog("splunk")
    batch = await outbox.read("splunk", limit=10, max_bytes=10**6)
    assert batch is not None
    await outbox.settle("splunk", batch, Receipt(memo={"a": 1}))
    await outbox.memory("splunk").load()
    await outbox.note("sinks.splunk", state="running")
    assert await outbox.prune(stored_before=LATER, sinks=["splunk"]) == 10
    await outbox.backlog("a sink behind what was forgotten")
    await outbox.size()
    wanted = EventFilter(since=BEGINNING, until=LATER, kinds=("hook.*",))
    assert len([place async for place, _ in outbox.events(wanted)]) == 10
    assert len(plans.statements) > 20
    assert plans.scans == []


@pytest.mark.parametrize("reason", [None, "malformed"])
async def test_letters_are_read_on_where_the_last_few_ended(
    outbox: SqlOutbox, reason: Reason | None
) -> None:
    """Sorted anew for each few, a hundred thousand letters of one sink took minutes."""
    batch = await outbox.read("splunk", limit=10, max_bytes=10**6)
    assert batch is not None
    refused = tuple(Rejection(each.event_id, "malformed", "no") for each in batch.events)
    await outbox.settle("splunk", batch, Receipt(refused))
    plans = Plans()
    plans.watch(outbox)
    found = [letter.id async for letter in outbox.dead_letters(sink="splunk", reason=reason)]
    assert len(found) == 10
    assert found == sorted(found)
    assert [letter async for letter in outbox.dead_letters(sink="siem", reason=reason)] == []
    assert plans.scans == []


async def test_events_are_found_by_their_ids_however_many_others_are_stored(
    outbox: SqlOutbox,
) -> None:
    """Looked for everywhere, a page of `reconcile --repair` took a second a million stored."""
    many = events(30_000)
    await outbox.append("bitbucket", many, MARK)
    statements: list[str] = []
    event.listen(
        outbox._database._engine,
        "before_cursor_execute",
        lambda _connection, _cursor, text, *_: statements.append(text),
    )
    wanted = EventFilter(event_ids=tuple(each.event_id for each in many[20_000:20_003]))
    assert [place async for place, _ in outbox.events(wanted)] == [20_001, 20_002, 20_003]
    assert len([text for text in statements if text.startswith("SELECT")]) == 2
    none = EventFilter(event_ids=("0" * 32, "f" * 32))
    assert [found async for found in outbox.events(none)] == []


async def test_the_watch_on_statements_would_see_a_scan(outbox: SqlOutbox) -> None:
    plans = Plans()
    plans.watch(outbox)
    await outbox._database.read(
        lambda connection: connection.exec_driver_sql("select count(*) from events").scalar()
    )
    assert plans.scans


async def test_a_batch_takes_no_more_memory_than_its_events(outbox: SqlOutbox) -> None:
    large = [
        numbered_event(number, original=msgspec.Raw(b'"' + b"x" * 1_000_000 + b'"'))
        for number in range(100, 140)
    ]
    await outbox.settle("splunk", numbered(10), Receipt())
    await outbox.append("bitbucket", large, MARK)
    del large
    tracemalloc.start()
    batch = await outbox.read("splunk", limit=1000, max_bytes=2_500_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch is not None
    assert len(batch) == 2
    assert peak < 6_000_000


@pytest.mark.real
async def test_what_is_sent_again_or_looked_at_is_not_taken_into_memory_whole(pg: Postgres) -> None:
    """On PostgreSQL, whose driver would: what it holds is not Python's, so the process is asked."""
    text = b'"' + b"x" * 100_000 + b'"'
    async with StoreConfig(url=pg.database()).open(recent_bytes=0) as outbox:
        for first in range(1, 1001, 50):
            large = [
                numbered_event(number, original=msgspec.Raw(text))
                for number in range(first, first + 50)
            ]
            await outbox.append("bitbucket", large, MARK)
        await outbox.settle("splunk", numbered(1000), Receipt())
        before = _forget_most_memory()
        plan = await outbox.plan_replay("splunk", EventFilter())
        await outbox.ask_replay(plan)
        batch = await outbox.read_replay("splunk", limit=10, max_bytes=10**7)
    assert plan.events == 1000
    assert batch is not None
    assert len(batch) == 10
    assert _most_memory() - before < 50_000_000  # all are 100


def _forget_most_memory() -> int:
    """Have the most count from here on; return the bytes that it is then."""
    Path("/proc/self/clear_refs").write_text("5")
    return _most_memory()


def _most_memory() -> int:
    """Return the bytes that this process has had in memory at once, at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


async def test_dead_letters_are_looked_at_without_all_of_them_in_memory(outbox: SqlOutbox) -> None:
    large = [Unreadable(b"%d" % number + b"x" * 1_000_000, "?") for number in range(40)]
    await outbox.append("bitbucket", [], MARK, unreadable=large)
    del large
    tracemalloc.start()
    found = [letter.id async for letter in outbox.dead_letters()]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 40
    assert peak < 16_000_000


async def test_pages_and_receipts_go_with_their_events(outbox: SqlOutbox) -> None:
    for number in range(20, 60, 10):
        await outbox.append("bitbucket", events(10, first=number), MARK)
    while batch := await outbox.read("splunk", limit=7, max_bytes=10**6):
        await outbox.settle("splunk", batch, Receipt())
    assert await _rows(outbox) == {"pages": 5, "receipts": 8}
    young = numbered_event(100, occurred_at=LATER)
    await outbox.append("bitbucket", [young], MARK)
    await outbox.settle("splunk", batch := await _batch(outbox), Receipt())
    assert batch.positions == (51,)
    assert await outbox.prune(stored_before=LATER, sinks=["splunk"]) == 50
    assert await _rows(outbox) == {"pages": 1, "receipts": 1}


async def _batch(outbox: SqlOutbox) -> Batch:
    batch = await outbox.read("splunk", limit=10, max_bytes=10**6)
    assert batch is not None
    return batch


async def _rows(outbox: SqlOutbox) -> dict[str, int]:
    def count(connection: Connection) -> dict[str, int]:
        return {
            name: connection.exec_driver_sql(f"select count(*) from {name}").scalar_one()
            for name in ("pages", "receipts")
        }

    return await outbox._database.read(count)
