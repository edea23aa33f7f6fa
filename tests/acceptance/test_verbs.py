"""Every verb as a user types it."""

import csv
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived, ran
from tests.receivers.hec import Hec, served

pytestmark = pytest.mark.real

SOTERI = "Soteri Security for Bitbucket"
CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
[store]
url = "sqlite:///{folder}/state/forwarder.db"
[server]
listen = ""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
"""


@asynccontextmanager
async def prepared(folder: Path, **options: int) -> AsyncIterator[tuple[Forwarder, Simulator]]:
    simulator = Simulator(SimulatorOptions(history=400, **options))
    async with serve(simulator) as bitbucket:
        config = CONFIG.format(bitbucket=bitbucket, token=simulator.options.token, folder=folder)
        yield Forwarder(folder, config), simulator


async def test_the_version_is_said() -> None:
    assert (await ran("--version")).stdout.startswith(b"soteri-forwarder 0.")


async def test_a_misspelt_verb_is_a_usage_error() -> None:
    assert (await ran("rum")).returncode == 2


async def test_stored_events_come_as_a_table_as_json_and_as_csv(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, simulator):
        simulator.emit({"author": {"name": "=cmd|'/c calc'!A0", "type": "NORMAL", "id": "9"}})
        simulator.emit({"author": {"name": "\x1b[31mred\x1b[0m", "type": "NORMAL", "id": "8"}})
        await forwarder.run("run", "--once")
        made = len(simulator.truth(categories=[SOTERI]))
        as_json = await forwarder.run("events")
        as_csv = await forwarder.run("events", "--output", "csv")
        as_table = await forwarder.run("events", "--output", "table", "--kind", "hook.*")
        of_one = await forwarder.run("events", "--actor", "aiko.tanaka")
    events = [json.loads(line) for line in as_json.stdout.splitlines()]
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout.decode())))
    assert len(events) == len(rows) == made
    assert {event["actor"]["name"] for event in map(json.loads, of_one.stdout.splitlines())} == {
        "aiko.tanaka"
    }
    assert "'=cmd|'/c calc'!A0" in {row["actor"] for row in rows}
    assert b"\x1b" not in as_table.stdout
    assert b"hook.skipped" in as_table.stdout
    assert b"soteri.unknown" not in as_table.stdout


async def test_status_works_without_a_daemon_and_says_so(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, simulator):
        before = await forwarder.run("status")
        await forwarder.run("run", "--once")
        after = await forwarder.run("status", "--json")
        told = await forwarder.run("status")
        made = len(simulator.truth(categories=[SOTERI]))
    status = json.loads(after.stdout)
    assert before.returncode == 74
    assert b"there is no store at" in before.stderr
    assert after.returncode == told.returncode == 1
    assert b"remedy: soteri-forwarder run, or systemctl start" in told.stderr
    assert not status["running"]
    assert {part["state"] for part in status["sources"] + status["sinks"]} == {"stopped"}
    assert status["sinks"][0]["events_sent"] == made
    assert status["sinks"][0]["backlog_events"] == 0


async def test_a_sink_whose_first_batch_is_under_way_is_starting_and_not_stopped(
    tmp_path: Path,
) -> None:
    hec = Hec(acking=True, slow=True)
    sink = '[sinks.slow]\ntype = "splunk_hec"\nurl = "{}"\ntoken = "{}"\n'
    async with served(hec) as splunk, prepared(tmp_path) as (forwarder, _):
        with forwarder.path.open("a") as config:
            config.write(sink.format(splunk, hec.token))
        with forwarder.daemon():
            with anyio.fail_after(30):
                while not hec.posts:
                    await anyio.sleep(0.05)
            told = await forwarder.run("status", "--json")
    states = {sink["name"]: sink["state"] for sink in json.loads(told.stdout)["sinks"]}
    assert states["slow"] == "starting"


async def test_check_asks_everybody_and_delivers_nothing(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, _):
        done = await forwarder.run("check")
    assert done.returncode == 0, done.stderr.decode()
    lines = [line.split()[:3] for line in done.stdout.decode().splitlines()]
    assert lines[0][:2] == ["ok", "configuration:"]
    assert [line[1].strip(":") for line in lines[1:]] == ["store", "source", "sink"]
    assert archived(tmp_path) == []
    assert not await anyio.Path(tmp_path / "state").exists()


async def test_check_names_what_fails_and_the_remedy(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, simulator):
        text = forwarder.path.read_text().replace(simulator.options.token, "wrong-token")
        forwarder.path.write_text(text)
        done = await forwarder.run("check")
    assert done.returncode == 77
    assert b"source bitbucket" in done.stderr
    assert b"remedy:" in done.stderr
    assert b"wrong-token" not in done.stderr + done.stdout


async def test_every_mistake_of_a_configuration_is_named_at_once(tmp_path: Path) -> None:
    mistaken = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
poll_intervall = "30s"
[sinks.archive]
type = "fil"
[sinks.splunk]
type = "splunk_hec"
url = "https://splunk.example.com:8088"
ack_timeout = 5
"""
    forwarder = Forwarder(tmp_path, mistaken, FORWARDER_SINKS__SPLUNK__TOKN="x")
    done = await forwarder.run("check", "--offline")
    text = done.stderr.decode()
    assert done.returncode == 78
    for named in (
        'did you mean "poll_interval"',
        "sinks.archive.type: unknown",
        "ack_timeout",
        "FORWARDER_SINKS__SPLUNK__TOKN",
        "token",
    ):
        assert named in text


async def test_export_gives_what_bitbucket_holds_without_storing(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, simulator):
        text = forwarder.path.read_text().replace("[sources.bitbucket]", "[sources.main]")
        forwarder.path.write_text(text + '[kinds."hook.skipped"]\nseverity = "critical"\n')
        skipped = simulator.truth(actions=["Security hook skipped"])
        done = await forwarder.run("export", "--action", "Security hook skipped")
        as_csv = await forwarder.run(
            "export", "--output", "csv", "--to", str(tmp_path / "audit.csv"), "--category", "*"
        )
        everything = len(simulator.truth())
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == as_csv.returncode == 0
    assert [event["original"] for event in events] == list(skipped)
    assert {(event["source"], event["severity"]) for event in events} == {("main", "critical")}
    text = (await anyio.Path(tmp_path / "audit.csv").read_bytes()).decode()
    assert 400 <= len(list(csv.DictReader(io.StringIO(text)))) <= everything
    assert not await anyio.Path(tmp_path / "state").exists()


async def test_export_of_a_repository_takes_its_administrators_token(tmp_path: Path) -> None:
    simulator = Simulator(SimulatorOptions(history=400))
    async with serve(simulator) as url:
        token = tmp_path / "token"
        token.touch(mode=0o600)
        token.write_text(simulator.options.project_token)
        options = ("--url", url, "--token-file", str(token), "--category", "*")
        done = await ran("export", *options, "--project", "SEC")
        refused = await ran("export", *options)
    assert done.returncode == 0
    assert done.stdout
    assert refused.returncode == 77


async def test_a_demo_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = await ran("demo", "--for", "1s", "--port", port, "--folder", str(tmp_path / "demo"))
    assert done.returncode == 78
    assert done.stderr.startswith(b"error: server.listen: cannot listen on 127.0.0.1:")


@pytest.mark.timeout(180)
async def test_the_demo_ends_by_itself_with_every_event_in_the_file(tmp_path: Path) -> None:
    done = await ran("demo", "--for", "3s", "--folder", str(tmp_path / "demo"))
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert "hook.skipped" in text
    assert "events in the file" in text
