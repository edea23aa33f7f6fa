"""The source itself: each project and repository in turn, newest first down to what is known."""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from urllib.parse import quote

import msgspec
import structlog

from forwarder import times
from forwarder.errors import AccessError, ForwarderError, TransientError
from forwarder.model import AffectedObject, Checkpoint, Page, Record, Unreadable
from forwarder.sources.bitbucket_audit import identity, instants
from forwarder.sources.bitbucket_audit.client import Client
from forwarder.sources.bitbucket_audit.clock import JITTER
from forwarder.sources.bitbucket_audit.enrichment import Enrichment
from forwarder.sources.bitbucket_audit.source import Start
from forwarder.sources.bitbucket_repository_audit import values

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_AUDIT: Final = "/rest/audit/latest"
_REMOVED_IN: Final = 8
_SHARED: Final = 20
"""Values that neighbouring pages share: their order tells what happened between two questions."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A project (its key) or a repository (``KEY/slug``), as the configuration names it."""

    named: str

    @property
    def path(self) -> str:
        """Where it is, below ``/rest/api/latest`` and below ``/rest/audit/latest``."""
        key, slash, slug = self.named.partition("/")
        project = f"/projects/{quote(key, safe='~')}"
        return f"{project}/repos/{quote(slug, safe='')}" if slash else project

    def __str__(self) -> str:
        return f"{'repository' if '/' in self.named else 'project'} {self.named}"


@dataclass(frozen=True, slots=True)
class Walks:
    """How far each goes: `overlap` milliseconds behind what is known, `page_size` values a page."""

    overlap: int
    page_size: int


class BitbucketRepositoryAudit:
    """The audit log of single projects and repositories, before Bitbucket 8.0, as a `Source`.

    The API has neither filters nor bounds, and shows the newest first: each poll walks down to a
    little behind what it knows, holds what it finds, and yields it at the end of
    each walk. The first walk so holds all that a project or repository has.
    """

    def __init__(
        self,
        client: Client,
        subjects: tuple[Subject, ...],
        *,
        actions: tuple[str, ...],
        namespace: str,
        start_at: Start,
        walks: Walks,
        enrichment: Enrichment | None = None,
    ) -> None:
        self._client = client
        self._subjects = subjects
        self._actions = frozenset(actions)
        self._namespace = namespace
        self._start_at = start_at
        self._walks = walks
        self._enrichment = enrichment
        self._objects: dict[Subject, tuple[AffectedObject, ...]] = {}

    async def poll(self, after: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield what came after `after`, one page for each project and repository.

        See `interfaces.Source.poll`. One that is refused or gone does not stop the others; it is
        raised after them.
        """
        await self._gate()
        past, _ = self._client.clock.now()
        floor = self._floor(after, past)
        marks = _marks(after)
        failed: ForwarderError | None = None
        for subject in self._subjects:
            known = marks.get(subject.named)
            since = floor if known is None else max(min(known, past) - self._walks.overlap, floor)
            try:
                records, unreadable = await self._walk(subject, since)
            except AccessError as error:
                log.warning("subject.refused", subject=subject.named, error=str(error))
                failed = failed or error
                continue
            if self._enrichment:
                records = await self._enrichment.enriched(records)
            marks[subject.named] = past
            checkpoint = self._checkpoint(marks, after, floor, past)
            yield Page(tuple(records), checkpoint, tuple(unreadable))
        if failed:
            raise failed

    async def probe(self) -> str:
        """Ask for the version, and for one value of each project and repository."""
        version = await self._gate()
        for subject in self._subjects:
            await self._page(subject, start=0, limit=1)
        count = len(self._subjects)
        return f"Bitbucket {version}; the audit logs of {count} projects and repositories are read"

    def _floor(self, after: Checkpoint | None, past: int) -> int:
        """Return the time before which nothing is wanted: in the future it would hide events."""
        if after is not None:
            at = after.extra.get("start_at")
            floor = times.milliseconds(instants.parse(at)) if at else instants.EARLIEST
            moved_back = past < floor - JITTER
            return min(floor, past - self._walks.overlap if moved_back else past)
        if self._start_at == "beginning":
            return instants.EARLIEST
        if isinstance(self._start_at, datetime):
            return min(times.milliseconds(self._start_at), past)
        return past

    def _checkpoint(
        self, marks: Mapping[str, int], after: Checkpoint | None, floor: int, past: int
    ) -> Checkpoint:
        named = {subject.named for subject in self._subjects}
        kept = {name: ms for name, ms in marks.items() if name in named}
        oldest = min(kept.values()) if len(kept) == len(named) else max(floor, 0)
        mark = oldest if after is None else max(oldest, times.milliseconds(after.mark))
        mark = min(mark, past)
        extra: dict[str, Any] = {"marks": {name: instants.written(ms) for name, ms in kept.items()}}
        if floor > instants.EARLIEST:
            extra["start_at"] = instants.written(floor)
        return Checkpoint(times.moment(mark), extra)

    async def _walk(self, subject: Subject, since: int) -> tuple[list[Record], list[Unreadable]]:
        """Return all from `since` on, oldest first; whole milliseconds, so that equals count."""
        objects = await self._described(subject)
        read: list[Record] = []
        unreadable: list[Unreadable] = []
        start = 0
        tail: list[msgspec.Raw] = []
        while True:
            found = await self._page(subject, start=start, limit=self._walks.page_size)
            passed = False  # what is known already
            for raw in _beyond(tail, found.values):
                record = values.record(raw, namespace=self._namespace, objects=objects)
                if isinstance(record, Unreadable):
                    unreadable.append(record)
                elif times.milliseconds(record.occurred_at) < since:
                    passed = True
                elif not self._actions or record.action in self._actions:
                    read.append(record)
            following = found.next_page_start
            if passed or found.is_last_page or following is None:
                break
            tail = (
                found.values[-min(_SHARED, self._walks.page_size // 2) :]
                if self._walks.page_size > 1
                else []
            )
            if following - len(tail) <= start:
                raise TransientError(f"Bitbucket's paging of {subject} does not lead on")
            start = following - len(tail)
        read.reverse()
        read.sort(key=attrgetter("occurred_at"))
        return identity.number(read), unreadable

    async def _page(self, subject: Subject, *, start: int, limit: int) -> values.Values:
        body = await self._client.body(
            f"{_AUDIT}{subject.path}/events",
            {"start": str(start), "limit": str(limit)},
            missing=str(subject),
        )
        try:
            return values.page(body)
        except msgspec.ValidationError as error:
            raise AccessError(
                f"the audit log of {subject}: the answer is no page: {error}",
                remedy="check the url: something else answers there",
            ) from error
        except ValueError as error:
            raise TransientError(f"the answer is no whole JSON: {error}") from error

    async def _described(self, subject: Subject) -> tuple[AffectedObject, ...]:
        """Return the subject as events name it; a value of this API does not say it itself."""
        if subject not in self._objects:
            path = f"/rest/api/latest{subject.path}"
            found = await self._client.object(path, missing=str(subject))
            project = found.get("project", found)
            named = [AffectedObject("PROJECT", str(project.get("key")), str(project.get("id")))]
            if "slug" in found:
                named.append(AffectedObject("REPOSITORY", str(found["slug"]), str(found.get("id"))))
            self._objects[subject] = tuple(named)
        return self._objects[subject]

    async def _gate(self) -> str:
        """Return Bitbucket's version, where it still has this API.

        Raises:
            AccessError: it has not.
        """
        version = await self._client.version()
        major = re.match(r"\d+", version)
        if major and int(major[0]) >= _REMOVED_IN:
            raise AccessError(
                f"Bitbucket {version} has no audit log of single repositories: 8.0 removed it",
                remedy='set type = "bitbucket_audit", which takes the same projects and '
                "repositories (and needs no more than their administrator's token)",
            )
        return version


def _marks(after: Checkpoint | None) -> dict[str, int]:
    stored = after.extra.get("marks", {}) if after else {}
    return {name: times.milliseconds(instants.parse(at)) for name, at in stored.items()}


def _beyond(tail: list[msgspec.Raw], found: list[msgspec.Raw]) -> list[msgspec.Raw]:
    """Return what follows `tail`, the end of the page before, with which `found` should begin.

    What happened in between stands on top and moves all others down; without this they would be
    counted twice.

    Raises:
        TransientError: it moved them off this page.
    """
    rows = [bytes(raw) for raw in found]
    wanted = [bytes(raw) for raw in tail]
    for moved in range(len(rows) - len(wanted) + 1):
        if rows[moved : moved + len(wanted)] == wanted:
            return found[moved + len(wanted) :]
    raise TransientError("the audit log changed too much while it was read")
