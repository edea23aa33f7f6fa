"""Fills the outbox: source -> normalizer -> outbox."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from anyio.lowlevel import checkpoint

from forwarder.errors import ForwarderError
from forwarder.interfaces import Normalizer, Outbox, Source
from forwarder.logs import page_named, places_named
from forwarder.model import Event, Outgoing, Page, Record, Unreadable, packed
from forwarder.options import SourceOptions
from forwarder.pipeline.ahead import ahead
from forwarder.pipeline.pressure import Pressure
from forwarder.pipeline.progress import Progress, outcome
from forwarder.pipeline.stop import Stop
from forwarder.redaction import Redactor
from forwarder.telemetry import (
    EVENTS_STORED,
    POLL_SECONDS,
    POLLS,
    RECORDS_READ,
    RECORDS_UNREADABLE,
)
from forwarder.tracing import span

_AT_ONCE: Final = 100
"""Records taken through all steps before the next: what they touch stays in the caches."""
_MET: Final = 10_000
"""Records that cannot be read of which is remembered that they were told."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll did: pages stored, records read, events that were new, records buried.

    `unreadable` leaves out what an earlier poll had buried already.
    `window` is the closed time range that was read, over all pages; `seconds` is how long it took.
    """

    pages: int = 0
    records: int = 0
    stored: int = 0
    unreadable: int = 0
    window: tuple[datetime, datetime] | None = None
    seconds: float = 0.0


class _Taken(NamedTuple):
    """What records became: events, the same as they are stored, and those that became none."""

    events: Sequence[Event]
    outgoing: Sequence[Outgoing]
    unreadable: Sequence[Unreadable]


class Poller:
    """The loop of one source; the only place that polls it again."""

    def __init__(
        self,
        name: str,
        source: Source,
        normalize: Normalizer,
        outbox: Outbox,
        options: SourceOptions,
        pressure: Pressure | None = None,
        redact: Redactor | None = None,
    ) -> None:
        self.name = name
        self.progress = Progress("source", name, options.retry)
        self.polled: Polled | None = None
        """The last poll that succeeded."""
        self.heard: Callable[[Sequence[Event]], None] | None = None
        """Told the events of each page that was stored, those known already included."""
        self._source = source
        self._normalize = normalize
        self._outbox = outbox
        self._interval = options.poll_interval
        self._pressure = pressure
        self._redact = redact
        self._met: set[int] = set()
        POLLS.labels(name, "bug")  # 0 from the start: a series that begins with 1 has no increase

    async def run(self, stop: Stop) -> None:
        """Poll until `stop`, each `poll_interval` after the last, sooner or later after failures.

        Raises:
            StoreError: the outbox cannot be used.
        """
        while not stop.requested:
            wait = await self.attempt(self._interval)
            await self.progress.note(self._outbox)
            with self.progress.pausing(wait):
                await stop.sleep(wait)

    async def catch_up(self, stop: Stop) -> None:
        """Poll until one poll has read everything, or until `stop`."""
        while not stop.requested:
            wait = await self.attempt(0.0)
            await self.progress.note(self._outbox)
            if self.progress.state == "running":
                return
            await stop.sleep(wait)

    async def attempt(self, pause: float) -> float:
        """Poll once; return the seconds to wait: `pause`, or what the failure asks for."""
        began = self.progress.clock()
        try:
            with POLL_SECONDS.labels(self.name).time(), span("poll", source=self.name):
                polled = await self.poll_once()
        except Exception as error:  # noqa: BLE001  the edge of the loop: it must live
            POLLS.labels(self.name, outcome(error)).inc()
            return self.progress.failed(error)
        POLLS.labels(self.name, "ok").inc()
        self.polled = replace(polled, seconds=self.progress.clock() - began)
        self.progress.succeeded()
        log.debug(
            "poll.finished",
            source=self.name,
            pages=polled.pages,
            records=polled.records,
            stored=polled.stored,
        )
        return pause

    async def poll_once(self) -> Polled:
        """Read what came after the checkpoint, store it page by page, and return what was done.

        The next page is read while the last is stored. What was stored before an error stays
        stored, with its checkpoint.

        Raises:
            TransientError, AccessError: from the source.
            HoldError: there is no room for what comes next; the source still holds it.
            StoreError: from the outbox.
        """
        done = Polled()
        self.progress.moved()
        if self._pressure:
            await self._pressure.admit()
        after = await self._outbox.checkpoint(self.name)
        async with ahead(self._source.poll(after)) as pages:
            async for page in pages:
                if self._pressure:
                    await self._pressure.admit()
                done = await self._store(page, done)
        return done

    async def _store(self, page: Page, done: Polled) -> Polled:
        heard = self.heard
        events: list[Event] = []
        outgoing: list[Outgoing] = []
        unreadable = [self._without_secrets(each) for each in page.unreadable]
        for start in range(0, len(page.records), _AT_ONCE):
            taken = self._taken(page.records[start : start + _AT_ONCE])
            outgoing += taken.outgoing
            if heard:  # else they need not be kept
                events += taken.events
            unreadable += taken.unreadable
            await checkpoint()  # the sinks go on meanwhile
        if unreadable and self._pressure:
            await self._pressure.admit_unreadable()
        with span("page", source=self.name, records=len(page.records)) as told:
            new = await self._outbox.append(
                self.name, outgoing, page.checkpoint, unreadable=unreadable, window=page.window
            )
            told.say(stored=len(new), unreadable=len(unreadable))
            if new:
                told.brings(page_named(new[-1]))
        self.progress.moved()
        if heard:
            heard(events)
        EVENTS_STORED.labels(self.name).inc(len(new))
        RECORDS_READ.labels(self.name).inc(len(page.records))
        met = self._first_met(unreadable)
        if new or met:
            log.info(
                "page.stored",
                source=self.name,
                records=len(page.records),
                stored=len(new),
                mark=page.checkpoint.mark,
                **_named(new),
            )
        for record in met:
            RECORDS_UNREADABLE.labels(self.name).inc()
            log.error(
                "record.buried", source=self.name, detail=record.detail, bytes=len(record.original)
            )
        return Polled(
            pages=done.pages + 1,
            records=done.records + len(page.records),
            stored=done.stored + len(new),
            unreadable=done.unreadable + len(met),
            window=_spanned(done.window, page.window),
        )

    def _taken(self, records: Sequence[Record]) -> _Taken:
        try:
            events = self._normalized(records)
            return _Taken(events, self._redacted(events), ())
        except ForwarderError:
            raise  # no record's fault: a key to redact with that cannot be read, for instance
        except Exception as error:  # noqa: BLE001  one record's trouble must not stop the log
            if len(records) == 1:
                detail = f"it cannot be made an event: {type(error).__name__}: {error}"
                failed = Unreadable(bytes(records[0].original), detail)
                return _Taken((), (), (self._without_secrets(failed),))
        # Whose trouble it is shows where each goes by itself.
        apart = [self._taken([record]) for record in records]
        return _Taken(
            [event for part in apart for event in part.events],
            [event for part in apart for event in part.outgoing],
            [record for part in apart for record in part.unreadable],
        )

    def _normalized(self, records: Sequence[Record]) -> tuple[Event, ...]:
        return tuple([self._normalize(record, source=self.name) for record in records])

    def _redacted(self, events: Sequence[Event]) -> tuple[Outgoing, ...]:
        made = tuple([packed(event) for event in events])
        return self._redact.all(made) if self._redact else made

    def _first_met(self, records: Sequence[Unreadable]) -> list[Unreadable]:
        """Return those that no poll has met before: an overlap brings each of them many times."""
        if len(self._met) > _MET:
            self._met.clear()
        first = [each for each in records if hash(each.original) not in self._met]
        self._met.update(hash(each.original) for each in records)
        return first

    def _without_secrets(self, record: Unreadable) -> Unreadable:
        if self._redact is None:
            return record
        return Unreadable(self._redact.record(record.original), record.detail)


def _named(new: range) -> dict[str, str]:
    """Return how the log names a page, where it holds anything new: batches name it so too."""
    return {"page": page_named(new[-1]), "places": places_named(new[0], new[-1])} if new else {}


def _spanned(
    one: tuple[datetime, datetime] | None, other: tuple[datetime, datetime] | None
) -> tuple[datetime, datetime] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])
