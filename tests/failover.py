"""Three replicas of the installed command on one PostgreSQL: kill the one that delivers, and count.

`python -m tests.failover` prints its figures as JSON; tests/acceptance/test_replicas.py plays fewer
fail-overs, a suspended replica and a server that restarts.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio

from forwarder.normalizers.soteri import CATEGORY
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.store import StoreConfig
from tests.acceptance.command import Forwarder, archived
from tests.receivers.hec import Hec, served
from tests.receivers.postgres import Postgres, postgres

BATCH = 20
LEASE = 2.0
"""Seconds: the default is 15, and longer than a test should wait."""

CONFIG = """
[sources.east]
type = "bitbucket_audit"
url = "{east}"
token = "{token}"
start_at = "beginning"
poll_interval = "100ms"
page_size = 50
[sources.west]
type = "bitbucket_audit"
url = "{west}"
token = "{token}"
start_at = "beginning"
poll_interval = "100ms"
page_size = 50
[store]
url = "{store}"
lease = "{lease}s"
redact = {{ credentials = false }}
[server]
listen = ""
[sinks.splunk]
type = "splunk_hec"
url = "{splunk}"
token = "{hec_token}"
ack = false
batch = {{ events = {batch} }}
retry = {{ initial = "20ms", maximum = "200ms" }}
redact = {{ credentials = false }}
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
batch = {{ events = {batch} }}
redact = {{ credentials = false }}
"""


@dataclass
class Figures:
    """What came of it; `bound` is what so many crashes may double, `takeovers` are in seconds."""

    failovers: int
    events: int
    lost: int
    doubled: int
    bound: int
    takeovers: list[float] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether the promise holds."""
        return not self.lost and self.doubled <= self.bound


class Replicas:
    """The scene: two Bitbuckets, Splunk and a file, and replicas of the command between them."""

    def __init__(
        self, folder: Path, server: Postgres, config: str, simulators: list[Simulator], hec: Hec
    ) -> None:
        self.folder = folder
        self.server = server
        self.simulators = simulators
        self.hec = hec
        self.crashes = 0
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self._config = config
        self._stack = ExitStack()
        self._forwarders: dict[int, Forwarder] = {}
        self._started = 0

    def start(self) -> None:
        """Start another replica."""
        self._started += 1
        folder = self.folder / f"replica{self._started}"
        folder.mkdir()
        forwarder = Forwarder(folder, self._config)
        running = self._stack.enter_context(forwarder.daemon())
        self.running[running.pid] = running
        self._forwarders[running.pid] = forwarder

    def close(self) -> None:
        """Kill what still runs."""
        self._stack.close()

    def emit(self, count: int = 5) -> None:
        """Have both Bitbuckets write."""
        for simulator in self.simulators:
            simulator.emit_any(count)

    def log(self, pid: int) -> str:
        """Return what a replica has logged."""
        return self._forwarders[pid].log

    def leases(self) -> dict[str, int]:
        """Return the process that holds each part now."""
        rows = self.server.execute("select name, holder from leases where holder <> ''", "d1")
        return {str(name): int(str(holder).split("-")[-2]) for name, holder in rows}

    def delivered(self) -> set[str]:
        """Return the ids of what Splunk has."""
        return {envelope["event"]["event_id"] for envelope in self.hec.indexed}

    async def status(self) -> dict[str, Any]:
        """Return what `status --json` says."""
        done = await next(iter(self._forwarders.values())).run("status", "--json")
        return dict(json.loads(done.stdout))

    async def until_all_is_delivered(self, *, within: float = 60) -> None:
        """Return when both destinations have every Soteri event that the Bitbuckets show."""
        with anyio.move_on_after(within):
            while self.lacking():
                await anyio.sleep(0.1)
        lacks = self.lacking()
        assert not lacks, f"{len(lacks)} lack: {lacks[:3]}"

    async def until_held(self, *parts: str) -> dict[str, int]:
        """Return who holds what once living replicas hold all of `parts`."""
        with anyio.fail_after(60):
            while True:
                held = self.leases()
                if all(held.get(part) in self.running for part in parts):
                    return held
                await anyio.sleep(0.05)

    async def until_delivered_after(self, begun: float, known: set[str]) -> float:
        """Return how long after `begun` Splunk got something that was not `known`."""
        with anyio.fail_after(60):
            while self.delivered() <= known:
                self.emit(2)
                await anyio.sleep(0.02)
        return time.monotonic() - begun

    async def fail_over(self) -> float:
        """SIGKILL the replica that delivers, start another; return seconds to the next delivery."""
        held = await self.until_held("sinks.splunk", "sources.east", "sources.west")
        pid = held["sinks.splunk"]
        known = self.delivered()
        self.emit()
        await self.until_delivered_after(time.monotonic(), known)
        self.running.pop(pid).kill()
        self.crashes += 1
        killed = time.monotonic()
        self.start()
        await self.until_held("sinks.splunk")
        known = self.delivered()  # the last batch of the dead one may have come after the kill
        return await self.until_delivered_after(killed, known)

    def lacking(self) -> list[str]:
        """Return the events that lack at the destination that lacks most."""
        truth = Counter(_text(each) for each in self._truth())
        lacks = ((truth - Counter(map(_text, held))).elements() for held in self._held())
        return max(map(sorted, lacks), key=len)

    def figures(self, takeovers: list[float]) -> Figures:
        """Count at both destinations."""
        truth = self._truth()
        wire = [each["event"] for each in self.hec.indexed if each["event"]["category"] == CATEGORY]
        doubled = len(wire) - len({each["event_id"] for each in wire})
        return Figures(
            failovers=self.crashes,
            events=len(truth),
            lost=len(self.lacking()),
            doubled=doubled,
            bound=self.crashes * BATCH,
            takeovers=[round(each, 2) for each in takeovers],
        )

    def _truth(self) -> list[dict[str, Any]]:
        return [each for one in self.simulators for each in one.truth(categories=[CATEGORY])]

    def _held(self) -> list[list[dict[str, Any]]]:
        wire = {each["event"]["event_id"]: each["event"] for each in self.hec.indexed}
        file = {each["event_id"]: each for each in archived(self.folder)}
        return [
            [each["original"] for each in held.values() if each["category"] == CATEGORY]
            for held in (wire, file)
        ]


def _text(original: dict[str, Any]) -> str:
    return json.dumps(original, sort_keys=True)


@asynccontextmanager
async def replicas(folder: Path, *, count: int = 3) -> AsyncIterator[Replicas]:
    """Set everything up in `folder`, and start `count` replicas."""
    simulators = [Simulator(SimulatorOptions(history=200, span=3600, seed=seed)) for seed in (1, 2)]
    hec = Hec(indexes=("main",))
    with postgres() as server:
        store = server.database()
        async with StoreConfig(url=store).open():
            pass  # the tables are there, to be looked at
        async with (
            serve(simulators[0]) as east,
            serve(simulators[1]) as west,
            served(hec) as splunk,
        ):
            config = CONFIG.format(
                east=east,
                west=west,
                token=simulators[0].options.token,
                store=store,
                lease=LEASE,
                splunk=splunk,
                hec_token=hec.token,
                folder=folder,
                batch=BATCH,
            )
            scene = Replicas(folder, server, config, simulators, hec)
            try:
                for _ in range(count):
                    scene.start()
                yield scene
            finally:
                for process in scene.running.values():
                    process.send_signal(signal.SIGCONT)
                scene.close()


async def fail_over(folder: Path, times: int) -> Figures:
    """Kill so often, and say so on stderr."""
    async with replicas(folder) as scene:
        takeovers = []
        for number in range(times):
            takeovers.append(await scene.fail_over())
            print(f"\r{number + 1} fail-overs ", end="", file=sys.stderr)
        await scene.until_all_is_delivered()
        return scene.figures(takeovers)


def main() -> int:
    """Return 0 where the promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    parser.add_argument("--failovers", type=int, default=20, help="how many (default 20)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="failover-") as folder:
        figures = anyio.run(fail_over, Path(folder), given.failovers)
    print(json.dumps({"is_well": figures.is_well, "lease": LEASE, **asdict(figures)}, indent=2))
    return 0 if figures.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
