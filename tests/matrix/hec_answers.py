"""Everything that a Splunk HEC, or what stands before it, can answer; with and without acks."""

from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx

from forwarder.sinks.splunk_hec.codes import BUSY, NEAR_CAPACITY, REFUSED, REMEDIES, SUCCESS
from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import HecDestination
from tests.matrix.world import Life, World, forward
from tests.receivers.hec import TEXTS, Fault, Hec

CODES = sorted({*TEXTS, *BUSY, *REFUSED, *REMEDIES, *NEAR_CAPACITY, SUCCESS})
STATUSES = [status.value for status in HTTPStatus if status.value > 200]
BODIES = {
    "an empty body": b"",
    "a web page": b"<html>Please log in</html>",
    "half of a JSON": b'{"text":"Succ',
    "JSON without a code": b'{"status":"ok"}',
    "a JSON array": b"[0]",
    "an endless body": b"x" * 200_000,
    "a JSON nested too deep": b"[" * 100_000,
}
UNREAD = {f"HTTP 200 with {body}" for body, data in BODIES.items() if len(data) > 65_536}
"""Not read to their end: trio complains of httpx's generators then, which asyncio closes itself."""
BROKEN = sorted(
    (
        error
        for error in vars(httpx).values()
        if isinstance(error, type)
        and issubclass(error, httpx.TransportError)
        and not error.__subclasses__()
        and error is not httpx.UnsupportedProtocol  # of our own request, not of a connection
    ),
    key=lambda error: error.__name__,
)
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""What a request that has reached the receiver cannot end in."""
ASKED = {True: "with ack", False: "without ack"}

Prepare = Callable[[HecDestination], None]


def _code(number: int) -> Fault:
    if number == SUCCESS:
        return Fault(code=SUCCESS, take=True)
    status = None if number in TEXTS else 403 if number in (21, 22) else 400
    return (
        Fault(code=number)
        if status is None
        else Fault(status=status, body=b'{"text":"as documented","code":%d}' % number)
    )


class Breaking(httpx.AsyncBaseTransport):
    """Ends one request of events in an error, before or after the receiver has it."""

    def __init__(self, hec: Hec, error: type[httpx.TransportError], *, after: bool, skip: int = 1):
        self._inner = httpx.ASGITransport(hec.app)
        self._error = error
        self._after = after
        self._left = skip + 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._left -= request.url.path.endswith("/event")
        if self._left or not request.url.path.endswith("/event"):
            return await self._inner.handle_async_request(request)
        self._left = -1
        if self._after:
            await self._inner.handle_async_request(request)
        raise self._error("as the matrix asks", request=request)


async def answered(folder: Path, *, ack: bool, prepare: Prepare) -> Outcome:
    destination = HecDestination(folder, ack=ack)
    prepare(destination)
    return await forward(World(folder, destination))


def scripted(fault: Fault) -> Prepare:
    """Answer so to the second request that carries events."""
    return lambda destination: destination.hec.faults.extend([None, fault])


def asked(fault: Fault, *, before: int) -> Prepare:
    """Answer so to a question for acks: the first one (0), or one with an ack outstanding (1)."""
    return lambda destination: destination.hec.ack_faults.extend([*[None] * before, fault])


async def poisoned(folder: Path, *, ack: bool, code: int, place: int) -> Outcome:
    """Refuse one event for good: the one at `place` of its batch of four."""
    destination = HecDestination(folder, ack=ack)

    async def poison(life: Life) -> None:
        destination.hec.poisoned[(await life.stored())[4 + place].event_id] = code

    return await forward(World(folder, destination), before=poison)


async def too_much(folder: Path, *, ack: bool, code: int, room: int) -> Outcome:
    """Have room for so many events in one request, and say so in one of two ways."""
    destination = HecDestination(folder, ack=ack)
    destination.hec.max_request_events = room if code == 6 else 1000
    destination.hec.max_request_bytes = 1_000_000 if code == 6 else 2300 * room
    destination.hec.oversize_code = code
    return await forward(World(folder, destination))


async def lost(folder: Path, *, how: str) -> Outcome:
    """Say 200 and lose the batch, or only the ack of it."""
    destination = HecDestination(folder, ack=True)
    hec = destination.hec
    if how == "the batch, after its 200":
        hec.faults += [None, Fault(lose=True)]
        return await forward(World(folder, destination))
    hec.slow = True

    def restart() -> None:
        hec.restart(losing="with what it held" in how)
        hec.slow = False

    return await forward(World(folder, destination), after_failure=restart)


def _cells(title: str) -> Iterator[tuple[str, str, str, Callable[[Path], object]]]:
    for ack, place in ASKED.items():
        for number in CODES:
            name = f"code {number}"
            yield (
                name,
                place,
                f"hec answers {name} to a batch",
                partial(answered, ack=ack, prepare=scripted(_code(number))),
            )
        for status in STATUSES:
            name = f"HTTP {status} with a web page"
            yield (
                name,
                place,
                f"hec answers {name}",
                partial(
                    answered,
                    ack=ack,
                    prepare=scripted(Fault(status=status, body=BODIES["a web page"])),
                ),
            )
        for body, data in BODIES.items():
            name = f"HTTP 200 with {body}"
            yield (
                name,
                place,
                f"hec answers {name}",
                partial(
                    answered, ack=ack, prepare=scripted(Fault(status=200, body=data, take=True))
                ),
            )
        for error in BROKEN:
            for after in (False, True) if not issubclass(error, UNSENT) else (False,):
                name = f"{error.__name__} {'after' if after else 'before'} it has the batch"
                yield (
                    name,
                    place,
                    f"the connection to hec ends in {name}",
                    partial(answered, ack=ack, prepare=partial(_break, error=error, after=after)),
                )
        for taken in (False, True):
            name = f"half an answer, the batch {'taken' if taken else 'not taken'}"
            yield (
                name,
                place,
                f"hec gives {name}",
                partial(answered, ack=ack, prepare=scripted(Fault(drop=True, take=taken))),
            )
        for code in sorted(REFUSED - {5}):  # 5 is about a request without events
            for at in range(4):
                name = f"event {at + 1} of a batch of 4 refused with code {code}"
                yield (
                    name,
                    place,
                    f"hec has {name}",
                    partial(poisoned, ack=ack, code=code, place=at),
                )
        for code in (6, 413):
            for room in (1, 2, 3):
                name = f"room for {room} of 4 events, said with {code}"
                yield (
                    name,
                    place,
                    f"hec has {name}",
                    partial(too_much, ack=ack, code=code, room=room),
                )
        yield (
            "token disabled until a person acts",
            place,
            "hec has its token disabled",
            partial(disabled, ack=ack),
        )


def _acks() -> Iterator[tuple[str, str, str, Callable[[Path], object]]]:
    for before, place in enumerate(("the first question", "a batch outstanding")):
        for number in CODES:
            name = f"code {number}"
            yield (
                name,
                place,
                f"hec answers {name} to a question for acks",
                partial(answered, ack=True, prepare=asked(_code(number), before=before)),
            )
        for status in STATUSES if before else ():
            name = f"HTTP {status} with a web page"
            yield (
                name,
                place,
                f"hec answers {name} to a question for acks",
                partial(
                    answered,
                    ack=True,
                    prepare=asked(Fault(status=status, body=BODIES["a web page"]), before=before),
                ),
            )
        for body, data in BODIES.items():
            name = f"HTTP 200 with {body}"
            yield (
                name,
                place,
                f"hec answers {name} to a question for acks",
                partial(
                    answered, ack=True, prepare=asked(Fault(status=200, body=data), before=before)
                ),
            )
        yield (
            "half an answer",
            place,
            "hec gives half an answer to a question for acks",
            partial(answered, ack=True, prepare=asked(Fault(drop=True), before=before)),
        )
    for how in (
        "the batch, after its 200",
        "its memory of acks, in a restart",
        "its memory of acks, in a restart with what it held",
    ):
        yield (
            f"the indexer loses {how}",
            "a batch outstanding",
            f"hec loses {how}",
            partial(lost, how=how),
        )


def _break(destination: HecDestination, *, error: type[httpx.TransportError], after: bool) -> None:
    destination.transport = Breaking(destination.hec, error, after=after)


async def disabled(folder: Path, *, ack: bool) -> Outcome:
    destination = HecDestination(folder, ack=ack)
    destination.hec.enabled = False

    def enable() -> None:
        destination.hec.enabled = True

    return await forward(World(folder, destination), after_failure=enable)


def families() -> list[Family]:
    title = "Splunk HEC answers to events"
    acks = "Splunk HEC answers to questions for acks"
    return [
        Family(
            title,
            "Twelve events in three batches of four; the fault meets the second batch. Every code "
            "of HEC, every HTTP status with a body that is not HEC's, every way in which a "
            "connection can fail.",
            tuple(
                Cell(title, fault, place, f"{sentence} {place}", play, virtual=fault not in UNREAD)
                for fault, place, sentence, play in _cells(title)
            ),
        ),
        Family(
            acks,
            "The same batches; the fault meets the first question, which is whether the token "
            "acknowledges at all, or the one after a batch was taken.",
            tuple(
                Cell(
                    acks, fault, place, f"{sentence} at {place}", play, virtual=fault not in UNREAD
                )
                for fault, place, sentence, play in _acks()
            ),
        ),
    ]
