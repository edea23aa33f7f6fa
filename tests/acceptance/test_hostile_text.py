"""Events and answers whose text is written to move a terminal or to forge a line."""

import re
from pathlib import Path

import anyio
import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived
from tests.receivers.hec import Fault, Hec, served

pytestmark = pytest.mark.real

FORGED = "2026-01-01T00:00:00Z [info     ] nothing.happened"
HOSTILE = f"\x1b[2J\x1b]0;title\x07\x9b31m\r\n{FORGED}\n\u202eevil\u2028[bold red]x[/] =1+1 \x7f\0"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
CONFIG = """
[log]
level = "debug"
format = "console"
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = ""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
[sinks.splunk]
type = "splunk_hec"
url = "{splunk}"
token = "{hec}"
ack = false
[sinks.nowhere]
type = "syslog"
address = "tcp://127.0.0.1:9"
retry = {{ initial = "50ms", maximum = "100ms" }}
"""


def hostile_event() -> dict[str, object]:
    named = {"name": HOSTILE, "type": HOSTILE, "id": "7"}
    return {
        "author": named,
        "affectedObjects": [named, {"name": HOSTILE, "type": "REPOSITORY", "id": "1"}],
        "changedValues": [{"key": HOSTILE, "i18nKey": HOSTILE, "from": HOSTILE, "to": HOSTILE}],
        "extraAttributes": [{"nameI18nKey": HOSTILE, "name": HOSTILE, "value": HOSTILE}],
        "source": HOSTILE,
        "node": HOSTILE,
        "method": HOSTILE,
    }


async def test_text_of_an_event_moves_no_terminal_and_forges_no_line(tmp_path: Path) -> None:
    simulator = Simulator(SimulatorOptions(history=0))
    for _ in range(3):
        simulator.emit(hostile_event())
    simulator.emit(
        hostile_event() | {"type": {"category": "Soteri Security for Bitbucket", "action": HOSTILE}}
    )
    hec = Hec()
    refusal = b'{"text": "\\u001b[2J\\r\\nforged [bold red]", "code": 6, "invalid-event-number": 0}'
    hec.faults = [Fault(status=400, body=refusal) for _ in range(40)]
    said: dict[str, str] = {}
    async with serve(simulator) as bitbucket, served(hec) as splunk:
        text = CONFIG.format(
            bitbucket=bitbucket,
            token=simulator.options.token,
            folder=tmp_path,
            splunk=splunk,
            hec=hec.token,
        )
        forwarder = Forwarder(tmp_path, text)
        done = await forwarder.run("run", "--once", "--timeout", "3s")
        said["the log"] = done.stderr.decode()
        ids = [event["event_id"] for event in archived(tmp_path)]
        assert len(ids) == 4, said["the log"]

        async def run(*words: str) -> None:
            done = await forwarder.run(*words)
            # CSV's own line ends are CR LF (RFC 4180).
            said[" ".join(words)] = (done.stdout + done.stderr).decode().replace("\r\n", "\n")

        async with anyio.create_task_group() as tasks:
            for form in ("table", "csv", "json"):
                tasks.start_soon(run, "events", "--output", form)
                tasks.start_soon(run, "dead-letters", "list", "--output", form)
            for form in ("csv", "json"):
                tasks.start_soon(run, "export", "--output", form)
            for verb in (
                ("dead-letters", "show", "1"),
                ("explain", ids[-1]),
                ("explain", ids[-1], "--json"),
                ("status",),
                ("status", "--json"),
                ("reconcile", "--since", "400d"),
                ("check",),
            ):
                tasks.start_soon(run, *verb)
    assert "hook" in said["events --output table"] or "evil" in said["events --output table"]
    assert "forged" in said["dead-letters list --output json"]
    moving = {
        name: sorted({hex(ord(found)) for found in CONTROLS.findall(text)})
        for name, text in said.items()
        if CONTROLS.search(text)
    }
    assert moving == {}
    lines = [line for text in said.values() for line in text.splitlines()]
    assert [line for line in lines if line.startswith((FORGED, "forged"))] == []
