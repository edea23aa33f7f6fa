"""The sink against the strict receiver, in one process and on a virtual clock."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
import trio.testing

from forwarder.errors import AccessError, TransientError
from forwarder.formats import FORMATS
from forwarder.model import Batch, Receipt
from forwarder.secret import Secret
from forwarder.sinks.splunk_hec import SplunkHecConfig
from forwarder.sinks.splunk_hec.sink import HecSink
from tests.fakes.events import batch, event, ids, numbered
from tests.fakes.memory import FakeMemory
from tests.receivers.hec import Fault, Hec

TOKEN = "11111111-2222-3333-4444-555555555555"
EVENT = "/services/collector/event"
ACK = "/services/collector/ack"


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def config(**changes: object) -> SplunkHecConfig:
    fields = {
        "type": "splunk_hec",
        "url": "http://splunk.test:8088",
        "token": TOKEN,
        "index": "security",
        "ack": False,
        # A virtual clock jumps on while a thread compresses.
        "compression": "none",
    }
    return SplunkHecConfig(**{**fields, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def sink_on(
    hec: Hec | httpx.AsyncBaseTransport, memory: FakeMemory | None = None, **changes: object
) -> AsyncIterator[HecSink]:
    wanted = config(**changes)
    async with wanted.open(
        name="splunk",
        format=FORMATS["json"],
        memory=memory or FakeMemory(),
        transport=httpx.ASGITransport(hec.app) if isinstance(hec, Hec) else hec,
    ) as sink:
        yield sink


async def until_taken(sink: HecSink, sent: Batch, *, tries: int = 20) -> Receipt:
    """Send again, as the dispatcher does, until the batch is taken."""
    for _ in range(tries - 1):
        try:
            return await sink.send(sent)
        except TransientError:
            await anyio.sleep(1)
    return await sink.send(sent)


def headers_of(hec: Hec, path: str) -> list[dict[str, str]]:
    return [headers for at, headers, _ in hec.requests if at == path]


def marked(hec: Hec) -> list[str]:
    """The ids of the envelopes that say that they may be doubles."""
    fields = [envelope["fields"] for envelope in hec.indexed]
    return [each["event_id"] for each in fields if each.get("possible_duplicate")]


def of_size(number: int, size: int) -> object:
    return event(number, original=msgspec.Raw(b'"%b"' % (b"x" * size)))


# What a request looks like.


async def test_a_large_batch_is_cut_into_requests_that_hec_takes():
    hec = Hec(max_request_bytes=1_000_000, max_request_events=1000)
    async with sink_on(hec) as sink:
        receipt = await sink.send(numbered(2500))
    assert receipt == Receipt()
    assert hec.ids == ids(numbered(2500))
    assert max(len(body) for _, _, body in hec.requests) <= 1_000_000


async def test_a_batch_of_one_request_asks_nothing_of_the_memory():
    hec, memory = Hec(), FakeMemory()
    async with sink_on(hec, memory) as sink:
        assert await sink.send(numbered(10)) == Receipt()
    assert memory.saved == []


async def test_a_batch_of_several_quick_requests_asks_nothing_of_the_memory():
    hec, memory = Hec(), FakeMemory()
    async with sink_on(hec, memory) as sink:
        assert await sink.send(numbered(3500)) == Receipt()
    assert hec.posts > 1
    assert memory.saved == []


async def test_of_a_batch_of_slow_requests_it_is_kept_each_second_what_was_taken():
    hec, memory = Hec(), FakeMemory()
    hec.faults = [Fault(take=True, delay=0.6) for _ in range(4)]
    async with sink_on(hec, memory) as sink:
        with anyio.move_on_after(2.0):  # killed in the fourth request
            await sink.send(numbered(3500))
    async with sink_on(hec, memory) as sink:
        await sink.send(numbered(3500))
    assert set(hec.ids) == set(ids(numbered(3500)))
    assert len(hec.ids) <= 3500 + 2 * 1000


@pytest.mark.parametrize("count", [5, 300])
async def test_requests_are_compressed(count):
    hec = Hec()
    async with sink_on(hec, compression="gzip") as sink:
        await sink.send(numbered(count))
    (headers,) = headers_of(hec, EVENT)
    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) < len(hec.requests[0][2]) / 3


async def test_requests_can_go_uncompressed():
    hec = Hec()
    async with sink_on(hec, compression="none") as sink:
        await sink.send(numbered(5))
    (headers,) = headers_of(hec, EVENT)
    assert "content-encoding" not in headers
    assert hec.ids == ids(numbered(5))


async def test_without_acknowledgement_no_channel_is_named_and_no_ack_asked_for():
    hec = Hec()
    async with sink_on(hec) as sink:
        await sink.send(numbered(5))
    ((path, headers, _),) = hec.requests
    assert path == EVENT
    assert "x-splunk-request-channel" not in headers


async def test_the_url_may_have_a_path_before_hecs_own():
    assert config(url="https://gate.example.com/splunk/").url == "https://gate.example.com/splunk"


@pytest.mark.parametrize(
    "tail", ["", "/", "/services/collector", "/services/collector/event", "/services/collector/"]
)
def test_the_url_may_be_given_with_hecs_path(tail):
    assert config(url=f"https://splunk.test:8088{tail}").url == "https://splunk.test:8088"


@pytest.mark.parametrize(
    "url", ["splunk:8088", "ftp://splunk", "https://", "https://me:secret@splunk", "https://s?a=b"]
)
def test_a_url_that_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="must be"):
        config(url=url)


@pytest.mark.parametrize(
    ("format_", "sourcetype"),
    [("json", "soteri:bitbucket:audit"), ("raw", "soteri:bitbucket:audit:raw")],
)
async def test_each_format_has_a_sourcetype_of_its_own(format_, sourcetype):
    hec = Hec()
    async with sink_on(hec, format=format_) as sink:
        await sink.send(numbered(1))
    assert hec.indexed[0]["sourcetype"] == sourcetype


# The token.


async def test_a_token_that_changes_in_its_file_is_used_at_once(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    hec = Hec()
    async with sink_on(hec, token=Secret(path=path)) as sink:
        await sink.send(numbered(1))
        hec.token = "99999999-2222-3333-4444-555555555555-new"
        path.write_text(hec.token)
        await sink.send(numbered(1, first=2))
    assert hec.ids == ids(numbered(2))


@pytest.mark.parametrize("token", ["s3cret\nX-Evil: 1", "s3cret tok", "s3crét", "s3cret\x00"])
async def test_a_token_that_fits_no_header_is_refused_and_not_shown(token):
    hec = Hec()
    async with sink_on(hec, token=token) as sink:
        with pytest.raises(AccessError) as caught:
            await sink.send(numbered(1))
    assert "s3cr" not in f"{caught.value} {caught.value.remedy} {caught.value.__cause__}"
    assert hec.requests == []


async def test_a_revoked_token_keeps_everything_and_goes_on_when_it_is_back():
    hec = Hec()
    async with sink_on(hec) as sink:
        hec.enabled = False
        for _ in range(3):
            with pytest.raises(AccessError) as caught:
                await sink.send(numbered(1500))
            assert TOKEN not in f"{caught.value!r} {caught.value.remedy}"
        hec.enabled = True
        await sink.send(numbered(1500))
    assert hec.ids == ids(numbered(1500))


async def test_no_redirect_gets_the_token():
    hec = Hec()
    hec.faults = [Fault(status=307, headers={"Location": "http://elsewhere.test/"})]
    async with sink_on(hec) as sink:
        with pytest.raises(AccessError, match=r"redirected to http://elsewhere\.test/"):
            await sink.send(numbered(1))
    assert len(hec.requests) == 1


# Refused events.


@pytest.mark.parametrize("code", [6, 12, 13, 15])
@pytest.mark.parametrize("culprits", [[1], [700], [2500], [1, 2, 1000, 1001, 2500]], ids=str)
async def test_a_refused_event_is_buried_alone_and_none_is_doubled(code, culprits):
    hec = Hec()
    refused = [event(number).event_id for number in culprits]
    hec.poisoned = dict.fromkeys(refused, code)
    async with sink_on(hec) as sink:
        receipt = await sink.send(numbered(2500))
    assert [rejection.event_id for rejection in receipt.rejections] == refused
    assert {rejection.reason for rejection in receipt.rejections} == {"malformed"}
    assert hec.ids == [each for each in ids(numbered(2500)) if each not in refused]


async def test_a_refusal_is_remembered_when_the_rest_fails():
    hec = Hec()
    hec.poisoned = {event(3).event_id: 6}
    hec.faults = [None, Fault(code=9)]
    async with sink_on(hec) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(10))
        receipt = await sink.send(numbered(10))
    assert [rejection.event_id for rejection in receipt.rejections] == [event(3).event_id]
    assert hec.ids == [each for each in ids(numbered(10)) if each != event(3).event_id]


@pytest.mark.parametrize("code", [6, 413])
async def test_a_receiver_with_less_room_gets_less_at_once(code):
    hec = Hec(max_request_bytes=300_000, oversize_code=code)
    async with sink_on(hec) as sink:
        receipt = await sink.send(numbered(2000))
    assert receipt.rejections == ()
    assert hec.ids == ids(numbered(2000))


@pytest.mark.parametrize("code", [6, 413])
async def test_an_event_over_the_receivers_room_is_buried_as_too_large(code):
    hec = Hec(max_request_bytes=1_000_000, oversize_code=code)
    sent = batch(event(1), of_size(2, 2_000_000), event(3))
    async with sink_on(hec) as sink:
        receipt = await sink.send(sent)
    assert [(r.event_id, r.reason) for r in receipt.rejections] == [
        (event(2).event_id, "too_large")
    ]
    assert hec.ids == [event(1).event_id, event(3).event_id]


async def test_an_event_over_our_own_limit_is_buried_unsent():
    hec = Hec(max_request_bytes=10**9)
    sent = batch(of_size(1, 5_000_000), event(2), of_size(3, 5_000_000))
    async with sink_on(hec) as sink:
        receipt = await sink.send(sent)
    assert [rejection.reason for rejection in receipt.rejections] == ["too_large", "too_large"]
    assert hec.ids == [event(2).event_id]
    assert max(len(body) for _, _, body in hec.requests) < 10_000


async def test_a_refusal_that_names_nobody_is_found_by_halving():
    hec = Hec()
    hec.faults = [Fault(code=6), Fault(code=6), Fault(code=6), Fault(code=6)]
    async with sink_on(hec) as sink:
        receipt = await sink.send(numbered(8))
    assert [rejection.event_id for rejection in receipt.rejections] == [event(1).event_id]
    assert hec.ids == ids(numbered(8))[1:]


async def test_nothing_at_all_is_dropped_silently_by_an_unknown_key():
    hec = Hec()
    async with sink_on(hec, host="h", source="s", sourcetype="t") as sink:
        await sink.send(numbered(1))
    (envelope,) = hec.indexed
    assert envelope.keys() == {"time", "host", "source", "sourcetype", "index", "fields", "event"}


# Failures on the way.


@pytest.mark.parametrize("code", [24, 25])
async def test_near_capacity_slows_down_and_sends_nothing_again(code):
    hec = Hec()
    hec.faults = [Fault(code=code), None, None]
    async with sink_on(hec) as sink:
        receipt = await sink.send(numbered(2500))
    assert receipt.slow_down > 0
    assert hec.ids == ids(numbered(2500))


async def test_after_a_failure_half_way_only_the_rest_is_sent():
    hec = Hec()
    hec.faults = [None, Fault(code=9, headers={"Retry-After": "7"})]
    async with sink_on(hec) as sink:
        with pytest.raises(TransientError) as caught:
            await sink.send(numbered(2500))
        assert caught.value.retry_after == 7.0
        await sink.send(numbered(2500))
    assert hec.ids == ids(numbered(2500))
    assert marked(hec) == []


async def test_after_a_crash_half_way_only_the_rest_is_sent():
    hec, memory = Hec(), FakeMemory()
    hec.faults = [None, Fault(code=9)]
    async with sink_on(hec, memory) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(2500))
    async with sink_on(hec, memory) as sink:
        await sink.send(numbered(2500))
    assert hec.ids == ids(numbered(2500))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(take=True, drop=True),
        Fault(take=True, status=502, body=b"<html>"),
        Fault(take=True, status=504),
        Fault(take=True, status=408),
    ],
    ids=["broken", "502", "504", "408"],
)
async def test_what_may_have_arrived_is_sent_again_and_says_so(fault):
    hec = Hec()
    hec.faults = [None, fault]
    async with sink_on(hec) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(2500))
        await sink.send(numbered(2500))
    assert list(dict.fromkeys(hec.ids)) == ids(numbered(2500))
    doubled = {each for each, times in Counter(hec.ids).items() if times > 1}
    assert set(marked(hec)) == doubled
    assert 0 < len(doubled) <= 1000


async def test_what_was_never_sent_is_not_called_a_possible_duplicate():
    hec = Hec()
    reachable = httpx.ASGITransport(hec.app)

    class Flaky(httpx.AsyncBaseTransport):
        is_up = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if not self.is_up:
                raise httpx.ConnectError("refused")
            return await reachable.handle_async_request(request)

    network = Flaky()
    async with sink_on(network) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(5))
        network.is_up = True
        await sink.send(numbered(5))
    assert hec.ids == ids(numbered(5))
    assert marked(hec) == []


async def test_a_cancelled_request_may_have_arrived():
    hec = Hec()
    hec.faults = [Fault(take=True, delay=60)]
    async with sink_on(hec) as sink:
        with anyio.move_on_after(5):
            await sink.send(numbered(5))
        await sink.send(numbered(5))
    assert marked(hec) == ids(numbered(5))


async def test_a_log_in_page_with_200_is_not_taken_for_success():
    hec = Hec()
    hec.faults = [Fault(status=200, body=b"<html>log in", headers={"Content-Type": "text/html"})]
    async with sink_on(hec) as sink:
        with pytest.raises(AccessError, match="text/html"):
            await sink.send(numbered(5))
        await sink.send(numbered(5))
    assert hec.ids == ids(numbered(5))


async def test_an_answer_that_drips_without_end_is_given_up():
    class Dripping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            async def pieces() -> AsyncIterator[bytes]:
                while True:
                    await anyio.sleep(29)
                    yield b" "

            return httpx.Response(200, content=pieces())

    async with sink_on(Dripping(), timeout="30s") as sink:
        began = anyio.current_time()
        with pytest.raises(AccessError):
            await sink.send(numbered(1))
        assert anyio.current_time() - began <= 60


# Acknowledgement.


async def test_send_returns_only_once_all_is_indexed():
    hec, done = Hec(acking=True, slow=True), anyio.Event()

    async with sink_on(hec, ack=True) as sink, anyio.create_task_group() as tasks:

        async def send() -> None:
            await sink.send(numbered(2500))
            done.set()

        tasks.start_soon(send)
        await anyio.sleep(60)
        assert not done.is_set()
        hec.index()
        await anyio.sleep(2)
        assert done.is_set()
    assert hec.ids == ids(numbered(2500))


async def test_acks_are_asked_for_about_every_second():
    hec = Hec(acking=True, slow=True)
    async with sink_on(hec, ack=True) as sink:
        with anyio.move_on_after(60):
            await sink.send(numbered(1))
    assert 55 <= len(headers_of(hec, ACK)) <= 65


async def test_a_channel_has_one_open_ack_and_is_used_again_after_it():
    hec = Hec(acking=True)
    async with sink_on(hec, ack=True) as sink:
        for number in range(5):
            await sink.send(numbered(1000, first=1 + 1000 * number))
    channels = Counter(headers["x-splunk-request-channel"] for headers in headers_of(hec, EVENT))
    assert len(channels) == hec.posts / 5
    assert set(channels.values()) == {5}


async def test_what_an_indexer_loses_after_its_200_is_sent_again_on_another_channel():
    hec = Hec(acking=True)
    hec.faults = [None, Fault(lose=True), None]
    async with sink_on(hec, ack=True, ack_timeout="5m") as sink:
        began = anyio.current_time()
        with pytest.raises(TransientError, match="not indexed within 300 s"):
            await sink.send(numbered(2500))
        assert 300 <= anyio.current_time() - began < 310
        lossy = headers_of(hec, EVENT)[1]["x-splunk-request-channel"]
        await sink.send(numbered(2500))
    assert sorted(hec.ids) == ids(numbered(2500))
    assert marked(hec) == [envelope["fields"]["event_id"] for envelope in hec.lost]
    again = headers_of(hec, EVENT)[-1]["x-splunk-request-channel"]
    assert again != lossy


async def test_a_restart_asks_for_the_open_acks_in_place_of_sending_again():
    hec, memory = Hec(acking=True, slow=True), FakeMemory()
    async with sink_on(hec, memory, ack=True) as sink:
        with anyio.move_on_after(30):
            await sink.send(numbered(2500))  # the process ends while it waits
    before = hec.posts
    hec.index()
    async with sink_on(hec, memory, ack=True) as sink:
        receipt = await sink.send(numbered(2500))
    assert hec.posts == before
    assert hec.ids == ids(numbered(2500))
    assert receipt == Receipt(memo={})


async def test_a_restart_in_mid_batch_sends_only_what_was_not_sent():
    hec, memory = Hec(acking=True), FakeMemory()
    hec.faults = [None, Fault(code=9)]
    async with sink_on(hec, memory, ack=True) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(2500))
    async with sink_on(hec, memory, ack=True) as sink:
        await sink.send(numbered(2500))
    assert hec.ids == ids(numbered(2500))


async def test_what_was_under_way_when_the_process_ended_says_that_it_may_be_a_double():
    hec, memory = Hec(acking=True, slow=True), FakeMemory()
    reachable = httpx.ASGITransport(hec.app)

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await reachable.handle_async_request(request)
            if hec.posts == 2:
                await anyio.sleep_forever()
            return answer

    async with sink_on(Slow(), memory, ack=True) as sink:
        with anyio.move_on_after(30):
            await sink.send(numbered(2500))
    hec.slow = False
    hec.index()
    async with sink_on(hec, memory, ack=True) as sink:
        await sink.send(numbered(2500))
    doubled = [each for each, times in Counter(hec.ids).items() if times > 1]
    assert 0 < len(doubled) <= 1000
    assert marked(hec) == doubled


async def test_acks_that_the_indexer_forgot_over_a_restart_are_not_believed():
    hec, memory = Hec(acking=True, slow=True), FakeMemory()
    async with sink_on(hec, memory, ack=True, ack_timeout="40s") as sink:
        with anyio.move_on_after(30):
            await sink.send(numbered(1500))
    hec.restart(losing=True)
    hec.slow = False
    async with sink_on(hec, memory, ack=True, ack_timeout="40s") as sink:
        await until_taken(sink, numbered(1500))
    assert sorted(hec.ids) == ids(numbered(1500))
    assert len(hec.lost) == 1500
    assert sorted(marked(hec)) == ids(numbered(1500))


@pytest.mark.parametrize("at", [1, 2, 3, 4])
async def test_an_indexer_that_restarts_in_mid_batch_loses_us_nothing(at):
    """Its ids count from 0 again: the ack of a later request must not settle an earlier one."""
    hec = Hec(acking=True, slow=True)
    taken = 0
    ordinary = hec._take

    def take(*args, **options):
        nonlocal taken
        taken += 1
        if taken == at + 1:
            hec.restart(losing=True)
        return ordinary(*args, **options)

    hec._take = take
    async with (
        sink_on(hec, ack=True, ack_timeout="40s") as sink,
        anyio.create_task_group() as tasks,
    ):

        async def index() -> None:
            while True:
                await anyio.sleep(1)
                hec.index()

        tasks.start_soon(index)
        await until_taken(sink, numbered(4500))
        tasks.cancel_scope.cancel()
    assert set(hec.ids) == set(ids(numbered(4500)))
    assert hec.lost != []


async def test_an_ack_that_cannot_be_asked_for_now_sends_nothing_again():
    hec = Hec(acking=True)
    hec.ack_faults = [None, Fault(code=9), Fault(drop=True), Fault(status=502)]
    async with sink_on(hec, ack=True) as sink:
        for _ in range(3):
            with pytest.raises(TransientError):
                await sink.send(numbered(800))
        await sink.send(numbered(800))
    assert hec.ids == ids(numbered(800))
    assert hec.posts == 2


async def test_acks_are_read_before_more_is_sent_where_there_is_no_room_for_more():
    hec = Hec(acking=True)
    hec.faults = [None, Fault(code=27)]
    async with sink_on(hec, ack=True) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(1500))
        asked = len(headers_of(hec, ACK))
        paths_before = len(hec.requests)
        await sink.send(numbered(1500))
    assert hec.requests[paths_before][0] == ACK
    assert len(headers_of(hec, ACK)) > asked
    assert hec.ids == ids(numbered(1500))


async def test_a_token_without_acknowledgement_is_found_before_anything_is_sent():
    hec = Hec(acking=False)
    async with sink_on(hec, ack=True) as sink:
        with pytest.raises(AccessError) as caught:
            await sink.send(numbered(5))
    assert "set ack = false" in caught.value.remedy
    assert hec.posts == 0


async def test_a_token_with_acknowledgement_that_is_not_asked_for_says_what_to_set():
    hec = Hec(acking=True)
    async with sink_on(hec, ack=False) as sink:
        with pytest.raises(AccessError) as caught:
            await sink.send(numbered(5))
    assert "set ack = true" in caught.value.remedy
    hec.index()
    assert hec.ids == []


async def test_acknowledgement_switched_off_under_way_doubles_one_request_at_most():
    hec = Hec(acking=True)
    async with sink_on(hec, ack=True) as sink:
        await sink.send(numbered(5))
        hec.acking = False
        for _ in range(5):
            with pytest.raises(AccessError):
                await sink.send(numbered(5, first=10))
        assert hec.posts == 2
        hec.acking = True
        await sink.send(numbered(5, first=10))
    assert set(hec.ids) == set(ids(numbered(5)) + ids(numbered(5, first=10)))
    assert marked(hec) == ids(numbered(5, first=10))


async def test_what_waits_for_an_ack_when_acknowledgement_is_switched_off_is_sent_again_at_once():
    hec, memory = Hec(acking=True, slow=True), FakeMemory()
    async with sink_on(hec, memory, ack=True) as sink:
        with anyio.move_on_after(30):
            await sink.send(numbered(5))
    hec.acking = hec.slow = False
    async with sink_on(hec, memory, ack=False) as sink:
        assert await sink.send(numbered(5)) == Receipt(memo={})
    assert marked(hec) == ids(numbered(5))


async def test_behind_a_load_balancer_the_cookie_leads_back_to_the_indexer():
    hec = Hec(acking=True, indexers=3)
    async with sink_on(hec, ack=True) as sink:
        for number in range(0, 30, 3):
            await sink.send(numbered(3, first=1 + number))
    assert hec.ids == ids(numbered(30))


@pytest.mark.parametrize("host", ["splunk.test", "splunk", "10.0.0.7", "[::1]"])
async def test_the_cookie_is_kept_over_a_restart(host):
    hec, memory = Hec(acking=True, slow=True, indexers=3), FakeMemory()
    url = f"http://{host}:8088"
    async with sink_on(hec, memory, ack=True, url=url) as sink:
        with anyio.move_on_after(30):
            await sink.send(numbered(5))
    hec.index()
    async with sink_on(hec, memory, ack=True, url=url) as sink:
        await sink.send(numbered(5))
    assert hec.ids == ids(numbered(5))
    assert hec.posts == 1


@pytest.mark.parametrize("indexers", [2, 3])
async def test_without_sticky_sessions_no_ack_is_believed_of_other_events(indexers):
    """Nothing may get through then, but what is said to be there must be there."""
    hec = Hec(acking=True, indexers=indexers, sticky=False)
    hec.faults = [None if number % 3 else Fault(lose=True) for number in range(60)]
    said_to_be_there = set()
    async with sink_on(hec, ack=True, ack_timeout="10s") as sink:
        for first in range(1, 700, 10):
            with suppress(TransientError):
                await until_taken(sink, numbered(10, first=first), tries=3)
                said_to_be_there |= set(ids(numbered(10, first=first)))
    assert said_to_be_there <= set(hec.ids)


async def test_the_ack_of_a_request_whose_answer_was_lost_settles_no_other():
    """The indexer restarts between the two, so both would have id 0 in one channel."""
    hec = Hec(acking=True, slow=True)
    hec.faults = [None, Fault(code=9), Fault(take=True, drop=True)]
    sent = batch(of_size(1, 900_000), of_size(2, 900_000))
    async with sink_on(hec, ack=True, ack_timeout="20s") as sink:
        with pytest.raises(TransientError):
            await sink.send(sent)
        hec.restart(losing=True)
        with pytest.raises(TransientError):
            await sink.send(sent)
        hec.slow = False
        await until_taken(sink, sent)
    assert set(hec.ids) == set(ids(sent))


@pytest.mark.parametrize("seed", range(30, 40))
async def test_what_was_settled_is_indexed_whatever_fails_and_restarts(seed):
    """Two events fill a request; the process and the indexer end where it hurts."""
    draw = random.Random(seed)
    hec, memory = Hec(acking=True, slow=True, max_request_bytes=1_100_000), FakeMemory()
    everything = [of_size(number, 450_000) for number in range(1, 19)]
    mishaps = [
        None, None, Fault(lose=True), Fault(take=True, drop=True), Fault(drop=True),
        Fault(code=9), Fault(code=27), Fault(code=24), Fault(take=True, status=504),
    ]  # fmt: skip
    hec.faults = [draw.choice(mishaps) for _ in range(40)]
    hec.ack_faults = [draw.choice([None, None, None, Fault(code=9)]) for _ in range(40)]

    async def live() -> None:
        while True:
            await anyio.sleep(draw.uniform(0.1, 8))
            if draw.random() < 0.2:
                hec.restart(losing=draw.random() < 0.7)
            hec.index()

    position = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        while position < len(everything):
            async with sink_on(hec, memory, ack=True, ack_timeout="20s") as sink:
                with anyio.move_on_after(draw.uniform(1, 120)):  # then the process ends
                    while position < len(everything):
                        sent = batch(*everything[position : position + draw.randint(3, 9)])
                        with suppress(TransientError):
                            receipt = await sink.send(sent)
                            position += len(sent)
                            await memory.save(receipt.memo or {})
                            assert set(ids(batch(*everything[:position]))) <= set(hec.ids)
                        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()


async def test_a_memo_of_another_version_begins_anew():
    hec = Hec(acking=True)
    memory = FakeMemory({"channel": 7, "runs": {"what": "ever"}})
    async with sink_on(hec, memory, ack=True) as sink:
        assert await sink.send(numbered(5)) == Receipt(memo={})
    assert hec.ids == ids(numbered(5))


# The probe.


async def test_a_probe_says_what_it_found_and_delivers_nothing():
    hec = Hec(acking=True)
    async with sink_on(hec, ack=True) as sink:
        said = await sink.probe()
    hec.index()
    assert hec.ids == []
    assert said == (
        "splunk at http://splunk.test:8088 is healthy and takes the token, "
        "with indexer acknowledgement"
    )


@pytest.mark.parametrize("code", [18, 19, 20])
async def test_a_probe_of_an_unhealthy_hec_is_transient(code):
    hec = Hec()
    hec.health_fault = Fault(code=code)
    async with sink_on(hec) as sink:
        with pytest.raises(TransientError, match=str(code)):
            await sink.probe()


@pytest.mark.parametrize(
    ("changes", "acking", "remedy"),
    [
        ({"token": "wrong"}, False, "does not know"),
        ({"ack": True}, False, "ack = false"),
        ({"ack": False}, True, "ack = true"),
    ],
    ids=["wrong token", "no acknowledgement", "acknowledgement"],
)
async def test_a_probe_says_what_to_mend(changes, acking, remedy):
    async with sink_on(Hec(acking=acking), **changes) as sink:
        with pytest.raises(AccessError) as caught:
            await sink.probe()
    assert remedy in caught.value.remedy


async def test_a_probe_of_a_page_says_that_the_address_is_wrong():
    hec = Hec()
    hec.health_fault = Fault(status=200, body=b"<html>", headers={"Content-Type": "text/html"})
    async with sink_on(hec) as sink:
        with pytest.raises(AccessError) as caught:
            await sink.probe()
    assert "set url" in caught.value.remedy
