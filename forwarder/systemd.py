"""What systemd is told: that we are ready, that we get on, and how we are (sd_notify(3)).

Our own few lines: a datagram to the socket that NOTIFY_SOCKET names, or nothing without it.
"""

import socket
import time
from collections.abc import Mapping
from typing import Final, Protocol

import anyio
import structlog

from forwarder.errors import ForwarderError
from forwarder.model import SinkStatus, SourceStatus, Status
from forwarder.span import many, span

_DESCRIBED_EVERY: Final = 10.0
_LONGEST: Final = 100
"""Characters of one error: the line is for `systemctl status`, the whole error is in the log."""
_WELL: Final = ("starting", "running")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Daemon(Protocol):
    """What systemd is told about."""

    async def status(self) -> Status:
        """Return how everything is."""
        ...

    def stuck(self) -> list[str]:
        """Return the loops that make no progress and do not wait for a good reason."""
        ...


class Systemd:
    """The service manager that started us, if it wants to hear anything.

    `environ` is the process's own: NOTIFY_SOCKET, and WATCHDOG_USEC where WATCHDOG_PID is `pid`
    (sd_watchdog_enabled(3)).
    """

    def __init__(self, environ: Mapping[str, str], *, pid: int) -> None:
        socket_ = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{socket_[1:]}" if socket_.startswith("@") else socket_
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog = environ.get("WATCHDOG_USEC", "") if is_ours else ""
        self._watchdog = int(watchdog) / 1e6 if watchdog.isdigit() else 0.0
        self._note = ""

    def starting(self) -> None:
        """Say that the parts are opened; a store of an older release may take its time."""
        self._tell("STATUS=opening the store and every part")

    def ready(self, note: str = "") -> None:
        """Say that we do our work, now or again; `note` is shown until the next time."""
        self._note = note
        self._tell("READY=1", f"STATUS={self._noted('forwarding')}")

    def reloading(self) -> None:
        """Say that the configuration is read again; `ready` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reading the configuration")

    def stopping(self) -> None:
        """Say that we end: what is under way is settled first."""
        self._tell("STOPPING=1", "STATUS=stopping, settling what is under way")

    async def keep_informed(self, daemon: Daemon) -> None:
        """Feed the watchdog as long as nothing is stuck, and say how `daemon` is, until cancelled.

        Two loops: a slow answer of the store must not starve the watchdog.
        """
        if self._address:
            async with anyio.create_task_group() as group:
                group.start_soon(self._feed, daemon)
                group.start_soon(self._describe, daemon)

    async def _feed(self, daemon: Daemon) -> None:
        while self._watchdog:
            if stuck := daemon.stuck():
                log.error("watchdog.starved", stuck=stuck)
                self._tell(f"STATUS=stuck: {', '.join(stuck)}; to be restarted by the watchdog")
            else:
                self._tell("WATCHDOG=1")
            await anyio.sleep(self._watchdog / 3)

    async def _describe(self, daemon: Daemon) -> None:
        while True:
            try:
                line = described(await daemon.status())
            except ForwarderError as error:
                line = f"the store cannot say how it is: {_short(str(error))}"
            if not daemon.stuck():
                self._tell(f"STATUS={self._noted(line)}")
            await anyio.sleep(_DESCRIBED_EVERY)

    def _noted(self, line: str) -> str:
        return f"{line}; {self._note}" if self._note else line

    def _tell(self, *lines: str) -> None:
        """Send `lines`, unless nobody wants them; a lost one is no reason to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as told:
                told.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd.unreachable", error=str(error))


def described(status: Status) -> str:
    """Return how everything is in one short line, such as ``forwarding, lag 2 s``.

    And what is in trouble after that: ``splunk paused: token refused``.
    """
    parts: list[SourceStatus | SinkStatus] = [*status.sources, *status.sinks]
    troubled = [part for part in parts if part.state not in _WELL]
    said = ["forwarding" if len(troubled) < len(parts) else "not forwarding"]
    if lag := max((sink.lag_seconds for sink in status.sinks), default=0.0):
        said.append(f"lag {span(lag)}")
    if letters := status.unreadable_records + sum(sink.dead_letters for sink in status.sinks):
        said.append(many(letters, "dead letter"))
    return ", ".join([*said, *map(_trouble, troubled)])


def _trouble(part: SourceStatus | SinkStatus) -> str:
    return f"{part.name} {part.state}" + (f": {_short(part.error)}" if part.error else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
