"""Catching up with a backlog, each time just after the reference on the same pages."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.bench.running import Forwarder, Receivers, configuration, medians, process

SINKS: Final[Mapping[str, tuple[str, ...]]] = {
    "hec": ("hec",),
    "file": ("file",),
    "syslog": ("syslog",),
    "relp": ("relp",),
    "cloudwatch": ("cloudwatch",),
    "four": ("hec", "file", "syslog", "cloudwatch"),
}
"""The sinks of each catch-up; four take the same events at once."""


def measure(
    forwarder: Forwarder, names: Sequence[str], pages: str, count: int, runs: int
) -> dict[str, object]:
    """Return the medians of `runs` for each of `names`, and each of them.

    They take turns, so all of them have their share of the machine's slow minutes.
    `rate_of_reference` is events a second divided by the reference's, `cpu_of_reference` CPU an
    event divided by its own: most of the machine's speed of the moment cancels out.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(runs):
        for name, figures in found.items():
            theirs = reference(forwarder, pages, count)
            ours = once(forwarder, SINKS[name], pages, count)
            ours["rate_of_reference"] = round(ours["events_per_second"] / theirs["rate"], 3)
            ours["cpu_of_reference"] = round(ours["cpu_us_per_event"] / theirs["cpu_us"], 2)
            figures.append(ours)
            print(f"{name}: {ours}", file=sys.stderr)
    return {name: {"median": medians(each), "runs": each} for name, each in found.items()}


@contextmanager
def prepared(sinks: Sequence[str], pages: str, count: int) -> Iterator[Path]:
    """Yield a configuration of these sinks; afterwards each must have `count` events."""
    with tempfile.TemporaryDirectory(prefix="forwarder-bench-") as name, ExitStack() as stack:
        receivers = Receivers(Path(name), stack)
        yield configuration(Path(name), pages, "".join(map(receivers.sink, sinks)))
        receivers.expect(count)


def once(forwarder: Forwarder, sinks: Sequence[str], pages: str, count: int) -> dict[str, float]:
    """Return what one catch-up took, every event of which has arrived once."""
    with prepared(sinks, pages, count) as config:
        return forwarder.once(config, count)


def stages(forwarder: Forwarder, pages: str, count: int) -> dict[str, float]:
    """Return the microseconds of CPU an event that each stage has used on the way into a file."""
    with prepared(("file",), pages, count) as config:
        timed = [forwarder.python, "-m", "tests.bench.stages", str(config), str(count)]
        return dict(json.loads(subprocess.check_output(timed)))


def reference(forwarder: Forwarder, pages: str, count: int) -> dict[str, float]:
    """Return the reference's events a second, and microseconds of CPU an event."""
    with process("tests.bench.collector") as (port,):
        told = subprocess.check_output(
            [forwarder.python, "-m", "tests.bench.reference", pages, port], text=True
        )
    found = json.loads(told)
    if found["events"] != count:
        sys.exit(f"the reference has read {found['events']} events of {count}")
    return {
        "rate": count / found["seconds"],
        "cpu_us": found["cpu_seconds"] / count * 1e6,
    }
