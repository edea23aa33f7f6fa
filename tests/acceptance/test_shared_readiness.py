"""When a daemon on a shared store counts as ready, and how it waits for that store."""

import signal
from pathlib import Path

import anyio
import httpx
import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, ended
from tests.acceptance.test_daemon import CONFIG, free_port, until_ready
from tests.receivers.postgres import Postgres

pytestmark = pytest.mark.real


async def test_a_daemon_on_a_shared_store_is_ready_once_every_part_has_a_holder(
    tmp_path: Path, pg: Postgres
) -> None:
    simulator = Simulator(SimulatorOptions(history=10))
    port, url = free_port(), pg.database()
    server = f"http://127.0.0.1:{port}"
    async with serve(simulator) as bitbucket:
        config = CONFIG.format(
            bitbucket=bitbucket, token=simulator.options.token, folder=tmp_path, port=port
        ).replace(f"sqlite:///{tmp_path}/state/forwarder.db", url)
        with Forwarder(tmp_path, config).daemon():
            await until_ready(server)
            async with httpx.AsyncClient(base_url=server, trust_env=False) as client:
                status = (await client.get("/api/status")).json()
                (replica,) = status["replicas"]
                assert {part["replica"] for part in status["sources"] + status["sinks"]} == {
                    replica
                }
                pg.execute("delete from leases", url.rpartition("/")[2])
                ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert "not ready: sources.bitbucket: no replica holds its lease\n" in ready.text


async def test_a_daemon_that_still_waits_for_its_store_hears_signals(tmp_path: Path) -> None:
    nobody = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    config = CONFIG.format(bitbucket="http://127.0.0.1:1", token="t", folder=tmp_path, port=1)
    config = config.replace(f"sqlite:///{tmp_path}/state/forwarder.db", nobody)
    forwarder = Forwarder(tmp_path, config)
    (tmp_path / "daemon.log").touch()

    async def until_tried(times: int) -> None:
        with anyio.fail_after(60):
            while forwarder.log.count("store.awaited") < times:
                await anyio.sleep(0.05)

    with forwarder.daemon(warm=True) as running:
        await until_tried(1)
        running.send_signal(signal.SIGHUP)
        await until_tried(2)
        running.send_signal(signal.SIGTERM)
        assert await ended(running, within=10) == 0, forwarder.log
    assert "Traceback" not in forwarder.log
