"""Dead letters and replays with the installed command, beside a running daemon."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from forwarder.model import Checkpoint, Unreadable
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.store import StoreConfig
from tests.acceptance.command import Forwarder, archived
from tests.fakes.events import BEGINNING
from tests.receivers.hec import Hec, served

pytestmark = pytest.mark.real

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
poll_interval = "200ms"
[store]
url = "sqlite:///{folder}/state/forwarder.db"
[server]
listen = ""
"""
FILE = '[sinks.archive]\ntype = "file"\npath = "{folder}/audit.jsonl"\n'
SPLUNK = """
[sinks.splunk]
type = "splunk_hec"
url = "{splunk}"
token = "{token}"
ack = false
max_event_bytes = "{limit}"
"""
SOTERI = ["Soteri Security for Bitbucket"]


@asynccontextmanager
async def prepared(
    folder: Path, *sinks: str, history: int = 60
) -> AsyncIterator[tuple[Forwarder, Simulator]]:
    simulator = Simulator(SimulatorOptions(history=history))
    async with serve(simulator) as bitbucket:
        text = (CONFIG + "".join(sinks)).format(
            bitbucket=bitbucket, token=simulator.options.token, folder=folder
        )
        yield Forwarder(folder, text), simulator


def rejecting(hec: Hec, splunk: str, *, limit: str) -> str:
    sink = SPLUNK.format(splunk=splunk, token=hec.token, limit=limit)
    return sink.replace("{", "{{").replace("}", "}}")


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not holds():
            await anyio.sleep(0.05)


def store(folder: Path) -> StoreConfig:
    return StoreConfig(url=f"sqlite:///{folder}/state/forwarder.db")


async def listed(forwarder: Forwarder, *words: str) -> list[dict[str, Any]]:
    done = await forwarder.run("dead-letters", "list", *words)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_letters_are_listed_shown_and_sent_again_while_the_daemon_runs(
    tmp_path: Path,
) -> None:
    hec = Hec()
    async with (
        served(hec) as splunk,
        prepared(tmp_path, rejecting(hec, splunk, limit="10B")) as (forwarder, simulator),
    ):
        made = len(simulator.truth(categories=SOTERI))
        assert (await forwarder.run("run", "--once")).returncode == 0
        assert hec.ids == []
        forwarder.path.write_text(forwarder.path.read_text().replace('"10B"', '"1MB"'))
        letters = await listed(forwarder, "--sink", "splunk", "--reason", "too_large")
        assert len(letters) == made
        assert {letter["attempts"] for letter in letters} == {1}
        shown = await forwarder.run("dead-letters", "show", str(letters[0]["id"]))
        assert letters[0]["event_id"].encode() in shown.stdout
        assert b"too_large" in shown.stdout
        assert b'"original": {' in shown.stdout
        with forwarder.daemon():
            await until(lambda: "daemon.started" in forwarder.log)
            dry = await forwarder.run("dead-letters", "replay", "--all", "--dry-run")
            assert f"{made} of sink splunk: too_large would be tried again".encode() in dry.stdout
            asked = await forwarder.run("dead-letters", "replay", "--sink", "splunk")
            assert f"{made} dead letters are sent again".encode() in asked.stdout
            assert b"no daemon" not in asked.stderr
            with anyio.fail_after(6):
                while len(hec.ids) < made:
                    await anyio.sleep(0.05)
            with anyio.fail_after(60):
                while await listed(forwarder):  # arrived, but perhaps not settled yet
                    pass
    assert sorted(hec.ids) == sorted(letter["event_id"] for letter in letters)


async def test_discarding_asks_first_and_says_what_it_is(tmp_path: Path) -> None:
    hec = Hec()
    async with (
        served(hec) as splunk,
        prepared(tmp_path, rejecting(hec, splunk, limit="10B")) as (forwarder, _),
    ):
        assert (await forwarder.run("run", "--once")).returncode == 0
        letters = await listed(forwarder)
        refused = await forwarder.run("dead-letters", "discard", "--all")
        assert refused.returncode == 1
        assert f"{len(letters)} of sink splunk: too_large".encode() in refused.stdout
        assert len(await listed(forwarder)) == len(letters)
        one = await forwarder.run("dead-letters", "discard", str(letters[0]["id"]), "--yes")
        assert one.returncode == 0
        assert b"\n1 dead letter is discarded" in one.stdout
        assert len(await listed(forwarder)) == len(letters) - 1
        nothing = await forwarder.run("dead-letters", "discard")
        assert nothing.returncode == 2


async def test_a_record_that_this_release_can_read_goes_to_every_sink(tmp_path: Path) -> None:
    async with prepared(tmp_path, FILE) as (forwarder, _):
        assert (await forwarder.run("run", "--once")).returncode == 0
        before = len(archived(tmp_path))
        good = json.loads(json.dumps(archived(tmp_path)[0]["original"]))
        good["timestamp"] = "2026-01-02T03:04:05.678Z"
        hostile = b'{"timestamp": "\x1b[2Jnever\xff", "original": "[red]"}'
        async with store(tmp_path).open() as outbox:
            records = [
                Unreadable(json.dumps(good).encode(), "?"),
                Unreadable(hostile, "bad\x1b[2J"),
            ]
            known = await outbox.checkpoint("bitbucket")
            await outbox.append("bitbucket", [], known or Checkpoint(BEGINNING), unreadable=records)
        bad = (await listed(forwarder))[1]
        shown = await forwarder.run("dead-letters", "show", str(bad["id"]))
        assert b"\x1b" not in shown.stdout
        assert b"[red]" in shown.stdout
        done = await forwarder.run("dead-letters", "replay", "--reason", "unreadable")
        assert done.returncode == 1
        assert f"{bad['id']} stays: it still cannot be read".encode() in done.stderr
        assert b"no daemon runs" in done.stderr
        assert [letter["id"] for letter in await listed(forwarder)] == [bad["id"]]
        assert (await forwarder.run("run", "--once")).returncode == 0
    lines = archived(tmp_path)
    assert len(lines) == before + 1
    assert lines[-1]["time"] == "2026-01-02T03:04:05.678000Z"


async def test_a_csv_of_letters_runs_nothing_in_a_spreadsheet(tmp_path: Path) -> None:
    async with prepared(tmp_path, FILE) as (forwarder, _):
        assert (await forwarder.run("run", "--once")).returncode == 0
        async with store(tmp_path).open() as outbox:
            known = await outbox.checkpoint("bitbucket") or Checkpoint(BEGINNING)
            record = Unreadable(b"x", '=cmd|"/c calc"!A1')
            await outbox.append("bitbucket", [], known, unreadable=[record])
        done = await forwarder.run("dead-letters", "list", "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert row["detail"] == '\'=cmd|"/c calc"!A1'


async def test_a_replay_adds_its_lines_to_the_file_and_what_is_new_stays_exact(
    tmp_path: Path,
) -> None:
    async with prepared(tmp_path, FILE, history=700) as (forwarder, simulator):
        assert (await forwarder.run("run", "--once")).returncode == 0
        first = [line["event_id"] for line in archived(tmp_path)]
        verb = ("replay", "--sink", "archive", "--since", "2000-01-01")
        dry = await forwarder.run(*verb, "--dry-run")
        assert dry.stdout.startswith(f"{len(first):,} events from ".encode())
        assert b"would be sent to archive again" in dry.stdout
        with forwarder.daemon():
            await until(lambda: "daemon.started" in forwarder.log)
            asked = await forwarder.run(*verb)
            assert b"are sent to archive again" in asked.stdout
            simulator.emit()
            await until(lambda: len(archived(tmp_path)) >= 2 * len(first) + 1)
            simulator.emit()
            await until(lambda: len(archived(tmp_path)) >= 2 * len(first) + 2)
        again = await forwarder.run("status")
        assert b"sent again" not in again.stdout
    ids = [line["event_id"] for line in archived(tmp_path)]
    new = [each for each in ids if each not in set(first)]
    assert ids[: len(first)] == first
    assert len(new) == len(set(new)) == 2
    assert [each for each in ids[len(first) :] if each in set(first)] == first


async def test_a_replay_says_when_there_is_nothing_and_which_sinks_there_are(
    tmp_path: Path,
) -> None:
    async with prepared(tmp_path, FILE) as (forwarder, _):
        assert (await forwarder.run("run", "--once")).returncode == 0
        verb = ("replay", "--sink", "archive", "--since")
        nothing = await forwarder.run(*verb, "2099-01-01")
        strange = await forwarder.run("replay", "--sink", "nowhere", "--since", "1d")
        asked = await forwarder.run(*verb, "2000-01-01")
        assert b"no daemon runs" in asked.stderr
        status = await forwarder.run("status")
        cancelled = await forwarder.run("replay", "--sink", "archive", "--cancel")
    assert (nothing.returncode, strange.returncode) == (1, 2)
    assert b"known are archive" in strange.stderr
    assert b"events sent again" in status.stdout
    assert b"events are not sent to archive again" in cancelled.stdout
