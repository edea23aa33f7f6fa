"""What the log stream holds, asked back."""

from collections.abc import AsyncIterator
from datetime import datetime

from anyio import to_thread

from forwarder.errors import PermanentError
from forwarder.event_ids import Span
from forwarder.sinks.cloudwatch_logs.stream import LogStream


async def event_ids(
    stream: LogStream, since: datetime, until: datetime, *, restamped_until: int | None
) -> AsyncIterator[str]:
    """Yield the ids of the stream's events from `since` to `until` (exclusive).

    FilterLogEvents goes by the time that an event was put under. Where old ones may have been put
    dated anew, all up to `restamped_until` (epoch milliseconds) are read.

    Raises:
        TransientError, AccessError: what was yielded is not all.
        PermanentError: the messages carry no event ids.
    """
    span = Span(since, until)
    end = max(span.end - 1, restamped_until or 0)
    token = ""
    has_any = has_ids = False
    while True:
        # Its rights are those of a reader: logs:FilterLogEvents on the log group.
        messages, token = await to_thread.run_sync(
            stream.held, span.first, end, token, abandon_on_cancel=True
        )
        for message in messages:
            if event_id := span.of(message):
                yield event_id
            has_any = True
            has_ids = has_ids or span.any(message)
        if not token:
            break
    if has_any and not has_ids:
        raise PermanentError(
            f"{stream}: its messages carry no event ids",
            remedy="send them in a format that does, such as json",
        )
