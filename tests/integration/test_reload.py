"""SIGHUP inside one process: what is swapped, what is left alone, what is refused."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from forwarder.app import Daemon, assemble
from forwarder.app.reload import Reload
from forwarder.app.serving import Serving
from forwarder.config import Config, load
from forwarder.logs import LogConfig
from forwarder.model import SinkStatus, SourceStatus
from forwarder.pipeline.stop import Stop
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.systemd import Systemd
from tests.acceptance.command import archived
from tests.acceptance.test_daemon import free_port
from tests.receivers.hec import Hec, served
from tests.unit.test_systemd import everything, listening

SOURCE = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{url}"
token = "{token}"
start_at = "beginning"
poll_interval = "100ms"
"""
FILE = """
[sinks.{name}]
type = "file"
path = "{folder}/{name}.jsonl"
"""
SPLUNK = """
[sinks.splunk]
type = "splunk_hec"
url = "{url}"
token = "{token}"
index = "{index}"
"""
PARTS = ("bitbucket", "one", "two")
OTHERWISE = """
password = "new"
lease = "20s"
[telemetry.otlp]
endpoint = "http://127.0.0.1:4318"
"""
FIXED = ["store.url", "store.password", "store.lease", "telemetry"]
STORE = """
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = "{listen}"
"""


@dataclass
class World:
    """A daemon in this process, the simulated Bitbucket that it reads, and its configuration."""

    folder: Path
    simulator: Simulator
    bitbucket: str
    daemon: Daemon
    reload: Callable[[], Awaitable[None]]
    heard: socket.socket

    async def says(self, *tables: str, source: str = SOURCE, listen: str = "") -> None:
        """Write the configuration, and have it read as SIGHUP has."""
        _write(self.folder, self.simulator, self.bitbucket, tables, source=source, listen=listen)
        await self.reload()

    async def part(self, name: str) -> SourceStatus | SinkStatus:
        status = await self.daemon.status()
        return next(each for each in (*status.sources, *status.sinks) if each.name == name)

    def file(self, name: str) -> str:
        return FILE.format(name=name, folder=self.folder)

    async def until_written(self, name: str, count: int | None = None) -> list[str]:
        """Return the ids in a file sink's file once all, or `count` of them, are there."""
        wanted = len(self.truth) if count is None else count
        with anyio.fail_after(20):
            while len(found := archived(self.folder, f"{name}.jsonl")) < wanted:
                await anyio.sleep(0.02)
        return [each["event_id"] for each in found]

    @property
    def truth(self) -> list[dict[str, Any]]:
        return self.simulator.truth(categories=["Soteri Security for Bitbucket"])


def _write(
    folder: Path,
    simulator: Simulator,
    bitbucket: str,
    tables: tuple[str, ...],
    *,
    source: str = SOURCE,
    listen: str = "",
) -> Path:
    path = folder / "config.toml"
    text = "".join([source, STORE, *tables]).replace("{folder}", str(folder))
    text = text.replace("{listen}", listen).replace("{url}", bitbucket)
    path.write_text(text.replace("{token}", simulator.options.token))
    path.chmod(0o600)
    return path


@asynccontextmanager
async def forwarding(folder: Path, *tables: str, listen: str = "") -> AsyncIterator[World]:
    simulator = Simulator(SimulatorOptions(history=40))
    name = f"reload-{os.getpid()}-{folder.name}"
    with listening(f"\0{name}") as heard:
        async with serve(simulator) as bitbucket:
            path = _write(folder, simulator, bitbucket, tables, listen=listen)
            read = partial(load, path, {}, default_secrets=folder / "none")
            config = read()
            async with assemble(config) as daemon, anyio.create_task_group() as group:
                serving = Serving(daemon, group)
                await serving.apply(config.server)
                systemd = Systemd({"NOTIFY_SOCKET": f"@{name}"}, pid=1)
                reload = Reload(daemon, serving, systemd, config.log, read)
                group.start_soon(daemon.forward, Stop())
                yield World(folder, simulator, bitbucket, daemon, reload.run, heard)
                group.cancel_scope.cancel()


@asynccontextmanager
async def two_files(folder: Path) -> AsyncIterator[World]:
    files = [FILE.format(name=name, folder=folder) for name in ("one", "two")]
    async with forwarding(folder, *files) as world:
        await world.until_written("one")
        await world.until_written("two")
        with anyio.fail_after(20):
            while {(await world.part(name)).state for name in PARTS} != {"running"}:
                await anyio.sleep(0.02)
        yield world


async def test_only_the_sink_that_changed_is_begun_again(tmp_path: Path) -> None:
    async with two_files(tmp_path) as world:
        before = {name: (await world.part(name)).since_at for name in PARTS}
        only_hooks = world.file("two") + 'include = { kinds = ["hook.*"] }\n'
        with capture_logs() as said:
            await world.says(world.file("one"), only_hooks)
        world.simulator.emit()
        await world.until_written("one")
        after = {name: (await world.part(name)).since_at for name in PARTS}
        ids = await world.until_written("two")
    applied = [line for line in said if line["event"] == "configuration.applied"]
    assert [(line["begun"], line["ended"]) for line in applied] == [(["sinks.two"], [])]
    assert before["bitbucket"] == after["bitbucket"]
    assert before["one"] == after["one"]
    assert before["two"] != after["two"]
    assert len(ids) == len(set(ids))


async def test_a_configuration_with_mistakes_changes_nothing_and_each_is_logged(
    tmp_path: Path,
) -> None:
    async with two_files(tmp_path) as world:
        bad = world.file("two").replace("path", "pat") + 'format = "morse"\n'
        with capture_logs() as said:
            await world.says(world.file("new"), bad)
        refused = [line["problem"] for line in said if line["event"] == "configuration.refused"]
        assert len(refused) == 3, refused
        assert all("sinks.two" in problem for problem in refused)
        world.simulator.emit()
        await world.until_written("one")
        await world.until_written("two")
    assert not (tmp_path / "new.jsonl").exists()


async def test_a_bug_in_what_reads_the_new_configuration_ends_nothing(tmp_path: Path) -> None:
    def crash() -> Config:
        raise RuntimeError("a sink of another package")

    async with two_files(tmp_path) as world, anyio.create_task_group() as group:
        serving, systemd = Serving(world.daemon, group), Systemd({}, pid=1)
        with capture_logs() as said:
            await Reload(world.daemon, serving, systemd, LogConfig(), crash).run()
        refused = [line["problem"] for line in said if line["event"] == "configuration.refused"]
        assert refused == ["it cannot be tried: a sink of another package"]
        world.simulator.emit()
        await world.until_written("one")


async def test_a_part_that_cannot_be_opened_refuses_the_whole_configuration(
    tmp_path: Path,
) -> None:
    missing = (
        '[sinks.siem]\ntype = "syslog"\naddress = "tls://127.0.0.1:6514"\n'
        f'tls = {{ ca_file = "{tmp_path}/none.pem" }}\n'
    )
    async with two_files(tmp_path) as world:
        with capture_logs() as said:
            await world.says(world.file("new"), missing)
        world.simulator.emit()
        await world.until_written("one")
        assert [sink.name for sink in (await world.daemon.status()).sinks] == ["one", "two"]
    (refused,) = (line["problem"] for line in said if line["event"] == "configuration.refused")
    assert "none.pem" in refused
    assert not (tmp_path / "new.jsonl").exists()


async def test_a_removed_sink_goes_on_where_it_was_when_it_comes_back(tmp_path: Path) -> None:
    async with two_files(tmp_path) as world:
        await world.says(world.file("one"))
        world.simulator.emit()
        await world.until_written("one")
        assert len(archived(tmp_path, "two.jsonl")) == len(world.truth) - 1
        await world.says(world.file("one"), world.file("two"))
        ids = await world.until_written("two")
    assert len(ids) == len(set(ids)) == len(world.truth)


async def test_a_new_sink_gets_what_is_stored_and_a_source_is_swapped(tmp_path: Path) -> None:
    async with two_files(tmp_path) as world:
        slower = SOURCE.replace('"100ms"', '"50ms"')
        with capture_logs() as said:
            await world.says(*map(world.file, ("one", "two", "three")), source=slower)
        (applied,) = (line["begun"] for line in said if line["event"] == "configuration.applied")
        assert applied == ["sources.bitbucket", "sinks.three"]
        world.simulator.emit()
        ids = await world.until_written("three")
    assert len(ids) == len(set(ids)) == len(world.truth)


async def test_a_batch_in_flight_is_settled_by_the_old_sink_and_not_sent_by_the_new(
    tmp_path: Path,
) -> None:
    hec = Hec(acking=True, slow=True, indexes=("security", "other"))
    async with served(hec) as url:
        sink = SPLUNK.replace("{url}", url).replace("{token}", hec.token)
        async with forwarding(tmp_path, sink.replace("{index}", "security")) as world:
            with anyio.fail_after(20):
                while not hec.posts:
                    await anyio.sleep(0.02)
            taken = len(world.truth)
            async with anyio.create_task_group() as group:
                group.start_soon(world.says, sink.replace("{index}", "other"))
                await anyio.wait_all_tasks_blocked()
                assert not hec.indexed
                hec.index()
            hec.slow = False
            world.simulator.emit()
            with anyio.fail_after(20):
                while len(hec.indexed) <= taken:
                    await anyio.sleep(0.02)
    assert len(hec.ids) == len(set(hec.ids)) == taken + 1
    assert [envelope["index"] for envelope in hec.indexed] == ["security"] * taken + ["other"]


async def test_the_server_moves_and_an_address_that_is_taken_refuses_the_configuration(
    tmp_path: Path,
) -> None:
    here, there = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with (
        forwarding(tmp_path, FILE.format(name="one", folder=tmp_path), listen=here) as world,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        with capture_logs() as said:
            await world.says(world.file("one"), listen=world.bitbucket.removeprefix("http://"))
            assert (await client.get(f"http://{here}/livez")).status_code == 200
        assert ["server.listen" in line["problem"] for line in said if "problem" in line] == [True]
        await world.says(world.file("one"), listen=there)
        assert (await client.get(f"http://{there}/livez")).status_code == 200
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{here}/livez")
        await world.says(world.file("one"), listen="")
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://{there}/livez")


async def test_the_server_moves_to_every_address_of_its_port_and_back(tmp_path: Path) -> None:
    port = free_port()
    alone, every = f"127.0.0.1:{port}", f"0.0.0.0:{port}"
    elsewhere = f"127.0.0.2:{port}"
    async with (
        forwarding(tmp_path, FILE.format(name="one", folder=tmp_path), listen=alone) as world,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await world.says(world.file("one"), listen=every)
        assert (await client.get(f"http://{elsewhere}/livez")).status_code == 200
        await world.says(world.file("one"), listen=alone)
        assert (await client.get(f"http://{alone}/livez")).status_code == 200
        with socket.create_server(("127.0.0.2", port)), capture_logs() as said:
            await world.says(world.file("one"), listen=every)
            assert (await client.get(f"http://{alone}/livez")).status_code == 200
        assert ["server.listen" in line["problem"] for line in said if "problem" in line] == [True]


async def test_what_takes_a_restart_is_named_at_each_reload_until_it_is_taken_back(
    tmp_path: Path,
) -> None:
    async with two_files(tmp_path) as world:
        path = tmp_path / "config.toml"
        before = path.read_text()
        otherwise = before.replace('forwarder.db"', f'other.db"\n{OTHERWISE}')
        for written, named in [(otherwise, FIXED), (otherwise, FIXED), (before, [])]:
            path.write_text(written)
            with capture_logs() as said:
                await world.reload()
            assert [x["setting"] for x in said if x["event"] == "restart.needed"] == named
            status = everything(world.heard)[-1][-1]
            assert status.endswith(f"; takes a restart: {', '.join(named)}") == bool(named)
    assert not (tmp_path / "other.db").exists()


async def test_the_room_for_the_store_changes_without_a_restart(tmp_path: Path) -> None:
    async with two_files(tmp_path) as world:
        path = tmp_path / "config.toml"
        path.write_text(
            path.read_text().replace('forwarder.db"', 'forwarder.db"\ncapacity = "64MiB"')
        )
        await world.reload()
        assert (await world.daemon.status()).store_limit_bytes == 64 * 1024**2
