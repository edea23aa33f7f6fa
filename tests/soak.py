"""Crash the installed command under load, with every kind of sink at once, and count what came.

`python -m tests.soak --minutes 30` goes on for as long as wanted and prints its figures as JSON;
tests/acceptance/test_crashes_everywhere.py does the same for fifty kills.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from forwarder.normalizers.soteri import CATEGORY
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived, ended, parts
from tests.receivers.cloudwatch import CloudWatch, cloudwatch
from tests.receivers.hec import Hec, served
from tests.receivers.rsyslog import Rsyslog, rsyslogd

BATCH = 20
"""Events in a batch of every sink: what a crash may double."""
LOAD = 4 * BATCH
"""Events written for each crash, and every two seconds until it: a third of them are Soteri's."""
GROUP, STREAM = "/soteri/audit", "forwarder"

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
page_size = 25
poll_interval = "100ms"
[store]
url = "sqlite:///{folder}/forwarder.db"
redact = {{ credentials = false }}
[server]
listen = ""
[sinks.acked]
type = "splunk_hec"
url = "{acked}"
token = "{hec_token}"
ack = true
ack_timeout = "2s"
{options}
[sinks.unacked]
type = "splunk_hec"
url = "{unacked}"
token = "{hec_token}"
ack = false
{options}
[sinks.cloudwatch]
type = "cloudwatch_logs"
log_group = "{group}"
log_stream = "{stream}"
region = "eu-central-1"
endpoint_url = "{cloudwatch}"
{options}
[sinks.tcp]
type = "syslog"
address = "{tcp}"
{options}
[sinks.relp]
type = "syslog"
address = "{relp}"
{options}
[sinks.file]
type = "file"
path = "{folder}/audit.jsonl"
rotate = {{ size = "100KiB", compress = false, keep = 100000 }}
{options}
"""
OPTIONS = f"""\
batch = {{ events = {BATCH} }}
retry = {{ initial = "20ms", maximum = "100ms" }}
redact = {{ credentials = false }}
"""


@dataclass
class Figures:
    """What one sink holds: `doubled` copies beyond the first, at most `bound` of them."""

    held: int
    missing: int
    unknown: int
    doubled: int
    bound: int

    @property
    def is_well(self) -> bool:
        """Whether the promise holds."""
        return not self.missing and not self.unknown and self.doubled <= self.bound


@dataclass
class Report:
    """What came of a run."""

    kills: int
    receiver_kills: int
    events: int
    exit_code: int
    sinks: dict[str, Figures]
    strangers: list[str] = field(default_factory=list)
    """Copies that do not say of their event what Bitbucket says of it."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is missing, and no more doubled than crashes allow."""
        return (
            not self.exit_code
            and not self.strangers
            and all(figures.is_well for figures in self.sinks.values())
        )


@dataclass
class Scene:
    """Bitbucket, the six destinations, and the command between them."""

    folder: Path
    draw: random.Random
    simulator: Simulator
    forwarder: Forwarder
    acked: Hec
    unacked: Hec
    aws: CloudWatch
    tcp: Rsyslog
    relp: Rsyslog
    warm: bool
    kills: int = 0
    receiver_kills: int = 0

    async def crash(self, *, receivers_too: bool = False) -> None:
        """Start the command under load and SIGKILL it once some destination has got something.

        Which one, how much and how soon after is drawn. With `receivers_too` both rsyslogd are
        killed before, each when it has got something, and started again.
        """
        self.simulator.emit_any(LOAD)
        with self.forwarder.daemon(warm=self.warm and self.kills % 10 > 0) as running:
            if receivers_too:
                for receiver, kill in (
                    (self.relp, self.relp.kill),
                    (self.tcp, self.tcp.kill_unread),
                ):
                    await self._progress(receiver.count, running.poll)
                    self.simulator.emit_any(LOAD)  # so that something is under way
                    await anyio.to_thread.run_sync(kill)
                    await anyio.to_thread.run_sync(receiver.start)
                self.receiver_kills += 1
            watched = self.draw.choice([*self._counts().values()])
            await self._progress(watched, running.poll)
            await anyio.sleep(self.draw.random() * 0.05)
            running.kill()
            await ended(running, within=10)
        self.kills += 1
        self.acked.requests.clear()
        self.unacked.requests.clear()

    async def finish(self) -> Report:
        """Let the command deliver all that is owed, and count."""
        config = self.forwarder.path
        larger = config.read_text().replace(f"events = {BATCH} ", "events = 1000 ")
        config.write_text(larger)  # no crash is to come that could double so many
        done = await self.forwarder.run("run", "--once", fail_after=300)
        truth = Counter(map(_text, self.simulator.truth(categories=[CATEGORY])))
        held = await anyio.to_thread.run_sync(self._held)
        known = {event["event_id"]: _text(event["original"]) for event in held["file"]}
        bound = self.kills * BATCH
        bounds = {"file": 0, **dict.fromkeys(("acked", "unacked", "cloudwatch"), bound)}
        sinks = {}
        strangers = []
        for name, events in held.items():
            ids = {event["event_id"] for event in events}
            # What is shortened for syslog has no original.
            strangers += [
                f"{name}: {event['event_id']}"
                for event in events
                if "original" in event and known.get(event["event_id"]) != _text(event["original"])
            ]
            came = Counter(known[one] for one in ids if one in known)
            sinks[name] = Figures(
                held=len(events),
                missing=(truth - came).total(),
                unknown=(came - truth).total() + len(ids - known.keys()),
                doubled=len(events) - len(ids),
                bound=bounds.get(name, bound + self.receiver_kills * BATCH),
            )
        return Report(
            kills=self.kills,
            receiver_kills=self.receiver_kills,
            events=truth.total(),
            exit_code=done.returncode,
            sinks=sinks,
            strangers=strangers,
        )

    def _counts(self) -> dict[str, Callable[[], int]]:
        """Return how to ask each destination for a number that grows with what it gets."""
        return {
            "acked": lambda: len(self.acked.indexed),
            "unacked": lambda: len(self.unacked.indexed),
            "cloudwatch": lambda: self.aws.counted("PutLogEvents") * BATCH,
            "tcp": self.tcp.count,
            "relp": self.relp.count,
            "file": lambda: sum(_size(part) // 2000 for part in parts(self.folder, "audit*.jsonl")),
        }

    async def _progress(self, count: Callable[[], int], poll: Callable[[], int | None]) -> None:
        wanted = count() + self.draw.randrange(1, BATCH)
        for turn in range(5000):  # a minute and a half
            if count() >= wanted:
                return
            assert poll() is None, self.forwarder.log[-5000:]
            if turn % 100 == 99:
                self.simulator.emit_any(LOAD)
            await anyio.sleep(0.02)
        raise AssertionError(f"{wanted - count()} events to go: {self.forwarder.log[-5000:]}")

    def _held(self) -> dict[str, list[dict[str, Any]]]:
        """Return the events that each destination holds, doubles included."""

        def messages(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
            return [json.loads(line["msg"]) for line in lines]

        return {
            "file": archived(self.folder, "audit*.jsonl"),
            "acked": [envelope["event"] for envelope in self.acked.indexed],
            "unacked": [envelope["event"] for envelope in self.unacked.indexed],
            "cloudwatch": [json.loads(one.message) for one in self.aws.held(GROUP, STREAM)],
            "tcp": messages(self.tcp.messages()),
            "relp": messages(self.relp.messages()),
        }


def _size(part: Path) -> int:
    """Return its size in bytes; none where a rotation has renamed it since it was listed."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _text(original: object) -> str:
    return json.dumps(original, sort_keys=True)


@asynccontextmanager
async def scene(folder: Path, *, seed: int, warm: bool = False) -> AsyncIterator[Scene]:
    """Set everything up in `folder`; `seed` decides what happens and when it is killed.

    With `warm` the command is forked from a process that has imported it, nine times of ten.
    """
    simulator = Simulator(SimulatorOptions(history=500, span=3600, seed=seed))
    acked, unacked = Hec(acking=True), Hec()
    for name in ("tcp", "relp"):
        (folder / name).mkdir()
    with (
        cloudwatch() as aws,
        rsyslogd(folder / "tcp", via="tcp", properties=["msg"]) as tcp,
        rsyslogd(folder / "relp", via="relp", properties=["msg"]) as relp,
    ):
        async with (
            serve(simulator) as bitbucket,
            served(acked) as with_ack,
            served(unacked) as without_ack,
        ):
            config = CONFIG.format(
                bitbucket=bitbucket,
                token=simulator.options.token,
                folder=folder,
                hec_token=acked.token,
                acked=with_ack,
                unacked=without_ack,
                group=GROUP,
                stream=STREAM,
                cloudwatch=aws.url,
                tcp=tcp.address,
                relp=relp.address,
                options=OPTIONS,
            )
            key_id, key = next(iter(aws.keys.items()))
            forwarder = Forwarder(
                folder, config, AWS_ACCESS_KEY_ID=key_id, AWS_SECRET_ACCESS_KEY=key
            )
            yield Scene(
                folder=folder,
                draw=random.Random(seed),
                simulator=simulator,
                forwarder=forwarder,
                acked=acked,
                unacked=unacked,
                aws=aws,
                tcp=tcp,
                relp=relp,
                warm=warm,
            )


async def soak(folder: Path, *, minutes: float, seed: int) -> Report:
    """Crash for so many minutes, a rsyslogd every fifth time too, and say so on stderr."""
    until = time.monotonic() + minutes * 60
    async with scene(folder, seed=seed) as played:
        while time.monotonic() < until or not played.kills:
            await played.crash(receivers_too=played.kills % 5 == 4)
            left = max(0.0, until - time.monotonic())
            print(f"\r{played.kills} kills, {left:.0f} s left ", end="", file=sys.stderr)
        print("\ndelivering what is owed", file=sys.stderr)
        return await played.finish()


def main() -> int:
    """Return 0 where the promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn (default 1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = anyio.run(
            lambda: soak(Path(folder), minutes=given.minutes, seed=given.seed),
        )
    print(json.dumps({"is_well": report.is_well, **asdict(report)}, indent=2))
    return 0 if report.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
