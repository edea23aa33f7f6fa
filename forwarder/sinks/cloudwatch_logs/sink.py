"""The sink: events to puts, and what came of the puts to a receipt."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import structlog
from anyio import to_thread

from forwarder.errors import PermanentError, Reason
from forwarder.interfaces import Format
from forwarder.model import Batch, Outgoing, Receipt, Rejection
from forwarder.sinks.answered import Answered
from forwarder.sinks.cloudwatch_logs.asking import event_ids
from forwarder.sinks.cloudwatch_logs.packing import Entry, milliseconds, pack, rejected
from forwarder.sinks.cloudwatch_logs.stream import LogStream

Stale = Literal["bury", "restamp"]

_DETAILS: Final[Mapping[Reason, str]] = {
    "too_old": "CloudWatch Logs takes nothing from over 14 days ago",
    "too_new": "CloudWatch Logs takes nothing from over 2 hours ahead",
    "expired": "from before the log group's retention",
}
_PROBE: Final = "A probe of soteri-forwarder, dated so that CloudWatch Logs refuses it."

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def _now() -> int:
    return time.time_ns() // 1_000_000


class CloudWatchLogsSink:
    """Sends each batch as one put, or as several where a limit asks for it.

    A put that is cancelled goes on in its thread: what it carries may arrive, and the caller
    keeps it, so it may arrive twice.
    """

    def __init__(
        self,
        *,
        name: str,
        format: Format,  # noqa: A002  the word for it here
        stream: LogStream,
        largest: int,
        stale: Stale,
        now: Callable[[], int] = _now,
    ) -> None:
        self._name = name
        self._format = format
        self._stream = stream
        self._largest = largest
        self._stale = stale
        self._now = now
        self._answered = Answered()

    async def send(self, batch: Batch) -> Receipt:
        """Return when every event is taken, or refused for good and named in the receipt.

        An event over the size limit is refused here, unsent. A put that CloudWatch Logs finds
        malformed is halved here down to the culprit and not by the caller, because earlier puts
        of the batch may be delivered. Where a batch that failed half-way comes again, what was
        answered for the first time is not sent again.
        """
        self._answered.begin(batch)
        entries: list[Entry] = []
        for event in batch.events:
            if event.event_id in self._answered:
                continue
            message = self._format.encode(event)
            if 0 < len(message) <= self._largest:
                at = milliseconds(event.occurred_at)
                entries.append(Entry(event.event_id, at, message.decode(), len(message)))
            else:
                self._answered.note(event.event_id, self._unsent(event, len(message)))
        for put in pack(entries):
            await self._deliver(put)
        return self._answered.end(batch)

    async def probe(self) -> str:
        """Put one event of 1970, which is refused by its date: it needs all that a real one needs.

        So group and stream are made where they are missing, as by the first `send`.
        """
        await to_thread.run_sync(self._stream.check_region, abandon_on_cancel=True)
        await self._put([Entry("", 1, _PROBE, len(_PROBE))])
        return f"{self._stream} takes events"

    def holds(self, since: datetime, until: datetime) -> AsyncIterator[str]:
        """Yield the ids of the stream's events, as `interfaces.Asks` says."""
        restamped = self._now() if self._stale == "restamp" else None
        return event_ids(self._stream, since, until, restamped_until=restamped)

    def _unsent(self, event: Outgoing, size: int) -> Rejection:
        if not size:
            return Rejection(event.event_id, "malformed", "an empty message")
        detail = f"{size} bytes, and max_message_bytes is {self._largest}"
        return Rejection(event.event_id, "too_large", detail)

    async def _deliver(self, put: Sequence[Entry], *, restamped: bool = False) -> None:
        try:
            info = await self._put(put)
        except PermanentError as error:
            if len(put) == 1:
                self._note(put[0], error.reason, str(error))
                return
            half = len(put) // 2
            await self._deliver(put[:half], restamped=restamped)
            await self._deliver(put[half:], restamped=restamped)
            return
        reasons = rejected(info, len(put))
        restamps = self._stale == "restamp" and not restamped
        again: list[Entry] = []
        now = self._now()
        for index, entry in enumerate(put):
            reason = reasons.get(index)
            if reason and restamps:
                # The message stays as it is: every format carries the event's own time.
                again.append(Entry(entry.event_id, now, entry.message, entry.size))
            elif reason:
                self._note(entry, reason, _DETAILS[reason])
            else:
                self._answered.note(entry.event_id)
        if again:
            log.warning("event.restamped", sink=self._name, events=len(again))
            await self._deliver(again, restamped=True)

    def _note(self, entry: Entry, reason: Reason, detail: str) -> None:
        self._answered.note(entry.event_id, Rejection(entry.event_id, reason, detail))

    async def _put(self, put: Sequence[Entry]) -> Mapping[str, int]:
        return await to_thread.run_sync(self._stream.put, put, abandon_on_cancel=True)
