"""Correlations in the running app: from a node's audit log to a file, once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from forwarder.app import assemble, run_once
from forwarder.config import Config, load
from forwarder.pipeline.stop import Stop
from forwarder.simulator.node_files import line_of
from tests.acceptance.command import archived
from tests.fakes.audit_files import NodeFolder

CONFIG = """
[sources.node]
type = "bitbucket_audit_log"
paths = ["{folder}/audit"]
categories = []
start_at = "beginning"
poll_interval = "100ms"
[store]
url = "sqlite:///{folder}/forwarder.db"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
"""
ON = """
[correlations.protection_gap]
enabled = true
"""
NOW = datetime.now(UTC).replace(microsecond=0)


def line(minutes: int, action: str, *, category: str, to: str = "", number: int = 0) -> bytes:
    at = NOW - timedelta(minutes=60 - minutes)
    event: dict[str, Any] = {
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.000Z",
        "author": {"name": "mira", "type": "NORMAL", "id": "2"},
        "type": {"category": category, "action": action, "actionI18nKey": f"some.key{number}"},
        "affectedObjects": [],
        "changedValues": [{"key": "Status", "to": to}] if to else [],
        "extraAttributes": [],
        "system": "https://bitbucket.example.com",
        "node": "n1",
    }
    return line_of(event)


SOTERI = "Soteri Security for Bitbucket"
OFF, PUSH, AGAIN = (
    line(1, "Global hook status changed", category=SOTERI, to="disabled"),
    line(2, "Repository pushed", category="Repositories"),
    line(3, "Global hook status changed", category=SOTERI, to="enabled", number=1),
)


def read(folder: Path, more: str = "") -> Config:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(folder=folder) + more)
    path.chmod(0o600)
    return load(path, {}, default_secrets=folder / "none")


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[None]:
    async with assemble(config) as daemon, anyio.create_task_group() as group:
        group.start_soon(daemon.forward, Stop())
        yield
        group.cancel_scope.cancel()


async def test_a_gap_reaches_the_file_once_over_a_crash_and_runs_of_both_kinds(
    tmp_path: Path,
) -> None:
    node = NodeFolder(tmp_path / "audit")

    def kinds() -> list[str]:
        return [each["kind"] for each in archived(tmp_path)]

    node.append(OFF, PUSH, AGAIN)
    assert await run_once(read(tmp_path), deadline=20) == ([], False)
    seen = ["hook.status_changed", "bitbucket.repository_pushed", "hook.status_changed"]
    assert kinds() == seen
    async with running(read(tmp_path, ON)):
        with anyio.fail_after(20):
            while len(kinds()) < 4:
                await anyio.sleep(0.02)
    node.append(line(5, "Repository pushed", category="Repositories"))
    for _ in range(2):
        assert await run_once(read(tmp_path, ON), deadline=20) == ([], False)
    assert kinds() == [*seen, "correlation.protection_gap", "bitbucket.repository_pushed"]
    told = archived(tmp_path)[3]
    facts = {each["name"]: each["value"] for each in told["attributes"]}
    assert set(facts["events"].split()) == {each["event_id"] for each in archived(tmp_path)[:3]}
    assert told["chain"]["sequence"] == 1
