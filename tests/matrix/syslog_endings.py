"""Every way in which a syslog connection can end, over TCP and TLS."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from socket import SHUT_RDWR, SHUT_WR, socket

from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import SyslogDestination, keep_reading
from tests.matrix.world import World
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.socket_peer import reset, socket_peer

HALF = 800_000
"""Bytes: of a batch of 3.6 MB, which no buffers between two sockets hold."""
LARGE = {"extraAttributes": [{"nameI18nKey": "x", "name": "padding", "value": "x" * 200_000}]}

Behaviour = Callable[[socket, bytearray, threading.Event], None]
"""Ends one connection, with the event at the latest; what it read goes into the array."""


def end_after(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into)
    if isinstance(peer, ssl.SSLSocket):
        peer.unwrap()


def bare_end_after(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into)


def talk_and_end_after(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into)
    peer.sendall(b"x" * 100_000)
    if isinstance(peer, ssl.SSLSocket):
        peer.unwrap()


def reset_after(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into)
    reset(peer)


def close_half_way(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into, HALF)


def end_half_way(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into, HALF)
    peer.shutdown(SHUT_WR)
    with suppress(OSError):
        keep_reading(peer, bytearray())


def reset_half_way(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into, HALF)
    reset(peer)


def notify_half_way(peer: socket, into: bytearray, _: threading.Event) -> None:
    keep_reading(peer, into, HALF)
    assert isinstance(peer, ssl.SSLSocket)
    peer.settimeout(0.05)
    with suppress(OSError):
        peer.unwrap()


def close_at_once(peer: socket, into: bytearray, _: threading.Event) -> None:
    peer.close()


def reset_at_once(peer: socket, into: bytearray, _: threading.Event) -> None:
    reset(peer)


def end_at_once(peer: socket, into: bytearray, _: threading.Event) -> None:
    peer.shutdown(SHUT_WR)
    with suppress(OSError):
        keep_reading(peer, bytearray())


def never_read(peer: socket, into: bytearray, done: threading.Event) -> None:
    done.wait(20)


def never_end(peer: socket, into: bytearray, done: threading.Event) -> None:
    keep_reading(peer, into)
    done.wait(20)


ENDINGS: dict[str, Behaviour] = {
    "ends after our end": end_after,
    "says something and ends after our end": talk_and_end_after,
    "resets after our end": reset_after,
    "closes half way": close_half_way,
    "ends half way": end_half_way,
    "resets half way": reset_half_way,
    "closes at once": close_at_once,
    "resets at once": reset_at_once,
    "ends at once": end_at_once,
    "never reads": never_read,
    "reads and never ends": never_end,
}
TLS_ALONE: dict[str, Behaviour] = {
    "ends after our end without close_notify": bare_end_after,
    "sends close_notify half way": notify_half_way,
}
TLS_NEVER = {"resets after our end"}
"""Whoever resets has read our close_notify: whether the RST overtakes its answer is chance."""
NO_TLS = ("hangs up on the handshake", "speaks no TLS", "has the certificate of an unknown CA")
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


class Peer:
    """Ends the first connection as told, and each later one as a good receiver."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.done = threading.Event()
        self.streams: list[bytearray] = []
        self.context: ssl.SSLContext | None = None

    def __call__(self, connection: socket) -> None:
        behave, self.behave = self.behave, end_after
        into = bytearray()
        self.streams.append(into)
        if self.context is None:
            behave(connection, into, self.done)
            return
        with self.context.wrap_socket(connection, server_side=True) as wrapped:
            behave(wrapped, into, self.done)

    def recover(self) -> None:
        self.done.set()


async def ended(
    folder: Path, *, behave: Behaviour, version: str | None = None, cut: str = ""
) -> Outcome:
    """Play an ending; `cut` is the timeout where the ending is that nothing ends."""
    peer = Peer(behave)
    with ExitStack() as stack:
        fields = _secured(peer, folder, version) if version else {}
        port = stack.enter_context(socket_peer(peer))
        address = f"{'tls' if version else 'tcp'}://127.0.0.1:{port}"
        destination = SyslogDestination(address, **fields, **({"timeout": cut} if cut else {}))
        try:
            return await _forward(folder, destination, peer)
        finally:
            peer.recover()


def _secured(peer: Peer, folder: Path, version: str) -> dict[str, object]:
    certificates = make_certificates(folder / "pki")
    peer.context = server_context(certificates, version)
    return {"tls": {"ca_file": str(certificates.ca_file)}}


def server_context(certificates: Certificates, version: str) -> ssl.SSLContext:
    """Return a receiver's context that speaks this version at most."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
    context.maximum_version = VERSIONS[version]
    return context


async def _forward(folder: Path, destination: SyslogDestination, peer: Peer) -> Outcome:
    world = World(
        folder, destination, events=0, batch=9, durable=True, source={"start_at": "beginning"}
    )
    for _ in range(9):
        world.clock.advance(1)
        world.simulator.emit(LARGE)
    async with world.life() as life:
        await life.poll()
        await life.deliver(after_failure=peer.recover)
        world.clock.advance(30)
        world.simulator.emit(copies=2)
        await life.poll()
        await life.deliver()
    destination.streams = [bytes(stream) for stream in peer.streams]
    return await world.outcome()


async def refused(folder: Path, *, version: str | None) -> Outcome:
    """Have nobody listen at first."""
    peer = Peer(end_after)
    fields = _secured(peer, folder, version) if version else {}
    with ExitStack() as stack:
        # Bound and not listening: nobody else can get the port, and it refuses.
        reserved = stack.enter_context(socket())
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        destination = SyslogDestination(
            f"{'tls' if version else 'tcp'}://127.0.0.1:{port}", **fields
        )

        def listen() -> None:
            reserved.listen()
            threading.Thread(target=serve, daemon=True).start()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = reserved.accept()
                    with connection, suppress(OSError):
                        peer(connection)

        peer.recover = listen  # type: ignore[method-assign]
        try:
            return await _forward(folder, destination, peer)
        finally:
            reserved.shutdown(SHUT_RDWR)


async def unknown_ca(folder: Path, *, version: str) -> Outcome:
    """Show a certificate that nobody trusts, then the good one."""
    peer = Peer(end_after)
    fields = _secured(peer, folder, version)
    good = peer.context
    other = Peer(end_after)
    _secured(other, folder / "other", version)
    peer.context = other.context

    def renew() -> None:
        peer.context = good

    peer.recover = renew  # type: ignore[method-assign]
    with socket_peer(peer) as port:
        destination = SyslogDestination(f"tls://127.0.0.1:{port}", **fields)
        return await _forward(folder, destination, peer)


async def no_handshake(folder: Path, *, version: str, say: bytes) -> Outcome:
    """Answer TLS with something else, then with TLS."""
    peer = Peer(end_after)
    fields = _secured(peer, folder, version)
    good, peer.context = peer.context, None

    def answer(connection: socket, into: bytearray, _: threading.Event) -> None:
        connection.recv(10)
        if say:
            connection.sendall(say)
            keep_reading(connection, bytearray())

    def secure() -> None:
        peer.context = good

    peer.behave = answer
    peer.recover = secure  # type: ignore[method-assign]
    with socket_peer(peer) as port:
        destination = SyslogDestination(f"tls://127.0.0.1:{port}", **fields)
        return await _forward(folder, destination, peer)


def _cells() -> Iterator[tuple[str, str, str, Callable[[Path], object]]]:
    for version in (None, *VERSIONS):
        place = version or "TCP"
        endings = {**ENDINGS, **(TLS_ALONE if version else {})}
        for name, behave in endings.items():
            if version and name in TLS_NEVER:
                continue
            cut = "2s" if behave in (never_read, never_end) else ""
            yield (
                f"the receiver {name}",
                place,
                f"the syslog receiver {name} over {place}",
                partial(ended, behave=behave, version=version, cut=cut),
            )
        yield (
            "nobody listens",
            place,
            f"nobody listens to syslog over {place}",
            partial(refused, version=version),
        )
    for version in VERSIONS:
        for name in NO_TLS:
            sentence = f"the syslog receiver {name} over {version}"
            play = (
                partial(unknown_ca, version=version)
                if "unknown CA" in name
                else partial(
                    no_handshake,
                    version=version,
                    say=b"220 this is no TLS\r\n" if "speaks" in name else b"",
                )
            )
            yield f"the receiver {name}", version, sentence, play


def families() -> list[Family]:
    title = "A syslog connection ends"
    return [
        Family(
            title,
            "Nine events of 0.4 MB in one batch, more than the buffers in between hold, and two "
            "small ones after it. The first connection ends as said; half way is in the second "
            "event. A batch counts only once the receiver has ended because of our end.",
            tuple(Cell(title, *each, virtual=False, races=True) for each in _cells()),
        )
    ]
