"""Is what Bitbucket shows in the store, and at each destination that can be asked?"""

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from forwarder import times
from forwarder.comparison import Side, compare
from forwarder.config import Config, format_named
from forwarder.errors import ForwarderError, PermanentError
from forwarder.event_ids import happened_at
from forwarder.interfaces import Asks, Outbox
from forwarder.model import EventFilter, Page, Record, is_test
from forwarder.normalizers import CatalogueNormalizer
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.position import Position
from forwarder.span import many

_MILLISECOND: Final = timedelta(milliseconds=1)
_REPLAYED_AT_ONCE: Final = 1000
"""Ids that one replay names."""


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `unread` says, in words, what of the range no source could be asked for."""

    since: datetime
    until: datetime
    sides: tuple[Side, ...]
    unread: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether anything is missing that was not repaired."""
        return any(len(side.missing) > side.repaired for side in self.sides)


@dataclass(slots=True)
class _Upstream:
    """What sources show: ids, the span that each was asked for, and what the store lacked."""

    ids: set[str] = field(default_factory=set)
    spans: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    absent: dict[str, tuple[str, Record]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def asked_for(self, event_id: str, source: str) -> bool:
        """Return whether `source` was asked for the time of `event_id`."""
        start, end = self.spans.get(source, (datetime.max.replace(tzinfo=UTC),) * 2)
        return start <= happened_at(event_id) < end


Stored = dict[str, tuple[int, str]]
"""Places and sources of stored events, by id."""


class Reconciler:
    """Compares what Bitbucket shows with the store, and both with each sink.

    With `repair` what the store lacks is stored, and what a sink lacks is sent to it again.
    `failures` are the errors of destinations that could not be asked now.
    """

    def __init__(self, config: Config, *, repair: bool) -> None:
        self.failures: list[ForwarderError] = []
        self._config = config
        self._repair = repair
        self._normalize = CatalogueNormalizer(config.catalogue)
        self._redact = config.store.redact.redactor()

    async def run(self, since: datetime, until: datetime, sinks: list[str]) -> Reconciliation:
        """Return what was found from `since` to `until` (exclusive), whole milliseconds.

        Raises:
            TransientError, AccessError: Bitbucket cannot be asked.
            StoreError: the store cannot be used.
        """
        wanted = EventFilter(since=since, until=until)
        async with self._config.store.open(lock=False, write=self._repair) as outbox:
            # In this order: what is stored or sent meanwhile is then neither missing nor extra.
            upstream = await self._ask_sources(outbox, since, until)
            positions = {name: (await outbox.backlog(name)).position for name in sinks}
            stored: Stored = {}
            unwanted: dict[str, set[str]] = {name: set() for name in sinks}
            selects = {name: self._config.sinks[name].selects() for name in sinks}
            async for place, event in outbox.events(wanted):
                stored[event.event_id] = place, event.source
                for name, wants in selects.items():
                    if wants is not None and not wants(event):
                        unwanted[name].add(event.event_id)
            sides = [await self._store_side(outbox, upstream, stored)]
            for name, position in positions.items():
                side = await self._owed(outbox, name, position, stored, unwanted[name])
                sides.append(await self._sink_side(outbox, side, upstream, stored, wanted))
        return Reconciliation(
            since=since, until=until, sides=tuple(sides), unread=tuple(upstream.unread)
        )

    async def _ask_sources(self, outbox: Outbox, since: datetime, until: datetime) -> _Upstream:
        """Read each source again, within what it is to read and has read."""
        found = _Upstream()
        for name, source in self._config.sources.items():
            checkpoint = await outbox.checkpoint(name)
            if not isinstance(source, BitbucketAuditConfig):
                found.unread.append(f"{name}: a source of type {source.type} is not asked again")
                continue
            if checkpoint is None:
                found.unread.append(f"{name}: nothing was read yet")
                continue
            if checkpoint.mark < until:
                found.unread.append(f"{name}: read up to {checkpoint.mark:%Y-%m-%d %H:%M:%S}Z only")
            floor = times.moment(Position.of(checkpoint, overlap=0).floor)
            start, end = max(since, floor), min(until, checkpoint.mark)
            if start >= end:
                continue
            found.spans[name] = start, end
            async with (
                source.open(name=name) as opened,
                aclosing(opened.read(start, end - _MILLISECOND, known=checkpoint)) as pages,
            ):
                async for page in pages:
                    await self._take(outbox, name, page, found)
        return found

    async def _take(self, outbox: Outbox, name: str, page: Page, found: _Upstream) -> None:
        records = {record.event_id: record for record in page.records}
        found.ids.update(records)
        if self._repair and records:
            ids = list(records)
            for start in range(0, len(ids), _REPLAYED_AT_ONCE):
                some = EventFilter(event_ids=tuple(ids[start : start + _REPLAYED_AT_ONCE]))
                async for _, event in outbox.events(some):
                    del records[event.event_id]
            found.absent.update((each, (name, record)) for each, record in records.items())

    async def _store_side(self, outbox: Outbox, upstream: _Upstream, stored: Stored) -> Side:
        horizon = datetime.now(UTC) - timedelta(seconds=self._config.store.retention)
        absent = upstream.ids - stored.keys()
        forgotten = {each for each in absent if happened_at(each) < horizon}
        held = {each for each, (_, source) in stored.items() if upstream.asked_for(each, source)}
        side = compare(
            Side(name="store", kind="store", forgotten=len(forgotten)),
            held | (upstream.ids & stored.keys()),
            expected=upstream.ids - forgotten,
            known=upstream.ids,
        )
        repaired = 0
        if self._repair:
            lost = [upstream.absent[each] for each in side.missing if each in upstream.absent]
            for source in upstream.spans:
                events = [
                    self._normalize(record, source=name) for name, record in lost if name == source
                ]
                if redact := self._redact:
                    events = [event.whole() for event in redact.all(events)]
                repaired += len(await outbox.append(source, events, None)) if events else 0
        return msgspec.structs.replace(side, repaired=repaired)

    async def _owed(
        self, outbox: Outbox, name: str, position: int, stored: Stored, unwanted: set[str]
    ) -> Side:
        """Return the side of a sink with what of `stored` it does not have to hold."""
        buried = {letter.event_id async for letter in outbox.dead_letters(sink=name)} - unwanted
        waiting = {each for each, (place, _) in stored.items() if place > position} - unwanted
        return Side(
            name=name,
            kind="sink",
            waiting=tuple(sorted(waiting)),
            buried=tuple(sorted((buried & stored.keys()) - waiting)),
            unwanted=tuple(sorted(unwanted)),
        )

    async def _sink_side(
        self, outbox: Outbox, side: Side, upstream: _Upstream, stored: Stored, wanted: EventFilter
    ) -> Side:
        try:
            held = await self._held(outbox, side.name, wanted)
        except PermanentError as error:
            return msgspec.structs.replace(side, unasked=_in_words(error))
        except ForwarderError as error:
            self.failures.append(error)
            return msgspec.structs.replace(side, unasked=_in_words(error))
        known = upstream.ids | stored.keys()
        expected = known.difference(side.waiting, side.buried, side.unwanted)
        side = compare(side, held, expected=expected, known=known)
        if not (self._repair and side.missing):
            return side
        return await self._send_again(outbox, side, upstream, stored)

    async def _held(self, outbox: Outbox, name: str, wanted: EventFilter) -> list[str]:
        assert wanted.since is not None  # noqa: S101  `run` has set both
        assert wanted.until is not None  # noqa: S101
        options = self._config.sinks[name]
        async with options.open(
            name=name, format=format_named(options.format), memory=outbox.memory(name)
        ) as sink:
            if not isinstance(sink, Asks):
                raise PermanentError(f"a destination of type {options.type} cannot be asked")
            held = sink.holds(wanted.since, wanted.until)
            return [each async for each in held if not is_test(each)]

    async def _send_again(
        self, outbox: Outbox, side: Side, upstream: _Upstream, stored: Stored
    ) -> Side:
        """Have what is missing sent, by a replay or because it was just stored."""
        lost = [each for each in side.missing if each in stored]
        on_its_way = sum(each in upstream.absent for each in side.missing)
        status = (await outbox.status()).sinks.get(side.name)
        if status and status.replay_left:
            left = many(status.replay_left, "event is", "events are")
            said = f"{left} being sent again already: ask later"
            return msgspec.structs.replace(side, unrepaired=said, repaired=on_its_way)
        if lost and not side.held:
            said = "it says that it holds nothing of that time at all: see what its reader may read"
            return msgspec.structs.replace(side, unrepaired=said, repaired=on_its_way)
        for start in range(0, len(lost), _REPLAYED_AT_ONCE):
            some = EventFilter(event_ids=tuple(lost[start : start + _REPLAYED_AT_ONCE]))
            plan = await outbox.plan_replay(side.name, some)
            await outbox.ask_replay(plan)
            on_its_way += plan.events
        return msgspec.structs.replace(side, repaired=on_its_way)


def _in_words(error: ForwarderError) -> str:
    return f"{error}; {error.remedy}" if error.remedy else str(error)
