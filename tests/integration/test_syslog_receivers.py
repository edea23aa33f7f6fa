"""Real receivers read what the sink sends, whole, and lose nothing when they are restarted."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest

from forwarder.errors import AccessError, ForwarderError, TransientError
from forwarder.formats import FORMATS
from forwarder.interfaces import Sink
from forwarder.model import Attribute, Batch
from forwarder.sinks.syslog import SyslogConfig
from tests.fakes.events import batch, event, ids, numbered
from tests.fakes.memory import FakeMemory
from tests.receivers import cef, leef
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.rfc5424 import parse
from tests.receivers.rsyslog import Driver, Rsyslog, rsyslogd
from tests.receivers.syslog_ng import SyslogNg, syslog_ng

pytestmark = pytest.mark.real

Receiver = Rsyslog | SyslogNg
SD_ID = "soteri@32473"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


def sink_for(receiver: Receiver, certificates: Certificates | None = None, **fields: object):
    written = {"type": "syslog", "address": receiver.address, "timeout": "20s", **fields}
    if certificates is not None:
        written["tls"] = {
            "ca_file": str(certificates.ca_file),
            "cert_file": str(certificates.client_cert_file),
            "key_file": str(certificates.client_key_file),
        }
    config = SyslogConfig.model_validate(written)
    name = str(fields.get("format", "json"))
    return config.open(name="siem", format=FORMATS[name], memory=FakeMemory())


async def written(receiver: Receiver, count: int) -> None:
    """Wait until the receiver has written so many messages."""
    with anyio.move_on_after(20):
        while receiver.count() < count:
            await anyio.sleep(0.01)


def understood_ids(receiver: Receiver) -> list[str]:
    """Return the event ids as the receiver's own parser found them in the structured data."""
    if isinstance(receiver, SyslogNg):
        return [one["_SDATA"][SD_ID]["event_id"] for one in receiver.messages()]
    return [
        parse(b"<1>1 - - - - - " + one["structured-data"].encode()).structured_data[SD_ID][
            "event_id"
        ]
        for one in receiver.messages()
    ]


# --- rsyslogd -------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["octet-counting", "lf"])
async def test_rsyslogd_over_tcp_understands_every_field(tmp_path, framing):
    sent = numbered(50)
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver, framing=framing) as sink:
            await sink.send(sent)
        await written(receiver, 50)
        first = receiver.messages()[0]
        assert understood_ids(receiver) == ids(sent)
    assert (first["hostname"], first["app-name"], first["procid"], first["msgid"]) == (
        "bitbucket.example.com",
        "soteri-forwarder",
        "-",
        "hook.skipped",
    )
    assert (first["pri"], first["protocol-version"]) == ("131", "1")
    assert first["timestamp"].startswith("2026-01-02T03:04:06.678")
    assert first["msg"] == FORMATS["json"].encode(sent.events[0]).decode()


# Two bursts, which fit into the receiver's buffer even where it gets no CPU for a while. In the
# format raw: Linux counts 2,304 bytes for each such datagram, of the 212,992 that a socket has by
# default, and 4,352 for one of more than about 1,600 bytes, as those of the format json are.
A_BUFFER = 64


async def test_rsyslogd_over_udp_has_a_whole_batch(tmp_path):
    sent = numbered(A_BUFFER)
    with rsyslogd(tmp_path, via="udp") as receiver:
        async with sink_for(receiver, format="raw") as sink:
            await sink.send(sent)
        await written(receiver, A_BUFFER)
        assert understood_ids(receiver) == ids(sent)


@pytest.mark.parametrize("driver", ["gtls", "ossl"])
async def test_rsyslogd_over_tls_has_every_batch_whole(tmp_path, certificates, driver: Driver):
    batches = [numbered(1000, first=first) for first in (1, 1001, 2001)]
    with rsyslogd(tmp_path, via="tls", driver=driver, certificates=certificates) as receiver:
        async with sink_for(receiver, certificates) as sink:
            for sent in batches:
                await sink.send(sent)
        await written(receiver, 3000)
        assert understood_ids(receiver) == [one for sent in batches for one in ids(sent)]


@pytest.mark.parametrize("driver", ["gtls", "ossl"])
async def test_rsyslogd_lets_nobody_in_without_a_client_certificate(
    tmp_path, certificates, driver: Driver
):
    with rsyslogd(tmp_path, via="tls", driver=driver, certificates=certificates) as receiver:
        tls = {"ca_file": str(certificates.ca_file)}
        async with sink_for(receiver, tls=tls) as sink:
            with pytest.raises((AccessError, TransientError)) as caught:
                await sink.send(numbered(1))
        assert receiver.count() == 0
    assert caught.value.remedy


async def test_rsyslogd_reads_rfc3164_with_the_id_beside_the_tag(tmp_path):
    sent = numbered(3)
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver, protocol="rfc3164", framing="lf", format="raw") as sink:
            await sink.send(sent)
        await written(receiver, 3)
        messages = receiver.messages()
    assert [one["procid"] for one in messages] == ids(sent)
    assert {(one["hostname"], one["app-name"]) for one in messages} == {
        ("bitbucket", "soteri-forwarder")
    }
    assert [one["msg"].lstrip() for one in messages] == [
        bytes(one.original).decode() for one in sent.events
    ]


@pytest.mark.parametrize("framing", ["octet-counting", "lf"])
async def test_hostile_text_makes_no_message_of_its_own(tmp_path, framing):
    hostile = 'a"b\\c\r\n<134>1 - - - - - - d\te\x00f\x1b[31mg\u2028h]=|}{\U0001f600'
    sent = batch(
        event(1),
        event(2, action=hostile, kind=hostile, original=msgspec.Raw(msgspec.json.encode(hostile))),
        event(3),
    )
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver, framing=framing) as sink:
            await sink.send(sent)
        await written(receiver, 3)
        messages = receiver.messages()
    assert [json.loads(one["msg"])["event_id"] for one in messages] == ids(sent)
    assert json.loads(messages[1]["msg"])["action"] == hostile


async def test_a_large_event_arrives_shortened_in_one_message(tmp_path):
    large = event(2, original=msgspec.Raw(b'{"text":"%b"}' % (b"x" * 20_000)))
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver) as sink:
            await sink.send(batch(event(1), large, event(3)))
        await written(receiver, 3)
        found = [json.loads(one["msg"]) for one in receiver.messages()]
    assert [one.get("shortened", False) for one in found] == [False, True, False]
    assert found[1]["event_id"] == large.event_id


async def test_a_message_of_the_limit_s_size_is_not_cut_by_rsyslogd(tmp_path):
    def of_size(size: int) -> Batch:
        return batch(event(1, original=msgspec.Raw(b'"%b"' % (b"x" * size))))

    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver) as sink:
            await sink.send(of_size(1))
            await written(receiver, 1)
            rest = 8096 - len(receiver.messages()[0]["rawmsg"]) + 1
            await sink.send(of_size(rest))
        await written(receiver, 2)
        messages = receiver.messages()
    assert len(messages) == 2
    assert len(messages[1]["rawmsg"]) == 8096
    assert "shortened" not in json.loads(messages[1]["msg"])


# --- syslog-ng ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["octet-counting", "lf"])
async def test_syslog_ng_over_tcp_understands_every_field(tmp_path, framing):
    sent = numbered(50)
    with syslog_ng(tmp_path, framing=framing) as receiver:
        async with sink_for(receiver, framing=framing) as sink:
            await sink.send(sent)
        await written(receiver, 50)
        first = receiver.messages()[0]
        assert understood_ids(receiver) == ids(sent)
    assert (first["HOST"], first["PROGRAM"], first["MSGID"]) == (
        "bitbucket.example.com",
        "soteri-forwarder",
        "hook.skipped",
    )
    assert (first["FACILITY"], first["PRIORITY"]) == ("local0", "err")
    assert first["MESSAGE"] == FORMATS["json"].encode(sent.events[0]).decode()


async def test_syslog_ng_over_udp_has_a_whole_batch(tmp_path):
    sent = numbered(A_BUFFER)
    with syslog_ng(tmp_path, via="udp") as receiver:
        async with sink_for(receiver, format="raw") as sink:
            await sink.send(sent)
        await written(receiver, A_BUFFER)
        assert understood_ids(receiver) == ids(sent)


async def test_syslog_ng_over_tls_has_every_batch_whole(tmp_path, certificates):
    batches = [numbered(1000, first=first) for first in (1, 1001, 2001)]
    with syslog_ng(tmp_path, via="tls", certificates=certificates) as receiver:
        async with sink_for(receiver, certificates) as sink:
            for sent in batches:
                await sink.send(sent)
        await written(receiver, 3000)
        assert understood_ids(receiver) == [one for sent in batches for one in ids(sent)]


async def test_syslog_ng_lets_nobody_in_without_a_client_certificate(tmp_path, certificates):
    with syslog_ng(tmp_path, via="tls", certificates=certificates) as receiver:
        async with sink_for(receiver, tls={"ca_file": str(certificates.ca_file)}) as sink:
            with pytest.raises(AccessError) as caught:
                await sink.send(numbered(1))
        assert receiver.count() == 0
    assert "tls.cert_file" in caught.value.remedy


# --- restarts in the middle of a batch ------------------------------------------------------------


async def send_until_taken(sink: Sink, batches: Sequence[Batch]) -> int:
    """Do what the dispatcher does: each batch until it is taken; return how often it was not."""
    failures = 0
    for sent in batches:
        while True:
            try:
                await sink.send(sent)
            except TransientError:
                failures += 1
                await anyio.sleep(0.01)
            else:
                break
    return failures


@asynccontextmanager
async def restarts(receiver: Receiver, end: Callable[[], None], times: int) -> AsyncIterator[None]:
    """End and start the receiver so many times, each time while it is taking messages in."""

    async def restart() -> None:
        for _ in range(times):
            seen = receiver.count()
            while receiver.count() < seen + 200:
                await anyio.sleep(0.001)
            await anyio.to_thread.run_sync(end)
            await anyio.to_thread.run_sync(receiver.start)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restart)
        yield


BATCHES = [numbered(1000, first=1 + 1000 * number) for number in range(8)]
EVERY_ID = [one for sent in BATCHES for one in ids(sent)]
TIMES = 4


async def survive(sink: Sink, receiver: Receiver, end: Callable[[], None]) -> None:
    async with restarts(receiver, end, TIMES):
        failures = await send_until_taken(sink, BATCHES)
        # The restarts that are left want messages too.
        while receiver.starts <= TIMES:
            failures += await send_until_taken(sink, BATCHES[-1:])
    await written(receiver, len(EVERY_ID))
    found = understood_ids(receiver)
    assert list(dict.fromkeys(found)) == EVERY_ID
    assert failures > 0, "no restart hit a batch: the test proves nothing"


@pytest.mark.parametrize("by", ["kill_unread", "stop"])
async def test_rsyslogd_restarted_in_the_middle_of_batches_over_tcp_loses_nothing(tmp_path, by):
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver) as sink:
            await survive(sink, receiver, getattr(receiver, by))


@pytest.mark.parametrize("driver", ["gtls", "ossl"])
@pytest.mark.parametrize("by", ["kill", "stop"])
async def test_rsyslogd_restarted_in_the_middle_of_batches_over_tls_loses_nothing(
    tmp_path, certificates, driver: Driver, by
):
    with rsyslogd(tmp_path, via="tls", driver=driver, certificates=certificates) as receiver:
        async with sink_for(receiver, certificates) as sink:
            await survive(sink, receiver, getattr(receiver, by))


@pytest.mark.parametrize("via", ["tcp", "tls"])
async def test_syslog_ng_restarted_between_batches_loses_nothing(tmp_path: Path, certificates, via):
    """In the middle of one it may: what it has read lies in its memory, and dies with it."""
    with syslog_ng(tmp_path, via=via, certificates=certificates) as receiver:
        async with sink_for(receiver, certificates if via == "tls" else None) as sink:
            for number, batch in enumerate(BATCHES, start=1):
                await send_until_taken(sink, [batch])
                await written(receiver, number * len(batch))
                await anyio.to_thread.run_sync(receiver.stop)
                await anyio.to_thread.run_sync(receiver.start)
        assert understood_ids(receiver) == EVERY_ID


async def test_a_receiver_that_is_down_is_transient_and_then_takes_the_batch(tmp_path):
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver) as sink:
            receiver.kill()
            with pytest.raises(ForwarderError, match="cannot connect"):
                await sink.probe()
            with pytest.raises(TransientError):
                await sink.send(numbered(5))
            receiver.start()
            await sink.send(numbered(5))
        await written(receiver, 5)
        assert understood_ids(receiver) == ids(numbered(5))


# --- formats --------------------------------------------------------------------------------------


def tabs_restored(message: str) -> str:
    """Undo what rsyslog does to tabs unless parser.escapeControlCharacterTab is off."""
    return message.replace("#011", "\t")


@pytest.mark.parametrize("name", FORMATS)
async def test_rsyslogd_gives_on_every_format_as_it_was_sent(tmp_path, name):
    sent = numbered(20)
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver, format=name) as sink:
            await sink.send(sent)
        await written(receiver, 20)
        messages = [one["msg"] for one in receiver.messages()]
    assert [tabs_restored(one) for one in messages] == [
        FORMATS[name].encode(one).decode() for one in sent.events
    ]


@pytest.mark.parametrize(("name", "read"), [("cef", cef.parse), ("leef", leef.parse)])
async def test_rsyslogd_gets_what_is_too_large_as_valid_cef_and_leef(tmp_path, name, read):
    large = event(attributes=tuple(Attribute(name=f"a{n}", value="|=\\\n" * 900) for n in range(9)))
    with rsyslogd(tmp_path) as receiver:
        async with sink_for(receiver, format=name) as sink:
            await sink.send(batch(large))
        await written(receiver, 1)
        (message,) = (one["msg"] for one in receiver.messages())
    parsed = read(tabs_restored(message))
    pairs = parsed.extension if name == "cef" else parsed.attributes
    assert (pairs["shortened"], pairs["event_id"]) == ("true", large.event_id)
