"""`reconcile`, as a user types it, beside the running daemon."""

import json
from pathlib import Path

import anyio
import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived, lines

pytestmark = pytest.mark.real

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
poll_interval = "200ms"
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = ""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
[sinks.copy]
type = "file"
path = "{folder}/copy.jsonl"
"""


async def test_what_a_file_lacks_is_named_and_sent_again_by_the_running_daemon(tmp_path: Path):
    simulator = Simulator(SimulatorOptions(history=100))
    async with serve(simulator) as bitbucket:
        token = simulator.options.token
        text = CONFIG.format(bitbucket=bitbucket, token=token, folder=tmp_path)
        forwarder = Forwarder(tmp_path, text)
        assert (await forwarder.run("run", "--once")).returncode == 0
        whole = await forwarder.run("reconcile", "--since", "400d", "--json")
        assert whole.returncode == 0, whole.stderr.decode()
        sides = {side["name"]: side for side in json.loads(whole.stdout)["sides"]}
        every = sorted(line["event_id"] for line in archived(tmp_path))
        assert [sides[name]["held"] for name in ("store", "archive", "copy")] == [len(every)] * 3

        copy = tmp_path / "copy.jsonl"
        lost = lines(copy)[0]["event_id"]
        with forwarder.daemon():
            copy.write_bytes(b"".join(copy.read_bytes().splitlines(keepends=True)[1:]))
            found = await forwarder.run("reconcile", "--since", "400d", "--sink", "copy")
            assert found.returncode == 1
            assert f"copy: missing {lost}" in found.stdout.decode()
            assert b"archive" not in found.stdout
            mended = await forwarder.run("reconcile", "--since", "400d", "--repair")
            assert mended.returncode == 0, mended.stderr.decode()
            with anyio.fail_after(30):
                while sorted(line["event_id"] for line in lines(copy)) != every:
                    await anyio.sleep(0.1)
        again = await forwarder.run("reconcile", "--since", "400d")
        assert again.returncode == 0, again.stdout.decode()
    assert sorted(line["event_id"] for line in archived(tmp_path)) == every


async def test_mistakes_and_refused_access_have_their_exit_codes(tmp_path: Path):
    simulator = Simulator(SimulatorOptions(history=10))
    async with serve(simulator) as bitbucket:
        token = simulator.options.token
        text = CONFIG.format(bitbucket=bitbucket, token=token, folder=tmp_path)
        forwarder = Forwarder(tmp_path, text)
        no_store = await forwarder.run("reconcile", "--since", "1d")
        assert no_store.returncode == 74
        assert (await forwarder.run("run", "--once")).returncode == 0
        no_range = await forwarder.run("reconcile")
        assert no_range.returncode == 2
        no_sink = await forwarder.run("reconcile", "--since", "1d", "--sink", "nowhere")
        assert no_sink.returncode == 78
        forwarder.path.write_text(text.replace(token, "wrong"))
        refused = await forwarder.run("reconcile", "--since", "400d")
        assert refused.returncode == 77, refused.stderr.decode()
        assert b"wrong" not in refused.stderr
