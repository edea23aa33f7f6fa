"""A real rsyslogd over TLS with client certificates, as a destination."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio

from forwarder.formats import FORMATS
from forwarder.interfaces import Memory, Sink
from forwarder.sinks.syslog import SyslogConfig
from tests.contract.destination import Destination, Lever
from tests.receivers.certificates import make_certificates
from tests.receivers.rfc5424 import parse
from tests.receivers.rsyslog import Rsyslog, Via

LEVERS: set[Lever] = {"break_down", "lock_out"}


class RsyslogDestination:
    """`lock_out` brings it back with a certificate of a CA that the sink does not know."""

    def __init__(self, folder: Path, *, via: Via) -> None:
        self._trusted = make_certificates(folder / "trusted")
        self._stranger = make_certificates(folder / "stranger")
        self._last = 0
        self._receiver = Rsyslog(folder, via=via, certificates=self._trusted)
        tls = {
            "ca_file": self._trusted.ca_file,
            "cert_file": self._trusted.client_cert_file,
            "key_file": self._trusted.client_key_file,
        }
        self._config = SyslogConfig(
            type="syslog", address=self._receiver.address, **({"tls": tls} if "tls" in via else {})
        )

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        return self._config.open(name="siem", format=FORMATS["json"], memory=memory)

    async def held(self, count: int) -> Sequence[str]:
        if self._receiver.kind == "udp":
            return await self._held_over_udp()
        with anyio.move_on_after(10):
            while self._receiver.count() < count:
                await anyio.sleep(0.01)
        return self._ids()

    async def _held_over_udp(self) -> Sequence[str]:
        """Wait for a datagram that was sent after all others, so that no more can come."""
        self._last += 1
        last = f"<14>1 - - last - {self._last} - -"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(last.encode(), ("127.0.0.1", self._receiver.port))
        with anyio.fail_after(60):
            while all(one["rawmsg"] != last for one in self._receiver.messages()):
                await anyio.sleep(0.01)
        return self._ids()

    def _ids(self) -> list[str]:
        # What rsyslog writes has its control characters escaped, and ends in no line end.
        parsed = [
            parse(one["rawmsg"].encode())
            for one in self._receiver.messages()
            if one["app-name"] != "last"
        ]
        return [one.structured_data["soteri@32473"]["event_id"] for one in parsed]

    async def break_down(self) -> None:
        await anyio.to_thread.run_sync(self._receiver.kill)

    async def lock_out(self) -> None:
        await self.break_down()
        self._receiver.certificates = self._stranger
        await self.start()

    async def recover(self) -> None:
        await self.break_down()
        self._receiver.certificates = self._trusted
        await self.start()

    async def refuse(self, event_id: str) -> None:
        raise NotImplementedError("a syslog receiver refuses nothing")

    async def start(self) -> None:
        await anyio.to_thread.run_sync(self._receiver.start)

    async def stop(self) -> None:
        await anyio.to_thread.run_sync(self._receiver.stop)


@asynccontextmanager
async def running(folder: Path, *, via: Via) -> AsyncIterator[Destination]:
    """Yield a destination that is reached `via` this transport."""
    opened = RsyslogDestination(folder, via=via)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[Destination]:
    async with running(tmp_path, via="tls") as opened:
        yield opened
