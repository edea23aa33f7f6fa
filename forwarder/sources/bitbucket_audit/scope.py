"""Which projects and repositories are asked for, in the API's words, and what becomes of them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

import structlog

from forwarder.errors import AccessError
from forwarder.model import Record
from forwarder.sources.bitbucket_audit.client import Client, MissingError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_OBJECTS: Final = 100
"""Ids in one question: with 8 digits each its address stays far below Tomcat's 8 KiB."""
_HOUR: Final = 3_600_000
_LEFT_OUT: Final = "left out"

Readable = Callable[[str], Awaitable[bool]]
"""Whether a value of `affectedObject` may be asked for."""


class Wanted(NamedTuple):
    """A project by its key, or a repository as ``KEY/slug``, as the configuration names it."""

    type: str
    named: str

    @property
    def path(self) -> str:
        """Where it is below ``/rest/api/latest``; personal projects are ``~user``."""
        key, slash, slug = self.named.partition("/")
        project = f"/projects/{quote(key, safe='~')}"
        return f"{project}/repos/{quote(slug, safe='')}" if slash else project

    def __str__(self) -> str:
        return f"{self.type.lower()} {self.named}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Keys of projects, and repositories as ``KEY/slug``; neither asks for everything.

    The API joins ids of one type by OR, but types by AND, so the union takes several questions.
    """

    projects: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many questions it takes."""
        return max(sum(-(-len(some) // _OBJECTS) for some in (self.projects, self.repositories)), 1)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Each of them."""
        projects = (Wanted("PROJECT", key) for key in self.projects)
        return (*projects, *(Wanted("REPOSITORY", name) for name in self.repositories))


@dataclass(slots=True)
class Watch:
    """The ids of what is wanted: they outlive renames and moves, and restarts in the checkpoint.

    Each is looked up by name every hour. One that is no longer found by its name goes on being
    asked for by its id; if that is refused (it was deleted, and we are no global administrator),
    it is left out until it may be asked for again, so that the others go on.
    """

    scope: Scope
    ids: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What is not found by its name, and what is done about that."""
    _due_at: int | None = None
    _names: dict[tuple[str, str, str], tuple[datetime | None, str]] = field(default_factory=dict)

    def due(self, now: int) -> bool:
        """Whether to look up again at `now`, in milliseconds of the server."""
        return self._due_at is None or not 0 < self._due_at - now <= _HOUR

    def expire(self) -> None:
        """Look up again before anything else is asked: access was refused."""
        self._due_at = None

    @property
    def left_out(self) -> list[str]:
        """The names of what may not be asked for now."""
        return [name for name, then in self.missing.items() if then == _LEFT_OUT]

    async def questions(
        self, client: Client, readable: Readable, stored: Mapping[str, str], now: int
    ) -> tuple[str | None, ...]:
        """Return the values of `affectedObject` that together ask for it; (None,) for everything.

        `stored` are ids from the checkpoint.

        Raises:
            AccessError: one was never seen, or nothing is left; the message names it.
            TransientError: Bitbucket cannot be asked now.
        """
        wanted = self.scope.wanted
        asked: dict[str, list[str]] = {"PROJECT": [], "REPOSITORY": []}
        self.missing = {}
        for one in wanted:
            try:
                id_, name = await _found(client, one)
            except MissingError:
                known = self.ids.get(one.named) or stored.get(one.named)
                if known is None:
                    raise
                self.ids[one.named] = known
                allowed = await readable(f"{one.type},{known}")
                self.missing[one.named] = "asked for by its id" if allowed else _LEFT_OUT
                log.warning("scope.missing", name=one.named, id=known, then=self.missing[one.named])
                if allowed:
                    asked[one.type].append(known)
                continue
            self._seen(one.named, id_, stored)
            self._called("look-up", one.type, id_, name, None)
            asked[one.type].append(id_)
        if wanted and not any(asked.values()):
            raise AccessError(
                f"{', '.join(map(str, wanted))}: gone, and may not be asked for",
                remedy="check projects and repositories, and what the account administers",
            )
        self._due_at = now + _HOUR
        return (*_joined("PROJECT", asked), *_joined("REPOSITORY", asked)) or (None,)

    def _seen(self, named: str, id_: str, stored: Mapping[str, str]) -> None:
        before = self.ids.get(named) or stored.get(named)
        if before not in (None, id_):
            log.warning("scope.replaced", name=named, id=id_, before=before)
        self.ids[named] = id_

    def heard(self, records: Iterable[Record]) -> None:
        """Take from events, oldest first, what the watched objects are called now."""
        if not self.ids:
            return
        watched = {(one.type, self.ids.get(one.named)) for one in self.scope.wanted}
        for record in records:
            for one in record.objects:
                if one.id and one.name and (one.type, one.id) in watched:
                    self._called("event", str(one.type), one.id, one.name, record.occurred_at)

    def _called(self, road: str, kind: str, id_: str, name: str, at: datetime | None) -> None:
        """Say where the name differs from the last: events may name a repository otherwise."""
        known_at, known = self._names.get((road, kind, id_), (at, name))
        if at and known_at and at < known_at:  # read again, or late
            return
        if name.casefold() != known.casefold():
            log.warning("scope.renamed", type=kind, id=id_, before=known, name=name)
        self._names[road, kind, id_] = (at, name)


async def _found(client: Client, wanted: Wanted) -> tuple[str, str]:
    """Return the id, and the key or slug, under which it is known."""
    found = await client.object(f"/rest/api/latest{wanted.path}", missing=str(wanted))
    if not isinstance(found.get("id"), int):
        raise AccessError(f"{wanted} has no id", remedy="check the url")
    name = found.get("key" if wanted.type == "PROJECT" else "slug")
    return str(found["id"]), str(name or wanted.named.rpartition("/")[2])


def _joined(kind: str, asked: Mapping[str, list[str]]) -> list[str]:
    ids = list(dict.fromkeys(asked[kind]))
    starts = range(0, len(ids), _OBJECTS)
    return [";".join(f"{kind},{id_}" for id_ in ids[at : at + _OBJECTS]) for at in starts]
