"""Bad input never loses anything: from Bitbucket's bytes, over real SQLite, into a file."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from forwarder.formats import FORMATS
from forwarder.interfaces import Outbox
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.simulator import Simulator, SimulatorOptions
from forwarder.sinks.file import FileConfig
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.store import StoreConfig
from tests.fakes.normalized import normalize

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
KIND = '"type":{"category":"Soteri Security for Bitbucket","action":"Security hook skipped"}'
AT = '"timestamp":"2026-03-04T05:06:07.089Z"'


def with_fields(fields: str) -> bytes:
    return f"{{{AT},{KIND},{fields}}}".encode()


DELIVERED = {
    "nothing but a time and a type": f"{{{AT},{KIND}}}".encode(),
    "nulls everywhere": with_fields(
        '"author":null,"affectedObjects":null,"changedValues":null,"source":null,'
        '"system":null,"node":null,"method":null,"extraAttributes":null'
    ),
    "numbers for strings": with_fields('"author":{"name":7,"id":2},"source":10,"node":1.5'),
    "strings for lists": with_fields('"affectedObjects":"none","extraAttributes":"x"'),
    "nested 100 deep": with_fields(f'"deep":{"[" * 100}{"]" * 100}'),
    "five megabytes": with_fields(
        f'"extraAttributes":[{{"name":"x","value":"{"a" * 5_000_000}"}}]'
    ),
    "a lone surrogate": with_fields('"source":"\\ud800"'),
    "NUL": with_fields('"source":"a\\u0000b"'),
    "CR and LF inside of a value": with_fields('"source":"a\\r\\nb"'),
    "line ends between the tokens": with_fields('"source":\r\n\t"a"'),
    "a raw line end inside of a value": with_fields('"source":"a\nb"'),
    "ANSI escapes": with_fields('"source":"\\u001b[31mred"'),
    "a number of 400 digits": with_fields(f'"size":{"9" * 400}'),
    "duplicate keys": with_fields('"source":"a","source":"b"'),
    "bytes that are no UTF-8": with_fields('"source":"?"').replace(b"?", b"\xff\xfe"),
    "not a number": with_fields('"size":NaN'),
    "an offset, not Z": f'{{"timestamp":"2026-03-04T05:06:07.089+00:00",{KIND}}}'.encode(),
    "nanoseconds": f'{{"timestamp":"2026-03-04T05:06:07.089456789Z",{KIND}}}'.encode(),
}
BURIED = {
    "no timestamp": f"{{{KIND}}}".encode(),
    "a time that is none": f'{{"timestamp":"yesterday",{KIND}}}'.encode(),
    "a number": b"42",
    "an empty object": b"{}",
}


@asynccontextmanager
async def pipeline(
    folder: Path, simulator: Simulator
) -> AsyncIterator[tuple[Poller, Dispatcher, Outbox]]:
    source_config = BitbucketAuditConfig(
        type="bitbucket_audit",
        url="http://bitbucket.test",
        token=simulator.options.token,
        start_at="beginning",
        categories=(),
    )
    sink_config = FileConfig(type="file", path=folder / "audit.jsonl")
    async with (
        StoreConfig(url=f"sqlite:///{folder}/forwarder.db").open() as outbox,
        source_config.open(
            name="bitbucket", transport=httpx.ASGITransport(simulator.app)
        ) as source,
        sink_config.open(
            name="archive", format=FORMATS["json"], memory=outbox.memory("archive")
        ) as sink,
    ):
        await outbox.register("archive")
        poller = Poller("bitbucket", source, normalize, outbox, source_config)
        yield poller, Dispatcher("archive", sink, outbox, sink_config), outbox


async def forwarded(folder: Path, simulator: Simulator) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Poll and deliver all; return the lines of the file and the bodies of the dead letters."""
    async with pipeline(folder, simulator) as (poller, dispatcher, outbox):
        await poller.poll_once()
        while (await outbox.backlog("archive")).events:
            await dispatcher.dispatch_once()
        letters = [letter.body async for letter in outbox.dead_letters()]
    path = folder / "audit.jsonl"
    text = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in text.splitlines()], letters


@pytest.mark.parametrize("raw", DELIVERED.values(), ids=DELIVERED.keys())
async def test_a_strange_record_is_delivered_among_its_neighbours(
    tmp_path: Path, raw: bytes
) -> None:
    simulator = Simulator(SimulatorOptions())
    simulator.emit()
    simulator.emit_raw(raw, at=MOMENT)
    simulator.emit()
    lines, letters = await forwarded(tmp_path, simulator)
    assert (len(lines), letters) == (3, [])
    assert len({line["event_id"] for line in lines}) == 3


@pytest.mark.parametrize("raw", BURIED.values(), ids=BURIED.keys())
async def test_what_cannot_be_read_is_kept_whole_and_its_neighbours_are_delivered(
    tmp_path: Path, raw: bytes
) -> None:
    simulator = Simulator(SimulatorOptions())
    simulator.emit()
    simulator.emit_raw(raw, at=MOMENT)
    simulator.emit()
    lines, letters = await forwarded(tmp_path, simulator)
    assert len(lines) == 2
    assert letters == [raw]


async def test_all_of_it_at_once_costs_nothing_and_a_second_poll_adds_nothing(
    tmp_path: Path,
) -> None:
    simulator = Simulator(SimulatorOptions())
    for raw in (*DELIVERED.values(), *BURIED.values()):
        simulator.emit_raw(raw, at=MOMENT)
    for _ in range(2):
        lines, letters = await forwarded(tmp_path, simulator)
        assert len(lines) == len(DELIVERED)
        assert sorted(letters) == sorted(BURIED.values())


async def test_a_thousand_twins_in_one_millisecond_are_a_thousand_events(tmp_path: Path) -> None:
    simulator = Simulator(SimulatorOptions())
    simulator.emit(copies=1000)
    lines, letters = await forwarded(tmp_path, simulator)
    assert (len({line["event_id"] for line in lines}), letters) == (1000, [])


@pytest.mark.parametrize(
    "at", ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]
)
async def test_a_time_far_from_now_is_no_reason_to_lose_the_event(tmp_path: Path, at: str) -> None:
    """One in the far future is read when its time has come; none else waits for it."""
    simulator = Simulator(SimulatorOptions())
    simulator.emit({"timestamp": at})
    simulator.emit()
    lines, letters = await forwarded(tmp_path, simulator)
    assert letters == []
    assert len(lines) == (1 if at.startswith("2100") else 2)
