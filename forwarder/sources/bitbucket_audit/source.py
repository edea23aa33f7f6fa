"""The source itself: what to read when, and where that leaves it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import structlog

from forwarder import times
from forwarder.errors import AccessError
from forwarder.model import AuditSettings, Checkpoint, Concern, Page, Record, Unreadable
from forwarder.sources.bitbucket_audit import instants, probing
from forwarder.sources.bitbucket_audit.audit_log import AuditLog, Stretch
from forwarder.sources.bitbucket_audit.client import Client
from forwarder.sources.bitbucket_audit.clock import JITTER
from forwarder.sources.bitbucket_audit.enrichment import Enrichment
from forwarder.sources.bitbucket_audit.inspection import Inspection
from forwarder.sources.bitbucket_audit.position import Position
from forwarder.sources.bitbucket_audit.scope import Scope, Watch

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

Start = datetime | Literal["now", "beginning"]


@dataclass(frozen=True, slots=True)
class Rereads:
    """What is read again, in milliseconds: `overlap` by every poll; each `interval`, `window`."""

    overlap: int
    interval: int
    window: int


class BitbucketAudit:
    """Bitbucket's audit log as a `Source`.

    A poll reads everything from a little behind the mark to a little past the server's now, oldest
    first, and each `interval` once more, deeper, what came late. Reading again is
    harmless: the same record has the same id.
    """

    def __init__(  # noqa: PLR0913  each is a part of its own, told apart by its keyword
        self,
        client: Client,
        audit_log: AuditLog,
        *,
        scope: Scope,
        start_at: Start,
        rereads: Rereads,
        rows_a_day: int,
        enrichment: Enrichment | None = None,
        inspection: Inspection,
    ) -> None:
        self.categories = inspection.categories
        self._client = client
        self._log = audit_log
        self._watch = Watch(scope)
        self._start_at = start_at
        self._rereads = rereads
        self._rows_a_day = rows_a_day
        self._enrichment = enrichment
        self._inspection = inspection
        self._version = ""

    async def poll(self, after: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield what came after `after`, window by window, and a last page that moves the mark.

        See `interfaces.Source.poll`. Refused access has all names looked up again.
        """
        try:
            async with aclosing(self._poll(after)) as pages:
                async for page in pages:
                    yield page
        except AccessError:
            self._watch.expire()
            raise

    async def _poll(self, after: Checkpoint | None) -> AsyncGenerator[Page, None]:
        stored = Position.of(after, overlap=self._rereads.overlap) if after else None
        await self._prepare(stored.ids if stored else {})
        past, reached = self._client.clock.now()
        if stored is None:
            position = await self._beginning(past)
            yield Page((), position.checkpoint())
        else:
            position = stored.asking(self._watch.ids, but=self._watch.left_out)
        overlap = self._rereads.overlap
        position = self._told(position, past, back=position.mark - past)
        start = max(position.floor, min(position.resume, past - overlap))
        end = reached + overlap
        earliest_mark = min(position.mark, past)
        async with aclosing(self._log.read(start, end)) as stretches:
            async for stretch in stretches:
                if stretch.window.end >= end:
                    found, _ = self._client.clock.now()
                    back = past - found
                    mark = past = min(past, found)
                    position = self._told(position, past, back=back)
                else:
                    mark = max(earliest_mark, min(stretch.window.end, past))
                resume = min(stretch.window.end, past - overlap)
                position = replace(position, mark=mark, resume=resume)
                self._watch.heard(stretch.records)
                yield await self._page(stretch, position.checkpoint())
        if past - position.rescanned >= self._rereads.interval:
            async with aclosing(self._rescan(position, start)) as pages:
                async for page in pages:
                    yield page

    def _told(self, position: Position, past: int, *, back: int) -> Position:
        """Return the position where the clock tells `past`, `back` less than was known.

        What it dates now lies behind us: no floor hides that, and a deeper re-read is owed until
        one is complete, whatever cuts this poll short.
        """
        overlap = self._rereads.overlap
        position = position.floored(past - overlap if back > JITTER else past)
        if back <= max(overlap, JITTER):  # less is between nodes, and is read again anyway
            return position
        log.warning("clock.moved_back", mark=position.at)
        return replace(position, rescanned=min(position.rescanned, past - self._rereads.interval))

    async def _rescan(self, position: Position, before: int) -> AsyncGenerator[Page, None]:
        """Yield what the deep re-read holds, and a page that says that it is done."""
        start = max(position.floor, min(position.rescanned, position.mark) - self._rereads.window)
        if start < before:
            async with aclosing(self._log.read(start, before)) as stretches:
                async for stretch in stretches:
                    if stretch.records or stretch.unreadable:
                        yield await self._page(stretch, position.checkpoint())
        yield Page((), replace(position, rescanned=position.mark).checkpoint())

    async def _beginning(self, past: int) -> Position:
        if self._start_at == "now":
            return Position(past, past, past, floor=past, ids=self._watch.ids)
        floor = instants.EARLIEST
        if isinstance(self._start_at, datetime):
            floor = min(times.milliseconds(self._start_at), past)
        start = await self._log.oldest(floor, past)
        return Position(start, start, past, floor=floor, ids=self._watch.ids)

    async def read(
        self, since: datetime | None, until: datetime | None, *, known: Checkpoint | None = None
    ) -> AsyncGenerator[Page, None]:
        """Yield a time range whole, oldest first, and end; no checkpoint is asked for.

        None means from the beginning, and until the server's now; both ends are inclusive. Each
        page's mark is how far the reading has come. A poll's checkpoint, where one is `known`,
        tells the ids of projects and repositories that have other names now.

        Raises:
            TransientError, AccessError: what was yielded is whole nonetheless.
        """
        await self._prepare(Position.of(known, overlap=0).ids if known else None)
        _, reached = self._client.clock.now()
        start = instants.EARLIEST if since is None else times.milliseconds(since)
        end = reached if until is None else times.milliseconds(until)
        if start > end:
            return
        start = await self._log.oldest(start, end)
        async with aclosing(self._log.read(start, end)) as stretches:
            async for stretch in stretches:
                mark = Checkpoint(times.moment(stretch.window.end))
                yield await self._page(stretch, mark)

    async def _page(self, stretch: Stretch, checkpoint: Checkpoint) -> Page:
        records = stretch.records
        if self._enrichment:
            records = await self._enrichment.enriched(records)
        window = times.moment(stretch.window.start), times.moment(stretch.window.end)
        return Page(tuple(records), checkpoint, tuple(stretch.unreadable), window)

    def decode(self, original: bytes) -> Record | Unreadable:
        """Return what a record that was kept tells; see `interfaces.Rereads`."""
        return self._log.decode(original)

    async def inspect(self) -> AuditSettings:
        """Ask what is recorded; see `interfaces.Inspects`."""
        return await self._inspection.look()

    async def has_moved(self, since: datetime) -> bool:
        """Ask for the newest rows of any kind; see `interfaces.Inspects`. Writes an audit row."""
        _, reached = self._client.clock.now()
        return await self._log.has_others(times.milliseconds(since), reached)

    async def probe(self, *, known: Checkpoint | None = None) -> str:
        """Ask for the version and for one event; return what was found.

        `known` tells ids, as in `read`. Writes one row into the audit log for each question that
        a poll takes.
        """
        self._watch.expire()
        async with self._client.diagnosed():
            self._version = await probing.version(self._client)
            await self._prepare(Position.of(known, overlap=0).ids if known else None)
            past, reached = self._client.clock.now()
            filtered = await self._log.filtered(past - self._rereads.window, reached)
        ahead = self._client.clock.ahead()
        found = [
            f"Bitbucket {self._version}"
            + (f" as {self._client.user}" if self._client.user else ""),
            "the audit log can be read"
            + ("" if filtered else ", but not filtered (no Data Center licence): filtering here"),
            _clock(ahead),
            f"polling writes at least {self._rows_a_day:,} rows a day into the audit log",
            *(f"{name} is not found, {then}" for name, then in self._watch.missing.items()),
        ]
        return "; ".join(found)

    async def concerns(self) -> list[Concern]:
        """Return what keeps events from us, or soon may; writes a few rows into the audit log."""
        found = await probing.concerns(self._client, self._log.selection, self._log.categories)
        found += [
            Concern(
                f"{name} is not found, {then}",
                "if it was renamed or moved, write its new name into projects or repositories",
            )
            for name, then in self._watch.missing.items()
        ]
        return found

    async def _prepare(self, ids: Mapping[str, str] | None = None) -> None:
        """Learn the server's time and our own name, and each hour the ids of what is to be read.

        `ids` are those that were stored.
        """
        if not self._version:
            self._version = await self._client.version()
        now, _ = self._client.clock.now()
        if self._watch.due(now):
            self._log.questions = await self._watch.questions(
                self._client, lambda asked: self._log.readable(asked, now), ids or {}, now
            )


def _clock(ahead: float | None) -> str:
    if ahead is None:
        return "its clock says nothing"
    if abs(ahead) < 1:  # it says whole seconds
        return "its clock goes with ours"
    return f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
