"""The sink: events to messages, messages to a transport, what came of it to a receipt."""

from collections.abc import Sequence
from typing import Literal, Protocol

import structlog

from forwarder.interfaces import Format
from forwarder.model import Batch, Receipt, Rejection
from forwarder.sinks.syslog.message import Header, without_controls
from forwarder.sinks.syslog.shorten import shorten

Oversize = Literal["shorten", "bury"]

log = structlog.get_logger()


class Transport(Protocol):
    """One way to a receiver; each is a file of its own."""

    @property
    def largest(self) -> int | None:
        """Bytes of the largest message that it can carry, None without such a limit."""
        ...

    async def deliver(self, messages: Sequence[bytes]) -> None:
        """Return when the receiver has all messages; raise as `Sink.send` does otherwise."""
        ...

    async def probe(self) -> str:
        """Do as `Sink.probe` does."""
        ...

    def close(self) -> None:
        """Let go of what is held between batches."""
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

    async def send(self, batch: Batch) -> Receipt:
        """Return when the transport has delivered the batch.

        What does not fit is shortened and marked, and one log line says how many were; or it is
        rejected as ``too_large``.
        """
        messages: list[bytes] = []
        rejections: list[Rejection] = []
        shortened = 0
        for event in batch.events:
            header = self._header(event)
            body = without_controls(self._format.encode(event))
            size = len(header) + len(body)
            if size > self._largest:
                fitting = None
                if self._oversize == "shorten":
                    fitting = shorten(
                        body,
                        event=event,
                        media_type=self._format.media_type,
                        room=self._largest - len(header),
                    )
                if fitting is None:
                    detail = f"{size} bytes, and max_message_bytes is {self._largest}"
                    rejections.append(Rejection(event.event_id, "too_large", detail))
                    continue
                body = fitting
                shortened += 1
            messages.append(header + body)
        if messages:
            await self._transport.deliver(messages)
        if shortened:
            log.warning(
                "event.shortened", sink=self._name, events=shortened, max_bytes=self._largest
            )
        return Receipt(tuple(rejections))

    async def probe(self) -> str:
        """Try the receiver without sending a message."""
        return await self._transport.probe()
