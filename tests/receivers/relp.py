"""A RELP receiver that a test plays by hand, with a strict reader of the grammar of its own."""

import re
import socket
from collections.abc import Iterator

OK = b"200 OK"
OFFERS = b"200 OK\nrelp_version=0\nrelp_software=played\ncommands=syslog"


class NotRelpError(AssertionError):
    """What the client said breaks the grammar."""


def parse_relp(stream: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, command and data of each frame; `stream` must end with the last one's end.

    An octet at a time, after the grammar of relp.html: NUMBER = 1*9DIGIT, COMMAND = 1*32ALPHA,
    no space where DATALEN is 0.
    """
    place = 0

    def word(allowed: bytes, most: int) -> bytes:
        nonlocal place
        start = place
        while place < len(stream) and stream[place] in allowed:
            place += 1
        if not 1 <= place - start <= most:
            raise NotRelpError(stream[start : start + 40])
        return stream[start:place]

    def expect(octet: bytes) -> None:
        nonlocal place
        if stream[place : place + 1] != octet:
            raise NotRelpError(f"{octet!r} is missing at {place}")
        place += 1

    digits = b"0123456789"
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    while place < len(stream):
        txnr = int(word(digits, 9))
        expect(b" ")
        command = word(letters, 32).decode()
        expect(b" ")
        size = int(word(digits, 9))
        data = b""
        if size:
            expect(b" ")
            data = stream[place : place + size]
            if len(data) != size:
                raise NotRelpError("the stream ends in the data")
            place += size
        expect(b"\n")
        yield txnr, command, data


def frame(txnr: int, command: bytes, data: bytes = b"") -> bytes:
    """Return a frame as the server sends it."""
    return b" ".join([b"%d" % txnr, command, b"%d" % len(data), *([data] if data else [])]) + b"\n"


class Conversation:
    """The server's side of one connection."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self._buffer = b""

    def read(self) -> tuple[int, str, bytes] | None:
        """Return the next frame, None at the client's end."""
        while (size := self._size()) is None or len(self._buffer) < size:
            received = self.peer.recv(65536)
            if not received:
                assert not self._buffer, f"the client ended in the midst of {self._buffer[:60]!r}"
                return None
            self._buffer += received
        ((txnr, command, data),) = parse_relp(self._buffer[:size])
        self._buffer = self._buffer[size:]
        return txnr, command, data

    def _size(self) -> int | None:
        """Return the size of the next frame, None before its header is there."""
        header = re.match(rb"[^ \n]* [^ \n]* ([0-9]+)([ \n])", self._buffer)
        if header is None:
            return None
        return header.end() + (int(header[1]) + 1 if header[2] == b" " else 0)

    def answer(self, txnr: int, data: bytes = OK) -> None:
        """Answer for one command."""
        self.peer.sendall(frame(txnr, b"rsp", data))

    def open(self, offers: bytes = OFFERS) -> None:
        """Read the `open`, which comes first and with number 1, and agree."""
        said = self.read()
        assert said is not None
        txnr, command, data = said
        assert (txnr, command) == (1, "open"), said
        lines = dict(line.split("=", 1) for line in data.decode().split("\n"))
        assert lines["relp_version"] == "0", data
        assert lines["commands"] == "syslog", data
        assert lines["relp_software"].startswith("soteri-forwarder,"), data
        self.answer(txnr, offers)

    def messages(self, count: int) -> list[tuple[int, bytes]]:
        """Read so many messages and answer for none; they have to be numbered on end."""
        got = []
        for _ in range(count):
            said = self.read()
            assert said is not None, f"the client ended after {len(got)} messages"
            txnr, command, data = said
            assert command == "syslog", said
            assert not got or txnr == got[-1][0] + 1, said
            got.append((txnr, data))
        return got

    def serve(self) -> list[bytes]:
        """Answer for all up to the client's `close` or end; return the messages."""
        got = []
        while said := self.read():
            txnr, command, data = said
            if command == "close":
                self.peer.sendall(frame(txnr, b"rsp") + frame(0, b"serverclose"))
                break
            assert command == "syslog", said
            got.append(data)
            self.answer(txnr)
        return got
