"""`health`: what a container engine is told of the daemon, and with how little."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from forwarder.config import load
from forwarder.health import ask, listening

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
token = "t"
[sinks.archive]
type = "file"
path = "/var/log/audit.jsonl"
"""


@contextmanager
def daemon(folder: Path, *, stuck: bool = False, host: str = "127.0.0.1") -> Iterator[Path]:
    """Yield the configuration of a server that says it is well, or stuck, and is never ready."""

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            well = self.path == "/livez" and not stuck
            self.send_response(200 if well else 503)
            self.end_headers()
            self.wfile.write(b"ok\n" if well else b"stuck: source bitbucket\n")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer((host, 0), Says) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield configured(folder, f"{host}:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def configured(folder: Path, listen: str) -> Path:
    path = folder / "config.toml"
    path.write_text(f'{CONFIG}\n[server]\nlisten = "{listen}"\n')
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_daemon_that_is_well_is_said_to_be(host: str, tmp_path: Path):
    with daemon(tmp_path, host=host) as config:
        assert ask(config) == (0, "ok")


def test_a_daemon_that_is_stuck_is_not_well_and_says_why(tmp_path: Path):
    with daemon(tmp_path, stuck=True) as config:
        assert ask(config) == (1, "stuck: source bitbucket")


def test_a_daemon_can_be_well_and_not_ready(tmp_path: Path):
    with daemon(tmp_path) as config:
        assert ask(config, "/readyz").code == 1


def test_a_daemon_that_is_not_there_is_not_well(tmp_path: Path):
    with daemon(tmp_path) as config:
        pass
    code, said = ask(config)
    assert code == 1
    assert "Connection refused\n  remedy: start it" in said


def test_a_file_that_was_named_and_is_not_there_is_said(tmp_path: Path):
    code, said = ask(tmp_path / "config.tml")
    assert (code, "config.tml" in said) == (78, True)


@pytest.mark.parametrize("written", ['[server]\nlisten = ""', "server = 1", "[server", "[a]\n\x00"])
def test_an_address_that_cannot_be_known_is_a_mistake_of_the_configuration(
    written: str, tmp_path: Path
):
    path = tmp_path / "config.toml"
    path.write_text(written)
    assert ask(path).code == 78


@pytest.mark.parametrize(
    ("file", "environ"),
    [
        (CONFIG, {}),
        (f'{CONFIG}\n[server]\nlisten = "[::1]:99"', {}),
        (f'{CONFIG}\n[server]\nlisten = "[::1]:99"', {"FORWARDER_SERVER__LISTEN": "127.0.0.1:1"}),
        (CONFIG, {"forwarder_server__listen": "127.0.0.1:1"}),
    ],
)
def test_the_address_is_the_one_that_the_daemon_has(
    file: str, environ: dict[str, str], tmp_path: Path
):
    path = tmp_path / "config.toml"
    path.write_text(file)
    nowhere = tmp_path / "none"
    whole = load(path, environ, default_secrets=nowhere).server.listen
    assert listening(path, environ) == whole
    assert listening(None, environ | {"FORWARDER_CONFIG": str(path)}) == whole


def test_the_verb_imports_neither_the_configuration_nor_the_command_line(tmp_path: Path):
    seen = (
        "import sys; from forwarder.__main__ import main\n"
        "sys.argv[1:] = ['health']\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    with daemon(tmp_path) as config:
        done = subprocess.run(
            [sys.executable, "-c", seen],
            capture_output=True,
            text=True,
            check=True,
            env={"FORWARDER_CONFIG": str(config)},
        )
    said, verdict = done.stdout.splitlines()
    code, *modules = verdict.split()
    assert (said, code) == ("ok", "0")
    assert {"pydantic", "typer", "rich", "forwarder.config"}.isdisjoint(modules)
