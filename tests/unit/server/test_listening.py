"""The socket that the server answers on."""

import socket

from forwarder.server.http import bind


def test_no_answer_waits_for_an_acknowledgement_of_its_head() -> None:
    with bind(("127.0.0.1", 0)) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
