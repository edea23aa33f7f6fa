"""Protection off, a push, and on again: within a time. Pure but for the look at its evidence."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from forwarder import times
from forwarder.correlations import GapConfig, reading
from forwarder.correlations.evidence import Look, Told, written
from forwarder.model import Event, EventFilter
from forwarder.selection import Choice, selector

KIND: Final = "correlation.protection_gap"
_SUBJECTS: Final = 500
"""Hooks and rules that are remembered: those that were switched last."""
_SWITCHES: Final = 20
"""Of each, the newest by the times at which they happened."""
_NAMED: Final = 5


class Switch(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Something was switched; ordered by time."""

    at: int
    event_id: str
    on: bool
    by: str


class _Subject(msgspec.Struct, frozen=True, array_like=True):
    instance: str
    scope: str
    name: str


class _Memory(msgspec.Struct):
    switches: list[tuple[_Subject, list[Switch]]] = []


Gap = tuple[Switch, Switch]
"""The first off after whatever was on, and the on that ended it."""


class ProtectionGap:
    """Remembers what was switched; pushes are looked up where a gap is found, or a late one."""

    kind = KIND

    def __init__(self, options: GapConfig) -> None:
        self.kinds = (*reading.SWITCHES, *options.pushes)
        self._within = round(options.within * 1000)
        self._pushes = options.pushes
        is_push = selector(Choice(kinds=options.pushes), Choice())
        self._is_push = is_push or (lambda _: False)
        self._switches: dict[_Subject, list[Switch]] = {}

    def take(self, event: Event) -> Sequence[Any]:
        """Remember a switch; return the gaps that it, or a push inside of one, gives rise to."""
        gaps = [*self._switched(event)] if event.kind in reading.SWITCHES else []
        if self._is_push(event):
            gaps += self._around(event)
        return [partial(self._tell, subject, gap) for subject, gap in gaps]

    def _switched(self, event: Event) -> Iterator[tuple[_Subject, Gap]]:
        if (on := reading.switched(event)) is None:
            return
        subject = _Subject(reading.instance(event), reading.scope(event), reading.subject(event))
        known = self._switches.pop(subject, [])
        at = times.milliseconds(event.occurred_at)
        found = Switch(at, event.event_id, on, reading.person(event))
        now = sorted([*known, found])[-_SWITCHES:]
        self._switches[subject] = now  # behind all others: it was switched last
        if len(self._switches) > _SUBJECTS:
            del self._switches[next(iter(self._switches))]
        before = set(self._gaps(known))
        yield from ((subject, gap) for gap in self._gaps(now) if gap not in before)

    def _gaps(self, switches: Sequence[Switch]) -> Iterator[Gap]:
        off: Switch | None = None
        for each in switches:
            if not each.on:
                off = off or each
            elif off:
                if each.at - off.at <= self._within:
                    yield off, each
                off = None

    def _around(self, push: Event) -> Iterator[tuple[_Subject, Gap]]:
        at, instance = times.milliseconds(push.occurred_at), reading.instance(push)
        for subject, switches in self._switches.items():
            if subject.instance == instance and len(switches) > 1:
                yield from (
                    (subject, (off, on))
                    for off, on in self._gaps(switches)
                    if off.at <= at <= on.at
                )

    async def _tell(self, subject: _Subject, gap: Gap, look: Look) -> Told | None:
        off, on = gap
        pushes = await look(
            EventFilter(
                since=times.moment(off.at),
                until=times.moment(on.at + 1),
                kinds=self._pushes,
            )
        )
        pushes = [
            each
            for each in pushes
            if reading.instance(each) == subject.instance
            and reading.is_within(reading.place(each), subject.scope)
            and each.event_id not in {off.event_id, on.event_id}
        ]
        anchor = await anchored(look, on.at, on.event_id)
        if not pushes or anchor is None:
            return None
        pushes.sort(key=lambda each: (each.occurred_at, each.event_id))
        people = dict.fromkeys(filter(None, map(reading.person, pushes)))
        seconds = (on.at - off.at) / 1000
        return Told(
            kind=KIND,
            anchor=anchor,
            drawn_from=(on.event_id,),
            cited=[off.event_id, on.event_id, *(each.event_id for each in pushes)],
            detail=f"{subject.name} was off for {seconds:.0f} s, in which {_count(pushes)}",
            facts={
                "rule": "protection_gap",
                "off_by": off.by,
                "on_by": on.by,
                "since": written(times.moment(off.at)),
                "seconds": f"{seconds:.0f}",
                "pushes": str(len(pushes)),
                "pushed_by": ", ".join([*people][:_NAMED]),
            },
            objects=anchor.objects or pushes[0].objects,
        )

    def remembered(self) -> Any:  # noqa: ANN401  JSON
        """Return what was switched."""
        return msgspec.to_builtins(_Memory([*self._switches.items()]))

    def recall(self, remembered: Any) -> None:  # noqa: ANN401  JSON
        """Go on there."""
        self._switches = dict(msgspec.convert(remembered or {}, _Memory).switches)


async def anchored(look: Look, at: int, event_id: str) -> Event | None:
    """Return the event that happened at `at`, None where it is forgotten."""
    found = await look(
        EventFilter(since=times.moment(at), until=times.moment(at + 1), event_ids=(event_id,))
    )
    return found[0] if found else None


def _count(pushes: Sequence[Event]) -> str:
    return "something was pushed" if len(pushes) == 1 else f"{len(pushes)} pushes came"
