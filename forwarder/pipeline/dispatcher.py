"""Empties the outbox into one sink; the only place that sends again."""

from dataclasses import replace
from operator import is_not
from typing import Final

import structlog
from structlog.contextvars import bind_contextvars, unbind_contextvars

from forwarder.errors import PermanentError
from forwarder.interfaces import Outbox, Sink
from forwarder.logs import page_named, places_named
from forwarder.model import Batch, Receipt, Rejection
from forwarder.options import SinkOptions
from forwarder.pipeline.pressure import letters_of
from forwarder.pipeline.progress import HoldError, Progress, outcome
from forwarder.pipeline.stop import Stop
from forwarder.span import many
from forwarder.telemetry import (
    EVENTS_BURIED,
    EVENTS_FILTERED,
    EVENTS_REDACTED,
    EVENTS_REPLAYED,
    EVENTS_SENT,
    SEND_SECONDS,
    SENDS,
)
from forwarder.tracing import span

REPLAYED_AT_ONCE: Final = 500
"""Events sent again at once, at most: what is new waits for no more than these."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Dispatcher:
    """The loop of one sink: batches in order, one at a time, each settled before the next."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        outbox: Outbox,
        options: SinkOptions,
        *,
        letters: int = 100_000,
    ) -> None:
        self.name = name
        self.sink = sink
        self.progress = Progress("sink", name, options.retry)
        self._outbox = outbox
        self._limit = options.batch.events
        self._max_bytes = options.batch.bytes
        self._age = options.batch.age
        self._owed: tuple[Batch, Receipt, int] | None = None
        self._wants = options.selects()
        self._redact = options.redact.redactor()
        self._unwanted: tuple[int, ...] = ()
        self._letters = letters
        self._may_be_full = True
        self._is_replaying = False
        self._was_full = False
        SENDS.labels(name, "bug")  # 0 from the start: a series that begins with 1 has no increase

    async def run(self, stop: Stop) -> None:
        """Deliver until `stop`; whatever fails is kept and tried again, without an end.

        Raises:
            StoreError: the outbox cannot be used.
        """
        while not stop.requested:
            wait = await self.attempt(stop)
            await self.progress.note(self._outbox)
            with self.progress.pausing(wait):
                await stop.sleep(wait)

    async def attempt(self, stop: Stop) -> float:
        """Wait for events, deliver one batch; return the seconds to wait before the next."""
        try:
            with self.progress.idle():
                # Else there is more, most likely, or it is to be seen whether a failure is over,
                # though nothing new may come for long.
                if not self._was_full and not self.progress.troubled:
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
            unbind_contextvars("batch", "pages")
        batch = await self._next()
        self._was_full = batch is not None and len(batch) == self._limit
        if batch is None:
            return 0.0
        # After a failure the same comes again, as every sink is promised; else they take turns.
        self._is_replaying = batch.replay is not None
        # For every line until it is settled, the sink's own ones too; a failure leaves it there.
        bind_contextvars(
            batch=places_named(batch.first, batch.last),
            pages=[page_named(last) for last in batch.pages],
        )
        pause = await self._filter(batch)
        unbind_contextvars("batch", "pages")
        self._is_replaying = not self._is_replaying
        return pause

    async def resend_letters(self) -> bool:
        """Deliver the next dead letters that are asked for, and nothing else.

        Returns whether there were any. Raises as `dispatch_once` does.
        """
        batch = await self._again()
        if batch is None or batch.replay != 0:
            return False
        await self._deliver(batch)
        return True

    async def _again(self) -> Batch | None:
        return await self._outbox.read_replay(
            self.name, limit=min(self._limit, REPLAYED_AT_ONCE), max_bytes=self._max_bytes
        )

    async def _next(self) -> Batch | None:
        """Return what comes next: what is new and what is to be sent again take turns.

        Raises:
            HoldError: the sink may leave no more dead letters behind.
        """
        is_full = await self._is_full_of_letters()
        for replaying in (self._is_replaying, not self._is_replaying):
            if replaying:
                batch = await self._again()
            elif is_full:
                batch = None
            else:
                batch = await self._outbox.read(
                    self.name, limit=self._limit, max_bytes=self._max_bytes
                )
            if batch:
                return batch
        if is_full:
            raise HoldError(
                "paused",
                f"the sink has {many(self._letters, 'dead letter')}, and no more are kept"
                " ([store] dead_letters)",
                remedy=f'see why ("soteri-forwarder dead-letters list --sink {self.name}"), mend'
                " that, then replay or discard them",
            )
        return None

    async def _is_full_of_letters(self) -> bool:
        """Say whether the sink has as many dead letters as are kept: counted when some came."""
        if self._may_be_full:
            self._may_be_full = await letters_of(self._outbox, self.name) >= self._letters
        return self._may_be_full

    async def _filter(self, batch: Batch) -> float:
        """Deliver what the sink wants of `batch`, and pass what it does not.

        Dead letters were wanted when they were buried, and somebody asked for them by hand.
        """
        if self._wants is None or batch.replay == 0:
            return await self._deliver(batch)
        pairs = tuple(zip(batch.events, batch.positions, strict=True))
        wanted = [pair for pair in pairs if self._wants(pair[0].whole())]
        places = {place for _, place in wanted}
        self._unwanted = tuple(place for place in batch.positions if place not in places)
        pause = 0.0
        if wanted:
            events, positions = zip(*wanted, strict=True)
            pause = await self._deliver(replace(batch, events=events, positions=positions))
        if self._unwanted:
            rest = replace(batch, events=(), positions=self._unwanted)
            self._unwanted = ()
            await self._settle(rest, Receipt(), 1)
        return pause

    def _with_unwanted(self, batch: Batch) -> Batch:
        """Return `batch` with the places of the unwanted events before its last one."""
        passed = tuple(place for place in self._unwanted if place < batch.last)
        self._unwanted = self._unwanted[len(passed) :]
        if not passed:
            return batch
        return replace(batch, positions=tuple(sorted((*passed, *batch.positions))))

    async def _deliver(self, batch: Batch) -> float:
        try:
            receipt = await self._send(batch)
        except PermanentError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._deliver(batch.part(0, half))
                return await self._deliver(batch.part(half, len(batch)))
            receipt = Receipt((Rejection(batch.events[0].event_id, error.reason, str(error)),))
        covered = self._with_unwanted(batch)
        await self._settle(covered, receipt, self.progress.failures + 1)
        return receipt.slow_down

    async def _settle(self, batch: Batch, receipt: Receipt, attempts: int) -> None:
        """Store the receipt; where that fails, keep it and store it before anything is sent.

        The destination has the batch: sending it again for want of room here would double it.
        """
        self._owed = (batch, receipt, attempts)
        await self._outbox.settle(self.name, batch, receipt, attempts=attempts)
        self._owed = None
        self.progress.moved()
        sent = EVENTS_SENT if batch.replay is None else EVENTS_REPLAYED
        sent.labels(self.name).inc(len(batch) - len(receipt.rejections))
        EVENTS_FILTERED.labels(self.name).inc(len(batch.positions) - len(batch))
        if len(batch):
            log.info("batch.sent", sink=self.name, events=len(batch), attempts=attempts)
        self._may_be_full |= bool(receipt.rejections)
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
        if redact := self._redact:  # here, so that no sink ever sees what it must not tell
            redacted = redact.all(batch.events)
            EVENTS_REDACTED.labels(self.name).inc(sum(map(is_not, redacted, batch.events)))
            batch = replace(batch, events=redacted)
        try:
            with (
                SEND_SECONDS.labels(self.name).time(),
                span(
                    "send",
                    pages=[page_named(last) for last in batch.pages],
                    sink=self.name,
                    batch=places_named(batch.first, batch.last),
                    events=len(batch),
                    attempt=self.progress.failures + 1,
                ),
            ):
                receipt = await self.sink.send(batch)
        except Exception as error:
            SENDS.labels(self.name, outcome(error)).inc()
            raise
        SENDS.labels(self.name, "ok").inc()
        return receipt

    async def _is_full(self) -> bool:
        events = (await self._outbox.backlog(self.name)).events
        return not events or events >= self._limit  # none: what is sent again need not wait
