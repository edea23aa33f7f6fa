"""The benchmark: catching up, encoding, idling, and the time from a row to its arrival, as JSON.

    python -m tests.bench                    everything, 200,000 events, three runs each
    python -m tests.bench --events 50000 --runs 1 --only file

Each figure is of the installed command as one process: its CPU time and peak memory as the kernel
accounts them, start-up included. Page server and receivers are processes of their own.
"""

import argparse
import itertools
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from tests.bench import encoders
from tests.bench.pages import PER_SECOND
from tests.receivers.rsyslog import rsyslogd

COMMAND = [sys.executable, "-m", "forwarder"]
# Byte code is kept, as in any installation; `main` warms it up.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class CatchUp:
    events: int
    events_per_second: float
    cpu_us_per_event: float
    peak_mib: float
    seconds: float


@contextmanager
def process(module: str, *arguments: str) -> Iterator[list[str]]:
    """Run a module of this folder; yield the words of its first line."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout
            yield running.stdout.readline().split()
        finally:
            running.terminate()


def configuration(
    folder: Path, port: str, sinks: str, *, interval: str = "30s", listen: str = ""
) -> Path:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        f"""
[sources.bitbucket]
type = "bitbucket_audit"
url = "http://127.0.0.1:{port}"
token = "bench"
start_at = "beginning"
poll_interval = "{interval}"
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = "{listen}"
[log]
level = "warning"
{sinks}
"""
    )
    return path


def run_once(config: Path, count: int) -> CatchUp:
    began = time.monotonic()
    running = subprocess.Popen([*COMMAND, "run", "--once", "--config", str(config)])
    peak = Peak(running.pid)
    _, status, usage = os.wait4(running.pid, 0)
    seconds = time.monotonic() - began
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit(f"the forwarder ended with {running.returncode}")
    return CatchUp(
        events=count,
        events_per_second=round(count / seconds),
        cpu_us_per_event=round((usage.ru_utime + usage.ru_stime) / count * 1e6, 1),
        peak_mib=peak.stop(),
        seconds=round(seconds, 2),
    )


class Peak:
    """The most memory that a process held, read off /proc while it runs.

    `ru_maxrss` would not do: a child begins with what its parent, this benchmark, held.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._kib = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
            except OSError:
                return
            if found is None:  # it has ended
                return
            self._kib = max(self._kib, int(found[1]))
            time.sleep(0.05)

    def stop(self) -> float:
        self._thread.join()
        return round(self._kib / 1024, 1)


def to_file(folder: Path, pages: str, count: int) -> CatchUp:
    found = run_once(configuration(folder, pages, archive(folder)), count)
    with (folder / "audit.jsonl").open("rb") as file:
        expect(sum(1 for _ in file), count)
    return found


def to_hec(folder: Path, pages: str, count: int) -> CatchUp:
    with process("tests.bench.collector") as (collector,):
        found = run_once(configuration(folder, pages, hec(collector)), count)
        expect(ask(f"http://127.0.0.1:{collector}/count")["distinct"], count)
    return found


def to_syslog(folder: Path, pages: str, count: int) -> CatchUp:
    with rsyslogd(folder) as receiver:
        sink = f'[sinks.siem]\ntype = "syslog"\naddress = "{receiver.address}"\n'
        found = run_once(configuration(folder, pages, sink), count)
        expect(receiver.count(), count)
    return found


def to_all(folder: Path, pages: str, count: int) -> CatchUp:
    with rsyslogd(folder) as receiver, process("tests.bench.collector") as (collector,):
        siem = f'[sinks.siem]\ntype = "syslog"\naddress = "{receiver.address}"\n'
        sinks = archive(folder) + hec(collector) + siem
        found = run_once(configuration(folder, pages, sinks), count)
        expect(ask(f"http://127.0.0.1:{collector}/count")["distinct"], count)
        expect(receiver.count(), count)
    with (folder / "audit.jsonl").open("rb") as file:
        expect(sum(1 for _ in file), count)
    return found


CATCH_UPS: dict[str, Callable[[Path, str, int], CatchUp]] = {
    "hec": to_hec,
    "file": to_file,
    "syslog": to_syslog,
}
OUTAGE: Final = 3600 * PER_SECOND
"""Events of an hour in which nothing could be read."""


def expect(found: object, wanted: int) -> None:
    if found != wanted:
        sys.exit(f"{found} events arrived, {wanted} were sent: no figure counts")


def ask(url: str, body: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, body) as answer:
        return dict(json.load(answer))


def arrivals(collector: str) -> list[float]:
    return list(ask(f"http://127.0.0.1:{collector}/count")["arrivals"])


def hec(collector: str) -> str:
    return f"""
[sinks.splunk]
type = "splunk_hec"
url = "http://127.0.0.1:{collector}"
token = "bench"
ack = false
compression = "gzip"
"""


def archive(folder: Path) -> str:
    return f"""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
rotate = {{ size = "10GiB" }}
"""


def start_daemon(stack: ExitStack, config: Path) -> psutil.Process:
    daemon = stack.enter_context(subprocess.Popen([*COMMAND, "run", "--config", str(config)]))
    stack.callback(daemon.terminate)
    return psutil.Process(daemon.pid)


def catch_up(name: str, pages: str, count: int, runs: int) -> dict[str, object]:
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="forwarder-bench-") as folder:
            found.append(asdict(CATCH_UPS[name](Path(folder), pages, count)))
        print(f"{name}: {found[-1]}", file=sys.stderr)
    return {"median": {key: median(run[key] for run in found) for key in found[0]}, "runs": found}


def idle(seconds: float, *, port: int = 0) -> dict[str, float]:
    """Memory and share of a core of a daemon that polls each 30 s and finds nothing.

    With a `port` its server is asked as one open status page and one Prometheus ask it.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forwarder-bench-")))
        (pages, _) = stack.enter_context(process("tests.bench.pages", "0"))
        (collector,) = stack.enter_context(process("tests.bench.collector"))
        listen = f"127.0.0.1:{port}" if port else ""
        sinks = archive(folder) + hec(collector)
        watched = start_daemon(stack, configuration(folder, pages, sinks, listen=listen))
        time.sleep(10)
        if port:
            stack.enter_context(looked_at(port))
        before = watched.cpu_times()
        time.sleep(seconds)
        after = watched.cpu_times()
        used = after.user + after.system - before.user - before.system
        return {
            "rss_mib": round(watched.memory_info().rss / 2**20, 1),
            "core_percent": round(100 * used / seconds, 3),
            "seconds": seconds,
        }


@contextmanager
def looked_at(port: int) -> Iterator[None]:
    """Ask what a page asks each 5 and 60 s, and what Prometheus asks each 15 s."""
    done = threading.Event()

    def look() -> None:
        for turn in itertools.count():
            paths = ["api/status"]
            paths += ["metrics"] if turn % 3 == 0 else []
            paths += ["api/history", "api/events", "api/dead-letters", ""] if turn % 12 == 0 else []
            for path in paths:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
                    answer.read()
            if done.wait(5):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def server(seconds: float) -> dict[str, object]:
    """What the server and its history cost: a daemon without a server, and one looked at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    without, asked = idle(seconds), idle(seconds, port=port)
    return {
        "without": without,
        "asked": asked,
        "cost": {
            "rss_mib": round(asked["rss_mib"] - without["rss_mib"], 1),
            "core_percent": round(asked["core_percent"] - without["core_percent"], 3),
        },
    }


def latency(samples: int) -> dict[str, float]:
    """Milliseconds from a row being visible to its arrival at an idle HEC, polled each 2 s."""
    waits = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forwarder-bench-")))
        (collector,) = stack.enter_context(process("tests.bench.collector"))
        (bitbucket,) = stack.enter_context(process("tests.bench.bitbucket"))
        config = configuration(folder, bitbucket, hec(collector), interval=f"{POLL_SECONDS:g}s")
        start_daemon(stack, config)
        time.sleep(4)
        for number in range(samples):
            time.sleep(0.37 * (number % 5))
            seen = time.time()
            ask(f"http://127.0.0.1:{bitbucket}/simulator/emit", b"{}")
            time.sleep(POLL_SECONDS + 1)
            waits.append(max(arrivals(collector)) - seen)
    return {
        "poll_interval_ms": POLL_SECONDS * 1000,
        "median_ms": round(median(waits) * 1000),
        "max_ms": round(max(waits) * 1000),
        "max_over_interval_ms": round((max(waits) - POLL_SECONDS) * 1000),
        "samples": samples,
    }


def spin() -> float:
    """Seconds that five million turns of an empty loop take: how fast this machine is now."""
    began = time.process_time()
    total = 0
    for number in range(5_000_000):
        total += number & 3
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--only",
        choices=[*CATCH_UPS, "encoders", "idle", "latency", "outage", "server"],
        action="append",
        help="outage (an hour of 100 events/s, to every sink at once) and server: only when asked",
    )
    asked = parser.parse_args()
    subprocess.run([*COMMAND, "simulate", "--help"], check=True, stdout=subprocess.DEVNULL)
    wanted = asked.only or [*CATCH_UPS, "encoders", "idle", "latency"]
    found: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "spin_seconds": round(spin(), 3),
        },
        "events": asked.events,
    }
    with process("tests.bench.pages", str(asked.events)) as (pages, size):
        found["event_bytes"] = int(size)
        for name in CATCH_UPS:
            if name in wanted:
                found[name] = catch_up(name, pages, asked.events, asked.runs)
    if "file" in wanted and asked.events >= 8:
        # Memory is flat in the length of the backlog: a quarter of it needs as much.
        quarter = asked.events // 4
        with process("tests.bench.pages", str(quarter)) as (pages, _):
            found["file_quarter"] = catch_up("file", pages, quarter, 1)
    if "outage" in wanted:
        with (
            process("tests.bench.pages", str(OUTAGE)) as (pages, _),
            tempfile.TemporaryDirectory(prefix="forwarder-bench-") as folder,
        ):
            found["outage"] = asdict(to_all(Path(folder), pages, OUTAGE))
    if "encoders" in wanted:
        found["encoders"] = encoders.measured(50_000, asked.runs)
    if "idle" in wanted:
        found["idle"] = idle(90)
    if "server" in wanted:
        found["server"] = server(120)
    if "latency" in wanted:
        found["latency"] = latency(10)
    print(json.dumps(found, indent=2))
    if slow := encoders.slow(found.get("encoders", {})):
        sys.exit(f"slower than promised: {', '.join(slow)}")


if __name__ == "__main__":
    main()
