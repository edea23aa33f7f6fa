"""The nodes' files as a source: every line once, with the ids that REST gives."""

import gzip
import json
import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.errors import AccessError
from forwarder.interfaces import Rereads
from forwarder.model import Checkpoint, EventFilter, Record, Unreadable
from forwarder.pipeline.poller import Poller
from forwarder.simulator import HandClock, Mixture, Simulator, SimulatorOptions
from forwarder.simulator.node_files import line_of
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit_log import BitbucketAuditLogConfig
from forwarder.sources.bitbucket_audit_log.source import BitbucketAuditLog
from tests.fakes.audit_files import NodeFolder
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox

NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)


@dataclass
class Reader:
    """A source, and a store that keeps what the source yields."""

    source: BitbucketAuditLog
    stored: dict[str, Record] = field(default_factory=dict)
    repeated: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    checkpoint: Checkpoint | None = None

    async def poll(self, *, pages: int | None = None) -> int:
        count = 0
        async with aclosing(self.source.poll(self.checkpoint)) as polled:
            async for page in polled:
                times = [record.occurred_at for record in page.records]
                assert times == sorted(times)
                self.repeated += sum(one.event_id in self.stored for one in page.records)
                self.stored |= {one.event_id: one for one in page.records}
                self.unreadable += page.unreadable
                if self.checkpoint:
                    assert page.checkpoint.mark >= self.checkpoint.mark
                self.checkpoint = msgspec.json.decode(
                    msgspec.json.encode(page.checkpoint), type=Checkpoint
                )
                count += 1
                if count == pages:
                    break
        return count


@asynccontextmanager
async def reader(*folders: Path, restart: Reader | None = None, **written: Any) -> Any:
    config = BitbucketAuditLogConfig.model_validate(
        {
            "type": "bitbucket_audit_log",
            "paths": [str(folder) for folder in folders],
            "start_at": "beginning",
            "categories": [],
            "identity": "bitbucket",
        }
        | written
    )
    async with config.open(name="files") as source:
        opened = Reader(source)
        if restart:
            opened.checkpoint = restart.checkpoint
            opened.stored = restart.stored
        yield opened


@asynccontextmanager
async def rest(simulator: Simulator, clock: HandClock) -> AsyncIterator[Any]:
    config = BitbucketAuditConfig.model_validate(
        {
            "type": "bitbucket_audit",
            "url": "https://bitbucket.example.com",
            "token": simulator.options.token,
            "start_at": "beginning",
            "categories": [],
            "page_size": 50,
        }
    )
    ours = ServerClock(
        wall=lambda: clock.elapsed_ms() / 1000, steady=lambda: clock.elapsed_ms() / 1000
    )
    transport = httpx.ASGITransport(simulator.app)
    async with config.open(name="bitbucket", transport=transport, clock=ours) as source:
        yield source


def made(number: int, *, at: datetime = NOON, node: str = "one", **fields: Any) -> dict[str, Any]:
    """Return event `number` as REST gives it: one second after the one before."""
    instant = at + timedelta(seconds=number)
    return {
        "timestamp": instant.isoformat().replace("+00:00", "Z"),
        "author": {"name": "admin", "type": "NORMAL", "id": "2", "uri": "http://x/users/admin"},
        "type": {"category": "Soteri Security for Bitbucket", "action": "Security hook skipped"},
        "affectedObjects": [{"name": f"repo{number}", "type": "REPOSITORY", "id": str(number)}],
        "extraAttributes": [{"name": "details", "value": "x" * 300}],
        "node": node,
        **fields,
    }


def files_in(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*.audit.log")}


def numbers(read: Reader) -> list[int]:
    return sorted(int(one.objects[0].id or -1) for one in read.stored.values())


# --- one identity by REST, by file and by both ---


@pytest.mark.parametrize("seed", range(6))
async def test_rest_files_and_both_give_one_set_of_ids(tmp_path: Path, seed: int) -> None:
    """Twins, bursts, several nodes, torn lines, rotation, restarts: in any order of reading."""
    clock = HandClock(NOON)
    mixture = Mixture(bursts=0.3, twins=0.2)
    simulator = Simulator(SimulatorOptions(seed=seed, mixture=mixture), clock=clock)
    simulator.fill(400, span=40)
    simulator.emit(at=NOON - timedelta(seconds=5), copies=40)
    dice = random.Random(seed)
    both: set[str] = set()
    async with rest(simulator, clock) as asked:
        truth = simulator.truth()
        ids = {
            record.event_id
            async for page in asked.read(None, None)
            for record in page.records
            if record.action_key != "atlassian.audit.event.action.audit.search"
        }
        assert len(ids) == len(truth)
    folders = {event["node"]: NodeFolder(tmp_path / event["node"]) for event in truth}
    async with reader(*(tmp_path / node for node in folders), page_size=7) as opened:
        read: Reader = opened
        held: dict[str, bytes] = {}
        for number, event in enumerate(truth):
            folder = folders[event["node"]]
            line = held.pop(event["node"], b"") + line_of(
                event, nano=dice.randrange(10**6), seed=number
            )
            cut = dice.randrange(len(line)) if dice.random() < 0.1 else None
            if cut is None:
                folder.append(line)
            else:
                folder.write(line[:cut])
                held[event["node"]] = line[cut:] + b"\n"
            if cut is None and dice.random() < 0.05:
                folder.rotate(midnight=dice.random() < 0.3)
            if dice.random() < 0.1:
                await read.poll(pages=dice.choice([1, 2, None]))
            if dice.random() < 0.03 and read.checkpoint:
                async with reader(
                    *(tmp_path / node for node in folders), page_size=7, restart=read
                ) as again:
                    await again.poll(pages=dice.choice([1, None]))
                    read.stored, read.checkpoint = again.stored, again.checkpoint
        for node, rest_of_line in held.items():
            folders[node].write(rest_of_line)
        await read.poll()
        assert set(read.stored) == ids
        assert not read.repeated
        assert not read.unreadable
        both |= ids | set(read.stored)
    assert len(both) == len(truth)


async def test_the_files_that_the_simulator_writes_hold_what_its_api_gives(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    options = SimulatorOptions(history=200, span=172_800, rate=5.0, audit_logs=tmp_path)
    simulator = Simulator(options, clock=clock)
    clock.advance(30)
    simulator.emit(late=3.0, copies=2)
    clock.advance(10)
    async with rest(simulator, clock) as asked:
        shown = {
            record.event_id async for page in asked.read(None, None) for record in page.records
        }
    nodes = {event["node"] for event in simulator.truth()}
    async with reader(*(tmp_path / node for node in nodes)) as opened:
        await opened.poll()
        assert set(opened.stored) >= shown
        assert len(opened.stored) == len(simulator.truth())
    days = {"20200228.00000", "20200229.00000", "20200301.00000"}
    assert files_in(tmp_path) == {f"{node}/{day}.audit.log" for node in nodes for day in days}


async def test_a_real_event_has_one_id_by_either_road(tmp_path: Path) -> None:
    """One event that Bitbucket 7.18 wrote both ways ("Audit Log configuration updated")."""
    told = {
        "categoryI18nKey": "atlassian.audit.event.category.audit",
        "category": "Auditing",
        "actionI18nKey": "atlassian.audit.event.action.audit.config.updated",
        "action": "Audit Log configuration updated",
    }
    change = {"key": "Retention", "i18nKey": "atlassian.audit.event.change.retention"}
    asked = {
        "timestamp": "2021-11-27T17:36:18.370Z",
        "author": {
            "name": "admin",
            "type": "NORMAL",
            "id": "2",
            "uri": "http://bitbucket.internal:7990/users/admin",
            "avatarUri": "",
        },
        "type": told,
        "affectedObjects": [],
        "changedValues": [{**change, "to": "3 Years"}],
        "source": "10.50.73.5",
        "system": "http://bitbucket.internal:7990",
        "node": "8767044c-1b98-4d64-82db-ef29af8c3792",
        "method": "Browser",
        "extraAttributes": [],
    }
    written = (
        b'{"affectedObjects":[],"auditType":{"action":"Audit Log configuration updated",'
        b'"actionI18nKey":"atlassian.audit.event.action.audit.config.updated","area":"AUDIT_LOG",'
        b'"category":"Auditing","categoryI18nKey":"atlassian.audit.event.category.audit",'
        b'"level":"BASE"},"author":{"id":"2","name":"admin","type":"NORMAL"},"changedValues":'
        b'[{"i18nKey":"atlassian.audit.event.change.retention","key":"Retention","to":"3 Years"}],'
        b'"extraAttributes":[],"method":"Browser","node":"8767044c-1b98-4d64-82db-ef29af8c3792",'
        b'"source":"10.50.73.5","system":"http://bitbucket.internal:7990","timestamp":'
        b'{"epochSecond":1638034578,"nano":370000000},"version":"1.0"}'
    )
    clock = HandClock(NOON + timedelta(days=700))
    simulator = Simulator(clock=clock)
    simulator.emit(asked)
    async with rest(simulator, clock) as source:
        ids = [one.event_id async for page in source.read(None, None) for one in page.records]
    NodeFolder(tmp_path).append(written)
    async with reader(tmp_path) as read:
        await read.poll()
    assert ids[:1] == list(read.stored)
    assert bytes(read.stored[ids[0]].original) == written


# --- files that others write, rotate, compress, cut and remove ---


async def test_each_line_is_read_by_the_first_poll_after_it_is_whole(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    torn = line_of(made(2))
    folder.write(torn[:100])
    async with reader(tmp_path) as read:
        await read.poll()
        assert numbers(read) == [1]
        folder.write(torn[100:])
        await read.poll()
        assert numbers(read) == [1]
        folder.write(b"\n")
        await read.poll()
        assert numbers(read) == [1, 2]


async def test_a_poll_with_nothing_new_reads_no_file_again(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    async with reader(tmp_path) as read:
        await read.poll()
        assert await read.poll() == 1


async def test_a_rotation_between_two_looks_loses_nothing(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    async with reader(tmp_path) as read:
        await read.poll()
        folder.append(line_of(made(2)))
        folder.rotate()
        folder.append(line_of(made(3)))
        folder.rotate(midnight=True)
        folder.append(line_of(made(4)))
        await read.poll()
        assert numbers(read) == [1, 2, 3, 4]
        assert not read.repeated


async def test_twins_on_both_sides_of_a_rotation_and_a_restart_are_both_kept(
    tmp_path: Path,
) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(1))] * 2)
    async with reader(tmp_path) as read:
        await read.poll()
    folder.append(line_of(made(1)))
    folder.rotate()
    folder.append(line_of(made(1)))
    async with reader(tmp_path, restart=read) as again:
        await again.poll()
        assert len(again.stored) == 4
        assert not again.repeated


async def test_pages_that_were_never_stored_come_again_with_the_same_ids(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number // 4)) for number in range(20)])
    async with reader(tmp_path, page_size=3) as read:
        await read.poll(pages=2)
        before, kept = read.checkpoint, dict(read.stored)
        await read.poll()
        everything = dict(read.stored)
        assert len(everything) == 20
        read.checkpoint, read.stored = before, kept
        await read.poll()
        assert read.stored == everything


async def test_a_file_that_was_compressed_half_read_is_read_on(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number)) for number in range(6)])
    async with reader(tmp_path, page_size=2) as read:
        await read.poll(pages=2)
        assert len(read.stored) == 4
        packed = folder.current.with_name(f"{folder.current.name}.gz")
        packed.write_bytes(gzip.compress(folder.current.read_bytes()))
        folder.current.unlink()
        folder.rotate()
        folder.append(line_of(made(6)))
        await read.poll()
        assert numbers(read) == list(range(7))
        assert not read.repeated
        assert await read.poll() == 1


async def test_a_compressed_file_beside_its_original_is_not_read_twice(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number)) for number in range(6)])
    packed = folder.current.with_name(f"{folder.current.name}.gz")
    packed.write_bytes(gzip.compress(folder.current.read_bytes()))
    async with reader(tmp_path) as read:
        await read.poll()
        folder.current.unlink()
        await read.poll()
        assert numbers(read) == list(range(6))
        assert not read.repeated


async def test_a_compressed_file_that_is_only_half_there_is_read_once_it_is_whole(
    tmp_path: Path,
) -> None:
    folder = NodeFolder(tmp_path)
    whole = gzip.compress(b"".join(line_of(made(n)) + b"\n" for n in range(300)))
    packed = folder.current.with_name(f"{folder.current.name}.gz")
    packed.write_bytes(whole[: len(whole) // 2])
    async with reader(tmp_path) as read:
        await read.poll()
        packed.write_bytes(whole)
        await read.poll()
        assert numbers(read) == list(range(300))


async def test_a_volume_that_is_mounted_anew_is_read_on_where_it_was(tmp_path: Path) -> None:
    """Copies have other inodes, as a volume has another device number after a restart."""
    folder = NodeFolder(tmp_path / "a")
    folder.append(*[line_of(made(number)) for number in range(6)])
    async with reader(tmp_path / "a") as read:
        await read.poll()
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        shutil.rmtree(tmp_path / "a")
        with pytest.raises(AccessError, match="no audit log file"):
            await read.poll()
        (tmp_path / "b").rename(tmp_path / "a")
        folder.append(line_of(made(6)))
        await read.poll()
        assert numbers(read) == list(range(7))
        assert not read.repeated


async def test_one_folder_of_two_may_be_away_for_a_while(tmp_path: Path) -> None:
    one, two = NodeFolder(tmp_path / "1"), NodeFolder(tmp_path / "2")
    one.append(line_of(made(1, node="one")))
    two.append(line_of(made(2, node="two")))
    async with reader(tmp_path / "1", tmp_path / "2") as read:
        await read.poll()
        (tmp_path / "2").rename(tmp_path / "away")
        one.append(line_of(made(3, node="one")))
        await read.poll()
        (tmp_path / "away").rename(tmp_path / "2")
        two.append(line_of(made(4, node="two")))
        await read.poll()
        assert numbers(read) == [1, 2, 3, 4]
        assert not read.repeated


async def test_a_file_that_was_cut_and_written_anew_is_read_from_its_beginning(
    tmp_path: Path,
) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number)) for number in range(6)])
    async with reader(tmp_path) as read:
        await read.poll()
        os.truncate(folder.current, 0)
        folder.append(line_of(made(10)))
        await read.poll()
        os.truncate(folder.current, 0)
        folder.append(*[line_of(made(number)) for number in range(20, 40)])
        await read.poll()
        assert numbers(read) == [*range(6), 10, *range(20, 40)]


async def test_a_file_that_was_cut_to_its_beginning_repeats_no_event_under_a_new_id(
    tmp_path: Path,
) -> None:
    folder = NodeFolder(tmp_path)
    lines = [line_of(made(number)) for number in range(6)]
    folder.append(*lines)
    async with reader(tmp_path) as read:
        await read.poll()
        os.truncate(folder.current, sum(len(line) + 1 for line in lines[:3]))
        folder.append(line_of(made(9)))
        await read.poll()
        assert numbers(read) == [*range(6), 9]


async def test_a_new_file_with_an_old_ones_inode_is_read_from_its_beginning(
    tmp_path: Path,
) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number)) for number in range(6)])
    async with reader(tmp_path) as read:
        await read.poll()
        kept = folder.current
        folder.rotate(midnight=True)
        kept.rename(folder.current)
        os.truncate(folder.current, 0)
        folder.append(*[line_of(made(number)) for number in range(50, 70)])
        await read.poll()
        assert numbers(read) == [*range(6), *range(50, 70)]


async def test_a_copy_of_a_folder_adds_no_event(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path / "a")
    folder.append(*[line_of(made(number // 2)) for number in range(6)])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    async with reader(tmp_path / "*" / "*.audit.log") as read:
        await read.poll()
        assert len(read.stored) == 6


async def test_a_torn_last_line_of_an_old_file_is_kept_as_unreadable(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    folder.write(line_of(made(2))[:50])
    old = folder.current
    folder.rotate()
    folder.append(line_of(made(3)))
    async with reader(tmp_path) as read:
        await read.poll()
        assert not read.unreadable
        os.utime(old, (1_600_000_000, 1_600_000_000))
        await read.poll()
        assert [one.original for one in read.unreadable] == [line_of(made(2))[:50]]
        await read.poll()
        assert len(read.unreadable) == 1
        assert numbers(read) == [1, 3]


# --- where to begin, what to leave out, what cannot be read ---


async def test_from_now_on_leaves_out_what_is_there_but_no_twin_of_it(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number)) for number in range(3)])
    torn = line_of(made(2))
    folder.write(torn[:10])
    async with reader(tmp_path, start_at="now") as read:
        await read.poll()
        assert not read.stored
        folder.write(torn[10:] + b"\n")
        folder.append(line_of(made(7)))
        await read.poll()
        assert numbers(read) == [2, 7]
    async with reader(tmp_path) as everything:
        await everything.poll()
        assert set(read.stored) < set(everything.stored)


async def test_from_a_time_on_means_from_that_very_time(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(made(number)) for number in range(6)])
    async with reader(tmp_path, start_at=NOON + timedelta(seconds=3)) as read:
        await read.poll(pages=1)
    folder.append(line_of(made(1)), line_of(made(8)))
    async with reader(tmp_path, restart=read) as again:
        await again.poll()
        assert numbers(again) == [3, 4, 5, 8]


async def test_only_the_categories_and_actions_named_are_read(tmp_path: Path) -> None:
    soteri = "Soteri Security for Bitbucket"
    folder = NodeFolder(tmp_path)
    folder.append(
        line_of(made(1)),
        line_of(made(2, type={"category": soteri, "action": "Something else"})),
        line_of(made(3, type={"category": "Users", "action": "Security hook skipped"})),
        line_of(made(4, type={})),
    )
    async with reader(tmp_path, categories=[soteri], actions=["Security hook skipped"]) as read:
        await read.poll()
        assert numbers(read) == [1]


async def test_the_forwarders_own_searches_are_left_out(tmp_path: Path) -> None:
    search = {"actionI18nKey": "atlassian.audit.event.action.audit.search"}
    NodeFolder(tmp_path).append(
        line_of(made(1, type=search, author={"name": "Forwarder"})),
        line_of(made(2, type=search, author={"name": "alice"})),
        line_of(made(3, author={"name": "forwarder"})),
    )
    async with reader(tmp_path, account="forwarder") as read:
        await read.poll()
        assert numbers(read) == [2, 3]


BAD = [b"no JSON", b'{"a":', b"[]", b'{"timestamp":null}', b"\x00" * 200, b'{"timestamp":{}}']


async def test_what_cannot_be_read_is_kept_as_it_came_and_stops_nothing(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)), *BAD, b"", line_of(made(2)))
    async with reader(tmp_path) as read:
        await read.poll()
        assert [one.original for one in read.unreadable] == BAD
        assert numbers(read) == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"author": {"name": 5}},
        {"source": ["10.0.0.1"]},
        {"extraAttributes": [{"name": "n", "value": int("9" * 400)}]},
        {"timestamp": "2020-03-01T12:00:01.005Z"},
        {"timestamp": 1583064001005},
        {"timestamp": {"epochSecond": 1583064001, "nano": 5e6}},
    ],
)
async def test_an_odd_shape_is_read_for_what_it_is(tmp_path: Path, change: dict[str, Any]) -> None:
    line = {**json.loads(line_of(made(1, at=NOON + timedelta(milliseconds=5)))), **change}
    NodeFolder(tmp_path).append(json.dumps(line).encode())
    async with reader(tmp_path) as read:
        await read.poll()
        assert numbers(read) == [1]
        (one,) = read.stored.values()
        assert one.occurred_at == NOON + timedelta(seconds=1, milliseconds=5)


async def test_a_line_without_end_is_neither_held_in_memory_nor_in_the_way(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)), b"x" * (33 << 20), line_of(made(2)))
    async with reader(tmp_path) as read:
        await read.poll()
        assert numbers(read) == [1, 2]
        (long,) = read.unreadable
        assert len(long.original) == 64 << 10


async def test_a_last_line_that_is_too_long_and_torn_is_kept_once_its_file_is_whole(
    tmp_path: Path,
) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    folder.write(b"x" * (33 << 20))
    packed = folder.current.with_name(f"{folder.current.name}.gz")
    packed.write_bytes(gzip.compress(folder.current.read_bytes(), 1))
    folder.current.unlink()
    async with reader(tmp_path) as read:
        await read.poll()
        assert numbers(read) == [1]
        (long,) = read.unreadable
        assert len(long.original) == 64 << 10
        await read.poll()
        assert len(read.unreadable) == 1


async def test_what_has_the_name_of_a_file_and_is_none_is_passed_over(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    (tmp_path / "20200302.00000.audit.log").mkdir()
    os.mkfifo(tmp_path / "20200302.00001.audit.log")
    (tmp_path / "20200302.00002.audit.log").symlink_to("/dev/zero")
    async with reader(tmp_path, start_at="now") as read:
        with anyio.fail_after(10):
            assert (await read.source.probe()).startswith("1 file in 1 folder")
            await read.poll()
            folder.append(line_of(made(2)))
            await read.poll()
    assert numbers(read) == [2]


async def test_a_name_with_digits_of_another_kind_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    (tmp_path / "\u00b21.audit.log").touch()
    async with reader(tmp_path) as read:
        await read.poll()
        assert numbers(read) == [1]


async def test_where_no_file_is_the_remedy_is_said(tmp_path: Path) -> None:
    async with reader(tmp_path) as read:
        with pytest.raises(AccessError, match="no audit log file") as refused:
            await read.poll()
        assert "paths" in refused.value.remedy
        with pytest.raises(AccessError):
            await read.source.probe()


async def test_a_probe_says_what_is_there(tmp_path: Path) -> None:
    NodeFolder(tmp_path / "a").append(line_of(made(1)))
    NodeFolder(tmp_path / "b").append(line_of(made(2)))
    async with reader(tmp_path / "*" / "*.audit.log") as read:
        assert (await read.source.probe()).startswith("2 files in 2 folders")


async def test_a_line_that_was_kept_can_be_read_again_by_itself(tmp_path: Path) -> None:
    async with reader(tmp_path, categories=["Another"]) as read:
        assert isinstance(read.source, Rereads)
        one = read.source.decode(line_of(made(3)))
        assert isinstance(one, Record)
        assert one.objects[0].id == "3"
        assert isinstance(read.source.decode(b"torn"), Unreadable)


# --- lines ---

chunks = st.lists(st.sampled_from([b"a", b"bb\n", b"\n", b"ccc", b"dd\nee\n"]), max_size=20)


@given(chunks=chunks, numbered=st.integers(0, 20))
def test_lines_are_the_same_however_the_file_grew(chunks: list[bytes], numbered: int) -> None:
    import io

    from forwarder.sources.bitbucket_audit_log.merge import lines

    whole = b"".join(chunks)
    first = b"".join(chunks[:numbered])
    read: list[bytes] = []
    offset = 0
    for contents in (first, whole):
        for line, end in lines(io.BytesIO(contents), offset, settled=False):
            read += [line] if line else []
            offset = end
    assert read == [line for line in whole.split(b"\n")[:-1] if line]
    assert offset == whole.rfind(b"\n") + 1


async def test_each_road_fills_the_holes_of_the_other_and_no_event_comes_twice(
    tmp_path: Path,
) -> None:
    """Rows that retention took, and files that were removed, through pollers into one outbox."""
    clock = HandClock(NOON)
    mixture = Mixture(bursts=0.2, twins=0.1)
    simulator = Simulator(SimulatorOptions(mixture=mixture), clock=clock)
    simulator.fill(600, span=3600)
    truth = simulator.truth()
    oldest_shown, newest_written = len(truth) // 3, 2 * len(truth) // 3
    while truth[newest_written]["timestamp"] == truth[newest_written - 1]["timestamp"]:
        newest_written += 1  # a hole within a millisecond hides which of two twins is there
    while truth[oldest_shown]["timestamp"] == truth[oldest_shown - 1]["timestamp"]:
        oldest_shown += 1
    folder = NodeFolder(tmp_path)
    folder.append(*[line_of(event) for event in truth[:newest_written]])
    simulator.log.forget(before_ms=0, keep=len(truth) - oldest_shown)
    files = BitbucketAuditLogConfig.model_validate(
        {
            "type": "bitbucket_audit_log",
            "paths": [str(tmp_path)],
            "start_at": "beginning",
            "categories": [],
            "identity": "bitbucket",
            "account": "admin",
        }
    )
    outbox = MemoryOutbox()
    async with rest(simulator, clock) as asked, files.open(name="files") as read:
        roads = [
            Poller("bitbucket", asked, normalize, outbox, files),
            Poller("files", read, normalize, outbox, files),
        ]
        for _ in range(2):
            for poller in roads:
                await poller.poll_once()
    searches = "atlassian.audit.event.action.audit.search"
    stored = [event async for _, event in outbox.events(EventFilter())]
    assert len([one for one in stored if one.action_key != searches]) == len(truth)
    assert {one.source for one in stored} == {"bitbucket", "files"}


async def test_a_name_that_is_no_text_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path)
    folder.append(line_of(made(1)))
    (tmp_path / "2020\udcff.audit.log").write_bytes(line_of(made(2)))
    async with reader(tmp_path) as read:
        await read.poll()
        assert numbers(read) == [1]
