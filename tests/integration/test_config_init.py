"""`config init`: what it writes is accepted, and keeps secrets apart."""

import os
from pathlib import Path

import anyio
import pytest

from tests.fakes.command_line import typed
from tests.fakes.pseudo_terminal import at_a_terminal

BITBUCKET = ("--url", "https://bitbucket.example.com/bitbucket")
SETS = {
    "file": ("--sink", "file", "--file-path", "{folder}/audit.jsonl"),
    "syslog": ("--sink", "syslog", "--syslog-address", "tls://siem.example.com:6514"),
    "cef": ("--sink", "syslog", "--syslog-address", "udp://siem:514", "--syslog-format", "cef"),
    "cloudwatch": ("--sink", "cloudwatch", "--region", "eu-central-1"),
    "splunk": (
        *("--sink", "splunk", "--splunk-url", "https://splunk:8088", "--no-splunk-ack"),
        *("--splunk-token-file", "{folder}/token", "--splunk-index", "security"),
    ),
    "all": (
        *("--sink", "splunk", "--splunk-url", "https://splunk:8088"),
        *("--splunk-token-file", "{folder}/token", "--project", "SEC", "--project", "OPS"),
        *("--sink", "cloudwatch", "--region", "us-east-1", "--log-group", "/audit"),
        *("--sink", "syslog", "--syslog-address", "relp://siem:2514", "--sink", "file"),
        *("--start-at", "2026-01-31T00:00:00Z"),
    ),
}


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("s3cret-token")
    return path


async def written(folder: Path, token: Path, *words: str, to: str = "config.toml") -> int:
    more = [word.format(folder=folder) for word in words]
    state = ("--state", f"{folder}/forwarder.db")
    done = await typed(
        *("config", "init", "--yes", "--to", folder / to, *BITBUCKET, "--token-file", token),
        *(*state, *more),
    )
    assert "s3cret" not in done.stdout + done.stderr
    return done.code


@pytest.mark.parametrize("name", SETS)
async def test_what_options_say_becomes_a_configuration_that_check_accepts(
    tmp_path: Path, token: Path, name: str
) -> None:
    assert await written(tmp_path, token, *SETS[name]) == 0
    path = tmp_path / "config.toml"
    assert path.stat().st_mode & 0o777 == 0o640
    assert "s3cret" not in path.read_text()
    checked = await typed("check", "--offline", "--config", path)
    assert checked.code == 0, checked.stderr


async def test_nothing_is_written_over_unless_it_is_forced(tmp_path: Path, token: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("mine")
    assert await written(tmp_path, token, *SETS["file"]) == 2
    assert path.read_text() == "mine"
    assert await written(tmp_path, token, *SETS["file"], "--force") == 0
    assert "bitbucket_audit" in path.read_text()


async def test_what_is_not_accepted_leaves_nothing_behind(tmp_path: Path, token: Path) -> None:
    os.chmod(token, 0o644)  # noqa: PTH101  not in this loop's way
    assert await written(tmp_path, token, *SETS["file"]) == 78
    assert os.listdir(tmp_path) == ["token"]  # noqa: PTH208  as above


async def test_what_is_missing_is_named_by_its_option(tmp_path: Path, token: Path) -> None:
    asked = ("config", "init", "--to", tmp_path / "config.toml")
    nothing = await typed(*asked, "--yes")
    no_sink = await typed(*asked, "--yes", *BITBUCKET, "--token-file", token)
    wrong = await typed(*asked, "--yes", "--url", "bitbucket.example.com")
    assert nothing.code == no_sink.code == wrong.code == 2
    assert "--url" in nothing.stderr
    assert "--sink" in no_sink.stderr
    assert "https://" in wrong.stderr
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.real
async def test_questions_are_asked_at_a_terminal_and_secrets_are_not_shown(tmp_path: Path) -> None:
    answers = {
        "Bitbucket's address": "bitbucket.example.com",  # refused, and asked again
        "begin it with": "https://bitbucket.example.com",
        "access token": "typed-s3cret",
        "Keys of projects": "",
        "Start at": "",
        "own file": f"{tmp_path}/forwarder.db",
        "Send events to": "file, syslog",
        "Receiver": "tcp://siem.example.com",
        "Format": "leef",
        "File to write": f"{tmp_path}/audit.jsonl",
    }
    path = tmp_path / "config.toml"
    code, screen = await anyio.to_thread.run_sync(
        at_a_terminal, ["config", "init", "--to", str(path)], answers
    )
    assert code == 0, screen
    assert "typed-s3cret" not in screen
    assert (tmp_path / "bitbucket-token").read_text() == "typed-s3cret\n"
    assert (tmp_path / "bitbucket-token").stat().st_mode & 0o777 == 0o600
    assert "tcp://siem.example.com:514" in path.read_text()
    assert "typed-s3cret" not in path.read_text()
    checked = await typed("check", "--offline", "--config", path)
    assert checked.code == 0, checked.stderr
