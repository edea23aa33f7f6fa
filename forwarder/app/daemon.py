"""The daemon: its parts, what it keeps beside them, and how it changes while it runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
import structlog

from forwarder.app.building import parts_of
from forwarder.app.letters import replay_letters
from forwarder.app.overview import stored_status, unstored_status, with_loops
from forwarder.app.parts import Key, Part, Parts
from forwarder.app.replicas import HOUSE, shared_runs
from forwarder.app.rotation import Rotation
from forwarder.app.watching import correlator, heart
from forwarder.config import Config
from forwarder.errors import ConfigError, ForwarderError, TransientError
from forwarder.interfaces import Leases, Outbox, Reopens
from forwarder.model import Replayed, Status
from forwarder.pipeline.history import History
from forwarder.pipeline.janitor import Janitor
from forwarder.pipeline.pressure import Pressure
from forwarder.pipeline.sharing import Run, Sharing
from forwarder.pipeline.stop import Stop
from forwarder.span import many

GRACE: Final = 20.0
"""Seconds that a step may still take once a stop is requested: under systemd's and Kubernetes'
30, so that a batch in flight is settled rather than sent twice."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Daemon:
    """Every part, built and open; `forward` runs it."""

    def __init__(
        self, config: Config, outbox: Outbox, janitor: Janitor, pressure: Pressure, parts: Parts
    ) -> None:
        self._config = self._opened = config
        self.outbox = outbox
        self._janitor = janitor
        self._pressure = pressure
        self._parts = parts
        self._sharing: Sharing | None = None
        self._made: dict[Key, Part] = {}
        self._seen: Status | None = None
        self._swapping = anyio.Lock()
        self._rotation = Rotation(parts, self._renew)
        self._heart = anyio.CancelScope()
        self._history = History(outbox, lambda: stored_status(self._config, outbox))

    async def forward(self, stop: Stop) -> None:
        """Run every loop until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._rotation.run, stop)
            group.start_soon(self._history.run, stop)
            if self._sharing:
                await self._sharing.run(stop)
                return
            group.start_soon(self._keep_house, self.outbox, stop)
            self._parts.begin()
            await stop.wait()
            self._parts.stop()
            await self._parts.ended()

    async def _keep_house(self, outbox: Outbox, stop: Stop) -> None:
        """Run what is there once, however many replicas there are."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._janitor.on(outbox).run, stop)
            group.start_soon(self._beat, outbox, stop)

    async def _beat(self, outbox: Outbox, stop: Stop) -> None:
        while not stop.requested:
            with self._heart:
                async with anyio.create_task_group() as group:
                    group.start_soon(heart(self._config, outbox, self.status).run, stop)
                    if loop := correlator(self._config, outbox):
                        group.start_soon(loop.run, stop)
            self._heart = anyio.CancelScope()

    def share(self, leases: Leases) -> None:
        """Have `forward` open and run what falls to this replica."""
        self._made = {part.key: part for part in parts_of(self._config, self._pressure)}
        self._sharing = Sharing(leases, self._runs())

    def _runs(self) -> Mapping[str, Run]:
        return shared_runs(self._made.values(), self._parts, self.outbox, self._keep_house)

    async def forward_once(self, stop: Stop) -> None:
        """Poll until every source is caught up and everything is delivered, or until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_with, stop)
            self._parts.begin()
            await self._parts.caught_up()
            if loop := correlator(self._config, self.outbox):
                await loop.catch_up(stop)
            while not stop.requested and await self.owed():
                await stop.sleep(0.05)
            self._parts.stop()
            await self._parts.ended()
            group.cancel_scope.cancel()

    async def _end_with(self, stop: Stop) -> None:
        await stop.wait()
        self._parts.stop()

    async def owed(self) -> list[str]:
        """Return, in words, what is still to be read or delivered."""
        owed = [
            f"source {poller.name}: not read to the end{_because(poller.progress.error)}"
            for poller in self._parts.pollers
            if poller.progress.state != "running"
        ]
        for dispatcher in self._parts.dispatchers:
            reason = _because(dispatcher.progress.error)
            if count := (await self.outbox.backlog(dispatcher.name)).events:
                owed.append(f"sink {dispatcher.name}: {many(count, 'event')} not delivered{reason}")
            elif await self.outbox.read_replay(dispatcher.name, limit=1, max_bytes=1):
                owed.append(f"sink {dispatcher.name}: not all is sent again{reason}")
        return owed

    def denied(self) -> bool:
        """Whether a source or sink waits for a person because access is refused."""
        return any(loop.progress.refused for loop in self._parts.loops)

    def stuck(self) -> list[str]:
        """Return the loops that make no progress and do not wait for a good reason."""
        fares = [loop.progress for loop in self._parts.loops]
        return [f"{progress.component} {progress.name}" for progress in fares if progress.stuck]

    async def not_ready(self) -> list[str]:
        """Return what is missing: the store's answer, a lease, or the end of a first poll."""
        waiting = [
            f"source {poller.name}: no poll has succeeded yet{_because(poller.progress.error)}"
            for poller in self._parts.pollers
            if poller.progress.succeeded_at is None
        ]
        try:
            await self.outbox.room()
            unheld = await self._unheld()
        except ForwarderError as error:
            return [f"the store does not answer{_because(str(error))}", *waiting]
        return [*(f"{part}: no replica holds its lease" for part in unheld), *waiting]

    async def _unheld(self) -> list[str]:
        """Return the parts that no replica runs, where replicas share the store."""
        if self.outbox.leases is None:
            return []
        holders = (await self.outbox.status()).shares.holders
        parts = [f"sources.{name}" for name in self._config.sources]
        parts += [f"sinks.{name}" for name in self._config.sinks]
        return [part for part in parts if part not in holders]

    async def replay_letters(self, ids: Sequence[int]) -> Replayed:
        """Try dead letters again; see `letters.replay_letters`."""
        found = [
            replace(letter, body=b"") if letter.sink else letter  # a sink's is sent from the store
            async for letter in self.outbox.dead_letters(ids=ids)
        ]
        return await replay_letters(self._config, self.outbox, found)

    def reopen(self) -> None:
        """Open again what writes to files, because somebody has moved them away (SIGHUP)."""
        for dispatcher in self._parts.dispatchers:
            if isinstance(dispatcher.sink, Reopens):
                dispatcher.sink.reopen()
                log.info("sink.reopened", sink=dispatcher.name)

    async def rehearse(self, config: Config) -> None:
        """Return where `apply` would find nothing wrong with `config`.

        Raises:
            ConfigError: a part cannot be made.
        """
        changed, _ = self._changes(config)
        if problems := [line for part in changed for line in await part.problems()]:
            raise ConfigError(problems)

    async def apply(self, config: Config) -> list[str]:
        """Run as `config` says from now on, but for what takes a restart; return that.

        Only the parts whose settings have changed are closed, each after the step that it is in,
        and opened again; a removed one leaves its position or checkpoint in the outbox.

        Raises:
            StoreError: the outbox cannot be used.
        """
        async with self._swapping:
            await self._apply(config)
        waits = _fixed(self._opened, config)
        for setting in waits:
            log.warning("restart.needed", setting=setting)
        return waits

    async def _apply(self, config: Config) -> None:
        changed, removed = self._changes(config)
        # Until all is swapped an event is kept for the sinks of before and of now.
        self._obey(config, sinks={*self._config.sinks, *config.sinks})
        await self._swap(config, changed, removed)
        self._obey(config, sinks=set(config.sinks))
        self._config = config
        self._heart.cancel()  # to begin again as configured now
        log.info(
            "configuration.applied",
            begun=[part.name for part in changed],
            ended=[f"{kind}s.{name}" for kind, name in removed],
        )

    async def _swap(self, config: Config, changed: list[Part], removed: list[Key]) -> None:
        if self._sharing:
            self._made = {part.key: part for part in parts_of(config, self._pressure)}
            self._sharing.swap(self._runs(), {HOUSE, *(part.name for part in changed)})
            return
        async with anyio.create_task_group() as group:
            for key in removed:
                group.start_soon(partial(self._parts.close, key, patience=GRACE))
            for part in changed:
                group.start_soon(partial(self._parts.put, part, self.outbox, patience=GRACE))

    async def _renew(self, part: Part) -> bool:
        """Begin `part` again, with the files as they are now; return whether that was possible."""
        async with self._swapping:
            if self._parts.open_parts.get(part.key) is not part:
                return True  # it was swapped meanwhile
            if problems := await part.problems():
                log.warning("part.kept", part=part.name, problems=problems)
                return False
            if self._sharing:
                self._sharing.swap(self._runs(), {part.name})
            else:
                await self._parts.put(part, self.outbox, patience=GRACE)
            return True

    def _changes(self, config: Config) -> tuple[list[Part], list[Key]]:
        """Return the parts that are new or other than those that run, and those to be gone."""
        known = self._made if self._sharing else self._parts.open_parts
        wanted = {part.key: part for part in parts_of(config, self._pressure)}
        changed = [part for key, part in wanted.items() if part != known.get(key)]
        return changed, [key for key in known if key not in wanted]

    def _obey(self, config: Config, *, sinks: Collection[str]) -> None:
        self._janitor.keep(
            retention=config.store.retention,
            rereads={name: source.rereads for name, source in config.sources.items()},
            sinks=sinks,
        )
        self._pressure.letters = config.store.dead_letters
        self.outbox.allow(config.store.capacity)

    async def status(self) -> Status:
        """Return how everything is: what the store says, and what the loops know beyond it.

        While the store is away, what it said last.
        """
        try:
            stored = self._seen = await stored_status(self._config, self.outbox)
        except TransientError as error:
            stored = unstored_status(self._config, self._seen, str(error))
        return with_loops(stored, self._parts.loops, self._history)


def _fixed(opened: Config, config: Config) -> list[str]:
    """Return the settings that `config` has otherwise, and that hold from start to end."""
    settings = ("url", "password", "lease")
    store = [s for s in settings if getattr(config.store, s) != getattr(opened.store, s)]
    telemetry = ["telemetry"] if config.telemetry != opened.telemetry else []
    return [*(f"store.{setting}" for setting in store), *telemetry]


def _because(error: str) -> str:
    return f" ({error})" if error else ""
