"""Killed at any moment, the outbox holds what it had promised, and all its parts agree."""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forwarder.model import EventFilter
from forwarder.store import StoreConfig

ROOT = Path(__file__).parents[2]
KILLS = 20


def run_and_kill(path: Path, chance: random.Random) -> int:
    """Kill the process at a random moment; return how many events it had said are stored."""
    command = [sys.executable, "-m", "tests.integration.store_appending", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for _ in range(chance.randint(1, 15)):
            assert process.stdout.readline(), "it ended by itself"
        # Not to wait for anything: so that the kill falls anywhere in the work on the next ones.
        time.sleep(chance.random() * 0.02)
    finally:
        process.kill()
        rest, _ = process.communicate()
    said = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    return max(said, default=0)


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_events_checkpoint_position_and_memo_agree_after_every_kill(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    chance = random.Random(20)
    for _ in range(KILLS):
        said = run_and_kill(path, chance)
        with sqlite3.connect(path) as raw:
            assert raw.execute("pragma quick_check").fetchall() == [("ok",)]
        raw.close()
        async with StoreConfig(url=f"sqlite:///{path}").open() as outbox:
            checkpoint = await outbox.checkpoint("bitbucket")
            assert checkpoint is not None
            count = checkpoint.extra["count"]
            assert count >= said
            numbers = [int(each.event_id, 16) async for _, each in outbox.events(EventFilter())]
            assert numbers == list(range(1, count + 1))
            status = await outbox.status()
            assert status.sources["bitbucket"].stored == count
            file = status.sinks.get("file")
            if file is not None:
                memo = await outbox.memory("file").load()
                assert file.settled == memo["count"]
                assert file.backlog.events == count - file.settled
