"""The audit log as one can ask it: whole windows oldest first, whatever its pages are like."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

import msgspec
import structlog

from forwarder import times
from forwarder.errors import AccessError, TransientError
from forwarder.model import Record, Unreadable
from forwarder.sources.bitbucket_audit import identity, instants, wire
from forwarder.sources.bitbucket_audit.client import (
    Client,
    FiltersRefusedError,
    LimitRefusedError,
    TooLargeError,
)
from forwarder.sources.bitbucket_audit.selection import Selection
from forwarder.sources.bitbucket_audit.shapes import Answer
from forwarder.sources.bitbucket_audit.window import FIRST_WIDTH, Plan, Window, load

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_NEWEST: Final = 200
_WEEK: Final = 7 * 86_400_000
_OTHERS: Final = 500
"""Rows looked at for others than our own: polling each 30 s leaves 120 in an hour."""


@dataclass(slots=True)
class Stretch:
    """What a window holds: records oldest first, and how much was read for them."""

    window: Window
    records: list[Record] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    rows: int = 0
    size: int = 0


class AuditLog:
    """Asks each of `questions` (values of `affectedObject`) for what `selection` wants.

    What the server refuses for good (its filters, a page size) is remembered, and asked otherwise
    from then on. Ids are made in `namespace`.
    """

    def __init__(
        self, client: Client, selection: Selection, *, namespace: str, page_size: int
    ) -> None:
        self.questions: tuple[str | None, ...] = (None,)
        self._client = client
        self.selection = selection
        self._namespace = namespace
        self._page_size = page_size
        self._width = FIRST_WIDTH

    async def read(self, start: int, end: int) -> AsyncGenerator[Stretch, None]:
        """Yield what the milliseconds from `start` to `end` hold, in windows, oldest first.

        Raises:
            TransientError, AccessError: what was yielded is whole nonetheless.
        """
        plan = Plan(start, end, width=self._width)
        while plan.window:
            window = plan.window
            stretch = await self._walk(plan, window)
            if stretch is not None:
                plan.done(self._load(stretch))
                self._width = plan.width
                yield stretch
                continue
            first = await self.oldest(window.start, window.end, within=plan.width)
            if first > window.start:
                yield Stretch(Window(window.start, first))
            plan.skip(first)

    def decode(self, original: bytes) -> Record | Unreadable:
        """Return what a record by itself tells, with the id of the first among equals."""
        return wire.record(msgspec.Raw(original), namespace=self._namespace)

    async def oldest(self, start: int, end: int, *, within: int = _WEEK) -> int:
        """Return a time at most `within` before the first row from `start` on, or before `end`.

        Few questions for one row each over centuries of nothing: each halves what is left.

        Raises:
            TransientError, AccessError: as `read`.
        """
        while end - start > within:
            middle = (start + end) // 2
            newest = await self._newest(Window(start, middle))
            if newest is None:
                start = middle
            else:
                end = newest
        return start

    async def filtered(self, start: int, end: int) -> bool:
        """Ask for one row; return whether the server filters by category and action.

        Raises:
            TransientError, AccessError: as `read`.
        """
        await self._newest(Window(start, end))
        return self.selection.licensed

    async def categories(self, selection: Selection) -> list[str]:
        """Return the categories of the newest rows that `selection` asks for, each once.

        Raises:
            TransientError, AccessError: as `read`.
        """
        mine, self.selection = self.selection, selection
        try:
            found: dict[str, None] = {}
            for affected in self.questions:
                window = Window(instants.EARLIEST, instants.LATEST)
                answer, _ = await self._ask(window, affected, cursor=None, limit=_NEWEST)
                records = (wire.record(raw, namespace="") for raw in answer.entities)
                names = (each.category for each in records if isinstance(each, Record))
                wanted = selection.categories
                found |= dict.fromkeys(name for name in names if not wanted or name in wanted)
            return list(found)
        finally:
            self.selection = mine

    async def has_others(self, start: int, end: int) -> bool:
        """Return whether any of the newest rows of a window is not a search of our own.

        Raises:
            TransientError, AccessError: as `read`.
        """
        anything = Selection()
        window, limit = Window(start, end), min(self._page_size, _OTHERS)
        for affected in self.questions:
            answer, _ = await self._ask(window, affected, limit=limit, selection=anything)
            for raw in answer.entities:
                record = wire.record(raw, namespace=self._namespace)
                if isinstance(record, Unreadable) or anything.wants(record, user=self._client.user):
                    return True
        return False

    async def readable(self, affected: str, ms: int) -> bool:
        """Ask for one row of a value of `affectedObject`; return whether we may.

        Raises:
            TransientError: as `read`.
        """
        try:
            await self._ask(Window(ms, ms), affected, cursor=None, limit=1)
        except AccessError:
            return False
        return True

    async def _newest(self, window: Window) -> int | None:
        found = []
        for affected in self.questions:
            answer, _ = await self._ask(window, affected, cursor=None, limit=1)
            for raw in answer.entities[:1]:
                record = wire.record(raw, namespace=self._namespace)
                if isinstance(record, Unreadable):
                    found.append(window.end)
                else:
                    ms = times.milliseconds(record.occurred_at)
                    found.append(min(max(ms, window.start), window.end))
        return max(found, default=None)

    async def _walk(self, plan: Plan, window: Window) -> Stretch | None:
        """Return what the window holds, or None where the plan finds it crowded."""
        stretch = Stretch(window)
        union: dict[str, Record] = {}
        for affected in self.questions:
            newest_first: list[Record] = []
            newest: int | None = None
            suspect: list[msgspec.Raw] | None = None
            async with aclosing(self._pages(window, affected)) as pages:
                async for answer in pages:
                    if answer.entities == suspect:  # as twins they would all get ids of their own
                        raise TransientError(
                            "Bitbucket's cursor does not lead to older rows: the same come again"
                        )
                    highest, oldest = self._take(answer, stretch, newest_first)
                    climbs = _lies_after(answer.paging_info.next_page_cursor, oldest)
                    suspect = answer.entities if climbs else None
                    first = newest is None
                    newest = highest if newest is None else newest
                    if not answer.paging_info.last_page and plan.crowded(
                        self._load(stretch), newest=newest, oldest=oldest, first=first
                    ):
                        return None
            for record in identity.number(reversed(newest_first)):
                union.setdefault(record.event_id, record)
        stretch.records = sorted(union.values(), key=attrgetter("occurred_at"))
        return stretch

    def _take(
        self, answer: Answer, stretch: Stretch, newest_first: list[Record]
    ) -> tuple[int, int]:
        """Decode a page into `stretch` and `newest_first`; return its newest and oldest time."""
        newest, oldest = stretch.window.start, stretch.window.end
        for raw in answer.entities:
            record = wire.record(raw, namespace=self._namespace)
            stretch.rows += 1
            if isinstance(record, Unreadable):
                stretch.size += len(record.original)
                stretch.unreadable.append(record)
                continue
            stretch.size += len(record.original)
            ms = times.milliseconds(record.occurred_at)
            newest, oldest = max(newest, ms), min(oldest, ms)
            if stretch.window.holds(ms) and self.selection.wants(record, user=self._client.user):
                newest_first.append(record)
        return newest, oldest

    def _load(self, stretch: Stretch) -> float:
        return load(rows=stretch.rows, size=stretch.size, page_size=self._page_size)

    async def _pages(self, window: Window, affected: str | None) -> AsyncGenerator[Answer, None]:
        """Yield every page of a window, newest first."""
        cursor: str | None = None
        limit = self._page_size
        seen: set[str] = set()
        while True:
            answer, limit = await self._ask(window, affected, cursor=cursor, limit=limit)
            yield answer
            if answer.paging_info.last_page:
                return
            following = answer.paging_info.next_page_cursor
            if not following:
                raise TransientError("Bitbucket says that more rows follow, but gives no cursor")
            if following in seen or not _older(following, cursor):
                raise TransientError(
                    f"Bitbucket's cursor does not lead to older rows: {following} after {cursor}"
                )
            seen.add(following)
            cursor = following

    async def _ask(
        self,
        window: Window,
        affected: str | None,
        *,
        cursor: str | None = None,
        limit: int,
        selection: Selection | None = None,
    ) -> tuple[Answer, int]:
        """Return one page, and how many rows may be asked for in the next."""
        while True:
            params = {
                "from": instants.written(window.start),
                "to": instants.written(window.end),
                "limit": str(limit),
                **(selection or self.selection).params(),
                **({"affectedObject": affected} if affected else {}),
                **({"pageCursor": cursor} if cursor else {}),
            }
            try:
                return await self._client.events(params), limit
            except FiltersRefusedError as error:
                self.selection = replace(self.selection, licensed=False)
                log.warning("filters.refused", reason=str(error), then="filtering here")
            except LimitRefusedError as error:
                self._page_size = limit = max(limit // 2, 1)
                log.warning("limit.refused", reason=str(error), page_size=limit)
            except TooLargeError as error:
                if limit == 1:
                    raise TransientError(
                        "one audit event alone passes the size that an answer may have"
                    ) from error
                limit = max(limit // 2, 1)


def _lies_after(cursor: str | None, oldest: int) -> bool:
    """Whether a cursor (``epochMillis,id``) lies after the oldest row of its page."""
    at, _, _ = (cursor or "").partition(",")
    return at.isascii() and at.isdigit() and int(at) > oldest


def _older(cursor: str, than: str | None) -> bool:
    """Whether a cursor (``epochMillis,id``) lies below another; unknown forms pass."""
    try:
        at, id_ = map(int, cursor.split(","))
        than_at, than_id = map(int, (than or "").split(","))
    except ValueError:
        return True
    return (at, id_) < (than_at, than_id)
