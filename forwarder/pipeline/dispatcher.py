"""Empties the outbox into one sink; the only place that sends again."""

import structlog

from forwarder.errors import PermanentError
from forwarder.interfaces import Outbox, Sink
from forwarder.model import Batch, Receipt, Rejection
from forwarder.options import SinkOptions
from forwarder.pipeline.progress import Progress, outcome
from forwarder.pipeline.stop import Stop
from forwarder.telemetry import EVENTS_BURIED, EVENTS_SENT, SEND_SECONDS, SENDS

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Dispatcher:
    """The loop of one sink: batches in order, one at a time, each settled before the next."""

    def __init__(self, name: str, sink: Sink, outbox: Outbox, options: SinkOptions) -> None:
        self.name = name
        self.sink = sink
        self.progress = Progress("sink", name, options.retry)
        self._outbox = outbox
        self._limit = options.batch.events
        self._max_bytes = options.batch.bytes
        self._age = options.batch.age
        self._owed: tuple[Batch, Receipt, int] | None = None

    async def run(self, stop: Stop) -> None:
        """Deliver until `stop`; whatever fails is kept and tried again, without an end.

        Raises:
            StoreError: the outbox cannot be used.
        """
        while not stop.requested:
            wait = await self.attempt(stop)
            await self.progress.note(self._outbox)
            with self.progress.idle():
                await stop.sleep(wait)

    async def attempt(self, stop: Stop) -> float:
        """Wait for events, deliver one batch; return the seconds to wait before the next."""
        try:
            with self.progress.idle():
                await stop.or_until(lambda: self._outbox.wait(self.name))
                if self._age and not await self._is_full():
                    await stop.sleep(self._age)
            if stop.requested:
                return 0.0
            wait = await self.dispatch_once()
        except Exception as error:  # noqa: BLE001  the edge of the loop: it must live
            return self.progress.failed(error)
        self.progress.succeeded()
        return wait

    async def dispatch_once(self) -> float:
        """Deliver the next batch, if there is one; return the seconds that the sink asks to pause.

        Afterwards the position is behind every event that was delivered or buried, and nothing
        else has moved.

        Raises:
            TransientError, AccessError: from the sink; the batch, or what is left of it, stays.
            StoreError: from the outbox.
        """
        if self._owed:
            await self._settle(*self._owed)
        batch = await self._outbox.read(self.name, limit=self._limit, max_bytes=self._max_bytes)
        return await self._deliver(batch) if batch else 0.0

    async def _deliver(self, batch: Batch) -> float:
        try:
            receipt = await self._send(batch)
        except PermanentError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._deliver(batch.part(0, half))
                return await self._deliver(batch.part(half, len(batch)))
            receipt = Receipt((Rejection(batch.events[0].event_id, error.reason, str(error)),))
        await self._settle(batch, receipt, self.progress.failures + 1)
        return receipt.slow_down

    async def _settle(self, batch: Batch, receipt: Receipt, attempts: int) -> None:
        """Store the receipt; where that fails, keep it and store it before anything is sent.

        The destination has the batch: sending it again for want of room here would double it.
        """
        self._owed = (batch, receipt, attempts)
        await self._outbox.settle(self.name, batch, receipt, attempts=attempts)
        self._owed = None
        self.progress.moved()
        EVENTS_SENT.labels(self.name).inc(len(batch) - len(receipt.rejections))
        for rejection in receipt.rejections:
            EVENTS_BURIED.labels(self.name, rejection.reason).inc()
            log.error(
                "event.buried",
                sink=self.name,
                event_id=rejection.event_id,
                reason=rejection.reason,
                detail=rejection.detail,
            )

    async def _send(self, batch: Batch) -> Receipt:
        try:
            with SEND_SECONDS.labels(self.name).time():
                receipt = await self.sink.send(batch)
        except Exception as error:
            SENDS.labels(self.name, outcome(error)).inc()
            raise
        SENDS.labels(self.name, "ok").inc()
        log.debug("batch.sent", sink=self.name, events=len(batch), first=batch.first)
        return receipt

    async def _is_full(self) -> bool:
        return (await self._outbox.backlog(self.name)).events >= self._limit
