"""The sink over real sockets, on asyncio, as the daemon runs it."""

import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from forwarder.errors import AccessError, TransientError
from forwarder.formats import FORMATS
from forwarder.options import TlsOptions
from forwarder.sinks.splunk_hec import SplunkHecConfig
from forwarder.sinks.splunk_hec.sink import HecSink
from tests.fakes.events import ids, numbered
from tests.fakes.memory import FakeMemory
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.hec import Fault, Hec, served


@pytest.fixture
def anyio_backend():
    return "asyncio"


@asynccontextmanager
async def sink_at(
    url: str, hec: Hec, memory: FakeMemory | None = None, **changes: object
) -> AsyncIterator[HecSink]:
    fields = {"url": url, "token": hec.token, "index": "security", "ack": hec.acking, "proxy": None}
    config = SplunkHecConfig(type="splunk_hec", **{**fields, **changes})  # type: ignore[arg-type]
    opened = config.open(name="splunk", format=FORMATS["json"], memory=memory or FakeMemory())
    async with opened as sink:
        yield sink


@pytest.mark.parametrize("acking", [False, True], ids=["received", "indexed"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_batches_arrive_whole_and_in_order(acking, compression):
    hec = Hec(acking=acking)
    async with served(hec) as url, sink_at(url, hec, compression=compression) as sink:
        await sink.probe()
        await sink.send(numbered(3000))
        await sink.send(numbered(10, first=5000))
    assert hec.ids == ids(numbered(3000)) + ids(numbered(10, first=5000))


@pytest.mark.parametrize("acking", [False, True], ids=["received", "indexed"])
async def test_every_fault_in_turn_loses_nothing(acking):
    hec = Hec(acking=acking)
    faults = [
        Fault(drop=True),
        Fault(take=True, drop=True),
        Fault(code=8),
        Fault(code=9),
        Fault(code=23),
        Fault(code=26),
        Fault(code=27),
        Fault(code=24),
        Fault(status=502, body=b"<html>"),
        Fault(take=True, status=504),
        Fault(status=429),
        Fault(status=413),
    ]
    hec.faults = [each for fault in faults for each in (fault, None)]
    sent = numbered(6000)
    async with served(hec) as url, sink_at(url, hec) as sink:
        while True:
            try:
                receipt = await sink.send(sent)
                break
            except TransientError:
                pass
    assert receipt.rejections == ()
    assert set(hec.ids) == set(ids(sent))
    marked = {
        envelope["fields"]["event_id"]
        for envelope in hec.indexed
        if "possible_duplicate" in envelope["fields"]
    }
    assert {each for each, times in Counter(hec.ids).items() if times > 1} <= marked


async def test_a_receiver_that_comes_back_gets_what_is_left():
    hec, memory = Hec(acking=True), FakeMemory()
    hec.faults = [None, None, Fault(code=23)]
    async with served(hec) as url, sink_at(url, hec, memory) as sink:
        with pytest.raises(TransientError):
            await sink.send(numbered(3000))
    async with sink_at(url, hec, memory) as sink:
        with pytest.raises(TransientError, match="cannot connect"):
            await sink.send(numbered(3000))
    async with served(hec) as url, sink_at(url, hec, memory) as sink:
        await sink.send(numbered(3000))
    assert hec.ids == ids(numbered(3000))


@asynccontextmanager
async def served_over_tls(hec: Hec, folder: Path) -> AsyncIterator[tuple[str, Certificates]]:
    made = make_certificates(folder)
    async with served(
        hec,
        ssl_certfile=str(made.server_cert_file),
        ssl_keyfile=str(made.server_key_file),
        ssl_ca_certs=str(made.ca_file),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    ) as url:
        yield url, made


async def test_tls_with_a_client_certificate_delivers(tmp_path: Path):
    hec = Hec()
    async with served_over_tls(hec, tmp_path) as (url, made):
        tls = TlsOptions(
            ca_file=made.ca_file, cert_file=made.client_cert_file, key_file=made.client_key_file
        )
        async with sink_at(url, hec, tls=tls) as sink:
            await sink.send(numbered(10))
    assert hec.ids == ids(numbered(10))


@pytest.mark.parametrize("server_name", ["localhost", "somebody-else"])
async def test_the_server_must_have_the_name_that_is_expected(tmp_path: Path, server_name):
    hec = Hec()
    async with served_over_tls(hec, tmp_path) as (url, made):
        tls = TlsOptions(
            ca_file=made.ca_file,
            cert_file=made.client_cert_file,
            key_file=made.client_key_file,
            server_name=server_name,
        )
        async with sink_at(url, hec, tls=tls) as sink:
            if server_name == "localhost":
                await sink.send(numbered(10))
            else:
                with pytest.raises(TransientError, match="cannot connect"):
                    await sink.send(numbered(10))
    assert len(hec.ids) == (10 if server_name == "localhost" else 0)


async def test_a_server_of_an_unknown_authority_gets_no_token(tmp_path: Path):
    hec = Hec()
    async with served_over_tls(hec, tmp_path) as (url, _), sink_at(url, hec) as sink:
        with pytest.raises(TransientError, match="cannot connect"):
            await sink.send(numbered(10))
    assert hec.requests == []


async def test_an_answer_that_floods_without_end_is_given_up():
    written = 0

    async def flood(stream: anyio.abc.ByteStream) -> None:
        nonlocal written
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
            try:
                while True:
                    await stream.send(b" " * 65536)
                    written += 65536
            except (anyio.BrokenResourceError, OSError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, flood)
        async with sink_at(f"http://127.0.0.1:{port}", Hec()) as sink:
            with anyio.fail_after(20), pytest.raises(AccessError):
                await sink.send(numbered(1))
        tasks.cancel_scope.cancel()
    assert written < 100_000_000


async def test_a_silent_receiver_is_waited_for_only_so_long():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with sink_at(url, Hec(), timeout="100ms") as sink:
            with anyio.fail_after(20), pytest.raises(TransientError, match="no answer in time"):
                await sink.send(numbered(1))
