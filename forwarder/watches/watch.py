"""The loop beside one source: looks, compares with what it knows, and tells what is new.

It has no part in reading: it looks only while the source is read without trouble, and whatever
fails here is logged, counted and tried at the next look.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import anyio
import structlog
from msgspec.structs import replace

from forwarder.errors import AccessError, TransientError
from forwarder.interfaces import Inspects, Outbox, Source
from forwarder.model import AuditSettings, Event
from forwarder.pipeline.progress import Progress
from forwarder.telemetry import LOOKS, Looked
from forwarder.times import utc_now
from forwarder.watches import WatchConfig, findings, memory
from forwarder.watches.findings import Judge
from forwarder.watches.memory import Memory
from forwarder.watches.sightings import Sightings
from forwarder.watches.telling import Teller

_SOON: Final = 5.0
"""Seconds until it is seen whether the first poll has ended."""
_HOUR: Final = timedelta(hours=1)
"""Between two questions whether the log goes on: each leaves a row in it."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Watch:
    """The watch of one source. `system` is its Bitbucket's address, where it has one."""

    def __init__(  # noqa: PLR0913  each is a part of its own, told apart by its keyword
        self,
        name: str,
        source: Source,
        outbox: Outbox,
        options: WatchConfig,
        teller: Teller,
        *,
        progress: Progress,
        system: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.sightings = Sightings()
        self._name = name
        self._part = f"sources.{name}"
        self._upstream = source if isinstance(source, Inspects) else None
        self._outbox = outbox
        self._interval = options.interval
        self._teller = teller
        self._progress = progress
        self._system = system
        self._now = now
        categories = self._upstream.categories if self._upstream else ()
        self._judge = Judge(options, teller.normalize.catalogue, categories)
        self._memory: Memory | None = None
        self._untold: tuple[list[Event], Memory] | None = None
        self._asked_at: datetime | None = None

    async def run(self) -> None:
        """Look each interval, while the source is read, until cancelled."""
        await anyio.sleep(min(self._interval, _SOON))
        while True:
            if self._progress.state == "running":
                await self.attempt()
                await anyio.sleep(self._interval)
            else:
                await anyio.sleep(min(self._interval, _SOON))

    async def attempt(self) -> Looked:
        """Look once; return how it ended. Nothing is raised."""
        ended: Looked
        try:
            seen = await self.look_once()
            ended = "denied" if seen and seen.not_allowed else "ok"
        except TransientError as error:
            ended = "transient"
            log.info("look.postponed", source=self._name, error=str(error))
        except AccessError as error:
            ended = "access"
            log.warning("look.refused", source=self._name, error=str(error), remedy=error.remedy)
        except Exception:
            ended = "bug"
            log.exception("look.crashed", source=self._name)
        LOOKS.labels(self._name, ended).inc()
        return ended

    async def look_once(self) -> AuditSettings | None:
        """Look; afterwards what is new is in the outbox, with all that is remembered.

        Returns what the source told, None where it cannot be asked.

        Raises:
            TransientError, AccessError: from the source, or the outbox; nothing is lost by it.
            StoreError: from the outbox.
        """
        if self._untold:  # whatever became of it: the same events again are known by their ids
            await self._keep(*self._untold)
        if self._memory is None:
            stored = await self._outbox.checkpoint(memory.place(self._name))
            self._memory = memory.recalled(stored) or Memory(began_at=self._now())
        known, now = self._memory, self._now()
        seen = await self._upstream.inspect() if self._upstream else None
        looked = self._judge.settings(seen, known, now) if seen else findings.Looked((), (), ())
        silent = await self._silent(known, now)
        heard = self.sightings.taken()
        looked = findings.Looked(
            (*looked.holds, *silent),
            (*looked.once, *self._judge.kinds(heard.kinds, known, now)),
            {*looked.judged, findings.SILENT},
        )
        events, conditions = self._teller.changes(
            looked, known.conditions, part=self._part, at=now, system=self._system
        )
        learnt = replace(
            known,
            settings=seen,
            levels={**(seen.coverage or {} if seen else {}), **known.levels},
            app_version=(seen and seen.app_version) or known.app_version,
            kinds=findings.known_kinds(known, heard.kinds),
            silence=known.silence.heard(heard.first_at, heard.last_at),
            conditions=conditions,
        )
        await self._keep(events, learnt)
        return seen

    async def _silent(self, known: Memory, now: datetime) -> tuple[findings.Found, ...]:
        """Return that Soteri is silent though the log goes on, where that is so."""
        if self._upstream is None or not self._judge.is_quiet(known, now):
            return ()
        last_at, spoke_at = self.sightings.last_at, known.silence.spoke_at
        if last_at and (spoke_at is None or last_at > spoke_at):  # else it is read once more
            return ()
        is_told = any(each.kind == findings.SILENT for each in known.conditions)
        if not is_told:
            if self._asked_at and now - self._asked_at < _HOUR:
                return ()
            self._asked_at = now
            if not await self._upstream.has_moved(now - _HOUR):
                return ()
        return (self._judge.silence(known),)

    async def _keep(self, events: list[Event], learnt: Memory) -> None:
        self._untold = events, learnt
        checkpoint = memory.kept(learnt, self._now())
        await self._outbox.append(memory.place(self._name), events, checkpoint)
        self._untold = None
        self._memory = learnt
        for event in events:
            log.warning(
                "condition.told",
                source=self._name,
                kind=event.kind,
                event_id=event.event_id,
                detail=next(a.value for a in event.attributes if a.name == "detail"),
            )
