"""RELP: a real rsyslogd, and receivers that answer in every other way."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

import anyio
import anyio.to_thread
import msgspec
import pytest

from forwarder.errors import AccessError, TransientError
from forwarder.formats import FORMATS
from forwarder.interfaces import Sink
from forwarder.model import Batch
from forwarder.sinks.syslog import SyslogConfig
from tests.fakes.events import batch, event, ids, numbered
from tests.fakes.memory import FakeMemory
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.relp import OFFERS, Conversation, frame
from tests.receivers.rfc5424 import parse
from tests.receivers.rsyslog import Rsyslog, Via, rsyslogd
from tests.receivers.socket_peer import reset, socket_peer

SD_ID = "soteri@32473"


def opened(address: str, **fields: object) -> AbstractAsyncContextManager[Sink]:
    config = SyslogConfig.model_validate(
        {"type": "syslog", "address": address, "timeout": "5s", **fields}
    )
    return config.open(name="siem", format=FORMATS["json"], memory=FakeMemory())


def id_of(message: bytes) -> str:
    return parse(message).structured_data[SD_ID]["event_id"]


# --- rsyslogd -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


def secured(certificates: Certificates) -> dict[str, str]:
    return {
        "ca_file": str(certificates.ca_file),
        "cert_file": str(certificates.client_cert_file),
        "key_file": str(certificates.client_key_file),
    }


def sink_for(receiver: Rsyslog, certificates: Certificates, **fields: object):
    tls = {"tls": secured(certificates)} if "tls" in receiver.address else {}
    return opened(receiver.address, **{**tls, **fields})


def held(receiver: Rsyslog) -> list[str]:
    return [id_of(one["rawmsg"].encode()) for one in receiver.messages()]


VIAS: list[Via] = ["relp", "relp+tls"]


@pytest.mark.real
@pytest.mark.parametrize("via", VIAS)
async def test_rsyslogd_has_every_message_the_moment_it_has_answered(tmp_path, certificates, via):
    batches = [numbered(1000, first=first) for first in (1, 1001, 2001)]
    with rsyslogd(tmp_path, via=via, certificates=certificates) as receiver:
        async with sink_for(receiver, certificates) as sink:
            for number, sent in enumerate(batches, 1):
                await sink.send(sent)
                assert receiver.count() == number * 1000
        assert held(receiver) == [one for sent in batches for one in ids(sent)]


@pytest.mark.real
@pytest.mark.parametrize("window", [1, 2, 1024])
async def test_any_window_delivers_all_in_order(tmp_path, certificates, window):
    sent = numbered(3000 if window > 2 else 100)
    with rsyslogd(tmp_path, via="relp") as receiver:
        async with sink_for(receiver, certificates, window=window) as sink:
            await sink.send(sent)
        assert held(receiver) == ids(sent)


@pytest.mark.real
@pytest.mark.parametrize("via", VIAS)
async def test_one_session_serves_all_batches_and_is_closed_politely(tmp_path, certificates, via):
    with rsyslogd(tmp_path, via=via, certificates=certificates) as receiver:
        async with sink_for(receiver, certificates) as sink:
            for number in range(5):
                await sink.send(numbered(10, first=1 + 10 * number))
                assert receiver.connections() == 1
            said = await sink.probe()
        assert "RELP session opened, librelp" in said
        assert receiver.count() == 50
        assert "error" not in receiver.log().lower()


@pytest.mark.real
async def test_a_restart_between_batches_is_not_even_a_failure(tmp_path, certificates):
    with rsyslogd(tmp_path, via="relp") as receiver:
        async with sink_for(receiver, certificates) as sink:
            await sink.send(numbered(3))
            for first, end in ((4, receiver.stop), (7, receiver.kill)):
                await anyio.to_thread.run_sync(end)
                await anyio.to_thread.run_sync(receiver.start)
                await sink.send(numbered(3, first=first))
        assert held(receiver) == ids(numbered(9))


@pytest.mark.real
async def test_rsyslogd_lets_nobody_in_without_a_client_certificate(tmp_path, certificates):
    with rsyslogd(tmp_path, via="relp+tls", certificates=certificates) as receiver:
        async with opened(receiver.address, tls={"ca_file": str(certificates.ca_file)}) as sink:
            with pytest.raises((AccessError, TransientError)) as caught:
                await sink.send(numbered(1))
        assert receiver.count() == 0
    assert caught.value.remedy


@pytest.mark.real
async def test_hostile_and_large_events_arrive_as_one_message_each(tmp_path, certificates):
    hostile = 'a"b\\c\r\n3 syslog 5 forge\n\x00\x1b[31m]'
    sent = batch(
        event(1, action=hostile, original=msgspec.Raw(msgspec.json.encode(hostile))),
        event(2, original=msgspec.Raw(b'"%b"' % (b"x" * 200_000))),
        event(3),
    )
    with rsyslogd(tmp_path, via="relp") as receiver:
        async with sink_for(receiver, certificates) as sink:
            await sink.send(sent)
        assert held(receiver) == ids(sent)


BATCHES = [numbered(1000, first=1 + 1000 * number) for number in range(12)]
EVERY_ID = [one for sent in BATCHES for one in ids(sent)]
KILLS = 10
WINDOW = 128


@pytest.mark.real
@pytest.mark.timeout(120)
@pytest.mark.parametrize("via", VIAS)
async def test_ten_kills_of_rsyslogd_in_mid_batch_lose_nothing_and_double_at_most_a_window(
    tmp_path, certificates, via
):
    failures = 0
    with rsyslogd(tmp_path, via=via, certificates=certificates) as receiver:

        async def kill() -> None:
            for _ in range(KILLS):
                seen = receiver.count()
                while receiver.count() < seen + 300:
                    await anyio.sleep(0.001)
                await anyio.to_thread.run_sync(receiver.kill)
                await anyio.to_thread.run_sync(receiver.start)

        async def deliver(sent: Batch) -> None:
            nonlocal failures
            while True:
                try:
                    await sink.send(sent)
                except TransientError:
                    failures += 1
                    await anyio.sleep(0.01)
                else:
                    return

        async with (
            sink_for(receiver, certificates) as sink,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(kill)
            for sent in BATCHES:
                await deliver(sent)
            while receiver.starts <= KILLS:  # the kills that are left want messages too
                await deliver(BATCHES[-1])
        found = held(receiver)
    assert list(dict.fromkeys(found)) == EVERY_ID
    assert failures > 0, "no kill hit a batch: the test proves nothing"
    once = set(EVERY_ID) - set(ids(BATCHES[-1]))
    assert sum(one in once for one in found) - len(once) <= KILLS * WINDOW


# --- receivers that are played --------------------------------------------------------------------


@contextmanager
def played(
    *parts: Callable[[Conversation], None], **fields: object
) -> Iterator[tuple[AbstractAsyncContextManager[Sink], list[BaseException]]]:
    """Play one part a connection, the last for all that follow; yield the sink and what failed."""
    turns = iter(parts)
    failed: list[BaseException] = []

    def behave(peer: socket.socket) -> None:
        try:
            next(turns, parts[-1])(Conversation(peer))
        except OSError:
            raise
        except BaseException as error:
            failed.append(error)
            raise

    with socket_peer(behave) as port:
        yield opened(f"relp://127.0.0.1:{port}", **fields), failed
    assert not failed, failed


def serving(got: list[str]) -> Callable[[Conversation], None]:
    def serve(talk: Conversation) -> None:
        talk.open()
        got.extend(id_of(one) for one in talk.serve())

    return serve


async def test_a_refused_message_is_rejected_with_the_receiver_s_words_and_the_others_go():
    def refuse_the_third(talk: Conversation) -> None:
        talk.open()
        for number, (txnr, _) in enumerate(talk.messages(7), 1):
            talk.answer(txnr, b"500 does not fit" if number == 3 else b"200 OK")
        talk.serve()

    with played(refuse_the_third) as (entered, _):
        async with entered as sink:
            receipt = await sink.send(numbered(7))
    assert [(one.event_id, one.reason, one.detail) for one in receipt.rejections] == [
        (event(3).event_id, "refused", "500 does not fit")
    ]


async def test_answers_may_come_in_any_order():
    def backwards(talk: Conversation) -> None:
        talk.open()
        for txnr, _ in reversed(talk.messages(5)):
            talk.answer(txnr, b"500 no" if txnr == 2 else b"200 OK")
        talk.serve()

    with played(backwards) as (entered, _):
        async with entered as sink:
            receipt = await sink.send(numbered(5))
    assert [one.event_id for one in receipt.rejections] == [event(1).event_id]


async def test_no_more_than_the_window_is_ever_unanswered():
    def one_by_one(talk: Conversation) -> None:
        talk.open()
        waiting = talk.messages(8)
        talk.peer.settimeout(0.05)
        with pytest.raises(TimeoutError):
            talk.peer.recv(1)
        talk.peer.settimeout(None)
        for txnr, _ in waiting:
            talk.answer(txnr)
        talk.serve()

    with played(one_by_one, window=8) as (entered, _):
        async with entered as sink:
            await sink.send(numbered(20))


async def test_what_was_answered_before_the_end_is_not_sent_again():
    def answer_four_of_ten(talk: Conversation) -> None:
        talk.open()
        for number, (txnr, _) in enumerate(talk.messages(10), 1):
            if number <= 4:
                talk.answer(txnr, b"500 never" if number == 2 else b"200 OK")

    again: list[str] = []
    with played(answer_four_of_ten, serving(again)) as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError, match="6 of 10 messages unanswered"):
                await sink.send(numbered(10))
            receipt = await sink.send(numbered(12))
    assert again == ids(numbered(12))[4:]
    assert [one.event_id for one in receipt.rejections] == [event(2).event_id]


async def test_a_delivered_batch_is_sent_again_where_it_is_replayed():
    got: list[str] = []
    with played(serving(got)) as (entered, _):
        async with entered as sink:
            await sink.send(numbered(3))
            await sink.send(numbered(3))
    assert got == ids(numbered(3)) * 2


async def test_after_a_failure_another_batch_is_sent_whole():
    def answer_two(talk: Conversation) -> None:
        talk.open()
        for txnr, _ in talk.messages(5)[:2]:
            talk.answer(txnr)

    got: list[str] = []
    with played(answer_two, serving(got)) as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError):
                await sink.send(numbered(5))
            await sink.send(numbered(4, first=2))
    assert got == ids(numbered(4, first=2))


def hint_and_end(talk: Conversation) -> None:
    talk.open()
    talk.messages(5)
    talk.peer.sendall(frame(0, b"serverclose"))


def end(talk: Conversation) -> None:
    talk.open()
    talk.messages(5)


def break_off(talk: Conversation) -> None:
    talk.open()
    talk.messages(5)
    reset(talk.peer)


def garbage(talk: Conversation) -> None:
    talk.open()
    talk.messages(5)
    talk.peer.sendall(b"200 OK\r\n")


def answer_twice(talk: Conversation) -> None:
    talk.open()
    txnr, _ = talk.messages(5)[0]
    talk.answer(txnr)
    talk.answer(txnr)


def answer_another(talk: Conversation) -> None:
    talk.open()
    talk.messages(5)
    talk.answer(999)


def endless(talk: Conversation) -> None:
    talk.open()
    talk.messages(5)
    talk.peer.sendall(b"2 rsp 999999999 200 ")
    while True:
        talk.peer.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    "behave", [hint_and_end, end, break_off, garbage, answer_twice, answer_another, endless]
)
async def test_any_other_end_of_a_session_keeps_the_batch(behave):
    got: list[str] = []
    with played(behave, serving(got)) as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError):
                await sink.send(numbered(5))
            await sink.send(numbered(5))
    assert set(got) >= set(ids(numbered(5))[1:])


async def test_a_receiver_that_stops_answering_keeps_the_batch_after_the_timeout():
    done = threading.Event()

    def hang(talk: Conversation) -> None:
        talk.open()
        talk.messages(2)
        done.wait(20)

    with played(hang, timeout="300ms") as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError, match="in time"):
                await sink.send(numbered(2))
        done.set()


async def test_a_receiver_that_stops_reading_keeps_the_batch_after_the_timeout():
    done = threading.Event()

    def hang(talk: Conversation) -> None:
        talk.open()
        done.wait(20)

    with played(hang, timeout="300ms", window=1024) as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError, match="in time"):
                await sink.send(numbered(5000))
        done.set()


async def test_a_hint_between_two_batches_loses_and_doubles_nothing():
    first: list[str] = []

    def close_after_two(talk: Conversation) -> None:
        talk.open()
        for txnr, message in talk.messages(2):
            first.append(id_of(message))
            talk.answer(txnr)
        talk.peer.sendall(frame(0, b"serverclose"))

    rest: list[str] = []
    with played(close_after_two, serving(rest)) as (entered, _):
        async with entered as sink:
            await sink.send(numbered(2))
            # Whether the hint has come by then, or meets the second batch, is the network's.
            try:
                await sink.send(numbered(2, first=3))
            except TransientError:
                await sink.send(numbered(2, first=3))
    assert first + rest == ids(numbered(4))


@pytest.mark.parametrize(
    ("offers", "said"),
    [
        (b"500 desired feature not supported", "refuses the session: 500 desired"),
        (b"200 OK\ncommands=syslog", "no version of RELP"),
        (b"200 OK\nrelp_version=0\ncommands=eventlog", "does not take syslog"),
        (b"200 OK\nrelp_version=0", "does not take syslog"),
        (b"\xff\xfe", "refuses the session"),
    ],
)
async def test_a_receiver_that_does_not_agree_is_an_access_error_with_a_remedy(offers, said):
    with played(lambda talk: talk.open(offers)) as (entered, _):
        async with entered as sink:
            with pytest.raises(AccessError, match=said) as caught:
                await sink.send(numbered(1))
            with pytest.raises(AccessError, match=said):
                await sink.probe()
    assert caught.value.remedy


async def test_a_port_that_speaks_something_else_is_an_access_error_with_a_remedy():
    with played(lambda talk: talk.peer.sendall(b"HTTP/1.1 400 Bad Request\r\n")) as (entered, _):
        async with entered as sink:
            with pytest.raises(AccessError, match="no RELP") as caught:
                await sink.send(numbered(1))
    assert "speaks RELP" in caught.value.remedy


async def test_a_port_that_says_nothing_is_transient_after_the_connect_timeout():
    done = threading.Event()
    with played(lambda _: done.wait(20) and None, connect_timeout="200ms") as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError, match="in time"):
                await sink.send(numbered(1))
        done.set()


async def test_a_port_that_hangs_up_on_us_is_transient_with_a_remedy():
    with played(lambda talk: talk.read() and None) as (entered, _):
        async with entered as sink:
            with pytest.raises(TransientError, match="hung up") as caught:
                await sink.send(numbered(1))
    assert caught.value.remedy


async def test_a_session_ends_with_a_close_that_is_waited_for():
    closed: list[str] = []

    def serve(talk: Conversation) -> None:
        talk.open(OFFERS)
        for txnr, _ in talk.messages(2):
            talk.answer(txnr)
        said = talk.read()
        assert said is not None
        txnr, command, data = said
        closed.append(command)
        assert (txnr, data) == (4, b"")
        talk.peer.sendall(frame(txnr, b"rsp") + frame(0, b"serverclose"))

    with played(serve) as (entered, _):
        async with entered as sink:
            await sink.send(numbered(2))
    assert closed == ["close"]


async def test_a_cancelled_send_ends_at_once_and_its_session_with_it():
    waiting = threading.Event()

    def hang(talk: Conversation) -> None:
        talk.open()
        talk.messages(2)
        waiting.set()
        assert talk.read() is None, "the session went on"

    got: list[str] = []
    with played(hang, serving(got)) as (entered, _):
        async with entered as sink:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(sink.send, numbered(2))
                    await anyio.to_thread.run_sync(waiting.wait, 5)
                    tasks.cancel_scope.cancel()
            await sink.send(numbered(2))
    assert got == ids(numbered(2))
