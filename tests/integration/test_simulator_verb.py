"""The verb `simulate` in a process of its own, asked over its socket."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

pytestmark = pytest.mark.real

# The verb alone: what registers it at the root is tested with the installed command.
_VERB = "import typer; from forwarder.cli.simulate import simulate; typer.run(simulate)"


@contextmanager
def played(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process and the URL that it prints."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _VERB, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            first = process.stdout.readline() if process.stdout else ""
            found = re.search(r"http://\S+", first)
            assert found, first + (process.stderr.read() if process.stderr else "")
            yield process, found[0]
        finally:
            if process.poll() is None:
                process.kill()


def ending(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what else the process prints, once it has ended (not by `communicate`, which does
    not know of lines that are read already)."""
    process.wait(timeout=30)
    assert process.stdout
    assert process.stderr
    return process.stdout.read(), process.stderr.read()


def test_it_prints_a_configuration_to_paste_and_tells_the_truth():
    with played("--history", "50", "--rate", "0", "--context", "bitbucket") as (process, url):
        truth = httpx.get(f"{url}/simulator/truth", trust_env=False).text.splitlines()
        assert len(truth) == 50
        process.send_signal(signal.SIGTERM)
        rest, errors = ending(process)
    assert process.returncode == 0, errors
    assert url.endswith("/bitbucket")
    assert f'url = "{url}"' in rest
    assert 'token = "simulator-admin-token"' in rest
    assert "Ended: 50 rows in the log" in rest


def test_it_ends_by_itself_once_the_events_are_made():
    with played("--history", "0", "--rate", "200", "--count", "20") as (process, _):
        rest, errors = ending(process)
    assert process.returncode == 0, errors
    assert "20 rows in the log, 20 of them live" in rest


def test_ctrl_c_ends_it_well():
    with played("--history", "0") as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = ending(process)
    assert process.returncode == 0, errors


def test_faults_are_switched_by_name():
    with played("--fault", "http_503", "--history", "0") as (_, url):
        assert httpx.get(f"{url}/rest/api/latest/projects/SEC", trust_env=False).status_code == 503
