"""What a daemon costs that has nothing to do, and how soon it does something."""

import itertools
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.running import Forwarder, archive, ask, configuration, hec, process
from tests.bench.stored import fill
from tests.receivers.process import free_port

POLL_SECONDS: Final = 2.0


def quiet(stack: ExitStack) -> tuple[Path, str, str]:
    """Return a folder, the port of pages without events, and the configuration of two sinks."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forwarder-bench-")))
    (pages, _) = stack.enter_context(process("tests.bench.pages", "0"))
    (collector,) = stack.enter_context(process("tests.bench.collector"))
    return folder, pages, archive(folder) + hec(collector)


def idle(forwarder: Forwarder, seconds: float, *, port: int = 0) -> dict[str, float]:
    """Memory and share of a core of a daemon that polls each 30 s and finds nothing.

    With a `port` its server is asked as one open status page and one Prometheus ask it.
    """
    with ExitStack() as stack:
        folder, pages, sinks = quiet(stack)
        listen = f"127.0.0.1:{port}" if port else ""
        config = configuration(folder, pages, sinks, listen=listen)
        watched = stack.enter_context(forwarder.daemon(config))
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


def server(forwarder: Forwarder, seconds: float) -> dict[str, object]:
    """What the server and its history cost: a daemon without a server, and one looked at."""
    without, asked = idle(forwarder, seconds), idle(forwarder, seconds, port=free_port())
    return {
        "without": without,
        "asked": asked,
        "cost": {
            "rss_mib": round(asked["rss_mib"] - without["rss_mib"], 1),
            "core_percent": round(asked["core_percent"] - without["core_percent"], 3),
        },
    }


def latency(forwarder: Forwarder, samples: int) -> dict[str, float]:
    """Milliseconds from a row being visible to its arrival at an idle HEC, polled each 2 s."""
    waits = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forwarder-bench-")))
        (collector,) = stack.enter_context(process("tests.bench.collector"))
        (bitbucket,) = stack.enter_context(process("tests.bench.bitbucket"))
        config = configuration(folder, bitbucket, hec(collector), interval=f"{POLL_SECONDS:g}s")
        stack.enter_context(forwarder.daemon(config))
        time.sleep(4)
        for number in range(samples):
            time.sleep(0.37 * (number % 5))
            seen = time.time()
            ask(f"http://127.0.0.1:{bitbucket}/simulator/emit", b"{}")
            time.sleep(POLL_SECONDS + 1)
            arrivals = ask(f"http://127.0.0.1:{collector}/count")["arrivals"]
            waits.append(max(arrivals) - seen)
    return {
        "poll_interval_ms": POLL_SECONDS * 1000,
        "median_ms": round(median(waits) * 1000),
        "max_ms": round(max(waits) * 1000),
        "max_over_interval_ms": round((max(waits) - POLL_SECONDS) * 1000),
        "samples": samples,
    }


def stored(forwarder: Forwarder, events: int, runs: int) -> dict[str, object]:
    """Start and polls that find nothing, with nothing stored and with `events`."""
    with ExitStack() as stack:
        folder, pages, sinks = quiet(stack)
        forwarder.once(configuration(folder, pages, sinks), 1)
        empty = _starts_and_polls(forwarder, folder, pages, sinks, runs)
        fill(folder / "forwarder.db", events)
        full = _starts_and_polls(forwarder, folder, pages, sinks, runs)
    return {
        "events": events,
        "empty": empty,
        "full": full,
        "start_later_by_seconds": round(full["start_seconds"] - empty["start_seconds"], 3),
        "poll_of_empty": round(full["poll_ms"] / empty["poll_ms"], 3),
    }


def _starts_and_polls(
    forwarder: Forwarder, folder: Path, pages: str, sinks: str, runs: int
) -> dict[str, float]:
    starts, polls = [], []
    for _ in range(runs):
        port = free_port()
        config = configuration(folder, pages, sinks, interval="1s", listen=f"127.0.0.1:{port}")
        ask(f"http://127.0.0.1:{pages}/first")  # forgets who asked before
        began = time.time()
        with forwarder.daemon(config):
            time.sleep(12)
            starts.append(ask(f"http://127.0.0.1:{pages}/first")["at"] - began)
            polls.append(_poll_ms(port))
    return {"start_seconds": round(median(starts), 3), "poll_ms": round(median(polls), 2)}


def _poll_ms(port: int) -> float:
    """Return the mean time of a poll, as the daemon has measured it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    total, count = (
        sum(map(float, re.findall(rf"(?m)^forwarder_poll_seconds_{part}{{.*}} (\S+)$", text)))
        for part in ("sum", "count")
    )
    return 1000 * total / count
