"""Every way in which a RELP session can end or go wrong, in the clear and over TLS."""

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import SyslogDestination, held_by
from tests.matrix.syslog_endings import VERSIONS, server_context
from tests.matrix.world import Held, World, forward
from tests.receivers.certificates import make_certificates
from tests.receivers.relp import Conversation, frame
from tests.receivers.socket_peer import reset, socket_peer

EVENTS = 9
"""In the first batch; `SOME` of them are answered for, where some are."""
SOME = 4

Behaviour = Callable[[Conversation, list[bytes], threading.Event], None]
"""Plays the first session; what it answered well for goes into the list."""


def serve(talk: Conversation, has: list[bytes], _: threading.Event) -> None:
    talk.open()
    while said := talk.read():
        txnr, command, data = said
        if command == "close":
            talk.peer.sendall(frame(txnr, b"rsp") + frame(0, b"serverclose"))
            return
        has.append(data)
        talk.answer(txnr)


def opening(answer: bytes) -> Behaviour:
    """Answer the `open` with these bytes alone, and end."""

    def behave(talk: Conversation, has: list[bytes], _: threading.Event) -> None:
        talk.read()
        if answer:
            talk.peer.sendall(answer)

    return behave


def reset_at_the_open(talk: Conversation, has: list[bytes], _: threading.Event) -> None:
    talk.read()
    reset(talk.peer)


def answering(
    count: int, then: Callable[[Conversation, threading.Event], None] = lambda talk, done: None
) -> Behaviour:
    """Read the whole batch and answer for the first `count`; then do `then`, and end."""

    def behave(talk: Conversation, has: list[bytes], done: threading.Event) -> None:
        talk.open()
        for txnr, message in talk.messages(EVENTS)[:count]:
            has.append(message)
            talk.answer(txnr)
        then(talk, done)

    return behave


def saying(*said: bytes) -> Callable[[Conversation, threading.Event], None]:
    return lambda talk, _: talk.peer.sendall(b"".join(said))


def without_end(talk: Conversation, _: threading.Event) -> None:
    talk.peer.sendall(b"%d rsp 999999999 200 " % (SOME + 2))
    try:
        while True:
            talk.peer.sendall(b"x" * 65536)
    except OSError:
        return


def answer_the_last_first(talk: Conversation, has: list[bytes], done: threading.Event) -> None:
    talk.open()
    got = talk.messages(EVENTS)
    has += [message for _, message in got]
    for txnr, _ in reversed(got):
        talk.answer(txnr)


def refuse_one(talk: Conversation, has: list[bytes], done: threading.Event) -> None:
    talk.open()
    for place, (txnr, message) in enumerate(talk.messages(EVENTS)):
        if place != SOME:
            has.append(message)
        talk.answer(txnr, b"500 not this one" if place == SOME else b"200 OK")


ENDINGS: dict[str, Behaviour] = {
    "ends before it answers the open": opening(b""),
    "resets before it answers the open": reset_at_the_open,
    "refuses the session": opening(frame(1, b"rsp", b"500 not now")),
    "agrees on no version": opening(frame(1, b"rsp", b"200 OK\ncommands=syslog")),
    "takes no syslog": opening(frame(1, b"rsp", b"200 OK\nrelp_version=0\ncommands=x")),
    "speaks no RELP": opening(b"220 this is a mail server\r\n"),
    "answers for none and ends": answering(0),
    "answers for none and resets": answering(0, lambda talk, _: reset(talk.peer)),
    "answers for some and ends": answering(SOME),
    "answers for some and resets": answering(SOME, lambda talk, _: reset(talk.peer)),
    "answers for some and says serverclose": answering(SOME, saying(frame(0, b"serverclose"))),
    "answers for some and then never": answering(SOME, lambda _, done: done.wait(20) and None),
    "answers for some and then without an end": answering(SOME, without_end),
    "answers for some and then what is no frame": answering(SOME, saying(b"200 OK\r\n")),
    "answers twice for one": answering(SOME, saying(frame(SOME + 1, b"rsp", b"200 OK"))),
    "answers for what was never sent": answering(SOME, saying(frame(999, b"rsp", b"200 OK"))),
    "answers for all and ends": answering(EVENTS),
    "answers in another order": answer_the_last_first,
    "refuses one message": refuse_one,
}


RACING = {
    "answers for some and resets",
    "answers for some and then without an end",
    "answers for some and then what is no frame",
}
"""Whether the answers are read before what ends the session is chance."""


class RelpDestination(SyslogDestination):
    """Has what it has answered for."""

    def __init__(self, address: str, **fields: object) -> None:
        super().__init__(address, **fields)
        self.has: list[bytes] = []

    def held(self) -> list[Held]:
        return held_by(self.has)


async def racing(folder: Path, **how: Any) -> Outcome:
    """Play it, and leave out how much came again: at most the batch, as everywhere."""
    outcome = await played(folder, **how)
    did = re.sub(r", \d+ doubled$", "", outcome.did)
    return Outcome(f"{did}, perhaps some doubled", outcome.problems)


async def played(folder: Path, *, behave: Behaviour, version: str | None, cut: str) -> Outcome:
    """Play the first session as told, and each later one as a good receiver."""
    sessions = [behave]
    done = threading.Event()
    with ExitStack() as stack:
        fields: dict[str, object] = {"timeout": cut}
        context: ssl.SSLContext | None = None
        if version:
            certificates = make_certificates(folder / "pki")
            context = server_context(certificates, version)
            fields["tls"] = {"ca_file": str(certificates.ca_file)}

        def answer(connection: socket) -> None:
            told = sessions.pop() if sessions else serve
            if context is None:
                told(Conversation(connection), destination.has, done)
                return
            with context.wrap_socket(connection, server_side=True) as wrapped:
                told(Conversation(wrapped), destination.has, done)

        port = stack.enter_context(socket_peer(answer))
        scheme = "relp+tls" if version else "relp"
        destination = RelpDestination(f"{scheme}://127.0.0.1:{port}", **fields)
        destination.ordered = behave is not answer_the_last_first
        world = World(folder, destination, events=EVENTS, batch=EVENTS)
        try:
            return await forward(world, after_failure=done.set)
        finally:
            done.set()


def _cells() -> Iterator[tuple[str, str, str, Callable[[Path], object]]]:
    for version in (None, *VERSIONS):
        place = version or "RELP"
        for name, behave in ENDINGS.items():
            cut = "1s" if name.endswith("never") else "20s"
            act = racing if name in RACING else played
            play = partial(act, behave=behave, version=version, cut=cut)
            yield f"the receiver {name}", place, f"the relp receiver {name} over {place}", play


def families() -> list[Family]:
    title = "A RELP session ends"
    return [
        Family(
            title,
            f"{EVENTS} events in one batch and two after it. The first session goes as said "
            f"(some: {SOME}); a message counts only once the receiver has answered for it.",
            tuple(Cell(title, *each, virtual=False, races=True) for each in _cells()),
        )
    ]
