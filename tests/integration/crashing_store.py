"""Kills a process that appends to the outbox and settles, at random moments.

    python -m tests.integration.crashing_store FILE KILLS

Each life is a forked process; what it left is looked at by another one. Events are numbered from 1
on; checkpoint and memo say how many there should be. Prints JSON: how many lives were ended, and
how many events there are.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio._backends._asyncio  # before the forks, or each would import it
import msgspec

import forwarder.store.outbox  # noqa: F401  before the forks too
from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, Event, EventFilter, Receipt
from forwarder.store import StoreConfig
from tests.integration.crashing_file_sink import fork

START = datetime(2026, 1, 1, tzinfo=UTC)


def numbered(number: int) -> Event:
    return Event(
        event_id=f"{number:032x}",
        source="bitbucket",
        kind="hook.skipped",
        severity="high",
        occurred_at=START + timedelta(seconds=number),
        original=msgspec.Raw(b'"' + b"x" * (number % 5000) + b'"'),
    )


async def append(outbox: Outbox) -> None:
    last = await outbox.checkpoint("bitbucket")
    count = 0 if last is None else int(last.extra["count"])
    while True:
        size = count * 7 % 60 + 1
        await outbox.append(
            "bitbucket",
            [numbered(number) for number in range(count + 1, count + size + 1)],
            Checkpoint(START, {"count": count + size}),
        )
        count += size
        print(count, flush=True)


async def settle(outbox: Outbox) -> None:
    while True:
        await outbox.wait("file")
        batch = await outbox.read("file", limit=100, max_bytes=10**6)
        if batch is not None:
            count = int(batch.events[-1].event_id, 16)
            await outbox.settle("file", batch, Receipt(memo={"count": count}))


async def live(path: Path) -> None:
    async with (
        StoreConfig(url=f"sqlite:///{path}").open() as outbox,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(append, outbox)
        tasks.start_soon(settle, outbox)


async def look(path: Path, said: int) -> None:
    """Compare all that the outbox holds; `said` is how many events were said to be stored."""
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


def run_and_kill(path: Path, chance: random.Random) -> int:
    """Kill a life at a random moment; return how many events it had said are stored."""
    reading, writing = os.pipe()

    def life() -> None:
        os.dup2(writing, 1)
        os.close(reading)
        anyio.run(live, path)

    child = fork(life)
    os.close(writing)
    with os.fdopen(reading) as output:
        for _ in range(chance.randint(1, 15)):
            assert output.readline(), "it ended by itself"
        # Not to wait for anything: so that the kill falls anywhere in the work on the next ones.
        time.sleep(chance.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        rest = output.read().splitlines(keepends=True)
    return max((int(line) for line in rest if line.endswith("\n")), default=0)


def main(path: Path, kills: int) -> None:
    chance = random.Random(20)
    said = 0
    for number in range(kills):
        said = run_and_kill(path, chance)
        looked = os.waitpid(fork(lambda: anyio.run(look, path, said)), 0)[1]  # noqa: B023  at once
        assert looked == 0, f"after kill {number}"
    print(json.dumps({"kills": kills, "events": said}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
