"""Forgets what is delivered and past retention."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta

import structlog

from forwarder.errors import StoreError, TransientError
from forwarder.interfaces import Outbox
from forwarder.pipeline.stop import Stop
from forwarder.telemetry import EVENTS_FORGOTTEN

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Janitor:
    """The loop that keeps the outbox small.

    An event is forgotten once every sink has settled it, its retention is over, and no source
    will read it again: the outbox knows a re-read event only while it remembers its id. So age is
    counted back from the sources' marks where they stand behind the clock (a Bitbucket that was
    away for long, a clock that jumped ahead).
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        retention: float,
        rereads: Mapping[str, float],
        sinks: Collection[str],
        interval: float = 600.0,
    ) -> None:
        self._outbox = outbox
        self._interval = interval
        self.keep(retention=retention, rereads=rereads, sinks=sinks)

    def keep(
        self, *, retention: float, rereads: Mapping[str, float], sinks: Collection[str]
    ) -> None:
        """Keep from now on what these sinks have not settled, and what these sources read again."""
        self._retention = retention
        self._rereads = dict(rereads)
        self._sinks = tuple(sinks)

    def on(self, outbox: Outbox) -> "Janitor":
        """Return this janitor where `outbox` is its own, else one that keeps the same there."""
        if outbox is self._outbox:
            return self
        other = copy(self)
        other._outbox = outbox  # noqa: SLF001  our own class
        return other

    async def run(self, stop: Stop) -> None:
        """Tidy up each `interval` seconds until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        while not stop.requested:
            try:
                await self.tidy_once()
            except StoreError:
                raise
            except TransientError as error:
                log.warning("janitor.postponed", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("janitor.failed")
            await stop.sleep(self._interval)

    async def tidy_once(self, *, now: datetime | None = None) -> int:
        """Forget what may be forgotten; return how many events that were."""
        before = await self._horizon(now or datetime.now(UTC))
        if before is None:
            return 0
        forgotten = 0
        while count := await self._outbox.prune(stored_before=before, sinks=self._sinks):
            forgotten += count
        if forgotten:
            EVENTS_FORGOTTEN.inc(forgotten)
            log.info("events.forgotten", events=forgotten, stored_before=before)
        return forgotten

    async def make_room(
        self, is_enough: Callable[[], Awaitable[bool]], *, now: datetime | None = None
    ) -> int:
        """Forget the oldest delivered events, however young, until `is_enough` or none is left.

        What a source will read again stays. Returns how many events are gone.
        """
        before = await self._horizon(now or datetime.now(UTC), retention=0.0)
        forgotten = 0
        while before is not None and not await is_enough():
            count = await self._outbox.prune(stored_before=before, sinks=self._sinks)
            if not count:
                break
            forgotten += count
        if forgotten:
            EVENTS_FORGOTTEN.inc(forgotten)
            log.warning("events.forgotten_early", events=forgotten, stored_before=before)
        return forgotten

    async def _horizon(self, now: datetime, *, retention: float | None = None) -> datetime | None:
        retention = self._retention if retention is None else retention
        horizon = now - timedelta(seconds=retention)
        for source, rereads in self._rereads.items():
            checkpoint = await self._outbox.checkpoint(source)
            if checkpoint is None:
                return None
            kept = timedelta(seconds=max(retention, rereads))
            horizon = min(horizon, checkpoint.mark - kept)
        return horizon
