"""Composition root: builds every part, runs one task group, stops on a signal.

    sources --poller--> outbox --dispatcher--> sinks

Only this module knows every part; the parts know the contracts alone.
"""

import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import replace

from forwarder import __version__
from forwarder.config import Config, format_named
from forwarder.errors import ForwarderError
from forwarder.interfaces import Outbox, Reopens, Sink, Source
from forwarder.model import (
    LossHorizon,
    Room,
    SinkStatus,
    SourceStatus,
    Status,
    StoredSink,
    StoredSource,
    StoreStatus,
)
from forwarder.normalizers import CatalogueNormalizer
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.horizon import Stored, loss_horizons
from forwarder.pipeline.janitor import Janitor
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.pressure import Pressure
from forwarder.pipeline.stop import Stop

GRACE: Final = 20.0
"""Seconds that a step may still take once a stop is requested: under systemd's and Kubernetes'
30, so that a batch in flight is settled rather than sent twice."""

_HUNG: Final = 5.0
"""Seconds more for a thread that hangs in the network before the process ends without it."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Daemon:
    """Every part, built and open; `forward` runs it."""

    def __init__(
        self,
        config: Config,
        outbox: Outbox,
        pollers: list[Poller],
        dispatchers: list[Dispatcher],
        janitor: Janitor,
    ) -> None:
        self.outbox = outbox
        self.pollers = pollers
        self.dispatchers = dispatchers
        self._loops: tuple[Poller | Dispatcher, ...] = (*pollers, *dispatchers)
        self._config = config
        self._janitor = janitor

    async def forward(self, stop: Stop) -> None:
        """Run every loop until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        with ungrouped():
            async with anyio.create_task_group() as group:
                group.start_soon(self._janitor.run, stop)
                for loop in self._loops:
                    group.start_soon(loop.run, stop)

    async def forward_once(self, stop: Stop) -> None:
        """Poll until every source is caught up and everything is delivered, or until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        with ungrouped():
            async with anyio.create_task_group() as group:
                delivered = Stop()
                for dispatcher in self.dispatchers:
                    group.start_soon(dispatcher.run, delivered)
                async with anyio.create_task_group() as polling:
                    for poller in self.pollers:
                        polling.start_soon(poller.catch_up, stop)
                while not stop.requested and await self.owed():
                    await stop.sleep(0.05)
                delivered.request()

    async def owed(self) -> list[str]:
        """Return, in words, what is still to be read or delivered."""
        owed = [
            f"source {poller.name}: not read to the end{_because(poller.progress.error)}"
            for poller in self.pollers
            if poller.progress.state != "running"
        ]
        for dispatcher in self.dispatchers:
            reason = _because(dispatcher.progress.error)
            if count := (await self.outbox.backlog(dispatcher.name)).events:
                owed.append(f"sink {dispatcher.name}: {count} events not delivered{reason}")
            elif await self.outbox.read_replay(dispatcher.name, limit=1, max_bytes=1):
                owed.append(f"sink {dispatcher.name}: not all is sent again{reason}")
        return owed

    def denied(self) -> bool:
        """Whether a source or sink waits for a person because access is refused."""
        return any(loop.progress.state == "paused" for loop in self._loops)

    def stuck(self) -> list[str]:
        """Return the loops that make no progress and do not wait for a good reason."""
        return [f"{p.component} {p.name}" for loop in self._loops if (p := loop.progress).stuck]

    def not_ready(self) -> list[str]:
        """Return the sources whose first poll has not ended."""
        return [
            f"source {poller.name}: no poll has succeeded yet{_because(poller.progress.error)}"
            for poller in self.pollers
            if poller.progress.succeeded_at is None
        ]

    def reopen(self) -> None:
        """Open again what writes to files, because somebody has moved them away (SIGHUP)."""
        for dispatcher in self.dispatchers:
            if isinstance(dispatcher.sink, Reopens):
                dispatcher.sink.reopen()
                log.info("sink.reopened", sink=dispatcher.name)

    async def status(self) -> Status:
        """Return how everything is: what the store says, and what the loops know beyond it."""
        stored = await stored_status(self._config, self.outbox)
        live = {
            (loop.progress.component, loop.name): {
                "state": loop.progress.state,
                "since_at": loop.progress.since_at,
                "error": loop.progress.error,
                "remedy": loop.progress.remedy,
                "failures": loop.progress.failures,
            }
            for loop in self._loops
        }
        return replace(
            stored,
            running=True,
            sources=tuple(replace(each, **live["source", each.name]) for each in stored.sources),
            sinks=tuple(replace(each, **live["sink", each.name]) for each in stored.sinks),
        )


async def stored_status(config: Config, outbox: Outbox) -> Status:
    """Return what the store alone can say of what is configured, with or without a daemon."""
    now = datetime.now(UTC)
    stored = await outbox.status()
    room = await outbox.room()
    buried: dict[str, int] = {}
    for (sink, _), count in stored.dead_letters.items():
        buried[sink] = buried.get(sink, 0) + count
    return Status(
        version=__version__,
        at=now,
        running=False,
        sources=tuple(
            _source_status(name, source.type, stored.sources.get(name))
            for name, source in config.sources.items()
        ),
        sinks=tuple(
            _sink_status(name, sink.type, stored.sinks.get(name), buried.get(name, 0), now)
            for name, sink in config.sinks.items()
        ),
        unreadable_records=buried.get("", 0),
        unknown_events=stored.unknown,
        store_bytes=stored.size,
        store_limit_bytes=room.limit,
        loss_horizons=_horizons(config, stored, room, now),
    )


def _horizons(
    config: Config, stored: StoreStatus, room: Room, now: datetime
) -> tuple[LossHorizon, ...]:
    sources = {name: stored.sources[name] for name in config.sources if name in stored.sources}
    sinks = {name: stored.sinks[name] for name in config.sinks if name in stored.sinks}
    return loss_horizons(
        marks={
            name: (known.checkpoint.mark, config.sources[name].retention)
            for name, known in sources.items()
            if known.checkpoint
        },
        backlogs={
            name: (known.backlog, config.sinks[name].age_limit) for name, known in sinks.items()
        },
        stored=Stored(room, stored.events, stored.rate),
        now=now,
    )


def _source_status(name: str, type_: str, known: StoredSource | None) -> SourceStatus:
    if known is None:
        return SourceStatus(name=name, type=type_)
    return SourceStatus(
        name=name,
        type=type_,
        state=known.note.state if known.note else "stopped",
        since_at=known.note.since_at if known.note else None,
        mark=known.checkpoint.mark if known.checkpoint else None,
        events_stored=known.stored,
        stored_at=known.stored_at,
        chain=known.chain,
        error=known.note.error if known.note else "",
        remedy=known.note.remedy if known.note else "",
    )


def _sink_status(
    name: str, type_: str, known: StoredSink | None, dead_letters: int, now: datetime
) -> SinkStatus:
    if known is None:
        return SinkStatus(name=name, type=type_, dead_letters=dead_letters)
    oldest = known.backlog.oldest_at
    return SinkStatus(
        name=name,
        type=type_,
        state=known.note.state if known.note else "stopped",
        since_at=known.note.since_at if known.note else None,
        position=known.backlog.position,
        backlog_events=known.backlog.events,
        lag_seconds=max((now - oldest).total_seconds(), 0.0) if oldest else 0.0,
        events_sent=known.settled,
        events_filtered=known.filtered,
        dead_letters=dead_letters,
        replay_events=known.replay_events,
        replay_left=known.replay_left,
        sent_at=known.settled_at,
        error=known.note.error if known.note else "",
        remedy=known.note.remedy if known.note else "",
    )


@asynccontextmanager
async def assemble(config: Config) -> AsyncIterator[Daemon]:
    """Yield a daemon with everything open.

    Raises:
        ConfigError: a part cannot be made from its configuration.
        StoreError: the outbox cannot be opened, or another process has it (StoreLocked).
    """
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(config.store.open())
        janitor = Janitor(
            outbox,
            retention=config.store.retention,
            rereads={name: source.rereads for name, source in config.sources.items()},
            sinks=list(config.sinks),
        )
        letters = config.store.dead_letters
        pressure = Pressure(outbox, janitor, letters=letters)
        normalize = CatalogueNormalizer(config.catalogue)
        redact = config.store.redact.redactor()
        pollers = []
        for name, source in config.sources.items():
            opened: Source = await stack.enter_async_context(source.open(name=name))
            pollers.append(Poller(name, opened, normalize, outbox, source, pressure, redact))
        dispatchers = []
        for name, sink in config.sinks.items():
            await outbox.register(name)
            format_ = format_named(sink.format)
            memory = outbox.memory(name)
            ready: Sink = await stack.enter_async_context(
                sink.open(name=name, format=format_, memory=memory)
            )
            dispatchers.append(Dispatcher(name, ready, outbox, sink, letters=letters))
        yield Daemon(config, outbox, pollers, dispatchers, janitor)


async def run(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        ConfigError, StoreError: as `assemble` and the loops do.
    """
    async with assemble(config) as daemon:
        stop = Stop()
        with ungrouped():
            async with anyio.create_task_group() as group:
                group.start_soon(_obey_signals, daemon, stop, group)
                await _start_server(config, daemon, group)
                log.info(
                    "daemon.started",
                    version=__version__,
                    sources=list(config.sources),
                    sinks=list(config.sinks),
                    store=config.store.url,
                )
                await daemon.forward(stop)
                group.cancel_scope.cancel()
        log.info("daemon.stopped")


async def run_once(config: Config, *, deadline: float) -> tuple[list[str], bool]:
    """Forward everything there is, within `deadline` seconds.

    Returns what is still owed, in words, and whether that is because access is refused.

    Raises:
        ConfigError, StoreError: as `assemble` and the loops do.
    """
    async with assemble(config) as daemon:
        stop = Stop()
        with ungrouped():
            async with anyio.create_task_group() as group:
                group.start_soon(_obey_signals, daemon, stop, group)
                group.start_soon(_stop_after, deadline, stop, group)
                await daemon.forward_once(stop)
                owed, denied = await daemon.owed(), daemon.denied()
                group.cancel_scope.cancel()
        return owed, denied


async def _start_server(config: Config, daemon: Daemon, group: TaskGroup) -> None:
    if address := config.server.address:
        from forwarder.server.http import bind, serve

        group.start_soon(serve, daemon, bind(address))


async def _obey_signals(daemon: Daemon, stop: Stop, group: TaskGroup) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for received in signals:
            if received == signal.SIGHUP:
                daemon.reopen()
                continue
            log.info("stop.requested", signal=signal.Signals(received).name)
            group.start_soon(_cancel_after, GRACE, group)
            stop.request()


async def _stop_after(seconds: float, stop: Stop, group: TaskGroup) -> None:
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


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise our own error out of the groups that the tasks wrap it in."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = next(
                (e for e in error.exceptions if isinstance(e, ForwarderError)), error.exceptions[0]
            )
        raise error from group


def _because(error: str) -> str:
    return f" ({error})" if error else ""
