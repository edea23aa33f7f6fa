"""Every way in which a connection can end, and what the sink makes of it."""

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

import anyio
import pytest

from forwarder.errors import AccessError, TransientError
from forwarder.formats import FORMATS
from forwarder.interfaces import Sink
from forwarder.sinks.syslog import SyslogConfig
from tests.fakes.events import ids, numbered
from tests.fakes.memory import FakeMemory
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.process import free_port
from tests.receivers.rfc5424 import parse, unframe
from tests.receivers.socket_peer import (
    Behaviour,
    read_exactly,
    read_to_the_end,
    reset,
    socket_peer,
)

BATCH = numbered(5000)
"""About 3.5 MB: more than all the buffers between two sockets."""


def opened(address: str, **fields: object) -> AbstractAsyncContextManager[Sink]:
    config = SyslogConfig.model_validate(
        {"type": "syslog", "address": address, "timeout": "10s", **fields}
    )
    return config.open(name="siem", format=FORMATS["json"], memory=FakeMemory())


@contextmanager
def tcp_sink(behave: Behaviour, **fields: object) -> Iterator[AbstractAsyncContextManager[Sink]]:
    with socket_peer(behave) as port:
        yield opened(f"tcp://127.0.0.1:{port}", **fields)


async def test_a_peer_that_ends_after_our_end_has_the_batch():
    received: list[bytes] = []
    with tcp_sink(lambda peer: received.append(read_to_the_end(peer))) as entered:
        async with entered as sink:
            receipt = await sink.send(BATCH)
    assert receipt.rejections == ()
    messages = [parse(one) for one in unframe(received[0])]
    assert [one.structured_data["soteri@32473"]["event_id"] for one in messages] == ids(BATCH)


async def test_lines_are_framed_by_line_ends():
    received: list[bytes] = []
    with tcp_sink(lambda peer: received.append(read_to_the_end(peer)), framing="lf") as entered:
        async with entered as sink:
            await sink.send(numbered(3))
    assert received[0].endswith(b"\n")
    assert len([parse(line) for line in received[0].splitlines()]) == 3


async def test_what_a_peer_says_before_its_end_is_ignored():
    def talkative(peer: socket.socket) -> None:
        peer.sendall(b"220 hello\r\n")
        read_to_the_end(peer)
        peer.sendall(b"x" * 200_000)

    with tcp_sink(talkative) as entered:
        async with entered as sink:
            await sink.send(BATCH)


def end_half_way(peer: socket.socket) -> None:
    read_exactly(peer, 100_000)
    peer.shutdown(socket.SHUT_WR)
    read_to_the_end(peer)


def close_half_way(peer: socket.socket) -> None:
    read_exactly(peer, 100_000)


def reset_half_way(peer: socket.socket) -> None:
    read_exactly(peer, 100_000)
    reset(peer)


def reset_at_the_end(peer: socket.socket) -> None:
    read_to_the_end(peer)
    reset(peer)


def close_at_once(peer: socket.socket) -> None:
    peer.close()


def end_at_once(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)
    read_to_the_end(peer)


@pytest.mark.parametrize(
    "behave",
    [
        end_half_way,
        close_half_way,
        reset_half_way,
        reset_at_the_end,
        close_at_once,
        end_at_once,
    ],
)
async def test_any_other_end_of_a_connection_keeps_the_batch(behave):
    with tcp_sink(behave) as entered:
        async with entered as sink:
            with pytest.raises(TransientError, match=r"127\.0\.0\.1"):
                await sink.send(BATCH)


async def test_a_peer_that_never_ends_keeps_the_batch_after_the_timeout():
    done = threading.Event()

    def hang(peer: socket.socket) -> None:
        read_to_the_end(peer)
        done.wait(20)

    with tcp_sink(hang, timeout="300ms") as entered:
        async with entered as sink:
            with pytest.raises(TransientError, match="in time"):
                await sink.send(numbered(2))
        done.set()


async def test_a_peer_that_does_not_read_keeps_the_batch_after_the_timeout():
    done = threading.Event()
    with tcp_sink(lambda peer: done.wait(20) and None, timeout="300ms") as entered:
        async with entered as sink:
            with pytest.raises(TransientError, match="in time") as caught:
                await sink.send(BATCH)
            assert "raise timeout or lower batch.events" in caught.value.remedy
        done.set()


async def test_a_cancelled_send_ends_at_once():
    reading, done = threading.Event(), threading.Event()

    def hang(peer: socket.socket) -> None:
        peer.recv(1)
        reading.set()
        done.wait(20)

    with tcp_sink(hang) as entered:
        async with entered as sink, anyio.create_task_group() as tasks:
            tasks.start_soon(sink.send, BATCH)
            with anyio.fail_after(5):
                await anyio.to_thread.run_sync(reading.wait, 5)
                tasks.cancel_scope.cancel()
        done.set()


async def test_nobody_listening_is_transient_and_names_the_address():
    port = free_port()
    async with opened(f"tcp://127.0.0.1:{port}") as sink:
        with pytest.raises(TransientError, match=rf"tcp://127\.0\.0\.1:{port}: cannot connect"):
            await sink.send(numbered(1))
        with pytest.raises(TransientError) as caught:
            await sink.probe()
    assert caught.value.remedy


@pytest.mark.parametrize("scheme", ["tcp", "tls", "udp"])
async def test_an_unknown_host_is_transient(scheme):
    async with opened(f"{scheme}://no-such-host.invalid:514") as sink:
        with pytest.raises(TransientError, match=r"no-such-host\.invalid"):
            await sink.send(numbered(1))
        with pytest.raises(TransientError):
            await sink.probe()


async def test_a_datagram_refused_by_the_receiver_s_system_is_transient():
    port = free_port("udp")
    async with opened(f"udp://127.0.0.1:{port}") as sink:
        with pytest.raises(TransientError, match="refused"):
            await sink.send(numbered(2))


@pytest.fixture
async def udp_receiver() -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield receiver


async def test_a_datagram_is_one_message(udp_receiver):
    port = udp_receiver.getsockname()[1]
    async with opened(f"udp://127.0.0.1:{port}") as sink:
        await sink.send(numbered(3))
    received = [parse(udp_receiver.recv(65536)) for _ in range(3)]
    assert [one.structured_data["soteri@32473"]["event_id"] for one in received] == ids(numbered(3))


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


def server_context(certificates: Certificates, **options: object) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca_file)
    context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    for name, value in options.items():
        setattr(context, name, value)
    return context


def ours(certificates: Certificates) -> dict[str, object]:
    return {
        "ca_file": str(certificates.ca_file),
        "cert_file": str(certificates.client_cert_file),
        "key_file": str(certificates.client_key_file),
    }


@contextmanager
def tls_sink(
    behave: Behaviour, context: ssl.SSLContext, tls: dict[str, object]
) -> Iterator[AbstractAsyncContextManager[Sink]]:
    def secured(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as wrapped:
            behave(wrapped)

    with socket_peer(secured) as port:
        yield opened(f"tls://127.0.0.1:{port}", tls=tls)


def answer_close_notify(peer: socket.socket) -> None:
    read_to_the_end(peer)
    assert isinstance(peer, ssl.SSLSocket)
    peer.unwrap()


def talk_after_close_notify(peer: socket.socket) -> None:
    read_to_the_end(peer)
    peer.sendall(b"x" * 100_000)
    answer_close_notify(peer)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("behave", [answer_close_notify, read_to_the_end, talk_after_close_notify])
async def test_over_tls_any_end_after_our_close_notify_is_good(certificates, behave, version):
    context = server_context(certificates, maximum_version=version)
    with tls_sink(behave, context, ours(certificates)) as entered:
        async with entered as sink:
            await sink.send(BATCH)


def notify_half_way(peer: socket.socket) -> None:
    read_exactly(peer, 100_000)
    assert isinstance(peer, ssl.SSLSocket)
    peer.settimeout(0.05)
    peer.unwrap()


@pytest.mark.parametrize(
    "behave", [close_half_way, reset_half_way, notify_half_way, close_at_once, end_at_once]
)
async def test_over_tls_any_end_before_our_close_notify_keeps_the_batch(certificates, behave):
    with tls_sink(behave, server_context(certificates), ours(certificates)) as entered:
        async with entered as sink:
            with pytest.raises(TransientError):
                await sink.send(BATCH)


async def test_a_certificate_of_an_unknown_ca_is_an_access_error_with_a_remedy(
    certificates, tmp_path
):
    stranger = make_certificates(tmp_path / "stranger")
    context = server_context(stranger)
    with tls_sink(answer_close_notify, context, ours(certificates)) as entered:
        async with entered as sink:
            with pytest.raises(AccessError, match="certificate") as caught:
                await sink.send(numbered(1))
    assert "tls.ca_file" in caught.value.remedy


async def test_a_certificate_for_another_name_is_an_access_error(certificates):
    tls = ours(certificates) | {"server_name": "siem.example.com"}
    with tls_sink(answer_close_notify, server_context(certificates), tls) as entered:
        async with entered as sink:
            with pytest.raises(AccessError, match=r"siem\.example\.com"):
                await sink.send(numbered(1))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 5000])
async def test_a_missing_client_certificate_is_an_access_error(certificates, version, size):
    context = server_context(certificates, maximum_version=version)
    tls = {"ca_file": str(certificates.ca_file)}
    with tls_sink(answer_close_notify, context, tls) as entered:
        async with entered as sink:
            with pytest.raises(AccessError) as caught:
                await sink.send(numbered(size))
    assert "tls.cert_file" in caught.value.remedy


async def test_tls_to_a_port_that_speaks_none_is_an_access_error(certificates):
    def plain(peer: socket.socket) -> None:
        peer.sendall(b"220 this is no TLS\r\n")
        read_to_the_end(peer)

    with socket_peer(plain) as port:
        async with opened(f"tls://127.0.0.1:{port}", tls=ours(certificates)) as sink:
            with pytest.raises(AccessError) as caught:
                await sink.send(numbered(1))
    assert "speaks TLS" in caught.value.remedy


async def test_a_peer_that_hangs_up_on_the_handshake_is_transient(certificates):
    with socket_peer(lambda peer: peer.recv(10) and None) as port:
        async with opened(f"tls://127.0.0.1:{port}", tls=ours(certificates)) as sink:
            with pytest.raises(TransientError):
                await sink.send(numbered(1))


async def test_unverified_tls_is_possible_and_said_loudly(certificates, tmp_path, capsys):
    stranger = make_certificates(tmp_path / "stranger")
    context = server_context(stranger, verify_mode=ssl.CERT_NONE)
    with tls_sink(answer_close_notify, context, {"verify": False}) as entered:
        async with entered as sink:
            await sink.send(numbered(1))
    assert "tls.left_unverified" in capsys.readouterr().out


async def test_a_probe_sends_no_message(certificates):
    received: list[bytes] = []

    def keep(peer: socket.socket) -> None:
        received.append(read_to_the_end(peer))
        assert isinstance(peer, ssl.SSLSocket)
        peer.unwrap()

    with tls_sink(keep, server_context(certificates), ours(certificates)) as entered:
        async with entered as sink:
            said = await sink.probe()
    assert "TLSv1.3" in said
    assert received == [b""]
