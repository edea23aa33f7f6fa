"""The container image: built, and run as strictly as a cluster would."""

import json
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from forwarder import __version__
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import archived
from tests.deploy.containers import (
    BASE,
    CONFIG,
    IMAGE,
    LOGS,
    STATE,
    Container,
    built,
    inside,
    podman,
    volumes,
)
from tests.receivers.process import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

LIMIT_MB = 150
SOTERI = "Soteri Security for Bitbucket"
WRITTEN = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{url}"
token = "{token}"
start_at = "beginning"
poll_interval = "1s"
[sinks.archive]
type = "file"
path = "/var/log/soteri-forwarder/audit.jsonl"
[server]
listen = "0.0.0.0:{port}"
"""

LEAST = (
    "FORWARDER_SOURCES__BITBUCKET__TYPE=bitbucket_audit",
    "FORWARDER_SOURCES__BITBUCKET__URL=https://bitbucket.example.com",
    "FORWARDER_SOURCES__BITBUCKET__TOKEN=t",
    "FORWARDER_SINKS__ARCHIVE__TYPE=file",
    "FORWARDER_SINKS__ARCHIVE__PATH=/var/log/soteri-forwarder/audit.jsonl",
)


@pytest.fixture(scope="module", autouse=True)
def _image(tmp_path_factory: pytest.TempPathFactory) -> None:
    built(tmp_path_factory.getbasetemp().parent)


def test_the_image_is_small_and_says_what_it_is(record_property) -> None:
    image, base = (json.loads(podman("image", "inspect", name))[0] for name in (IMAGE, BASE))
    over = (image["Size"] - base["Size"]) / 1e6
    record_property("image_megabytes_over_base", round(over))
    assert over < LIMIT_MB
    config = image["Config"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.base.name"] == BASE
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["soteri-forwarder"]


def test_the_image_can_send_by_otlp() -> None:
    endpoint = "FORWARDER_TELEMETRY__OTLP__ENDPOINT=http://127.0.0.1:4318"
    given = [f"--env={line}" for line in (endpoint, *LEAST)]
    said = podman("run", "--rm", *given, IMAGE, "check", "--offline")
    assert "no mistakes" in said


async def moved(archive: Path, simulator: Simulator) -> None:
    """Return once as many lines are in the file as the simulator has made for Soteri."""
    wanted = len(simulator.truth(categories=[SOTERI]))
    with anyio.fail_after(60):
        while len(archived(archive)) < wanted:
            await anyio.sleep(0.2)


@pytest.mark.parametrize(
    ("user", "history"),
    [("2003:2003", 10_000), ("1000650000:0", 500)],
    ids=["Bitbucket's user", "OpenShift's"],
)
async def test_anyone_runs_it_in_128_mb_and_a_kill_and_a_new_container_lose_and_double_nothing(
    user: str, history: int, tmp_path: Path, record_property
) -> None:
    simulator = Simulator(SimulatorOptions(history=history))
    config = tmp_path / "config.toml"
    async with serve(simulator) as url:
        token = simulator.options.token
        config.write_text(WRITTEN.format(url=url, token=token, port=free_port()))
        config.chmod(0o644)
        with volumes("state", "logs") as (state, logs):
            mounts = f"{config}:{CONFIG}:ro", f"{state}:{STATE}", f"{logs}:{LOGS}"
            archive = inside(logs)
            first = Container(*mounts, user=user)
            try:
                await to_thread.run_sync(first.start)
                await to_thread.run_sync(first.healthy)
                await moved(archive, simulator)
                record_property("peak_memory_bytes", first.peak())
                simulator.emit_any(500)
                await to_thread.run_sync(first.kill)
                simulator.emit_any(500)
                await to_thread.run_sync(first.start)
                await moved(archive, simulator)
                assert await to_thread.run_sync(first.stop) == 0
            finally:
                first.remove()
            second = Container(*mounts, user=user)
            try:
                simulator.emit_any(100)
                await to_thread.run_sync(second.start)
                await moved(archive, simulator)
                assert await to_thread.run_sync(second.stop) == 0
                assert not second.state["OOMKilled"]
            finally:
                second.remove()
            ids = [line["event_id"] for line in archived(archive)]
    assert len(ids) == len(set(ids)) == len(simulator.truth(categories=[SOTERI]))
