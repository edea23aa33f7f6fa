"""Delivers batches to one HTTP Event Collector, with or without its acknowledgement."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NoReturn
from uuid import uuid4

import anyio
import structlog

from forwarder.errors import AccessError, Reason, TransientError
from forwarder.interfaces import Memory
from forwarder.model import Batch, Outgoing, Receipt, Rejection
from forwarder.sinks.splunk_hec.codes import NO_ACK_ID, Spoiled, Taken, TooLarge, Verdict
from forwarder.sinks.splunk_hec.collector import Collector, UnsureError
from forwarder.sinks.splunk_hec.envelope import Envelope
from forwarder.sinks.splunk_hec.management import Management
from forwarder.sinks.splunk_hec.progress import Ack, Fate, Piece, Progress
from forwarder.span import many

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_REQUEST_EVENTS: Final = 1000
_REQUEST_BYTES: Final = 1_000_000
"""Uncompressed, in one request: Splunk's own advice, and Splunk Cloud's limit (1 MB)."""
_SURELY_SMALL: Final = 100_000
"""Bytes below which no HEC refuses a request for its size, so that code 6 means the event."""
_FIRST_PAUSE: Final = 0.05
_PAUSE: Final = 1.0
"""Seconds between two questions for acks: "every second or so"; the first few come sooner."""
_SAVED_EACH: Final = 1.0
"""Seconds between two commits of what HEC took of a batch, where there are no acks to keep: a kill
may double so much of it. A request of some milliseconds is not worth one of its own."""


class HecSink:
    """One HEC, and the batch under way.

    A batch larger than a request is sent in several, in order. What is known of each of them is
    kept, also over a restart, so that after a failure only what may not have arrived is sent
    again; it then carries the field ``possible_duplicate``.
    """

    def __init__(
        self,
        name: str,
        collector: Collector,
        envelope: Envelope,
        memory: Memory,
        *,
        ack_timeout: float | None,
        max_event_bytes: int,
        management: Management,
    ) -> None:
        self._name = name
        self._collector = collector
        self._envelope = envelope
        self._memory = memory
        self._ack_timeout = ack_timeout
        self._max_event_bytes = max_event_bytes
        self._management = management
        self._limit = _REQUEST_EVENTS
        self._progress = Progress()
        self._free: list[str] = []
        """Channels without an ack to wait for, and without a request of unknown outcome."""
        self._is_acking = False
        """Whether HEC has answered a question for an ack."""
        self._deadline = anyio.current_time() + (ack_timeout or 0.0)
        self._is_saved = False
        self._saved_at = anyio.current_time()
        self._is_stale = False
        """Whether more is known of the batch than is saved."""

    @property
    def unacknowledged(self) -> int | None:
        """Events that Splunk took and has not acknowledged; see `interfaces.Acknowledged`."""
        return None if self._ack_timeout is None else self._progress.unacknowledged

    async def resume(self) -> None:
        """Go on where the last run ended: with its open acks, their channels and its cookies."""
        memo = await self._memory.load()
        if not memo:
            return
        self._is_saved = True
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            progress = Progress.recall(memo["runs"])
            self._collector.take_cookies(memo["cookies"])
            self._progress = progress
            log.info("delivery.resumed", sink=self._name)

    def holds(self, since: datetime, until: datetime) -> AsyncIterator[str]:
        """Yield the ids of what Splunk has indexed, as `interfaces.Asks` says."""
        return self._management.event_ids(since, until)

    async def send(self, batch: Batch) -> Receipt:
        """Deliver as `interfaces.Sink` says; with acknowledgement, return once all is indexed.

        Raises:
            TransientError: also where an ack did not come in time; what waited for it is sent
                again on another channel when the batch comes again.
            AccessError: as in `codes.REMEDIES`, and where something else than a HEC answers.
        """
        self._progress.begin(batch.events)
        if self._ack_timeout is None:
            self._progress.expire()  # acks asked for before acknowledgement was switched off
        else:
            # It frees room at HEC before more is sent there.
            await self._read_acks()
            if not self._is_acking:
                await self._check_acking()
        slow_down = 0.0
        try:
            while (piece := self._progress.next_piece()) is not None:
                slow_down = max(slow_down, await self._send_piece(batch.events, piece))
            if self._is_stale and self._ack_timeout is not None:
                await self._save()
        except (TransientError, AccessError):
            if self._is_stale:
                await self._save()
            raise
        await self._wait_for_acks()
        receipt = Receipt(
            self._progress.rejections(),
            memo={} if self._is_saved else None,
            slow_down=slow_down,
        )
        self._progress.forget()
        self._is_saved = self._is_stale = False
        return receipt

    async def probe(self) -> str:
        """Ask for health, then whether token and index are good; nothing is delivered."""
        acking = self._ack_timeout is not None
        channel = str(uuid4()) if acking else None
        async with self._collector.diagnosed():
            await self._collector.check_health()
            await self._collector.check_token(channel=channel)
            if acking:
                await self._check_acking()
            if self._envelope.index:
                await self._collector.check_index(self._envelope.index, channel=channel)
        promise = "with indexer acknowledgement" if acking else "without acknowledgement"
        return f"{self._collector.where} is healthy and takes the token, {promise}"

    async def _send_piece(self, events: tuple[Outgoing, ...], piece: Piece) -> float:
        """Send as much of `piece` as one request holds; return the seconds to slow down."""
        start = stop = piece.start
        envelopes: list[bytes] = []
        size = 0
        for event in events[start : min(piece.stop, start + self._limit)]:
            envelope = self._envelope.encode(event, possible_duplicate=piece.is_doubtful)
            if len(envelope) > self._max_event_bytes:
                if envelopes:
                    break
                detail = f"{len(envelope)} bytes, over max_event_bytes ({self._max_event_bytes})"
                self._reject(event, start, "too_large", detail)
                return 0.0
            if envelopes and size + len(envelope) > _REQUEST_BYTES:
                break
            envelopes.append(envelope)
            size += len(envelope) + 1
            stop += 1
        known = Fate.AGAIN if piece.is_doubtful else Fate.UNSENT
        verdict = await self._post(envelopes, start, stop, known)
        if isinstance(verdict, Taken):
            self._limit = min(2 * self._limit, _REQUEST_EVENTS)
            acking = self._ack_timeout is not None  # then it is kept before the next request
            self._is_stale = acking or stop < len(events)
            due = not acking and anyio.current_time() >= self._saved_at + _SAVED_EACH
            if self._is_stale and due:
                await self._save()
            return verdict.slow_down
        self._note_refused(verdict, events, start, stop, size)
        return 0.0

    async def _post(self, envelopes: list[bytes], start: int, stop: int, known: Fate) -> Verdict:
        channel = None
        if self._ack_timeout is not None:
            channel = self._free.pop() if self._free else str(uuid4())
        # Whatever interrupts this, a cancellation too, leaves it open whether they arrived.
        self._progress.mark(start, stop, Fate.AGAIN)
        try:
            if channel is not None:
                await self._save()  # a kill too: what comes again says so
            verdict = await self._collector.post(envelopes, events=stop - start, channel=channel)
        except UnsureError:
            raise
        except (TransientError, AccessError):
            self._mark_untaken(start, stop, known, channel)
            raise
        if not isinstance(verdict, Taken):
            self._mark_untaken(start, stop, known, channel)
        elif channel is None:
            self._progress.mark(start, stop, Fate.DONE)
        elif verdict.ack_id is None:
            self._is_acking = False  # ask before anything is sent again
            raise AccessError(
                f"{self._collector.where}: took events and gave no ackId", remedy=NO_ACK_ID
            )
        else:
            self._progress.mark(start, stop, Ack(channel, verdict.ack_id))
            self._deadline = anyio.current_time() + (self._ack_timeout or 0.0)
        return verdict

    def _mark_untaken(self, start: int, stop: int, known: Fate, channel: str | None) -> None:
        self._progress.mark(start, stop, known)
        if channel:
            self._free.append(channel)
            self._is_stale = True

    def _note_refused(
        self,
        verdict: Spoiled | TooLarge,
        events: tuple[Outgoing, ...],
        start: int,
        stop: int,
        size: int,
    ) -> None:
        """Note what a refused request says of its events; halve what one may not be guilty of."""
        number = verdict.number if isinstance(verdict, Spoiled) else None
        if number is not None and (number > 0 or size < _SURELY_SMALL):
            self._progress.mark(start, start + number, Fate.DONE)
            self._reject(events[start + number], start + number, "malformed", verdict.detail)
        elif stop - start > 1:
            self._limit = (stop - start) // 2
            if isinstance(verdict, Spoiled) and number is None:  # so any of them may be there
                self._progress.mark(start, stop, Fate.AGAIN)
        else:
            is_large = isinstance(verdict, TooLarge) or size > _REQUEST_BYTES
            reason: Reason = "too_large" if is_large else "malformed"
            self._reject(events[start], start, reason, verdict.detail)

    def _reject(self, event: Outgoing, place: int, reason: Reason, detail: str) -> None:
        self._progress.mark(place, place + 1, Rejection(event.event_id, reason, detail))

    async def _check_acking(self) -> None:
        """Ask for any ack: a token without acknowledgement takes events, and tells only now.

        Raises:
            AccessError: this token acknowledges nothing.
        """
        await self._collector.ask(0, channel=str(uuid4()))
        self._is_acking = True

    async def _read_acks(self) -> None:
        """Ask once for each open ack, and keep what comes over a restart: HEC forgets it."""
        pending = self._progress.pending()
        for ack in pending:
            if await self._collector.ask(ack.id, channel=ack.channel):
                self._progress.acknowledge(ack)
                self._free.append(ack.channel)
        if 0 < len(self._progress.pending()) < len(pending):
            await self._save()

    async def _wait_for_acks(self) -> None:
        pause = _FIRST_PAUSE
        while self._progress.pending():
            if anyio.current_time() > self._deadline:
                await self._expire()
            await anyio.sleep(pause)
            pause = min(2 * pause, _PAUSE)
            await self._read_acks()

    async def _expire(self) -> NoReturn:
        """Give up the acks that are open, and their channels with them.

        Raises:
            TransientError: always; what waited is sent again when the batch comes again.
        """
        count = self._progress.expire()
        log.warning("ack.expired", sink=self._name, events=count)
        await self._save()
        raise TransientError(
            f"{self._collector.where}: {many(count, 'event')} not indexed within "
            f"{self._ack_timeout:g} s; they are sent again",
            remedy="behind a load balancer, turn on sticky sessions by cookie; "
            "where indexing is slow, raise ack_timeout",
        )

    async def _save(self) -> None:
        memo: dict[str, Any] = {
            "cookies": self._collector.cookies(),
            "runs": self._progress.to_memo(),
        }
        await self._memory.save(memo)
        self._is_saved = True
        self._is_stale = False
        self._saved_at = anyio.current_time()
