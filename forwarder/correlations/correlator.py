"""The loop beside the outbox: reads on where it was, asks the rules, stores what is told.

Each rule has a position and a memory of its own, but all read together. One that is switched on for
the first time begins with the oldest event that is stored, in the background.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from forwarder.correlations import CorrelationsConfig
from forwarder.correlations.evidence import Look, Rule, Told, told
from forwarder.correlations.gap import ProtectionGap
from forwarder.correlations.habit import SkipsAboveHabit
from forwarder.correlations.warning import BlockBecameWarning
from forwarder.errors import TransientError
from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, Event, EventFilter
from forwarder.pipeline.stop import Stop
from forwarder.selection import Choice, selector
from forwarder.telemetry import CORRELATED
from forwarder.times import utc_now
from forwarder.watches.telling import Teller

_PAUSE: Final = 5.0
"""Seconds between two looks for what is new."""
_ROWS: Final = 5000
"""Rows that are taken between two writes, at most."""
_PASSED: Final = 50_000
"""Places without a row for the rule that are passed before the position is stored."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


Ask = Callable[[Look], Awaitable[Told | None]]


class _Kept(msgspec.Struct, omit_defaults=True):
    """The last place that a rule was asked about, and what it remembers."""

    position: int = 0
    remembered: Any = None


PLACE: Final = "correlations.forwarder"
"""The name under which the outbox keeps what each rule, by its kind, has; no source can have it."""


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
        rules: Sequence[Rule],
        outbox: Outbox,
        teller: Teller,
        *,
        now: Callable[[], datetime] = utc_now,
        at_once: int = _ROWS,
    ) -> None:
        self._rules = {rule.kind: rule for rule in rules}
        self._wanted = {rule.kind: selector(Choice(kinds=rule.kinds), Choice()) for rule in rules}
        self._kinds = tuple(dict.fromkeys(kind for rule in rules for kind in rule.kinds))
        self._outbox = outbox
        self._teller = teller
        self._now = now
        self._at_once = at_once
        self._is_current = False
        self._kept: dict[str, _Kept] = {}
        self._stored = 0

    async def run(self, stop: Stop) -> None:
        """Look until `stop`. Nothing is raised: what fails is logged, and tried again."""
        while not stop.requested:
            await self.catch_up(stop)
            await stop.sleep(_PAUSE)

    async def catch_up(self, stop: Stop) -> None:
        """Look until there is nothing more, or `stop`; what fails is left for the next time."""
        try:
            while not stop.requested and await self.look_once():
                pass
        except TransientError as error:
            log.info("correlation.postponed", error=str(error))
        except Exception:
            log.exception("correlation.crashed")

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

    @property
    def _position(self) -> int:
        return min(self._kept[kind].position for kind in self._rules)

    def _move(self, place: int) -> None:
        for kind in self._rules:
            self._kept[kind].position = max(self._kept[kind].position, place)

    async def _recall(self) -> None:
        stored = await self._outbox.checkpoint(PLACE)
        try:
            self._kept = msgspec.convert(stored.extra if stored else {}, dict[str, _Kept])
        except msgspec.ValidationError:  # another release's: what was told has its ids already
            self._kept = {}
        for kind, rule in self._rules.items():
            kept = self._kept.setdefault(kind, _Kept())
            try:
                rule.recall(kept.remembered)
            except msgspec.ValidationError:
                self._kept[kind] = _Kept()
                rule.recall(None)
        self._stored = self._position

    async def _look(self) -> bool:
        newest = await self._outbox.newest(before=None, limit=1)
        head = newest[0][0] if newest else 0
        if head <= self._position:
            return False
        events: list[Event] = []
        rows = 0
        wanted = EventFilter(kinds=self._kinds)
        async for place, event in self._outbox.events(wanted, after=self._position):
            events += await self._told(place, event)
            self._move(place)
            rows += 1
            if rows == self._at_once:
                break
        else:
            self._move(head)
        if rows or self._position - self._stored >= _PASSED:
            await self._keep(events)
        return rows == self._at_once

    async def _told(self, place: int, event: Event) -> list[Event]:
        async def look(wanted: EventFilter) -> list[Event]:
            return [each async for there, each in self._outbox.events(wanted) if there <= place]

        asked: list[Ask] = []
        for kind, rule in self._rules.items():
            wants = self._wanted[kind]
            if self._kept[kind].position < place and wants and wants(event):
                asked += rule.take(event)
        found = [await tell(look) for tell in asked]
        return [told(each, self._teller) for each in found if each]

    async def _keep(self, events: Sequence[Event]) -> None:
        for kind, rule in self._rules.items():
            self._kept[kind].remembered = rule.remembered()
        checkpoint = Checkpoint(self._now(), msgspec.to_builtins(self._kept))
        new = await self._outbox.append(PLACE, events, checkpoint)
        self._stored = self._position
        for event in events if new else ():
            CORRELATED.labels(event.kind).inc()
            detail = next(each.value for each in event.attributes if each.name == "detail")
            log.warning("correlation.told", kind=event.kind, event_id=event.event_id, detail=detail)
