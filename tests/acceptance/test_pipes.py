"""Every verb is honest in a pipe, and calm on a terminal, a narrow one too."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer

from forwarder.app import run_once
from forwarder.cli import app
from forwarder.config import load
from forwarder.model import EventFilter, Receipt, Rejection
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import COMMAND, environment
from tests.fakes.command_line import Said, typed
from tests.fakes.pseudo_terminal import at_a_terminal

pytestmark = pytest.mark.real

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
[server]
listen = ""
"""


@dataclass(frozen=True)
class Place:
    """A store with events and three dead letters, and where its configuration is.

    The verbs below use the first two up and leave the third.
    """

    folder: Path
    event_id: str

    @property
    def config(self) -> tuple[str, str]:
        return "--config", str(self.folder / "config.toml")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Keep a Bitbucket running in a thread of its own, and what was forwarded of it."""
    folder = tmp_path_factory.mktemp("pipes")
    simulator = Simulator(SimulatorOptions(history=200))
    simulator.emit({"author": {"name": "\x1b[31mred\x1b[0m [bold]", "type": "NORMAL", "id": "8"}})
    ready, done, urls = threading.Event(), threading.Event(), []

    async def play() -> None:
        async with serve(simulator) as url:
            urls.append(url)
            ready.set()
            await anyio.to_thread.run_sync(done.wait)

    thread = threading.Thread(target=anyio.run, args=(play,))
    thread.start()
    try:
        assert ready.wait(60)
        path = folder / "config.toml"
        path.touch(mode=0o600)
        token = simulator.options.token
        path.write_text(CONFIG.format(url=urls[0], token=token, folder=folder))
        yield Place(folder, anyio.run(_forwarded, path))
    finally:
        done.set()
        thread.join(20)


async def _forwarded(path: Path) -> str:
    """Forward everything, bury the first three; return the id of the last."""
    config = load(path, {})
    assert await run_once(config, deadline=60) == ([], False)
    async with config.store.open() as outbox:
        ids = [event.event_id async for _, event in outbox.events(EventFilter())]
        await outbox.ask_replay(await outbox.plan_replay("archive", EventFilter()))
        batch = await outbox.read_replay("archive", limit=1000, max_bytes=10**7)
        assert batch is not None
        refused = [Rejection(each, "too_large", "over 5 MB") for each in ids[:3]]
        await outbox.settle("archive", batch, Receipt(tuple(refused)))
    return ids[-1]


VERBS: dict[str, tuple[str, ...]] = {
    "run": ("--once",),
    "check": (),
    "status": (),
    "health": (),
    "events": (),
    "explain": ("{event_id}",),
    "verify": ("{folder}/audit.jsonl",),
    "reconcile": ("--since", "24h"),
    "export": ("--since", "30d"),
    "replay": ("--sink", "archive", "--since", "30d", "--dry-run"),
    "simulate": ("--port", "0", "--duration", "100ms", "--history", "5"),
    "demo": ("--for", "100ms", "--folder", "{folder}/demo"),
    "kinds": (),
    "detections": (),
    "metrics": (),
    "move-store": ("--to", "sqlite:///{folder}/elsewhere.db", "--dry-run"),
    "man": (),
    "test-alert": ("hook.skipped", "--sink", "archive"),
    "dead-letters list": (),
    "dead-letters show": ("1",),
    "dead-letters replay": ("1",),
    "dead-letters discard": ("2", "--yes"),
    "config init": ("--yes", "--url", "https://b", "--sink", "file", "--token-file", "{folder}/t"),
    "config schema": (),
    "provision splunk": ("--url", "https://127.0.0.1:1", "--dry-run"),
    "provision cloudwatch": ("--dry-run",),
    "formats list": (),
    "formats schema": (),
}
BARE = {
    "verify",
    "simulate",
    "demo",
    "detections",
    "metrics",
    "man",
    "config init",
    "config schema",
}
BARE |= {"formats list", "formats schema"}
JSON = {
    **dict.fromkeys(("check", "status", "explain", "verify", "reconcile", "replay"), ("--json",)),
    **dict.fromkeys(("kinds", "detections", "metrics", "dead-letters show"), ("--json",)),
    "test-alert": ("--json",),
    **dict.fromkeys(("events", "export", "dead-letters list"), ("--output", "json")),
    **dict.fromkeys(("config schema", "formats schema"), ()),
}


def names(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, verb in getattr(command, "commands", {}).items():
        inside = list(names(verb, (*path, name)))
        yield from inside or [" ".join((*path, name))]


def test_the_tables_here_name_every_verb() -> None:
    assert set(names(typer.main.get_command(app))) == set(VERBS)


def words(verb: str, place: Place) -> list[str]:
    given = [word.format(folder=place.folder, event_id=place.event_id) for word in VERBS[verb]]
    return [*verb.split(), *given, *(() if verb in BARE else place.config)]


async def said_by(verb: str, place: Place) -> Said:
    if verb not in {"run", "simulate"}:
        return await typed(*words(verb, place))
    # These take signals, so they want a process of their own.
    done = await anyio.run_process([COMMAND, *words(verb, place)], check=False, env=environment())
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])  # see test_verbs
async def test_a_verb_says_plain_lines_in_a_pipe(verb: str, place: Place) -> None:
    done = await said_by(verb, place)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert not re.search("[\u2500-\u257f\u2580-\u259f\u28ff]", done.stdout), done.stdout
    assert not re.search(r"[ \t]+$", done.stdout, re.MULTILINE), done.stdout
    assert said or verb == "run"


@pytest.mark.parametrize("verb", JSON)
async def test_a_verb_that_prints_data_prints_json(verb: str, place: Place) -> None:
    done = await typed(*words(verb, place), *JSON[verb])
    found = [json.loads(line) for line in _values(verb, done.stdout)]
    assert found


def _values(verb: str, said: str) -> list[str]:
    return [said] if "schema" in verb else said.splitlines()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_has_help_with_an_example(verb: str) -> None:
    done = await typed(*verb.split(), "--help")
    assert done.code == 0
    assert not re.search("[\u2500-\u257f\x1b]", done.stdout)
    assert "Example" in done.stdout
    assert f"soteri-forwarder {verb}" in " ".join(done.stdout.split())


async def test_a_reader_that_has_gone_is_met_quietly(place: Place) -> None:
    for_readers = ("events", "config schema")
    running = [_to_nobody(words(verb, place)) for verb in for_readers]
    for verb, process in zip(for_readers, running, strict=True):
        _, said = await anyio.to_thread.run_sync(process.communicate)
        assert said == b"", (verb, said)
        assert process.returncode in (0, 1), verb


async def test_a_full_disk_behind_a_verb_is_said_and_no_traceback(place: Place) -> None:
    running = [_to_a_full_disk(words(verb, place)) for verb in ("events", "status")]
    for process in running:
        _, said = await anyio.to_thread.run_sync(process.communicate)
        assert said == b"error: no room for the output: No space left on device\n"
        assert process.returncode == 1


async def test_a_file_that_cannot_be_written_is_named(place: Place) -> None:
    done = await typed("export", "--since", "30d", "--to", place.folder, *place.config)
    assert done.code == 2
    assert f"{place.folder} cannot be written: Is a directory" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("folder", "said"), [("{folder}", "is not empty"), ("/dev/null/x", "cannot be made")]
)
async def test_the_demo_wants_a_folder_of_its_own(folder: str, said: str, place: Place) -> None:
    done = await typed("demo", "--folder", folder.format(folder=place.folder))
    assert done.code == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(("kind", "hint"), [("hook.skiped", "hook.skipped"), ("hook.*", "")])
async def test_a_kind_that_is_likely_misspelt_is_doubted(
    kind: str, hint: str, place: Place
) -> None:
    done = await typed("events", "--kind", kind, *place.config)
    assert done.code == 0
    assert f'did you mean "{hint}"?' in done.stderr if hint else done.stderr == ""


def _to_a_full_disk(words: list[str]) -> "subprocess.Popen[bytes]":
    with Path("/dev/full").open("wb") as full:
        return subprocess.Popen(
            [COMMAND, *words], stdout=full, stderr=subprocess.PIPE, env=environment()
        )


def _to_nobody(words: list[str]) -> "subprocess.Popen[bytes]":
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.Popen(
            [COMMAND, *words], stdout=writing, stderr=subprocess.PIPE, env=environment()
        )
    finally:
        os.close(writing)


@pytest.mark.parametrize("verb", ["check", "explain"])
async def test_a_narrow_terminal_without_colour_loses_nothing(verb: str, place: Place) -> None:
    code, screen = await anyio.to_thread.run_sync(
        lambda: at_a_terminal(words(verb, place), columns=44, NO_COLOR="1")
    )
    assert code == 0, screen
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", screen), "colours"
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen).splitlines()
    assert max(map(len, lines)) <= 44
    assert "bitbucket" in screen


async def test_status_is_watched_live_until_it_is_stopped(place: Place) -> None:
    code, screen = await anyio.to_thread.run_sync(
        lambda: at_a_terminal(
            ["status", "--watch", "--every", "200ms", *place.config],
            columns=120,
            stop_at="Ctrl-C ends it",
        )
    )
    assert code == 130
    assert "\x1b[?1049l" in screen  # the screen that was there before is back
    assert "archive" in screen
    assert "Traceback" not in screen


async def test_status_is_watched_in_a_pipe_block_after_block(place: Place) -> None:
    command = [COMMAND, "status", "--watch", "--every", "200ms", *place.config]
    process = await anyio.open_process(command, env=environment(), stderr=None)
    assert process.stdout is not None
    said = b""
    with anyio.fail_after(60):
        while said.count(b"soteri-forwarder 0.") < 2:
            said += await process.stdout.receive()
    process.terminate()
    await process.aclose()
    assert b"\x1b" not in said
    assert b"archive" in said


async def test_events_are_followed_and_coloured_by_severity(place: Place) -> None:
    code, screen = await anyio.to_thread.run_sync(
        lambda: at_a_terminal(
            ["events", "--follow", "--kind", "hook.skipped", *place.config],
            columns=100,
            stop_at="hook.skipped",
        )
    )
    assert code == 130
    assert re.search(r"\x1b\[31mhigh", screen)
    assert "\x1b[31mred" not in screen  # what strangers wrote stays text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("soteri-forwarder ex", {"explain", "export"}),
        ("soteri-forwarder replay --config {config} --sink ", {"archive"}),
        (
            "soteri-forwarder events --kind hook.s",
            {"hook.skipped", "hook.settings_changed", "hook.status_changed"},
        ),
    ],
)
async def test_bash_completes_verbs_options_and_names(
    line: str, expected: set[str], place: Place
) -> None:
    script = """
eval "$(_SOTERI_FORWARDER_COMPLETE=source_bash soteri-forwarder)"
IFS=' ' read -ra COMP_WORDS <<<"$1"
case "$1" in *' ') COMP_WORDS+=("");; esac
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_soteri_forwarder_completion soteri-forwarder
printf '%s\\n' "${COMPREPLY[@]}"
"""
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    typed_so_far = line.format(config=place.folder / "config.toml")
    done = await anyio.run_process(
        ["bash", "-c", script, "bash", typed_so_far], env=environment() | {"PATH": path}
    )
    assert set(done.stdout.decode().split()) == expected, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
async def test_there_is_a_completion_script_for_other_shells_too(shell: str) -> None:
    env = environment(_SOTERI_FORWARDER_COMPLETE=f"source_{shell}")
    done = await anyio.run_process([COMMAND], env=env)
    assert b"soteri-forwarder" in done.stdout
    assert f"complete_{shell}".encode() in done.stdout


async def test_help_waits_for_nothing_heavy() -> None:
    heavy = ("forwarder.config", "pydantic", "httpx", "structlog", "sqlalchemy", "boto3", "uvicorn")
    script = f"import sys, forwarder.cli; print(*(x for x in {heavy} if x in sys.modules))"
    done = await anyio.run_process([sys.executable, "-c", script], env=environment())
    assert done.stdout.split() == []


async def test_the_manual_page_names_every_verb_and_renders_without_a_warning() -> None:
    page = (await typed("man")).stdout
    done = await anyio.run_process(
        ["groff", "-man", "-Tutf8", "-ww"], input=page.encode(), check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""
    text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout.decode())
    for verb in VERBS:
        assert re.search(rf"^   {verb}\b", text, re.MULTILINE), verb


def commands(shown: str) -> list[str]:
    """Return the commands of some lines as a shell takes them."""
    return [line.strip() for line in shown.replace("\\\n", "").splitlines() if line.strip()]


@pytest.mark.parametrize("verb", VERBS)
async def test_an_example_is_whole_when_it_is_copied_out_of_a_pipe(verb: str) -> None:
    shown = (await typed(*verb.split(), "--help")).stdout.partition("Examples:")[2]
    examples = commands(re.split("\n\n(?:Arguments|Options):", shown)[0])
    assert examples
    for example in examples:
        assert example.startswith(f"soteri-forwarder {verb}"), example


async def test_the_examples_of_the_manual_page_are_whole_too() -> None:
    page = (await typed("man")).stdout
    for shown in re.findall(r"^\.EX\n(.*?)^\.EE", page, re.MULTILINE | re.DOTALL):
        for example in commands(shown.replace("\\e\n", "")):
            assert example.startswith("soteri\\-forwarder "), example


async def test_a_long_name_leaves_the_numbers_of_status_their_room(
    place: Place, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.touch(mode=0o600)
    sink = '[sinks.{}]\ntype = "file"\npath = "{}/other.jsonl"\n'
    more = sink.format("a-sink-with-a-very-long-name-of-all-places", tmp_path)
    config.write_text((place.folder / "config.toml").read_text() + more)
    _, screen = await anyio.to_thread.run_sync(
        lambda: at_a_terminal(["status", "--config", str(config)], columns=80, NO_COLOR="1")
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    assert re.search(r"archive +stopped +0 +none +\d+ +0 +\d ", plain), plain
