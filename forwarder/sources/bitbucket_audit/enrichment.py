"""What events do not say but analysts ask: names in full, and a link. Never in the way of them."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import anyio
import structlog
from msgspec.structs import replace

from forwarder.errors import AccessError, TransientError
from forwarder.model import Context, Record
from forwarder.sources.bitbucket_audit.client import Client, MissingError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LOOKUPS: Final = 20
"""Questions for one page of records, at most."""
PATIENCE: Final = 3.0
"""Seconds for all of them together."""
SLOW: Final = 1.0
"""Seconds for all of them together, from which on it rests `SHARE` times as long afterwards."""
SHARE: Final = 20.0
FRESH: Final = 3600.0
"""Seconds for which an answer holds."""
REST: Final = 300.0
"""Seconds without a question after a failure: many refused ones can lock the account."""
REMEMBERED: Final = 4096

_API: Final = "/rest/api/latest"


class Thing(NamedTuple):
    """What can be looked up: ``PROJECT`` by its key, ``REPOSITORY``, ``USER`` by name."""

    type: str
    path: str
    id: str | None


class Enrichment:
    """Adds `Record.context` out of Bitbucket's own API, where that answers at once.

    `url` is where people find Bitbucket. What cannot be looked up now is left out; it is no part
    of a record's identity, so the same event may come with and without it.
    """

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        patience: float = PATIENCE,
        remembered: int = REMEMBERED,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._patience = patience
        self._remembered = remembered
        self._now = now
        self._names: OrderedDict[Thing, tuple[str | None, float]] = OrderedDict()
        self._rests_until = 0.0

    async def enriched(self, records: Iterable[Record]) -> list[Record]:
        """Return the records with what is known about them; raises nothing, waits for little."""
        found = [(record, _things(record)) for record in records]
        await self._learn(dict.fromkeys(thing for _, things in found for thing in things))
        return [self._told(record, things) for record, things in found]

    async def _learn(self, things: Iterable[Thing]) -> None:
        now = self._now()
        if now < self._rests_until:
            return
        unknown = [thing for thing in things if self._names.get(thing, (None, now))[1] <= now]
        with anyio.move_on_after(self._patience) as patience:
            for thing in unknown[:LOOKUPS]:
                try:
                    name = await self._name(thing)
                except MissingError:
                    name = None
                except (TransientError, AccessError) as error:
                    self._rests_until = now + REST
                    log.info("enrichment.rested", seconds=REST, error=str(error))
                    return
                self._names[thing] = (name, now + FRESH)
                self._names.move_to_end(thing)
        if patience.cancelled_caught:
            self._rests_until = now + REST
            log.info("enrichment.rested", seconds=REST, error="no answer in time")
        elif (spent := self._now() - now) > SLOW:  # else each page of a backlog would wait
            self._rests_until = now + spent * (1 + SHARE)
            log.info("enrichment.rested", seconds=spent * SHARE, error="slow answers")
        while len(self._names) > self._remembered:
            self._names.popitem(last=False)

    async def _name(self, thing: Thing) -> str | None:
        found: dict[str, Any] = await self._client.object(f"{_API}{thing.path}", missing=thing.path)
        if thing.id is not None and str(found.get("id")) != thing.id:
            return None  # another one bears that name now
        name = found.get("displayName" if thing.type == "USER" else "name")
        # A lone surrogate would be in no UTF-8, and so keep the whole page out of the outbox.
        return name.encode(errors="replace").decode() if isinstance(name, str) else None

    def _told(self, record: Record, things: tuple[Thing, ...]) -> Record:
        context: dict[str, str] = {}
        for thing in things:
            name, _ = self._names.get(thing, (None, 0.0))
            if name is not None:
                context[_FIELDS[thing.type]] = name
            if thing.type != "USER":
                context["link"] = f"{self._url}{thing.path}"
        return replace(record, context=Context(**context)) if context else record


_FIELDS: Final = {"PROJECT": "project_name", "REPOSITORY": "repository_name", "USER": "actor_name"}


def _things(record: Record) -> tuple[Thing, ...]:
    """Return its author, its first project and the first repository of that, in this order."""
    things = []
    if record.actor and record.actor.name and record.actor.type in ("NORMAL", "SERVICE"):
        slug = quote(record.actor.name, safe="")
        things.append(Thing("USER", f"/users/{slug}", record.actor.id))
    named: dict[str, Thing] = {}
    for one in record.objects:
        if not one.name or not one.type or one.type in named:
            continue
        if one.type == "PROJECT":
            named["PROJECT"] = Thing("PROJECT", f"/projects/{quote(one.name, safe='~')}", one.id)
        elif one.type == "REPOSITORY" and "PROJECT" in named:
            path = f"{named['PROJECT'].path}/repos/{quote(one.name, safe='')}"
            named["REPOSITORY"] = Thing("REPOSITORY", path, one.id)
    return (*things, *named.values())
