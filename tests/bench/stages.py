"""Where the time of a catch-up goes: microseconds of CPU an event, stage by stage, as JSON.

    python -m tests.bench.stages CONFIG EVENTS

The forwarder runs in this process with its own functions timed by the clock of their thread, so
waiting for the interpreter or the disk does not count. A stage that is part of another is named
behind a slash; what no stage has (the event loop, HTTP, changes of thread) is in "rest".
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

used: dict[str, float] = {}


def timed(owner: Any, name: str, stage: str) -> None:
    """Have each call of `owner.name` add its thread's CPU time to `stage`."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def wrapper(*positional: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return function(*positional, **named)
        finally:
            used[stage] = used.get(stage, 0.0) + time.thread_time() - began

    setattr(owner, name, wrapper)


def forward(config: str) -> None:
    """Catch up, with every stage timed."""
    began = time.process_time()
    from forwarder.cli import app
    from forwarder.pipeline.poller import Poller
    from forwarder.sinks.file import FileSink
    from forwarder.sources.bitbucket_audit import client, wire
    from forwarder.sources.bitbucket_audit.audit_log import AuditLog
    from forwarder.store.recent import Recent
    from forwarder.store.sqlite import SqliteDatabase
    from forwarder.store.transactions import append, positions

    used["start/imports"] = time.process_time() - began
    timed(client.wire, "page", "page")
    timed(AuditLog, "_take", "records")
    timed(wire.identity, "derive", "records/identity")
    timed(Poller, "_normalized", "normalizing")
    timed(Poller, "_redacted", "encoding and redacting")
    timed(SqliteDatabase, "_write", "writing")
    timed(append, "_stored", "writing/chain")
    timed(append, "_insert", "writing/insert")
    timed(SqliteDatabase, "_read", "reading")
    timed(positions, "_read", "reading/rows of a sink that is behind")
    timed(Recent, "add", "recent")
    timed(FileSink, "_lines", "lines for the file")
    app(["run", "--once", "--config", config], standalone_mode=False)


def report(count: int) -> None:
    """Print what each stage has used of `count` events."""
    parts = {stage: 1e6 * seconds / count for stage, seconds in used.items()}
    total = 1e6 * time.process_time() / count
    named = sum(each for stage, each in parts.items() if "/" not in stage)
    parts["rest"] = total - named - parts["start/imports"]
    print(json.dumps({name: round(each, 2) for name, each in {**parts, "total": total}.items()}))


if __name__ == "__main__":
    forward(sys.argv[1])
    report(int(sys.argv[2]))
