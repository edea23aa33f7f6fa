"""Syslog over RELP, plain and over TLS: the receiver answers for each message.

The protocol is the specification 0.0.1 (rsyslog's relp.html), version 0 as rsyslog speaks it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import anyio

from forwarder import __version__
from forwarder.errors import AccessError, TransientError
from forwarder.model import Concern
from forwarder.sinks.syslog.link import Link, Receiver
from forwarder.sinks.syslog.relp_frame import Frame, FrameError, FrameReader, encode, following
from forwarder.sinks.syslog.sink import Answers

_OFFERS: Final = (
    f"relp_version=0\nrelp_software=soteri-forwarder,{__version__}\ncommands=syslog"
).encode()
_NO_RELP: Final = "check that the receiver's port speaks RELP (rsyslog: imrelp), and its TLS"
_GATHERING: Final = 0.001
"""Seconds in which answers gather: to wake for every few of them costs three times the CPU."""
_FEW: Final = 16
"""Answers that are not worth that wait."""
_FAREWELL: Final = 2.0
"""Seconds for the receiver to answer `close`: nothing hangs on it."""


class Session:
    """One RELP session on one connection, between its `open` and its `close`.

    At most `window` messages are unanswered at a time. Their answers have to fit into the buffers
    between the two, because they are only read between two writes: 20 octets each do.
    """

    def __init__(self, link: Link, *, window: int) -> None:
        self._link = link
        self._window = window
        self._reader = FrameReader()
        self._txnr = 0
        self.software = ""

    async def open(self) -> str:
        """Agree on the session; return what is wrong with the receiver's answer, or nothing.

        Raises:
            EOFError: the connection ended, in whatever way; FrameError: that was no RELP.
            ssl.SSLError: the receiver does not accept our certificate (TLS 1.3 tells it late).
        """
        self._txnr = following(self._txnr)
        try:
            with suppress(ConnectionError):  # what the peer said before, an alert, tells more
                await self._link.send(encode(self._txnr, b"open", _OFFERS))
            while not (frames := await self._frames()):
                pass
        except ConnectionError as error:
            raise EOFError from error
        answer = frames[0]
        if (answer.txnr, answer.command) != (self._txnr, b"rsp"):
            raise FrameError(f"not an answer: {answer}")
        said = answer.data.decode("utf-8", "replace")
        status, *lines = said.split("\n")
        offers = dict(line.partition("=")[::2] for line in lines)
        self.software = offers.get("relp_software", "")
        if not status.startswith("200"):
            return f"it refuses the session: {status[:200]}"
        if "relp_version" not in offers:
            return "it agrees on no version of RELP"
        if "syslog" not in offers.get("commands", "").split(","):
            return "it does not take syslog"
        return ""

    async def deliver(self, messages: Sequence[bytes], answers: Answers) -> None:
        """Return when each message is answered for, in `answers`.

        Raises:
            OSError, EOFError, FrameError: the session is over; `answers` has those that came.
        """
        asked: dict[int, int] = {}
        sent = 0
        while sent < len(messages) or asked:
            room = self._window - len(asked)
            if sent < len(messages) and room * 2 >= self._window:  # few writes, full ones
                part = messages[sent : sent + room]
                try:
                    await self._send(part, sent, asked)
                except OSError:
                    await self._hear_out(asked, answers)
                    raise
                sent += len(part)
            elif len(asked) > _FEW:
                await anyio.sleep(_GATHERING)
            for frame in await self._frames():
                self._note(frame, asked, answers)

    async def close(self) -> None:
        """Say good-bye, and wait for the receiver to say so too."""
        await self._link.send(encode(following(self._txnr), b"close"))
        while await self._link.receive():
            pass

    def is_usable(self) -> bool:
        """Say whether another batch may go this way: nothing was said since the last answer."""
        return self._link.is_quiet()

    def drop(self) -> None:
        """End it without a word."""
        self._link.close()

    async def _send(self, part: Sequence[bytes], first: int, asked: dict[int, int]) -> None:
        frames: list[bytes] = []
        txnr = self._txnr
        for place, message in enumerate(part, first):
            txnr = following(txnr)
            asked[txnr] = place
            frames.append(encode(txnr, b"syslog", message))
        self._txnr = txnr
        await self._link.send(b"".join(frames))

    async def _frames(self) -> list[Frame]:
        said = await self._link.receive()
        if not said:
            raise EOFError
        self._link.acknowledge_at_once()
        return self._reader.read(said)

    def _note(self, frame: Frame, asked: dict[int, int], answers: Answers) -> None:
        if frame.txnr == 0:
            # A hint. After `serverclose` nothing comes but the end, which says the same.
            return
        if frame.command != b"rsp" or frame.txnr not in asked:
            raise FrameError(f"an answer that nobody asked for: {frame}")
        taken = frame.data.startswith(b"200")
        answers[asked.pop(frame.txnr)] = (
            "" if taken else frame.data.decode("utf-8", "replace")[:500] or "no reason given"
        )

    async def _hear_out(self, asked: dict[int, int], answers: Answers) -> None:
        """Take in the answers that came before the connection broke: they are not sent again."""
        try:
            while True:
                for frame in await self._frames():
                    self._note(frame, asked, answers)
        except (OSError, EOFError, FrameError):
            return


class RelpTransport:
    """One session, kept from batch to batch; opened anew where the receiver has left it."""

    largest = None

    def __init__(self, receiver: Receiver, *, timeout: float, window: int) -> None:
        self._receiver = receiver
        self._timeout = timeout
        self._window = window
        self._session: Session | None = None

    async def deliver(self, messages: Sequence[bytes], answers: Answers) -> None:
        """Return when the receiver has answered for every message.

        Raises:
            TransientError: no session, or one that ended early or did not go on in time.
            AccessError: the receiver does not let us in, or speaks no RELP.
        """
        session = await self._ready()
        try:
            with self._receiver.explained(), anyio.fail_after(self._timeout):
                await session.deliver(messages, answers)
        except (EOFError, FrameError) as error:
            what = str(error) or "the receiver closed the session"
            raise TransientError(
                f"{self._receiver.address}: {what}, with {len(messages) - len(answers)} of "
                f"{len(messages)} messages unanswered",
                remedy="check the receiver's log",
            ) from error
        else:
            self._session = session
        finally:
            if self._session is not session:
                session.drop()

    async def probe(self) -> str:
        """Open a session of its own, and close it without a message."""
        session = await self._open()
        try:
            await self._part(session)
        finally:
            session.drop()
        known = f", {session.software}" if session.software else ""
        return f"{self._receiver.address}: RELP session opened{known}"

    def concerns(self) -> list[Concern]:
        """RELP's receivers answer for every message: there are none."""
        return []

    async def close(self) -> None:
        """Close the session that is open."""
        session, self._session = self._session, None
        if session is not None:
            try:
                await self._part(session)
            finally:
                session.drop()

    async def _ready(self) -> Session:
        """Take the open session, so that whatever happens to it drops it; or open one."""
        session, self._session = self._session, None
        if session is not None:
            if session.is_usable():
                return session
            session.drop()
        return await self._open()

    async def _open(self) -> Session:
        link = await self._receiver.link()
        session = Session(link, window=self._window)
        address = self._receiver.address
        try:
            link.keep_alive()
            with self._receiver.explained(), anyio.fail_after(self._receiver.connect_timeout):
                wrong = await session.open()
        except FrameError as error:
            session.drop()
            raise AccessError(f"{address}: that is no RELP: {error}", remedy=_NO_RELP) from error
        except EOFError as error:
            session.drop()
            raise TransientError(
                f"{address}: the receiver hung up on the session's opening", remedy=_NO_RELP
            ) from error
        except BaseException:
            session.drop()
            raise
        if wrong:
            session.drop()
            raise AccessError(f"{address}: {wrong}", remedy="check the receiver's settings")
        return session

    async def _part(self, session: Session) -> None:
        with anyio.move_on_after(_FAREWELL):
            try:
                await session.close()
            except OSError:
                return
