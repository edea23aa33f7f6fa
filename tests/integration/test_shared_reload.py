"""Two replicas on one PostgreSQL: reloaded one after the other, while secrets change."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup, TaskStatus
from structlog.testing import capture_logs

from forwarder.app import Daemon, assemble
from forwarder.app.reload import Reload
from forwarder.app.rotation import Rotation
from forwarder.app.serving import Serving
from forwarder.config import load
from forwarder.normalizers.soteri import CATEGORY
from forwarder.pipeline.stop import Stop
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.systemd import Systemd
from tests.acceptance.command import archived
from tests.integration.test_rotation import private, replaced
from tests.receivers.hec import Hec, served
from tests.receivers.postgres import Postgres

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token_file = "{folder}/bitbucket"
start_at = "beginning"
poll_interval = "100ms"
[store]
url = "{store}"
lease = "3s"
[server]
listen = ""
[watch]
interval = "100ms"
learn = "0s"
[sinks.splunk]
type = "splunk_hec"
url = "{splunk}"
token_file = "{folder}/hec"
ack = false
"""
FILE = '[sinks.{name}]\ntype = "file"\npath = "{folder}/{name}.jsonl"\n'


@dataclass
class Replica:
    """A daemon in a task of its own, with a configuration of its own."""

    path: Path
    daemon: Daemon
    rotation: Rotation
    reload: Reload
    leaving: Stop
    gone: anyio.Event

    @property
    def name(self) -> str:
        assert self.daemon.outbox.leases
        return self.daemon.outbox.leases.replica

    async def reads(self, text: str) -> list[str]:
        """Reload with another configuration; return what was refused."""
        self.path.write_text(text)
        with capture_logs() as said:
            await self.reload.run()
        return [line["problem"] for line in said if line["event"] == "configuration.refused"]

    async def stop(self) -> None:
        """End as at SIGTERM."""
        self.leaving.request()
        await self.gone.wait()


async def forward(path: Path, *, task_status: TaskStatus[Replica]) -> None:
    read = partial(load, path, {}, default_secrets=path.parent / "none")
    config = read()
    stop, gone = Stop(), anyio.Event()
    async with assemble(config) as daemon, anyio.create_task_group() as group:
        reload = Reload(daemon, Serving(daemon, group), Systemd({}, pid=1), config.log, read)
        rotation = Rotation(daemon._parts, daemon._renew)
        task_status.started(Replica(path, daemon, rotation, reload, stop, gone))
        await daemon.forward(stop)
    gone.set()


@dataclass
class World:
    """A Bitbucket and a Splunk, each with its token, and what came of two replicas between them."""

    folder: Path
    pg: Postgres
    store: str
    simulator: Simulator
    hec: Hec
    text: str

    async def start(self, group: TaskGroup, name: str) -> Replica:
        path = private(self.folder / f"{name}.toml", self.text)
        replica: Replica = await group.start(forward, path)
        return replica

    def file(self, name: str) -> str:
        return FILE.format(name=name, folder=self.folder)

    @property
    def holders(self) -> dict[object, object]:
        rows = self.pg.execute("select name, holder from leases", self.store.rpartition("/")[2])
        return {name: holder for name, holder in rows if holder}

    def told(self, kind: str) -> int:
        return sum(each["kind"] == f"forwarder.{kind}" for each in archived(self.folder, ONE))

    async def until_all_is_at(self, *files: str) -> None:
        truth = len(self.simulator.truth(categories=[CATEGORY]))

        def is_there(found: list[dict[str, object]]) -> bool:
            return len({x["event_id"] for x in found if x["category"] == CATEGORY}) == truth

        await until(lambda: is_there([each["event"] for each in self.hec.indexed]))
        for file in files:
            await until(lambda: is_there(archived(self.folder, file)))  # noqa: B023  used at once


ONE, TWO = "one.jsonl", "two.jsonl"


async def until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not is_so():
            await anyio.sleep(0.03)


@asynccontextmanager
async def world(folder: Path, pg: Postgres) -> AsyncIterator[World]:
    simulator, hec = Simulator(SimulatorOptions(history=60)), Hec()
    private(folder / "bitbucket", simulator.options.token)
    private(folder / "hec", hec.token)
    async with serve(simulator) as bitbucket, served(hec) as splunk:
        store = pg.database()
        text = CONFIG.format(bitbucket=bitbucket, splunk=splunk, store=store, folder=folder)
        here = World(folder, pg, store, simulator, hec, text)
        here.text += here.file("one")
        yield here


@pytest.mark.real
@pytest.mark.timeout(120)
async def test_reloads_rotation_and_watches_hold_over_two_replicas_and_a_hand_over(
    tmp_path: Path, pg: Postgres
) -> None:
    async with world(tmp_path, pg) as here, anyio.create_task_group() as group:
        first, second = [await here.start(group, name) for name in ("first", "second")]
        await until(lambda: set(here.holders.values()) == {first.name, second.name})
        await here.until_all_is_at(ONE)

        # A new token in the file is enough for whoever holds the part, and what waited goes on.
        here.hec.token = "rotated"
        here.simulator.emit_any(2)
        await until_paused(first, "splunk")
        here.simulator.door = Simulator(SimulatorOptions(token="rotated-too")).door
        await until_paused(first, "bitbucket", "splunk")
        for each in (first, second):
            await each.rotation.look_once()
        replaced(tmp_path / "hec", "rotated")
        replaced(tmp_path / "bitbucket", "rotated-too")
        for each in (first, second):
            await each.rotation.look_once()
        here.simulator.emit_any(2)
        await here.until_all_is_at(ONE)

        # One is reloaded with a sink that the other does not know yet: it alone can run it.
        more = here.text.replace("100ms", "50ms") + here.file("two")
        assert await first.reads(more) == []
        await until(lambda: here.holders.get("sinks.two") == first.name)
        here.simulator.emit_any(2)
        await here.until_all_is_at(ONE, TWO)

        # The other refuses a mistake and goes on as it was, then takes what is right.
        before = {part for part, holder in here.holders.items() if holder == second.name}
        (problem,) = await second.reads(more.replace("poll_interval", "pol_interval"))
        assert "pol_interval" in problem
        assert before <= {part for part, by in here.holders.items() if by == second.name}
        assert await second.reads(more) == []

        # What a watch has told of a condition, whoever takes over does not tell again.
        here.simulator.soteri = {"version": "4.17.0", "enabled": False}
        await until(lambda: here.told("app_disabled") > 0)
        holder = here.holders["sources.bitbucket"]
        leaves, stays = (first, second) if holder == first.name else (second, first)
        await leaves.stop()
        await until(lambda: set(here.holders.values()) == {stays.name})
        here.simulator.emit_any(3)
        here.simulator.soteri = {"version": "4.17.0", "enabled": True}
        await until(lambda: here.told("app_enabled") > 0)
        await here.until_all_is_at(ONE, TWO)
        assert (here.told("app_disabled"), here.told("app_enabled")) == (1, 1)
        await stays.stop()
    for file in (ONE, TWO):
        ids = [each["event_id"] for each in archived(tmp_path, file)]
        assert len(ids) == len(set(ids)), file
    assert len(here.hec.ids) == len(set(here.hec.ids))


async def until_paused(replica: Replica, *names: str) -> None:
    """Wait until just these are, whichever replica has them."""
    with anyio.fail_after(30):
        while True:
            status = await replica.daemon.status()
            parts = (*status.sources, *status.sinks)
            if names == tuple(each.name for each in parts if each.state == "paused"):
                return
            await anyio.sleep(0.03)
