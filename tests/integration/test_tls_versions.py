"""No connection of ours speaks TLS before 1.2, though the other side speaks nothing newer."""

import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from forwarder.errors import ForwarderError
from forwarder.formats import FORMATS
from forwarder.sinks.splunk_hec import SplunkHecConfig
from forwarder.sinks.syslog import SyslogConfig
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from tests.fakes.memory import FakeMemory
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.socket_peer import socket_peer

Opened = Callable[[int, Path], AbstractAsyncContextManager[Any]]


def sink(config: Any) -> AbstractAsyncContextManager[Any]:
    return config.open(name="sink", format=FORMATS["json"], memory=FakeMemory())


def syslog(scheme: str) -> Opened:
    def opened(port: int, ca: Path) -> AbstractAsyncContextManager[Any]:
        address = f"{scheme}://127.0.0.1:{port}"
        return sink(SyslogConfig(type="syslog", address=address, tls={"ca_file": ca}))

    return opened


def hec(port: int, ca: Path) -> AbstractAsyncContextManager[Any]:
    url = f"https://127.0.0.1:{port}"
    return sink(SplunkHecConfig(type="splunk_hec", url=url, token="t" * 36, tls={"ca_file": ca}))


def bitbucket(port: int, ca: Path) -> AbstractAsyncContextManager[Any]:
    written = {"url": f"https://127.0.0.1:{port}", "token": "t" * 36, "tls": {"ca_file": ca}}
    config = BitbucketAuditConfig.model_validate({"type": "bitbucket_audit", **written})
    return config.open(name="bitbucket")


WAYS: dict[str, Opened] = {
    "bitbucket": bitbucket,
    "splunk": hec,
    "syslog": syslog("tls"),
    "relp": syslog("relp+tls"),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def old_server(certificates: Certificates) -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a server that speaks TLS 1.1 alone, and the versions agreed on."""
    agreed: list[str] = []
    context = lowered(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
            agreed.append(str(wrapped.version()))

    with socket_peer(answer) as port:
        yield port, agreed


def lowered(side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is outdated is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def test_the_old_server_speaks_with_who_is_as_old(
    certificates: Certificates, old_server: tuple[int, list[str]]
) -> None:
    port, _ = old_server
    context = lowered(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca_file)
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.version() == "TLSv1.1"


@pytest.mark.parametrize("way", WAYS)
async def test_every_connection_refuses_tls_before_1_2(
    way: str, certificates: Certificates, old_server: tuple[int, list[str]]
) -> None:
    port, agreed = old_server
    async with WAYS[way](port, certificates.ca_file) as part:
        with pytest.raises(ForwarderError):
            await part.probe()
    assert agreed == []
