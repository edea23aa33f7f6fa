"""`test-alert`: one event by the real way to one sink, with a daemon and without."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from forwarder.app import assemble
from forwarder.app.trial import MARK, Outcome, deliver, synthetic
from forwarder.chain import Check
from forwarder.config import Config, load
from forwarder.formats import FORMATS
from forwarder.formats.json import VERSION
from forwarder.model import Checkpoint, Event, EventFilter, is_test
from forwarder.normalizers.catalogue import shipped
from forwarder.pipeline.stop import Stop
from tests.acceptance.command import archived
from tests.fakes.command_line import Said, typed
from tests.fakes.events import events

CONFIG = """
[sources.node]
type = "bitbucket_audit_log"
paths = ["{folder}"]
poll_interval = "1h"
[store]
url = "sqlite:///{folder}/forwarder.db"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
[sinks.few]
type = "file"
path = "{folder}/few.jsonl"
include = {{ kinds = ["rule.*"] }}
[sinks.folder]
type = "file"
path = "{folder}"
[sinks.away]
type = "splunk_hec"
url = "http://127.0.0.1:1"
token = "00000000-0000-0000-0000-000000000000"
index = "security"
"""
AT = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    path.chmod(0o600)
    return load(path, {}, default_secrets=tmp_path / "none")


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[None]:
    async with assemble(config) as daemon, anyio.create_task_group() as group:
        group.start_soon(daemon.forward, Stop())
        yield
        group.cancel_scope.cancel()


async def alert(folder: Path, *words: str) -> Said:
    return await typed("test-alert", *words, "--config", folder / "config.toml")


async def letters(config: Config) -> list[Any]:
    async with config.store.open(lock=False) as outbox:
        return [each async for each in outbox.dead_letters()]


async def test_it_reaches_the_sink_alone_and_moves_nothing(tmp_path: Path, config: Config) -> None:
    said = await alert(tmp_path, "hook.skipped", "--sink", "archive", "--json")
    assert said.code == 0, said
    outcome = json.loads(said.stdout)
    await has_moved_nothing(tmp_path, config, outcome["event_id"])


async def has_moved_nothing(folder: Path, config: Config, event_id: str) -> None:
    (line,) = archived(folder)
    assert line["event_id"] == event_id
    assert line["action"] == "TEST of soteri-forwarder: Security hook skipped"
    assert line["actor"]["name"] == "soteri-forwarder test"
    assert {"name": "test", "value": "true"} in line["attributes"]
    assert (line["kind"], line["severity"]) == ("hook.skipped", "high")
    assert archived(folder, "few.jsonl") == []
    async with config.store.open(lock=False) as outbox:
        assert [pair async for pair in outbox.events(EventFilter())] == []
        status = await outbox.status()
    known = status.sinks["archive"]
    assert (known.settled, known.buried, known.backlog.position) == (0, 0, 0)
    assert dict(status.dead_letters) == {}
    assert await letters(config) == []


async def test_what_is_in_the_way_is_said_and_nothing_comes_later(
    tmp_path: Path, config: Config
) -> None:
    said = await alert(tmp_path, "hook.skipped", "--sink", "away")
    assert said.code == 1, said
    assert "not delivered: " in said.stderr
    assert "127.0.0.1:1" in said.stderr.replace("\n", " ")
    assert "remedy:" in said.stderr
    assert await letters(config) == []


async def test_a_destination_that_says_nothing_is_not_taken_for_a_daemon_that_does_not(
    tmp_path: Path, config: Config
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = tmp_path / "config.toml"
        port = silent.getsockname()[1]
        path.write_text(path.read_text().replace("127.0.0.1:1", f"127.0.0.1:{port}"))
        said = await alert(tmp_path, "hook.skipped", "--sink", "away", "--wait", "200ms")
    assert said.code == 1, said
    assert "the destination has not taken it within 0.2 s" in " ".join(said.stderr.split())
    assert "remedy: " in said.stderr
    assert await letters(config) == []


async def test_a_daemon_that_runs_sends_it_and_says_what_is_in_the_way(
    tmp_path: Path, config: Config
) -> None:
    found: dict[str, Outcome] = {}

    async def send(sink: str) -> None:
        event = synthetic(shipped()["hook.skipped"], AT)
        found[sink] = await deliver(config, sink, event, within=30)

    async with running(config), anyio.create_task_group() as group:
        group.start_soon(send, "archive")
        group.start_soon(send, "folder")
    assert found["archive"].delivered
    assert not found["folder"].delivered
    assert found["folder"].because.startswith("the sink is paused: ")
    assert found["folder"].because.endswith("Is a directory")
    assert found["folder"].remedy == "the path is a folder: name a file in it"
    await has_moved_nothing(tmp_path, config, found["archive"].event_id)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("hook.skiped", "--sink", "archive"), 2, 'did you mean "hook.skipped"?'),
        (("hook.skipped", "--sink", "archiv"), 2, 'did you mean "archive"?'),
        (("hook.skipped", "--sink", "few"), 1, "include.kinds of few passes this event over"),
        (("hook.skipped", "--sink", "archive", "--wait", "soon"), 2, '"soon" is not a duration'),
        (("hook.skipped", "--sink", "few", "--ignore-filter"), 0, ""),
        (("rule.builtin_toggled", "--sink", "few"), 0, ""),
    ],
)
async def test_what_cannot_be_is_said_with_what_can(
    tmp_path: Path, config: Config, words: tuple[str, ...], code: int, expected: str
) -> None:
    said = await alert(tmp_path, *words)
    assert said.code == code, said
    assert expected in " ".join(said.stderr.replace("│", " ").split())
    assert len(archived(tmp_path, "few.jsonl")) == (code == 0)


async def test_verify_and_what_is_new_do_not_mind_it(tmp_path: Path, config: Config) -> None:
    async with config.store.open() as outbox:
        await outbox.append("node", events(3), Checkpoint(AT))
    assert (await alert(tmp_path, "hook.skipped", "--sink", "archive")).code == 0
    assert len(archived(tmp_path)) == 1  # what is new waits for the daemon
    async with running(config), config.store.open(lock=False) as outbox:
        with anyio.fail_after(20):
            while (await outbox.backlog("archive")).events:
                await anyio.sleep(0.02)
    assert (await alert(tmp_path, "hook.skipped", "--sink", "archive")).code == 0
    check = Check(versions={VERSION}, heads={})
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    assert [check.add(line, "") for line in lines] == [""] * 5
    assert {name: found.lines for name, found in check.sources.items()} == {"bitbucket": 3}
    assert check.tests == 2
    forged = lines[0].replace(b'"name":"test"', b'"name":"rest"')
    assert "does not say that it is one" in check.add(forged, "")
    assert [is_test(line["event_id"]) for line in archived(tmp_path)] == [True, *[False] * 3, True]


def test_every_format_says_that_it_is_a_test() -> None:
    for kind in shipped().values():
        event = synthetic(kind, AT)
        for name, format_ in FORMATS.items():
            assert MARK.encode() in format_.encode(event), (name, kind.kind)


def test_two_of_a_kind_at_one_time_are_two() -> None:
    made: list[Event] = [synthetic(shipped()["hook.skipped"], AT) for _ in range(2)]
    assert len({each.event_id for each in made}) == 2
    assert all(is_test(each.event_id) for each in made)
    assert not any(is_test(each.event_id) for each in events(50))
