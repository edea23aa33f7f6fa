"""The loop beside the outbox: reads on where it was, asks its rule, stores what is told.

Each rule has a loop, a position and a memory of its own. One that is switched on for the first
time begins with the oldest event that is stored, in the background.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from forwarder.correlations import CorrelationsConfig
from forwarder.correlations.evidence import Rule, told
from forwarder.correlations.gap import ProtectionGap
from forwarder.correlations.habit import SkipsAboveHabit
from forwarder.correlations.warning import BlockBecameWarning
from forwarder.errors import TransientError
from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, Event, EventFilter
from forwarder.pipeline.stop import Stop
from forwarder.telemetry import CORRELATED
from forwarder.watches.telling import Teller

_PAUSE: Final = 5.0
"""Seconds between two looks for what is new."""
_ROWS: Final = 500
"""Rows that are taken between two writes, at most."""
_PASSED: Final = 50_000
"""Places without a row for the rule that are passed before the position is stored."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class _Memory(msgspec.Struct):
    """The last place that was taken, and what the rule remembers."""

    position: int = 0
    remembered: Any = None


def place(rule: Rule) -> str:
    """Return the name under which the outbox keeps its memory; no source can have it."""
    return f"correlations.{rule.kind.partition('.')[2]}"


def rules_of(options: CorrelationsConfig) -> Iterator[Rule]:
    """Yield the rules that are switched on."""
    if options.protection_gap.enabled:
        yield ProtectionGap(options.protection_gap)
    if options.skips_above_habit.enabled:
        yield SkipsAboveHabit(options.skips_above_habit)
    if options.block_became_warning.enabled:
        yield BlockBecameWarning(options.block_became_warning)


class Correlator:
    """Follows the outbox; what it remembers lives there too, so that any process can go on."""

    def __init__(
        self,
        rule: Rule,
        outbox: Outbox,
        teller: Teller,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        at_once: int = _ROWS,
    ) -> None:
        self._rule = rule
        self._outbox = outbox
        self._teller = teller
        self._now = now
        self._at_once = at_once
        self._is_current = False
        self._position = 0
        self._stored = 0

    async def run(self, stop: Stop) -> None:
        """Look until `stop`. Nothing is raised: what fails is logged, and tried again."""
        while not stop.requested:
            is_more = False
            try:
                is_more = await self.look_once()
            except TransientError as error:
                log.info("correlation.postponed", kind=self._rule.kind, error=str(error))
            except Exception:
                log.exception("correlation.crashed", kind=self._rule.kind)
            if not is_more:
                await stop.sleep(_PAUSE)

    async def look_once(self) -> bool:
        """Take the next rows; afterwards what they tell is in the outbox. Return if there is more.

        Raises:
            TransientError, StoreError: from the outbox; what was stored last is where it goes on.
        """
        if not self._is_current:
            await self._recall()
        self._is_current = False  # where the look fails, nobody knows what was stored
        is_more = await self._look()
        self._is_current = True
        return is_more

    async def _recall(self) -> None:
        stored = await self._outbox.checkpoint(place(self._rule))
        try:
            memory = msgspec.convert(stored.extra if stored else {}, _Memory)
            self._rule.recall(memory.remembered)
        except msgspec.ValidationError:  # another release's: what was told has its ids already
            memory = _Memory()
            self._rule.recall(None)
        self._position = self._stored = memory.position

    async def _look(self) -> bool:
        newest = await self._outbox.newest(before=None, limit=1)
        head = newest[0][0] if newest else 0
        if head <= self._position:
            return False
        events: list[Event] = []
        rows = 0
        wanted = EventFilter(kinds=self._rule.kinds)
        async for at, event in self._outbox.events(wanted, after=self._position):
            events += await self._told(at, event)
            self._position = at
            rows += 1
            if rows == self._at_once:
                break
        else:
            self._position = max(self._position, head)
        if rows or self._position - self._stored >= _PASSED:
            await self._keep(events)
        return rows == self._at_once

    async def _told(self, at: int, event: Event) -> list[Event]:
        async def look(wanted: EventFilter) -> list[Event]:
            return [each async for there, each in self._outbox.events(wanted) if there <= at]

        found = [await tell(look) for tell in self._rule.take(event)]
        return [told(each, self._teller) for each in found if each]

    async def _keep(self, events: Sequence[Event]) -> None:
        memory = _Memory(self._position, self._rule.remembered())
        checkpoint = Checkpoint(self._now(), msgspec.to_builtins(memory))
        new = await self._outbox.append(place(self._rule), events, checkpoint)
        self._stored = self._position
        CORRELATED.labels(self._rule.kind).inc(len(new))
        for event in events if new else ():
            detail = next(each.value for each in event.attributes if each.name == "detail")
            log.warning("correlation.told", kind=event.kind, event_id=event.event_id, detail=detail)
