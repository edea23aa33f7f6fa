"""One event has one id, by REST, by the nodes' files and by both: the installed command's word."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from forwarder.simulator import Mixture, Simulator, SimulatorOptions, serve
from forwarder.simulator.node_files import line_of
from tests.acceptance.command import Forwarder, archived
from tests.fakes.audit_files import NodeFolder

pytestmark = pytest.mark.real

SEARCH = "atlassian.audit.event.action.audit.search"
COMMON = """
[store]
url = "sqlite:///{folder}/state/forwarder.db"
[server]
listen = ""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
"""
REST = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
categories = []
"""
FILES = """
[sources.node-files]
type = "bitbucket_audit_log"
paths = ["{nodes}/*/{files}.audit.log"]
start_at = "beginning"
categories = []
identity = "bitbucket"
"""

# Every shape that docs/bitbucket.md documents, and what the two writers may say differently.
SHAPES: tuple[dict[str, Any], ...] = (
    {"source": "0:0:0:0:0:0:0:1"},
    {"source": "2001:db8::7%eth0, 10.0.0.7"},
    {"source": ""},
    {"author": {"name": "System", "type": "system", "id": "-1"}, "source": None, "method": None},
    {"author": {"name": "Anonymous", "type": "user", "id": "-2"}, "system": None},
    {"author": None, "node": None},
    {"affectedObjects": [{"name": "gone.user", "type": "USER"}, {"name": "x", "type": "MISC"}]},
    {"affectedObjects": None, "extraAttributes": None, "changedValues": None},
    {"timestamp": "2021-11-27T17:38:32Z"},
    {"changedValues": [{"key": "E-Mail", "i18nKey": "k", "from": "", "to": "x@example.com"}]},
    {"extraAttributes": [{"name": "Query", "nameI18nKey": "q", "value": ""}, {"name": "b"}]},
    {"extraAttributes": [{"name": "details", "value": '{"a":"1\\r\\n2","é":[1,2.50,null]}'}] * 2},
    {
        "type": {
            "category": "Soteri-Sicherheit für Bitbucket",
            "categoryI18nKey": "soteri.category",
            "action": "Sicherheits-Hook übersprungen",
            "actionI18nKey": "soteri.action.hookskipped",
        }
    },
)


def written(event: dict[str, Any], number: int) -> bytes:
    """Return a node's line: every second one leaves out what is empty, and knows nanoseconds."""
    if number % 2:
        for parts in ("changedValues", "extraAttributes"):
            event = {**event, parts: [without_empty(one) for one in event.get(parts, [])]}
        event = without_empty(event)
    return line_of(event, nano=999_999 if number % 2 else 0, seed=number)


def without_empty(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value != ""}


async def test_rest_files_and_both_deliver_the_same_events_under_the_same_ids(
    tmp_path: Path,
) -> None:
    """Two nodes; where both roads are read, each node's newest file is lost."""
    simulator = Simulator(SimulatorOptions(history=300, mixture=Mixture(bursts=0.2, twins=0.1)))
    for shape in SHAPES:
        simulator.emit(shape, copies=2)
    truth = simulator.truth()
    nodes = sorted({event.get("node", "") for event in truth})
    folders = [NodeFolder(tmp_path / "nodes" / name) for name in ("one", "two")]
    for number, event in enumerate(truth):
        folder = folders[nodes.index(event.get("node", "")) % 2]
        folder.append(written(event, number))
        if number == len(truth) // 2:
            for each in folders:
                each.rotate(midnight=True)
    found: dict[str, list[dict[str, Any]]] = {}
    async with serve(simulator) as bitbucket, anyio.create_task_group() as runs:

        async def run(name: str, sources: str, *, files: str = "*") -> None:
            folder = tmp_path / name
            folder.mkdir()
            config = (sources + COMMON).format(
                bitbucket=bitbucket,
                token=simulator.options.token,
                folder=folder,
                nodes=tmp_path / "nodes",
                files=files,
            )
            done = await Forwarder(folder, config).run("run", "--once")
            assert done.returncode == 0, done.stderr.decode()
            assert b"comes twice" not in done.stderr
            found[name] = [one for one in archived(folder) if one["action_key"] != SEARCH]

        runs.start_soon(run, "rest", REST)
        runs.start_soon(run, "files", FILES)
        runs.start_soon(partial(run, files="20200301.*"), "both", FILES + REST)
    ids = {name: sorted(event["event_id"] for event in events) for name, events in found.items()}
    assert len(set(ids["rest"])) == len(truth)
    assert ids["rest"] == ids["files"] == ids["both"]
    assert {event["source"] for event in found["both"]} == {"bitbucket", "node-files"}
    said = {name: sorted(map(told, events)) for name, events in found.items()}
    assert said["rest"] == said["files"] == said["both"]


def told(event: dict[str, Any]) -> str:
    """Return what the event says, but for what either road alone knows or leaves out."""
    said = {name: event[name] for name in ("event_id", "kind", "severity", "time", "action")}
    return json.dumps(said, sort_keys=True)
