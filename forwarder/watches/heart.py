"""The loop beside all sources: heartbeats, and what is about to be lost."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

import structlog
from msgspec.structs import replace

from forwarder.errors import TransientError
from forwarder.interfaces import Outbox
from forwarder.model import Condition, Event, Link, Status
from forwarder.pipeline.stop import Stop
from forwarder.times import utc_now
from forwarder.watches import HeartbeatConfig, WatchConfig, findings, memory
from forwarder.watches.findings import LOSS_NEAR, Found, Looked
from forwarder.watches.memory import Memory
from forwarder.watches.telling import Teller

_TICK: Final = 60.0
"""Seconds between two looks at the status, at most."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Heart:
    """Tells that all is well at each interval, and once what is about to be lost."""

    def __init__(
        self,
        outbox: Outbox,
        status: Callable[[], Awaitable[Status]],
        options: WatchConfig,
        heartbeat: HeartbeatConfig,
        teller: Teller,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._outbox = outbox
        self._status = status
        self._options = options
        self._beat = heartbeat.interval
        self._teller = teller
        self._now = now
        self._memory: Memory | None = None
        self._untold: tuple[list[Event], Memory] | None = None
        self._near_since: dict[tuple[str, str], datetime] = {}

    async def run(self, stop: Stop) -> None:
        """Look until `stop`. Nothing is raised: what fails is logged, and tried again."""
        tick = min(_TICK, self._beat or _TICK, self._options.interval)
        while not stop.requested:
            await stop.sleep(tick)
            try:
                await self.look_once()
            except TransientError as error:
                log.info("heartbeat.postponed", error=str(error))
            except Exception:
                log.exception("heartbeat.crashed")

    async def look_once(self) -> list[Event]:
        """Look; afterwards what is to be told is in the outbox. Returns it.

        Raises:
            TransientError, StoreError: from the outbox; nothing is lost by it.
        """
        if self._untold:
            await self._keep(*self._untold)
        now = self._now()
        if self._memory is None:
            stored = await self._outbox.checkpoint(memory.place())
            self._memory = memory.recalled(stored) or Memory(began_at=now)
            if stored is None:
                await self._keep([], self._memory)
        known = self._memory
        status = await self._status()
        events, learnt = self._losses(status, known, now)
        beaten = known.beat_at or known.began_at
        if self._beat and not 0 <= (now - beaten).total_seconds() < self._beat:
            head = (await self._outbox.status()).sources[memory.place()].chain
            events.append(self._teller.heartbeat(dict(_facts(status, head)), now))
            learnt = replace(learnt, beat_at=now)
        if learnt != known:
            await self._keep(events, learnt)
        return events

    def _losses(self, status: Status, known: Memory, now: datetime) -> tuple[list[Event], Memory]:
        if not self._options.enabled:
            return [], known
        found = self._lasting(
            findings.losses(status.loss_horizons, self._options, known), known, now
        )
        events: list[Event] = []
        goes_on: list[Condition] = []
        parts = dict.fromkeys([*(part for part, _ in found), *(c.part for c in known.conditions)])
        for part in parts:
            looked = Looked(tuple(each for of, each in found if of == part), (), {LOSS_NEAR})
            before = [each for each in known.conditions if each.part == part]
            told, conditions = self._teller.changes(looked, before, part=part, at=now, system=None)
            events += told
            goes_on += conditions
        return events, replace(known, conditions=tuple(goes_on))

    def _lasting(
        self, found: Iterable[tuple[str, Found]], known: Memory, now: datetime
    ) -> list[tuple[str, Found]]:
        """Return what was so for an interval: while a backlog is caught up, much looks near."""
        near = {(part, each.subject): each for part, each in found}
        self._near_since = {key: self._near_since.get(key, now) for key in near}
        told = {(each.part, each.subject) for each in known.conditions}
        return [
            (key[0], each)
            for key, each in near.items()
            if key in told
            or (now - self._near_since[key]).total_seconds() >= self._options.interval
        ]

    async def _keep(self, events: list[Event], learnt: Memory) -> None:
        self._untold = events, learnt
        await self._outbox.append(memory.place(), events, memory.kept(learnt, self._now()))
        self._untold = None
        self._memory = learnt
        for event in events:
            log.info("condition.told", kind=event.kind, event_id=event.event_id)


def _facts(status: Status, head: Link | None) -> Iterator[tuple[str, str]]:
    """Yield what a heartbeat says: `verify --head` takes a chain's head as it is written here."""
    yield "version", status.version
    for source in status.sources:
        name = f"sources.{source.name}"
        yield f"{name}.state", source.state
        yield f"{name}.mark", source.mark.isoformat() if source.mark else "none"
        yield f"{name}.stored", str(source.events_stored)
        if source.chain:
            yield f"{name}.chain", _head(source.chain)
    if head:
        yield "forwarder.chain", _head(head)
    for sink in status.sinks:
        name = f"sinks.{sink.name}"
        yield f"{name}.state", sink.state
        yield f"{name}.backlog", str(sink.backlog_events)
        yield f"{name}.lag", f"{sink.lag_seconds:.0f}"
        yield f"{name}.sent", str(sink.events_sent)
        yield f"{name}.dead_letters", str(sink.dead_letters)
    yield "unreadable", str(status.unreadable_records)
    yield "conditions", str(len(status.conditions))


def _head(link: Link) -> str:
    return f"{link.sequence}:{link.digest}"
