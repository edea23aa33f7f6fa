"""How many events a second each format encodes on one core. JSON on stdout.

    python -m tests.bench.encoders                   50,000 events, the best of five runs
    python -m tests.bench.encoders --events 5000 --runs 2 --floor

The events are of every kind in the catalogue in turn, with records of about 950 bytes. With
``--floor`` it exits 1 where a format is slower than the project promises. CPU time is counted, so
a busy machine changes little.
"""

import argparse
import gc
import json
import platform
import sys
import time

from forwarder.formats import FORMATS
from forwarder.interfaces import Format
from forwarder.model import Event
from tests.fakes.events import event
from tests.fakes.kinds import KINDS, event_of

FLOORS = {"json": 30_000, "raw": 30_000}
FLOOR = 15_000


def sample(count: int) -> list[Event]:
    """Return events that differ in what an encoder could otherwise remember."""
    shaped = [event_of(kind) for kind in KINDS]
    events = []
    for number in range(count):
        told = shaped[number % len(shaped)]
        given = event(number)
        events.append(
            event(
                number,
                kind=told.kind,
                action=told.action,
                objects=given.objects,
                changes=told.changes,
                attributes=told.attributes,
                address=f"10.{number % 200}.{number // 200 % 200}.1",
            )
        )
    return events


def rate(line_format: Format, events: list[Event], runs: int) -> float:
    """Return events a second of CPU time, the best of `runs`."""
    best = 0.0
    for _ in range(runs):
        gc.collect()
        started = time.process_time()
        for one in events:
            line_format.encode(one)
        best = max(best, len(events) / (time.process_time() - started))
    return best


def measured(count: int, runs: int) -> dict[str, dict[str, float]]:
    """Return, for each format, events a second on one core, bytes an event, and the promise."""
    events = sample(count)
    return {
        name: {
            "events_per_second": round(rate(line_format, events, runs)),
            "bytes_per_event": sum(len(line_format.encode(one)) for one in events[:1000])
            // min(1000, len(events)),
            "floor": FLOORS.get(name, FLOOR),
        }
        for name, line_format in FORMATS.items()
    }


def slow(found: dict[str, dict[str, float]]) -> list[str]:
    """Return the formats that do not keep the promise."""
    return [name for name, one in found.items() if one["events_per_second"] < one["floor"]]


def main() -> int:
    """Measure every format and print what was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=50_000)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--floor", action="store_true", help="exit 1 under the floor")
    wanted = arguments.parse_args()
    found = measured(wanted.events, wanted.runs)
    report = {"python": platform.python_version(), "events": wanted.events, "encoders": found}
    print(json.dumps(report, indent=2))
    return 1 if wanted.floor and slow(found) else 0


if __name__ == "__main__":
    sys.exit(main())
