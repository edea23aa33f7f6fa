"""The process that test_store_crashes kills: it appends and settles until then.

Events are numbered from 1 on; checkpoint and memo say how many there should be.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import msgspec

from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, Event, Receipt
from forwarder.store import StoreConfig

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
        size = count * 7 % 300 + 1
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


async def main(path: Path) -> None:
    async with (
        StoreConfig(url=f"sqlite:///{path}").open() as outbox,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(append, outbox)
        tasks.start_soon(settle, outbox)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
