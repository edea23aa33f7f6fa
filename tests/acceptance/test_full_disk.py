"""The installed daemon on a disk that fills up: a tmpfs in a mount namespace of its own.

As a script, it plays the part inside the namespace.
"""

import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
poll_interval = "100ms"
page_size = 250
retry.initial = "100ms"
retry.maximum = "500ms"
[store]
url = "sqlite:///{disk}/forwarder.db"
{store}
[server]
listen = "127.0.0.1:{port}"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
retry.initial = "100ms"
retry.maximum = "500ms"
"""
BLOCKED = '[sinks.siem]\ntype = "syslog"\naddress = "tcp://127.0.0.1:{closed}"\n'


@pytest.mark.parametrize("part", ["filled", "nearly_full"])
def test_a_full_disk_is_survived_and_resumed_from_without_a_restart(
    part: str, tmp_path: Path, free_tcp_port_factory: Any
) -> None:
    unshare = shutil.which("unshare")
    assert unshare, "unshare is missing: apt-get install util-linux"
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [
        *(unshare, "--mount", "--map-root-user", "--propagation", "private", "sh", "-ec"),
        'mount -t tmpfs -o size=24m tmpfs "$1"; shift; exec "$@"',
        *("sh", str(disk), sys.executable, "-m", "tests.acceptance.test_full_disk"),
        *(part, str(tmp_path), str(free_tcp_port_factory()), str(free_tcp_port_factory())),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["missing"] == 0


class Site:
    """A daemon on the small disk, the Bitbucket that it reads, and what is asked of it."""

    def __init__(self, folder: Path, port: str, closed: str) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.port = port
        self.closed = closed
        self.simulator = Simulator(SimulatorOptions(history=200))

    def forwarder(self, bitbucket: str, *, store: str = "", sinks: str = "") -> Forwarder:
        text = CONFIG.format(
            bitbucket=bitbucket,
            token=self.simulator.options.token,
            folder=self.folder,
            disk=self.disk,
            store=store,
            port=self.port,
        )
        return Forwarder(self.folder, text + sinks)

    def emit(self, count: int) -> None:
        for _ in range(count):
            self.simulator.emit()

    @property
    def truth(self) -> int:
        """How many events there are to be forwarded."""
        return len(self.simulator.truth(categories=["Soteri Security for Bitbucket"]))

    async def status(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            found = await client.get(f"http://127.0.0.1:{self.port}/api/status")
        return found.json()

    async def until_source_is(self, *states: str) -> dict[str, Any]:
        with anyio.fail_after(60):
            while True:
                with suppress(httpx.TransportError):
                    source = (await self.status())["sources"][0]
                    if source["state"] in states:
                        return source
                await anyio.sleep(0.02)

    async def until_delivered(self) -> int:
        """Return how many events are missing in the file once all have had time to come."""
        wanted = self.truth
        with anyio.move_on_after(60):
            while len({line["event_id"] for line in archived(self.folder)}) < wanted:
                await anyio.sleep(0.05)
        ids = [line["event_id"] for line in archived(self.folder)]
        assert len(ids) == len(set(ids)), "doubled"
        return wanted - len(ids)

    def take_all_room(self) -> None:
        with (self.disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass


async def filled(site: Site) -> dict[str, float]:
    """Another program takes the last byte of the disk, and gives it back."""
    async with serve(site.simulator) as bitbucket:
        forwarder = site.forwarder(bitbucket)
        with forwarder.daemon() as running:
            assert await site.until_delivered() == 0
            site.take_all_room()
            site.emit(500)
            source = await site.until_source_is("retrying", "waiting")
            await anyio.sleep(2)
            assert running.poll() is None
            (site.disk / "filler").unlink()
            freed = time.monotonic()
            missing = await site.until_delivered()
            resumed = time.monotonic() - freed
            await site.until_source_is("running")
            assert running.poll() is None
    assert "room" in source["error"]
    return {"missing": missing, "resumed_after_seconds": round(resumed, 2)}


async def nearly_full(site: Site) -> dict[str, float]:
    """A sink that takes nothing fills the store until the poller waits; then the disk grows."""
    async with serve(site.simulator) as bitbucket:
        forwarder = site.forwarder(bitbucket, sinks=BLOCKED.format(closed=site.closed))
        with forwarder.daemon() as running:
            site.emit(5000)
            source = await site.until_source_is("waiting")
            status = await site.status()
            assert [each["cause"] for each in status["loss_horizons"]] in ([], ["store_capacity"])
            stored = source["events_stored"]
            assert 0 < stored < site.truth
            await anyio.run_process(["mount", "-o", "remount,size=64m", str(site.disk)])
            freed = time.monotonic()
            missing = await site.until_delivered()
            resumed = time.monotonic() - freed
            await site.until_source_is("running")
            assert running.poll() is None
    assert '"event":"store.nearly_full"' in forwarder.log.replace('": "', '":"')
    assert "no room" not in forwarder.log, "it waited before the disk was full"
    return {"missing": missing, "stored": stored, "resumed_after_seconds": round(resumed, 2)}


if __name__ == "__main__":
    played = {"filled": filled, "nearly_full": nearly_full}[sys.argv[1]]
    print(json.dumps(anyio.run(played, Site(Path(sys.argv[2]), *sys.argv[3:5]))))
