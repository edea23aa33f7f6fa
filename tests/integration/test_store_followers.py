"""An append waits for the sinks that take their events from memory, and for no others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from forwarder.interfaces import Outbox
from forwarder.model import Batch, Checkpoint, Receipt
from forwarder.store import sqlite
from forwarder.store.outbox import SqlOutbox
from forwarder.store.recent import Recent
from forwarder.times import utc_now
from tests.fakes.events import BEGINNING, event, events, stored

MARK = Checkpoint(BEGINNING)
HOUR = 3600.0


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqlOutbox]:
    """Yield one that has ten events stored and at hand, which is too many to have before one."""
    recent = Recent(15 * len(stored(event(1)).body), patience=(HOUR, HOUR))
    async with sqlite.opened(tmp_path / "outbox.db", writable=True, make=True) as database:
        outbox = SqlOutbox(database, utc_now, recent=recent)
        await outbox.append("bitbucket", events(10), MARK)
        yield outbox


async def read(outbox: Outbox) -> Batch:
    batch = await outbox.read("splunk", limit=10, max_bytes=10**6)
    assert batch
    return batch


@asynccontextmanager
async def appending(outbox: Outbox, done: list[str]) -> AsyncIterator[None]:
    """Append one more event beside the block, and give it time to come to its end."""

    async def append() -> None:
        await outbox.append("bitbucket", [event(11)], MARK)
        done.append("appended")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(append)
            for _ in range(5):
                await outbox.backlog("splunk")
            yield


async def test_an_append_waits_until_who_follows_has_settled(outbox: SqlOutbox) -> None:
    done: list[str] = []
    batch = await read(outbox)
    async with appending(outbox, done):
        done.append("settled")
        await outbox.settle("splunk", batch, Receipt())
    assert done == ["settled", "appended"]


async def test_an_append_waits_for_nobody_who_has_read_the_database(tmp_path: Path) -> None:
    async with sqlite.opened(tmp_path / "outbox.db", writable=True, make=True) as database:
        outbox = SqlOutbox(database, utc_now, recent=Recent(0, patience=(HOUR, HOUR)))
        await outbox.append("bitbucket", events(10), MARK)
        await read(outbox)
        with anyio.fail_after(30):
            await outbox.append("bitbucket", [event(11)], MARK)
