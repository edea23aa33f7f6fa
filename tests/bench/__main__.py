"""The benchmark, as JSON on stdout: catching up, encoding, idling, starting, and latency.

    python -m tests.bench                    everything, 200,000 events, five runs each
    python -m tests.bench --events 50000 --runs 1 --only file
    python -m tests.bench --keep             ... and add the figures to history.jsonl

Each figure is of the command as one process: its CPU time and peak memory as the kernel accounts
them, start-up included. Page server and receivers are processes of their own.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.bench import catching_up, encoders, history, waiting
from tests.bench.pages import PER_SECOND
from tests.bench.running import Forwarder, process

OUTAGE: Final = 3600 * PER_SECOND
"""Events of an hour in which nothing could be read."""
WAITING: Final = ("encoders", "idle", "latency", "stored")
WHEN_ASKED: Final = ("outage", "server", "stages")


def spin() -> float:
    """Seconds that five million turns of an empty loop take: how fast this machine is now."""
    began = time.process_time()
    total = 0
    for number in range(5_000_000):
        total += number & 3
    return time.process_time() - began


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    with Path("/proc/cpuinfo").open() as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "unknown"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with")
    parser.add_argument(
        "--only",
        choices=[*catching_up.SINKS, *WAITING, *WHEN_ASKED],
        action="append",
        help="only when asked: outage (an hour of 100 events/s, to three sinks at once), server,"
        " stages (where the time goes)",
    )
    parser.add_argument(
        "--stored", type=int, default=10_000_000, help="events in the full store of `stored`"
    )
    parser.add_argument("--history", type=Path, default=history.FILE)
    parser.add_argument("--keep", action="store_true", help="add the figures to the history")
    return parser.parse_args()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so no process is left behind
    asked = arguments()
    forwarder = Forwarder(asked.python)
    forwarder.warm_up()
    wanted = asked.only or [*catching_up.SINKS, *WAITING]
    found: dict[str, Any] = {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "python": forwarder.version(),
            "spin_seconds": round(spin(), 3),
        },
        "events": asked.events,
    }
    with process("tests.bench.pages", str(asked.events)) as (pages, size):
        found["event_bytes"] = int(size)
        works = [name for name in catching_up.SINKS if name in wanted]
        found |= catching_up.measure(forwarder, works, pages, asked.events, asked.runs)
        if "stages" in wanted:
            found["stages"] = catching_up.stages(forwarder, pages, asked.events)
    if "file" in wanted and asked.events >= 8:
        # Memory is flat in the length of the backlog: a quarter of it needs as much.
        quarter = asked.events // 4
        with process("tests.bench.pages", str(quarter)) as (pages, _):
            found["file_quarter"] = catching_up.once(forwarder, ("file",), pages, quarter)
    if "outage" in wanted:
        with process("tests.bench.pages", str(OUTAGE)) as (pages, _):
            sinks = ("file", "hec", "syslog")
            found["outage"] = catching_up.once(forwarder, sinks, pages, OUTAGE)
    if "encoders" in wanted:
        found["encoders"] = encoders.measured(50_000, asked.runs)
    if "idle" in wanted:
        found["idle"] = waiting.idle(forwarder, 90)
    if "server" in wanted:
        found["server"] = waiting.server(forwarder, 120)
    if "latency" in wanted:
        found["latency"] = waiting.latency(forwarder, 10)
    if "stored" in wanted:
        found["stored"] = waiting.stored(forwarder, asked.stored, min(asked.runs, 3))
    print(json.dumps(found, indent=2))
    for line in history.compared(found, asked.history):
        print(line, file=sys.stderr)
    if asked.keep:
        history.append(found, asked.history)
    if slow := encoders.slow(found.get("encoders", {})):
        sys.exit(f"slower than promised: {', '.join(slow)}")


if __name__ == "__main__":
    main()
