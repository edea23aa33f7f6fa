"""Starting, stopping, and being one of a kind."""

import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, archived, ended
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
listen = "127.0.0.1:{port}"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@asynccontextmanager
async def prepared(
    folder: Path, *, history: int = 300, more: str = ""
) -> AsyncIterator[tuple[Forwarder, Simulator, str]]:
    simulator = Simulator(SimulatorOptions(history=history))
    port = free_port()
    async with serve(simulator) as bitbucket:
        config = CONFIG.format(
            bitbucket=bitbucket, token=simulator.options.token, folder=folder, port=port
        )
        yield Forwarder(folder, config + more), simulator, f"http://127.0.0.1:{port}"


async def until_ready(server: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with anyio.fail_after(60):
            while True:
                try:
                    if (await client.get(f"{server}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await anyio.sleep(0.05)


async def test_sigterm_ends_the_daemon_with_0_and_the_next_one_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    async with prepared(tmp_path) as (forwarder, simulator, server):
        for _ in range(2):
            with forwarder.daemon() as running:
                await until_ready(server)
                simulator.emit()
                running.send_signal(signal.SIGTERM)
                assert await ended(running, within=25) == 0, forwarder.log
        done = await forwarder.run("run", "--once")
        truth = simulator.truth(categories=["Soteri Security for Bitbucket"])
    assert done.returncode == 0, done.stderr.decode()
    ids = [event["event_id"] for event in archived(tmp_path)]
    assert len(ids) == len(set(ids)) == len(truth)
    assert "daemon.stopped" in forwarder.log


async def test_sigterm_waits_for_the_batch_in_flight_and_settles_it(tmp_path: Path) -> None:
    hec = Hec(acking=True, slow=True)
    async with served(hec) as splunk:
        sink = f'[sinks.splunk]\ntype = "splunk_hec"\nurl = "{splunk}"\ntoken = "{hec.token}"\n'
        async with prepared(tmp_path, more=sink + "ack = true\n") as (forwarder, _, _):
            with forwarder.daemon() as running:
                with anyio.fail_after(60):
                    while not hec.posts:
                        await anyio.sleep(0.02)
                running.send_signal(signal.SIGTERM)
                with anyio.fail_after(60):
                    while "stop.requested" not in forwarder.log:
                        await anyio.sleep(0.02)
                hec.index()
                assert await ended(running, within=25) == 0, forwarder.log
            taken = len(hec.ids)
            hec.slow = False
            assert (await forwarder.run("run", "--once")).returncode == 0
    assert taken
    assert len(hec.ids) == len(set(hec.ids))


async def test_a_second_daemon_on_one_store_says_so_and_exits_74(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, _, server):
        with forwarder.daemon() as running:
            await until_ready(server)
            second = await forwarder.run("run", "--once")
            assert second.returncode == 74
            assert b"another forwarder runs on this store" in second.stderr
            assert str(running.pid).encode() in second.stderr


async def test_the_server_says_how_the_daemon_is(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, _, server):
        with forwarder.daemon():
            await until_ready(server)
            async with httpx.AsyncClient(base_url=server, trust_env=False) as client:
                with anyio.fail_after(30):
                    while not (status := (await client.get("/api/status")).json())["sinks"][0][
                        "events_sent"
                    ]:  # its backlog is empty only once the batch is settled
                        await anyio.sleep(0.05)
                alive = await client.get("/livez")
                metrics = (await client.get("/metrics")).text
    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert 'forwarder_events_stored_total{source="bitbucket"}' in metrics
    assert 'forwarder_backlog_events{sink="archive"} 0.0' in metrics
    assert status["running"]
    assert status["sources"][0]["state"] == status["sinks"][0]["state"] == "running"
    assert status["sources"][0]["mark"]


async def test_a_port_that_is_taken_is_a_configuration_error(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, _, server):
        with socket.create_server(("127.0.0.1", int(server.rpartition(":")[2]))):
            done = await forwarder.run("run")
    assert done.returncode == 78
    assert b"server.listen: cannot listen on 127.0.0.1" in done.stderr


async def test_once_with_a_dead_destination_says_what_is_owed_and_exits_1(tmp_path: Path) -> None:
    sink = '[sinks.siem]\ntype = "syslog"\naddress = "tcp://127.0.0.1:9"\n'
    async with prepared(tmp_path, history=50, more=sink) as (forwarder, simulator, _):
        done = await forwarder.run("run", "--once", "--timeout", "4s")
        made = len(simulator.truth(categories=["Soteri Security for Bitbucket"]))
    assert done.returncode == 1
    assert f"owed: sink siem: {made} events not delivered".encode() in done.stderr
    assert len(archived(tmp_path)) == made


async def test_once_with_a_refused_token_exits_77(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, _, _):
        text = forwarder.path.read_text().replace("simulator-admin-token", "wrong")
        forwarder.path.write_text(text)
        done = await forwarder.run("run", "--once", "--timeout", "2s")
    assert done.returncode == 77
    assert b"owed: source bitbucket: not read to the end" in done.stderr
    assert b"wrong" not in done.stderr


async def test_sighup_opens_the_file_again_after_logrotate_moved_it(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, simulator, server):
        with forwarder.daemon() as running:
            await until_ready(server)
            before = len(simulator.truth(categories=["Soteri Security for Bitbucket"]))
            with anyio.fail_after(30):
                while len(archived(tmp_path)) < before:
                    await anyio.sleep(0.05)
            moved = tmp_path / "moved.jsonl"
            await anyio.Path(tmp_path / "audit.jsonl").rename(moved)
            running.send_signal(signal.SIGHUP)
            simulator.emit()
            with anyio.fail_after(30):
                while len(archived(tmp_path)) < 1:
                    await anyio.sleep(0.05)
    assert len(archived(tmp_path, "moved.jsonl")) == before
    assert len(archived(tmp_path)) == 1


async def test_the_log_is_one_json_object_a_line_and_holds_no_credential(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (forwarder, simulator, server):
        with forwarder.daemon() as running:
            await until_ready(server)
            running.send_signal(signal.SIGTERM)
            await ended(running, within=25)
    names = [json.loads(line)["event"] for line in forwarder.log.splitlines()]
    assert names[0] == "daemon.started"
    assert "page.stored" in names
    assert simulator.options.token not in forwarder.log


async def test_a_destination_that_hangs_does_not_hold_the_daemon_past_its_grace(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sink = (
            f'[sinks.siem]\ntype = "syslog"\naddress = "tcp://127.0.0.1:{port}"\ntimeout = "10m"\n'
        )
        async with prepared(tmp_path, more=sink) as (forwarder, _, server):
            with forwarder.daemon() as running:
                await until_ready(server)
                taken, _ = await anyio.to_thread.run_sync(silent.accept)
                with taken:
                    running.send_signal(signal.SIGTERM)
                    assert await ended(running, within=29) == 0, forwarder.log
    assert "grace.exhausted" in forwarder.log


async def test_sighup_reads_the_configuration_again_and_systemd_hears_of_it(tmp_path: Path) -> None:
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(notify))
        heard.setblocking(False)
        told: list[str] = []

        async def until_told(*wanted: str) -> None:
            with anyio.fail_after(30):
                for line in wanted:
                    while not any(each.startswith(line) for each in told):
                        await anyio.wait_readable(heard)
                        told.extend(heard.recv(4096).decode().split("\n"))
            told.clear()

        async with prepared(tmp_path, history=50) as (forwarder, _, _):
            forwarder.env |= {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "600000"}
            text = forwarder.path.read_text()
            with forwarder.daemon() as running:
                await until_told("READY=1", "WATCHDOG=1", "STATUS=forwarding")
                forwarder.path.write_text(text + "[sinks.second]\ntyp = 1\n")
                running.send_signal(signal.SIGHUP)
                await until_told("RELOADING=1", "STATUS=forwarding; the new configuration is ref")
                second = text[text.index("[sinks.archive]") :].replace("archive", "second")
                forwarder.path.write_text(text + second.replace("audit.jsonl", "second.jsonl"))
                running.send_signal(signal.SIGHUP)
                await until_told("RELOADING=1", "MONOTONIC_USEC=", "READY=1")
                with anyio.fail_after(30):
                    while not archived(tmp_path, "second.jsonl"):
                        await anyio.sleep(0.05)
                running.send_signal(signal.SIGTERM)
                await until_told("STOPPING=1")
                assert await ended(running, within=25) == 0, forwarder.log
    assert '"event":"configuration.refused"' in forwarder.log
    assert "sinks.second" in forwarder.log
