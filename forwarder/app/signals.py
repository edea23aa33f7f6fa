"""Signals and deadlines: how a running daemon is asked to end, and made to."""

import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio
import structlog
from anyio.abc import TaskGroup

from forwarder.app.daemon import GRACE
from forwarder.logs import set_level
from forwarder.pipeline.stop import Stop
from forwarder.systemd import Systemd

_SIGNALS: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip

_HUNG: Final = 5.0
"""Seconds more for a thread that hangs in the network before the process ends without it."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


async def obey_signals(
    stop: Stop, group: TaskGroup, hang_up: Callable[[], Coroutine[Any, Any, None]], systemd: Systemd
) -> None:
    """Do what signals ask for, until cancelled.

    SIGTERM and SIGINT request `stop`, and cancel `group` once the grace time is over; SIGHUP runs
    `hang_up`; SIGUSR1 logs everything, SIGUSR2 what is configured.
    """
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        async for received in signals:
            if received in (signal.SIGUSR1, signal.SIGUSR2):
                level = set_level("debug" if received == signal.SIGUSR1 else None)
                log.warning("log.level_changed", level=level)
                continue
            if received == signal.SIGHUP:
                group.start_soon(hang_up)
                continue
            log.info("stop.requested", signal=signal.Signals(received).name)
            systemd.stopping()
            group.start_soon(_cancel_after, GRACE, group)
            stop.request()


async def stop_after(seconds: float, stop: Stop, group: TaskGroup) -> None:
    """Request `stop` after `seconds`, and cancel `group` once the grace time is over too."""
    await anyio.sleep(seconds)
    log.warning("deadline.passed", seconds=seconds)
    group.start_soon(_cancel_after, GRACE, group)
    stop.request()


async def _cancel_after(seconds: float, group: TaskGroup) -> None:
    await anyio.sleep(seconds)
    log.warning("grace.exhausted", seconds=seconds)
    _end_by_force(_HUNG)
    group.cancel_scope.cancel()


def _end_by_force(seconds: float) -> None:
    """End the process after `seconds` though a thread hangs in a call that cannot be cancelled.

    Nothing is half done then: what was not settled is sent again by the next process. It counts
    as a failure (exit 1), because nobody could look at what is owed.
    """
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
