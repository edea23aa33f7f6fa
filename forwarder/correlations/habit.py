"""More skips in a day than a person's habit. Pure but for the look at its evidence.

The habit is the most skips of that person on any one day (UTC) of the look-back before the day in
question: no average, so that anybody can count it again. A day is above it with at least `minimum`
skips and more than `factor` times as many. A person who skipped on fewer than `days` days of the
look-back has no habit yet. A day is told once, by the row that takes it above.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Final

import msgspec

from forwarder.correlations import HabitConfig, reading
from forwarder.correlations.evidence import Look, Told
from forwarder.model import Event, EventFilter

KIND: Final = "correlation.skips_above_habit"
_PEOPLE: Final = 5000
"""Who skipped last; whoever is forgotten has no habit."""
_SPARE: Final = 30
"""Days beyond the look-back that are kept for late rows."""


class Day(msgspec.Struct, array_like=True):
    """How often a person skipped on one day, and whether that was told."""

    skips: int = 0
    told: bool = False


class _Person(msgspec.Struct, frozen=True, array_like=True):
    instance: str
    name: str


class _Memory(msgspec.Struct):
    people: list[tuple[_Person, dict[str, Day]]] = []


class SkipsAboveHabit:
    """Counts skips by person and day."""

    kind = KIND
    kinds: tuple[str, ...] = (reading.HOOK_SKIPPED,)

    def __init__(self, options: HabitConfig) -> None:
        self._back = int(options.look_back // 86400)
        self._factor = options.factor
        self._minimum = options.minimum
        self._days = options.days
        self._people: dict[_Person, dict[str, Day]] = {}

    def take(self, event: Event) -> Sequence[Any]:
        """Count a skip; return the days that it takes above the habit, most often its own."""
        if not (name := reading.person(event)):
            return ()
        who = _Person(reading.instance(event), name)
        days = self._people.pop(who, {})
        self._people[who] = days  # behind all others: this one skipped last
        if len(self._people) > _PEOPLE:
            del self._people[next(iter(self._people))]
        today = event.occurred_at.astimezone(UTC).date()
        days.setdefault(today.isoformat(), Day()).skips += 1
        for old in sorted(days)[: -(self._back + _SPARE)]:
            del days[old]
        above = []
        for text in sorted(days):
            day, habit = days[text], self._habit(days, text)
            # A row that is late can give a later day the habit that it is above.
            is_near = today <= date.fromisoformat(text) <= _shifted(today, self._back)
            if is_near and not day.told and habit and self._is_above(day.skips, habit):
                day.told = True
                above.append(partial(self._tell, who, text, day.skips, habit))
        return above

    def _habit(self, days: dict[str, Day], text: str) -> int:
        """Return the most skips on a day of the look-back before, 0 where there is no habit."""
        first = _shifted(date.fromisoformat(text), -self._back).isoformat()
        before = [day.skips for known, day in days.items() if first <= known < text]
        return max(before) if len(before) >= self._days else 0

    def _is_above(self, skips: int, habit: int) -> bool:
        return skips >= self._minimum and skips > self._factor * habit

    async def _tell(
        self, who: _Person, text: str, skips: int, habit: int, look: Look
    ) -> Told | None:
        since = datetime.fromisoformat(text).replace(tzinfo=UTC)
        until = datetime.combine(_shifted(since.date(), 1), since.timetz())
        wanted = EventFilter(since=since, until=until, kinds=self.kinds, actors=(who.name,))
        # Filters do not regard case; people's names do.
        found = [
            each
            for each in await look(wanted)
            if reading.person(each) == who.name and reading.instance(each) == who.instance
        ]
        if not found:
            return None
        found.sort(key=lambda each: (each.occurred_at, each.event_id), reverse=True)
        ids = [each.event_id for each in found]
        return Told(
            kind=KIND,
            anchor=found[0],
            drawn_from=ids,
            cited=ids,
            detail=f"{who.name} skipped the hook {skips} times on {text}; the most on any one of"
            f" the {self._back} days before was {habit}",
            facts={
                "rule": "skips_above_habit",
                "day": text,
                "skips": str(skips),
                "habit": str(habit),
            },
        )

    def remembered(self) -> Any:  # noqa: ANN401  JSON
        """Return the counts."""
        return msgspec.to_builtins(_Memory([*self._people.items()]))

    def recall(self, remembered: Any) -> None:  # noqa: ANN401  JSON
        """Go on there."""
        self._people = dict(msgspec.convert(remembered or {}, _Memory).people)


def _shifted(day: date, days: int) -> date:
    """Return the day so many `days` later, or the first or last that there is: records have any."""
    ordinal = day.toordinal() + days
    return date.fromordinal(min(max(ordinal, date.min.toordinal()), date.max.toordinal()))
