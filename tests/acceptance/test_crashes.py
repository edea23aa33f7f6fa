"""SIGKILL at any moment: nothing is lost, at most a batch is doubled, the file is exact."""

import random
from pathlib import Path

import anyio
import pytest

from forwarder.normalizers.soteri import CATEGORY
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived, ended, parts
from tests.receivers.hec import Hec, served

pytestmark = pytest.mark.real

KILLS = 20
BATCH = 25
CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
page_size = 20
poll_interval = "100ms"
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = ""
[sinks.splunk]
type = "splunk_hec"
url = "{splunk}"
token = "{hec_token}"
ack = false
batch = {{ events = {batch} }}
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
rotate = {{ size = "40KiB", compress = false, keep = 1000 }}
batch = {{ events = {batch} }}
"""


@pytest.mark.timeout(300)
async def test_twenty_kills_in_mid_stream_lose_nothing_and_double_at_most_a_batch_each(
    tmp_path: Path,
) -> None:
    draw = random.Random(20)
    simulator = Simulator(SimulatorOptions(history=2000))
    hec = Hec()
    async with serve(simulator) as bitbucket, served(hec) as splunk:
        config = CONFIG.format(
            bitbucket=bitbucket,
            token=simulator.options.token,
            folder=tmp_path,
            splunk=splunk,
            hec_token=hec.token,
            batch=BATCH,
        )
        forwarder = Forwarder(tmp_path, config)
        for _ in range(KILLS):
            simulator.emit_any(5 * BATCH)
            sent = len(hec.indexed)
            with forwarder.daemon() as running:
                with anyio.fail_after(60):
                    while len(hec.indexed) < sent + draw.randrange(1, BATCH):
                        assert running.poll() is None, forwarder.log
                        await anyio.sleep(draw.random() * 0.02)
                running.kill()
                await ended(running, within=10)
        done = await forwarder.run("run", "--once")
        truth = simulator.truth(categories=[CATEGORY])
    assert done.returncode == 0, done.stderr.decode()
    in_file = [event["event_id"] for event in archived(tmp_path, "audit*.jsonl")]
    assert len(parts(tmp_path, "audit*.jsonl")) > 1, "the file never rotated"
    assert len(in_file) == len(set(in_file)) == len(truth)
    assert set(hec.ids) == set(in_file)
    assert len(hec.ids) - len(set(hec.ids)) <= KILLS * BATCH
