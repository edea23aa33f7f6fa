"""What systemd hears: over a real socket, abstract or in the file system."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from forwarder.errors import StoreError
from forwarder.model import SinkStatus, SourceStatus, Status
from forwarder.systemd import Systemd, described

WATCHED = {"WATCHDOG_USEC": "60000", "WATCHDOG_PID": "7"}


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.setblocking(False)
        yield heard


def everything(heard: socket.socket) -> list[list[str]]:
    """Return the lines of each datagram that has come."""
    told = []
    while True:
        try:
            told.append(heard.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return told


def status(*sinks: SinkStatus, source: str = "running", error: str = "") -> Status:
    bitbucket = SourceStatus(name="bitbucket", type="bitbucket_audit", state=source, error=error)
    return Status(
        version="1", at=datetime.now(UTC), running=True, sources=(bitbucket,), sinks=sinks
    )


def sink(name: str, state: str = "running", error: str = "", lag: float = 0.0) -> SinkStatus:
    return SinkStatus(name=name, type="file", state=state, error=error, lag_seconds=lag)


class Fake:
    """A daemon that is as it is told to be."""

    def __init__(self, stuck: list[str], found: Status | StoreError) -> None:
        self.is_stuck = stuck
        self.found = found

    def stuck(self) -> list[str]:
        return self.is_stuck

    async def status(self) -> Status:
        if isinstance(self.found, StoreError):
            raise self.found
        return self.found


async def heard_from(daemon: Fake, heard: socket.socket, *, until: str) -> list[str]:
    """Return all lines up to the first that begins with `until`."""
    lines: list[str] = []
    environ = {"NOTIFY_SOCKET": heard.getsockname(), **WATCHED}
    async with anyio.create_task_group() as group:
        group.start_soon(Systemd(environ, pid=7).keep_informed, daemon)
        with anyio.fail_after(5):
            while not any(line.startswith(until) for line in lines):
                await anyio.sleep(0.01)
                lines += [line for datagram in everything(heard) for line in datagram]
        group.cancel_scope.cancel()
    return lines


def test_an_abstract_socket_is_heard(tmp_path: Path) -> None:
    name = f"soteri-forwarder-test-{os.getpid()}"
    with listening(f"\0{name}") as heard:
        systemd = Systemd({"NOTIFY_SOCKET": f"@{name}"}, pid=1)
        systemd.starting()
        systemd.ready()
        systemd.reloading()
        systemd.ready("the new configuration is refused")
        systemd.stopping()
        starting, ready, reloading, again, stopping = everything(heard)
    assert starting[0].startswith("STATUS=")
    assert ready == ["READY=1", "STATUS=forwarding"]
    assert reloading[0] == "RELOADING=1"
    assert reloading[1].removeprefix("MONOTONIC_USEC=").isdigit()
    assert again == ["READY=1", "STATUS=forwarding; the new configuration is refused"]
    assert stopping[0] == "STOPPING=1"


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    Systemd({}, pid=1).ready()
    with capture_logs() as said:
        Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}, pid=1).ready()
    assert [line["event"] for line in said] == ["systemd.unreachable"]


async def test_the_watchdog_is_fed_while_the_loops_get_on(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as heard:
        lines = await heard_from(Fake([], status(sink("one"))), heard, until="WATCHDOG=1")
    assert "STATUS=forwarding" in lines


async def test_the_watchdog_starves_when_a_loop_is_stuck(tmp_path: Path) -> None:
    daemon = Fake(["sink one"], status(sink("one")))
    with listening(str(tmp_path / "s")) as heard, capture_logs() as said:
        lines = await heard_from(daemon, heard, until="STATUS=stuck: sink one")
    assert "WATCHDOG=1" not in lines
    assert said[0]["event"] == "watchdog.starved"


async def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as heard:
        environ = {"NOTIFY_SOCKET": heard.getsockname(), **WATCHED}
        async with anyio.create_task_group() as group:
            group.start_soon(Systemd(environ, pid=8).keep_informed, Fake([], status()))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert [line for told in everything(heard) for line in told] == ["STATUS=forwarding"]


async def test_a_store_that_cannot_be_asked_is_said_too(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as heard:
        lines = await heard_from(Fake([], StoreError("disk gone")), heard, until="STATUS=")
    assert "STATUS=the store cannot say how it is: disk gone" in lines


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (status(sink("a")), "forwarding"),
        (status(sink("a", lag=2.0), sink("b", lag=1.0)), "forwarding, lag 2 s"),
        (
            status(sink("a", lag=2.0), sink("splunk", "paused", "token refused")),
            "forwarding, lag 2 s, splunk paused: token refused",
        ),
        (
            status(sink("a", "retrying", "no\nroute"), source="retrying", error="away"),
            "not forwarding, bitbucket retrying: away, a retrying: no route",
        ),
        (status(sink("a", "paused", "x" * 500)), f"forwarding, a paused: {'x' * 99}…"),
    ],
)
def test_the_status_line_is_short_and_says_how_it_is(found: Status, line: str) -> None:
    assert described(found) == line
