"""Composition root: builds every part, runs one task group, stops on a signal.

    sources --poller--> outbox --dispatcher--> sinks

Only this package knows every part; the parts know the contracts alone. `building` makes them from
the configuration, `daemon` runs them, `signals` ends them.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import structlog

from forwarder import __version__
from forwarder.app.building import parts_of
from forwarder.app.daemon import Daemon as Daemon
from forwarder.app.memory import collect_less, share_heap
from forwarder.app.parts import Parts
from forwarder.app.reload import Reload
from forwarder.app.replicas import alone, ungrouped
from forwarder.app.serving import Serving
from forwarder.app.signals import obey_signals, stop_after
from forwarder.config import Config
from forwarder.pipeline.janitor import Janitor
from forwarder.pipeline.pressure import Pressure
from forwarder.pipeline.stop import Stop
from forwarder.systemd import Systemd

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@asynccontextmanager
async def assemble(config: Config, *, once: bool = False) -> AsyncIterator[Daemon]:
    """Yield a daemon with everything open.

    Raises:
        ConfigError: a part cannot be made from its configuration.
        StoreError: the outbox cannot be opened, or another process has it (StoreLocked).
    """
    share_heap()
    with ungrouped():
        async with config.store.open() as outbox, anyio.create_task_group() as group:
            janitor = Janitor(
                outbox,
                retention=config.store.retention,
                rereads={name: source.rereads for name, source in config.sources.items()},
                sinks=list(config.sinks),
            )
            pressure = Pressure(outbox, janitor, letters=config.store.dead_letters)
            parts = Parts(group, once=once)
            daemon = Daemon(config, outbox, janitor, pressure, parts)
            if outbox.leases and not once:
                daemon.share(outbox.leases)
            else:
                made = list(parts_of(config, pressure, once=once))
                outboxes = await group.start(alone, outbox, [part.name for part in made])
                for part in made:
                    await parts.open(part, outboxes[part.name])
            collect_less()
            yield daemon
            group.cancel_scope.cancel()


async def run(config: Config, read: Callable[[], Config]) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP has `read` give the configuration anew.

    Raises:
        ConfigError, StoreError: as `assemble` and the loops do.
    """
    systemd = Systemd(os.environ, pid=os.getpid())
    systemd.starting()
    async with assemble(config) as daemon, config.telemetry.open(daemon.status):
        stop = Stop()
        async with anyio.create_task_group() as group:
            serving = Serving(daemon, group)
            reload = Reload(daemon, serving, systemd, config.log, read)
            group.start_soon(obey_signals, stop, group, reload.run, systemd)
            await serving.apply(config.server)
            log.info(
                "daemon.started",
                version=__version__,
                sources=list(config.sources),
                sinks=list(config.sinks),
                store=config.store.url,
            )
            group.start_soon(systemd.keep_informed, daemon)
            systemd.ready()
            await daemon.forward(stop)
            group.cancel_scope.cancel()
    log.info("daemon.stopped")


async def run_once(config: Config, *, deadline: float) -> tuple[list[str], bool]:
    """Forward everything there is, within `deadline` seconds.

    Returns what is still owed, in words, and whether that is because access is refused.

    Raises:
        ConfigError, StoreError: as `assemble` and the loops do.
    """
    systemd = Systemd(os.environ, pid=os.getpid())
    async with assemble(config, once=True) as daemon:
        stop = Stop()

        async def reopen() -> None:
            daemon.reopen()

        async with anyio.create_task_group() as group:
            group.start_soon(obey_signals, stop, group, reopen, systemd)
            group.start_soon(stop_after, deadline, stop, group)
            await daemon.forward_once(stop)
            owed, denied = await daemon.owed(), daemon.denied()
            group.cancel_scope.cancel()
    return owed, denied
