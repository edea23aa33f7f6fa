"""Several replicas of the installed command on one PostgreSQL; `make soak` kills more often."""

import json
import signal
import time
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.acceptance.command import ended
from tests.failover import LEASE, Replicas, replicas

pytestmark = pytest.mark.real
PARTS = ("sinks.splunk", "sinks.archive", "sources.east", "sources.west")


async def spread(scene: Replicas) -> dict[str, int]:
    """Return who holds what once nobody holds over one of two sources, nor of two sinks."""
    with anyio.fail_after(90):
        while True:
            held = await scene.until_held(*PARTS, "janitor")
            if held["sources.east"] != held["sources.west"] and (
                held["sinks.splunk"] != held["sinks.archive"]
            ):
                return held
            await anyio.sleep(0.1)


@pytest.mark.timeout(300)
async def test_killed_suspended_stopped_and_without_a_server_for_a_while_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async with replicas(tmp_path) as scene:
        held = await spread(scene)
        assert len(set(held.values())) == 3
        status = await scene.status()
        assert len(status["replicas"]) == 3
        assert all(
            str(held["sinks.splunk"]) in each["replica"] or each["name"] != "splunk"
            for each in status["sinks"]
        )

        takeover = await scene.fail_over()
        assert takeover < LEASE + 10  # a busy machine; alone it is under the lease

        # Suspended past its lease, another takes over; continued, it stores nothing late.
        held = await scene.until_held(*PARTS)
        stopped = held["sources.east"]
        scene.running[stopped].send_signal(signal.SIGSTOP)
        scene.crashes += 1
        process = scene.running.pop(stopped)
        scene.emit()
        await scene.until_held(*PARTS)
        scene.emit()
        process.send_signal(signal.SIGCONT)
        scene.running[stopped] = process
        with anyio.fail_after(60):
            while not {"leases.ended", "lease.lost"} & _said(scene, stopped):
                await anyio.sleep(0.1)

        # The server crashes and comes back: nobody ends.
        await to_thread.run_sync(scene.server.stop)
        scene.emit()
        with anyio.fail_after(60):
            while not all("cannot be reached" in scene.log(pid) for pid in scene.running):
                await anyio.sleep(0.1)
        await to_thread.run_sync(scene.server.start)
        await scene.until_all_is_delivered()
        assert all(running.poll() is None for running in scene.running.values())

        # Asked to stop, a replica hands over at once.
        held = await scene.until_held(*PARTS)
        pid, known = held["sinks.splunk"], scene.delivered()
        leaving, begun = scene.running.pop(pid), time.monotonic()
        leaving.send_signal(signal.SIGTERM)
        seconds = await scene.until_delivered_after(begun, known)
        assert await ended(leaving, within=25) == 0
        assert seconds < LEASE + 5
        released = _times(scene.log(pid), "lease.released")["sinks.splunk"]
        taken = [
            at
            for other in scene.running
            for part, at in _times(scene.log(other), "lease.taken").items()
            if part == "sinks.splunk" and at >= released
        ]
        assert taken

        await scene.until_all_is_delivered()
        figures = scene.figures([takeover, seconds])
        assert figures.lost == 0
        assert figures.doubled <= figures.bound, figures
        tokens = [each for pid in scene._forwarders for each in _tokens(scene.log(pid))]
        assert len(tokens) == len(set(tokens)), "one lease was held twice at once"


def _lines(log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.splitlines()]


def _said(scene: Replicas, pid: int) -> set[object]:
    return {line["event"] for line in _lines(scene.log(pid))}


def _tokens(log: str) -> list[tuple[object, object]]:
    return [(x["part"], x["token"]) for x in _lines(log) if x["event"] == "lease.taken"]


def _times(log: str, event: str) -> dict[object, str]:
    return {x["part"]: str(x["timestamp"]) for x in _lines(log) if x["event"] == event}
