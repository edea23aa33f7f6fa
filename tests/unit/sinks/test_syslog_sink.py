"""The sink's own decisions, on a transport that keeps what it is given."""

import json
from collections.abc import Sequence

import msgspec
import pytest
from structlog.testing import capture_logs

from forwarder.errors import TransientError
from forwarder.formats import FORMATS
from forwarder.model import Event
from forwarder.sinks.syslog.message import Rfc5424
from forwarder.sinks.syslog.sink import Answers, Oversize, SyslogSink
from tests.fakes.events import batch, event, ids, numbered
from tests.receivers.rfc5424 import Parsed, parse


class KeepingTransport:
    def __init__(self, *, largest: int | None = None, error: Exception | None = None) -> None:
        self.largest = largest
        self.deliveries: list[list[bytes]] = []
        self._error = error

    async def deliver(self, messages: Sequence[bytes], _: Answers) -> None:
        if self._error:
            raise self._error
        self.deliveries.append(list(messages))

    async def probe(self) -> str:
        return "kept"

    async def close(self) -> None:
        pass

    def parsed(self) -> list[Parsed]:
        return [parse(message) for delivery in self.deliveries for message in delivery]


class TextFormat:
    media_type = "text/plain"

    def encode(self, event: Event) -> bytes:
        return event.action.encode()


def sink(
    transport: KeepingTransport,
    *,
    largest: int = 8096,
    oversize: Oversize = "shorten",
    form: object = FORMATS["json"],
) -> SyslogSink:
    header = Rfc5424(
        facility="local0",
        app_name="soteri-forwarder",
        hostname="bitbucket",
        own_host="here",
        structured_data="soteri@32473",
        bom=False,
    )
    return SyslogSink(
        name="siem",
        format=form,  # type: ignore[arg-type]
        header=header,
        transport=transport,
        largest=largest,
        oversize=oversize,
    )


LARGE = event(2, original=msgspec.Raw(b'{"text":"%b"}' % (b"x" * 9000)))
HUGE_TEXT = event(2, action="ä" * 9000)


async def test_a_batch_is_one_delivery_of_one_message_an_event():
    transport = KeepingTransport()
    sent = numbered(3)
    receipt = await sink(transport).send(sent)
    assert receipt.rejections == ()
    assert len(transport.deliveries) == 1
    assert [json.loads(one.message)["event_id"] for one in transport.parsed()] == ids(sent)


async def test_a_large_event_is_shortened_within_the_limit_and_the_log_says_so():
    transport = KeepingTransport()
    with capture_logs() as logs:
        receipt = await sink(transport).send(batch(event(1), LARGE))
    assert receipt.rejections == ()
    assert max(map(len, transport.deliveries[0])) <= 8096
    assert [json.loads(one.message).get("shortened") for one in transport.parsed()] == [None, True]
    assert [(log["event"], log["sink"], log["events"]) for log in logs] == [
        ("event.shortened", "siem", 1)
    ]


async def test_a_large_event_is_buried_where_that_is_wanted_and_the_others_go():
    transport = KeepingTransport()
    receipt = await sink(transport, oversize="bury").send(batch(event(1), LARGE, event(3)))
    assert [(one.event_id, one.reason) for one in receipt.rejections] == [
        (LARGE.event_id, "too_large")
    ]
    assert len(transport.parsed()) == 2


async def test_where_all_are_buried_nothing_is_delivered():
    transport = KeepingTransport()
    receipt = await sink(transport, oversize="bury").send(batch(LARGE))
    assert len(receipt.rejections) == 1
    assert transport.deliveries == []


async def test_the_limit_is_exact():
    size = len(next(iter(await _messages(numbered(1)))))
    transport = KeepingTransport()
    assert (await sink(transport, largest=size, oversize="bury").send(numbered(1))).rejections == ()
    receipt = await sink(transport, largest=size - 1, oversize="bury").send(numbered(1))
    assert len(receipt.rejections) == 1


async def _messages(sent) -> list[bytes]:
    transport = KeepingTransport()
    await sink(transport).send(sent)
    return transport.deliveries[0]


async def test_a_transport_s_own_limit_holds_too():
    transport = KeepingTransport(largest=1000)
    await sink(transport).send(batch(LARGE))
    assert len(transport.deliveries[0][0]) <= 1000


async def test_text_is_shortened_as_text():
    transport = KeepingTransport()
    await sink(transport, form=TextFormat()).send(batch(HUGE_TEXT))
    message = transport.parsed()[0].message.decode("utf-8")
    assert message.endswith(f"ä… shortened=true event_id={HUGE_TEXT.event_id}")
    assert 8000 < len(transport.deliveries[0][0]) <= 8096


async def test_a_format_that_breaks_its_promise_cannot_break_a_frame():
    transport = KeepingTransport()
    await sink(transport, form=TextFormat()).send(batch(event(action="a\r\nb\x00c")))
    assert transport.parsed()[0].message == b"a#015#012b#000c"


async def test_what_the_transport_raises_comes_through():
    with pytest.raises(TransientError, match="down"):
        await sink(KeepingTransport(error=TransientError("down"))).send(numbered(1))
