"""The other end of a connection, played by a function on a real socket: for every way to end."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[[socket.socket], None]


@contextmanager
def socket_peer(behave: Behaviour) -> Iterator[int]:
    """Listen on loopback and hand each connection to `behave`, one at a time; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Small, so that a batch does not fit into the buffers between the two.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def read_to_the_end(connection: socket.socket) -> bytes:
    """Return everything up to the other side's end."""
    received = bytearray()
    while data := connection.recv(65536):
        received += data
    return bytes(received)


def read_exactly(connection: socket.socket, size: int) -> None:
    """Read so many bytes and not one more."""
    while size:
        size -= len(connection.recv(min(size, 65536)))


def reset(connection: socket.socket) -> None:
    """End it with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
