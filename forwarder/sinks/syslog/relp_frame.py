"""RELP's frames, both ways: the specification 0.0.1 (rsyslog's relp.html). Pure.

`TXNR SP COMMAND SP DATALEN [SP DATA] LF`: the transaction number counts a side's commands, and an
answer (`rsp`) carries that of its command. Number 0 is for hints, which nobody answers.
"""

import re
from typing import Final, NamedTuple

LARGEST_ANSWER: Final = 131_072
"""Octets of DATA that a peer may send: the specification's maximum, in "RELP FRAME"."""

_LAST: Final = 999_999_999
_HEADER: Final = re.compile(rb"([0-9]{1,9}) ([A-Za-z]{1,32}) ([0-9]{1,9})([ \n])")
_BEGINNING: Final = re.compile(rb"(?:[0-9]{1,9}(?: (?:[A-Za-z]{1,32}(?: (?:[0-9]{1,9})?)?)?)?)?\Z")


class Frame(NamedTuple):
    """One frame."""

    txnr: int
    command: bytes
    data: bytes


class FrameError(ValueError):
    """What came is no frame, so nothing after it can be told apart either."""


def following(txnr: int) -> int:
    """Return the number after `txnr`; after the last comes 1 again."""
    return txnr + 1 if txnr < _LAST else 1


def encode(txnr: int, command: bytes, data: bytes = b"") -> bytes:
    """Return the frame as octets; without data there is no space for it either."""
    if data:
        return b"%d %b %d %b\n" % (txnr, command, len(data), data)
    return b"%d %b 0\n" % (txnr, command)


class FrameReader:
    """Makes frames of what comes, in whatever pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        Raises:
            FrameError: it, or what came before, is none, or one with too much data.
        """
        buffer = self._rest + data
        place = 0
        frames: list[Frame] = []
        while header := _HEADER.match(buffer, place):
            txnr, command, size, separator = header.groups()
            start = header.end()
            end = start + int(size)
            if end - start > LARGEST_ANSWER:
                raise FrameError(f"a frame of {end - start} bytes")
            if (separator == b" ") is not (end > start):
                raise FrameError(f"not a frame: {buffer[place : place + 60]!r}")
            if end == start:
                end -= 1  # the separator was the end
            elif len(buffer) <= end:
                break
            elif buffer[end] != 10:
                raise FrameError(f"a frame without its end: {buffer[place : place + 60]!r}")
            frames.append(Frame(int(txnr), command, buffer[start:end]))
            place = end + 1
        self._rest = buffer[place:]
        if not header and not _BEGINNING.match(self._rest):
            raise FrameError(f"not a frame: {self._rest[:60]!r}")
        return frames
