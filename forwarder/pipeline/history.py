"""Keeps how everything was over the last day, for charts: five minutes a sample."""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from forwarder.errors import StoreError
from forwarder.interfaces import Outbox
from forwarder.model import SAMPLE_SECONDS, Sample, Status
from forwarder.pipeline.stop import Stop

INTERVAL: Final = 60.0
"""Seconds between two looks: one small write each."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class History:
    """The loop that looks at `status` once a minute. What fails here is only missing in a chart."""

    def __init__(
        self,
        outbox: Outbox,
        status: Callable[[], Awaitable[Status]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._status = status
        self._clock = clock
        self._looks: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=2)

    async def run(self, stop: Stop) -> None:
        """Take a sample each `INTERVAL` seconds until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        while not stop.requested:
            try:
                await self.sample_once()
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001  no chart is worth stopping for
                log.warning("sample.missed", error=str(error))
            await stop.sleep(INTERVAL)

    async def sample_once(self, *, now: datetime | None = None) -> None:
        """Look once, and keep what was seen.

        The very first sample is dated before the present five minutes: it is what theirs is counted
        from.
        """
        taken = tuple(_samples(await self._status(), now or datetime.now(UTC)))
        self._looks.append((self._clock(), {each.part: each.events for each in taken}))
        if len(self._looks) == 1 and not await self._outbox.samples():
            taken = tuple(_before(each) for each in taken)
        await self._outbox.sample(taken)

    def rate(self, part: str, events: int) -> float:
        """Return how many events a second `part` had over the last minute or two.

        `events` is what it counts now; 0 where nobody has looked yet.
        """
        if not self._looks:
            return 0.0
        at, counted = self._looks[0]
        return max(events - counted.get(part, events), 0) / max(self._clock() - at, 1.0)


def _samples(status: Status, now: datetime) -> Iterator[Sample]:
    at = datetime.fromtimestamp(now.timestamp() // SAMPLE_SECONDS * SAMPLE_SECONDS, UTC)
    for source in status.sources:
        yield Sample(
            part=f"sources.{source.name}",
            at=at,
            events=source.events_stored,
            backlog=0,
            lag_seconds=max((now - source.mark).total_seconds(), 0.0) if source.mark else 0.0,
        )
    for sink in status.sinks:
        yield Sample(
            part=f"sinks.{sink.name}",
            at=at,
            events=sink.events_sent,
            backlog=sink.backlog_events,
            lag_seconds=sink.lag_seconds,
        )


def _before(sample: Sample) -> Sample:
    at = sample.at - timedelta(seconds=SAMPLE_SECONDS)
    return Sample(part=sample.part, at=at, events=sample.events, backlog=0, lag_seconds=0.0)
