"""The sink: events to messages, messages to a transport, what came of it to a receipt."""

from collections.abc import MutableMapping, Sequence
from typing import Literal, Protocol

import structlog

from forwarder.interfaces import Format
from forwarder.model import Batch, Concern, Outgoing, Receipt, Rejection
from forwarder.sinks.answered import Answered
from forwarder.sinks.syslog.message import Header, without_controls
from forwarder.sinks.syslog.shorten import shorten

Oversize = Literal["shorten", "bury"]
Answers = MutableMapping[int, str]
"""What a receiver says of single messages, by their place: "" for taken, else why it refuses."""

log = structlog.get_logger()


class Transport(Protocol):
    """One way to a receiver; each is a file of its own."""

    @property
    def largest(self) -> int | None:
        """Bytes of the largest message that it can carry, None without such a limit."""
        ...

    async def deliver(self, messages: Sequence[bytes], answers: Answers, /) -> None:
        """Return when the receiver has all messages; raise as `Sink.send` does otherwise.

        Where the receiver answers for single messages, `answers` is filled as they come, so it
        has those that came before whatever is raised. Others leave it empty.
        """
        ...

    async def probe(self) -> str:
        """Do as `Sink.probe` does."""
        ...

    def concerns(self) -> Sequence[Concern]:
        """Do as `Advises.concerns` does."""
        ...

    async def close(self) -> None:
        """Let go of what is held between batches, within a few seconds."""
        ...


class SyslogSink:
    """Sends each batch as messages of at most `largest` bytes, header included."""

    def __init__(
        self,
        *,
        name: str,
        format: Format,  # noqa: A002  the word for it here
        header: Header,
        transport: Transport,
        largest: int,
        oversize: Oversize,
    ) -> None:
        self._name = name
        self._format = format
        self._header = header
        self._transport = transport
        self._largest = min(largest, transport.largest or largest)
        self._oversize = oversize
        self._answered = Answered()

    async def send(self, batch: Batch) -> Receipt:
        """Return when the transport has delivered the batch.

        What does not fit is shortened and marked, and one log line says how many were; or it is
        rejected as ``too_large``. What the receiver refuses by an answer is rejected as
        ``refused``. Where a batch that failed half-way comes again, what was answered for the
        first time is not sent again.
        """
        self._answered.begin(batch)
        sent: list[Outgoing] = []
        messages: list[bytes] = []
        shortened = 0
        for event in batch.events:
            if event.event_id in self._answered:
                continue
            message = self._header(event)
            body = without_controls(self._format.encode(event))
            size = len(message) + len(body)
            if size > self._largest:
                fitting = self._shortened(event, body, room=self._largest - len(message))
                if fitting is None:
                    detail = f"{size} bytes, and max_message_bytes is {self._largest}"
                    refused = Rejection(event.event_id, "too_large", detail)
                    self._answered.note(event.event_id, refused)
                    continue
                body = fitting
                shortened += 1
            sent.append(event)
            messages.append(message + body)
        if messages:
            await self._deliver(sent, messages)
        if shortened:
            log.warning(
                "event.shortened", sink=self._name, events=shortened, max_bytes=self._largest
            )
        return self._answered.end(batch)

    async def _deliver(self, sent: Sequence[Outgoing], messages: Sequence[bytes]) -> None:
        answers: dict[int, str] = {}
        try:
            await self._transport.deliver(messages, answers)
        finally:
            for place, refusal in answers.items():
                event_id = sent[place].event_id
                refused = Rejection(event_id, "refused", refusal) if refusal else None
                self._answered.note(event_id, refused)

    def _shortened(self, event: Outgoing, body: bytes, *, room: int) -> bytes | None:
        if self._oversize == "bury":
            return None
        return shorten(body, event=event, media_type=self._format.media_type, room=room)

    async def probe(self) -> str:
        """Try the receiver without sending a message."""
        return await self._transport.probe()

    async def concerns(self) -> Sequence[Concern]:
        """Return what no receiver tells of its transport."""
        return self._transport.concerns()
