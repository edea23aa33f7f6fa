"""`explain`: the way of one event, out of a real run."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forwarder.app import run_once
from forwarder.config import load
from forwarder.model import EventFilter, Receipt, Rejection
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.fakes.command_line import Said, typed

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{url}"
token = "{token}"
start_at = "beginning"
[store]
url = "sqlite:///{folder}/forwarder.db"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
redact.fields = ["actor.name"]
[sinks.grave]
type = "file"
path = "{folder}/grave.jsonl"
include.kinds = ["finding.*"]
[sinks.siem]
type = "syslog"
address = "tcp://127.0.0.1:{closed}"
[sinks.later]
type = "file"
path = "{folder}/later.jsonl"
"""


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def played(folder: Path, port: int) -> list[str]:
    """Run once over two equal events and one more; return their ids in order."""
    simulator = Simulator(SimulatorOptions(history=0))
    simulator.emit({"timestamp": "2026-11-01T10:00:00Z"}, copies=2)
    simulator.emit({"timestamp": "2026-11-02T10:00:00Z"})
    async with serve(simulator) as url:
        text = CONFIG.format(url=url, token=simulator.options.token, folder=folder, closed=port)
        (folder / "config.toml").touch(mode=0o600)
        (folder / "config.toml").write_text(text)
        config = load(folder / "config.toml", {})
        await run_once(config, deadline=2.0)
    async with config.store.open() as outbox:
        ids = [event.event_id async for _, event in outbox.events(EventFilter())]
        # As if `later` had refused one for good.
        await outbox.register("later")
        await outbox.ask_replay(await outbox.plan_replay("later", EventFilter()))
        batch = await outbox.read_replay("later", limit=10, max_bytes=10**6)
        assert batch is not None
        refused = Rejection(ids[2], "too_large", "over 5 MB")
        await outbox.settle("later", batch, Receipt((refused,)), attempts=2)
    return ids


async def explained(folder: Path, *words: str) -> Said:
    return await typed("explain", *words, "--config", folder / "config.toml")


async def test_an_event_is_explained_from_its_page_to_each_sink(
    tmp_path: Path, closed_port: int
) -> None:
    ids = await played(tmp_path, closed_port)
    assert len(ids) == 3
    told: list[dict[str, Any]] = [
        json.loads((await explained(tmp_path, each, "--json")).stdout) for each in ids
    ]
    assert sorted(each["identity"]["occurrence"] for each in told[:2]) == [1, 2]
    assert told[0]["identity"]["parts"].keys() >= {"author", "type", "extraAttributes"}
    first, last = told[0], told[2]
    assert first["event"]["chain"]["sequence"] == first["place"] == 1
    since, until = first["page"]["window"]
    assert since <= first["event"]["time"] <= until
    fates = {each["sink"]: each for each in first["deliveries"]}
    assert {name: each["fate"] for name, each in fates.items()} == {
        "archive": "delivered",
        "grave": "filtered",
        "later": "delivered",
        "siem": "waiting",
    }
    assert fates["archive"]["attempts"] == 1
    assert fates["archive"]["redacted"] == ["actor", "original"]
    assert fates["grave"]["rule"] == "include.kinds"
    assert "refused" in fates["siem"]["because"]
    assert len(fates["later"]["sent_again_at"]) == 1
    (buried,) = [each for each in last["deliveries"] if each["fate"] == "buried"]
    assert (buried["sink"], buried["attempts"]) == ("later", 2)
    assert "too_large: over 5 MB" in buried["because"]
    assert "dead-letters replay" in buried["remedy"]

    plain = (await explained(tmp_path, ids[2][:14])).stdout
    for said in (ids[2], "window", "digest", "not wanted by include.kinds", "too_large", "Connect"):
        assert said.casefold() in plain.casefold()

    several = await explained(tmp_path, ids[0][:11])
    assert several.code == 1
    assert set(several.stdout.split()) == set(ids[:2])
    unknown = await explained(tmp_path, "feed")
    assert unknown.code == 1
    assert "reconcile" in unknown.stderr
    assert (await explained(tmp_path, "not-an-id")).code == 2
