"""Every error of CloudWatch Logs and of botocore, and every way to reject a part of a batch."""

import string
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import botocore.exceptions
import botocore.parsers
import pytest

from forwarder.sinks.cloudwatch_logs.failures import VERDICTS
from tests.contract.sinks.cloudwatch_logs import alone
from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import CloudWatchDestination
from tests.matrix.world import Life, World, any_ca, forward
from tests.receivers.cloudwatch import AwsError, CloudWatch, Fault, Page, cloudwatch


def _exception(name: str) -> type[Exception] | None:
    for module in (botocore.exceptions, botocore.parsers):
        if isinstance(found := getattr(module, name, None), type):
            return found
    return None


EXCEPTIONS = sorted(name for name in VERDICTS if _exception(name))
CODES = sorted(name for name in VERDICTS if not _exception(name))
BURYING = [name for name in CODES if "Permanent" in type(VERDICTS[name]).__name__]
STATUSES = (200, 301, 302, 400, 401, 403, 404, 407, 408, 413, 429, 500, 502, 503, 504)
AGES = {
    "too old": timedelta(days=14, minutes=-1),
    "expired": timedelta(days=7, minutes=-1),
    "good": timedelta(),
    "too new": timedelta(hours=-2, minutes=-30),
}
FAST = timedelta(hours=2, minutes=29)
"""How far Bitbucket's clock is ahead of Amazon's, so that there is what is too new."""
EVER = {"start_at": "beginning"}
OLD, EXPIRED, NEW = (None, 1, 4), (None, 2, 4), (None, 0, 3)

Act = Callable[[CloudWatchDestination, World], Awaitable[Outcome]]


async def played(
    folder: Path, *, act: Act, stale: str = "bury", days: int | None = None, **world: Any
) -> Outcome:
    with pytest.MonkeyPatch.context() as patch, cloudwatch() as receiver:
        alone(patch, folder)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
        patch.setenv("AWS_CA_BUNDLE", str(any_ca(folder)))
        destination = CloudWatchDestination(receiver, stale=stale, days=days)
        return await act(destination, World(folder, destination, **{"events": 8, **world}))


def until_seen(fault: Fault) -> Act:
    """Fail every request until the daemon, and not botocore alone, has seen it."""

    async def act(destination: CloudWatchDestination, world: World) -> Outcome:
        destination.receiver.fault = fault

        def recover() -> None:
            destination.receiver.fault = None

        return await forward(world, after_failure=recover)

    return act


def refusing(code: str) -> Act:
    """Refuse every put that holds a certain event, with this code."""

    async def act(destination: CloudWatchDestination, world: World) -> Outcome:
        receiver = destination.receiver
        ordinary = receiver.answer
        culprit = ""

        def answer(operation: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
            if operation == "PutLogEvents" and culprit.encode() in body:
                raise AwsError(f"{code}Exception", "as the matrix asks")
            return ordinary(operation, headers, body)

        async def choose(life: Life) -> None:
            nonlocal culprit
            culprit = (await life.stored())[5].event_id
            receiver.answer = answer  # type: ignore[method-assign]

        return await forward(world, before=choose)

    return act


def raising(name: str) -> Act:
    """Have botocore raise this from the next put, once; by its own event system."""
    kind = _exception(name)
    assert kind is not None
    fields = {field for _, field, _, _ in string.Formatter().parse(getattr(kind, "fmt", ""))}
    error = kind(**{field: "as the matrix asks" for field in fields if field})

    async def act(destination: CloudWatchDestination, world: World) -> Outcome:
        async def hook(_: Life) -> None:
            events = destination.sink._stream._connected().meta.events

            def fail(**_: object) -> None:
                events.unregister("provide-client-params.logs.PutLogEvents", fail)
                raise error

            events.register("provide-client-params.logs.PutLogEvents", fail)

        return await forward(world, before=hook)

    return act


def answering(info: dict[str, int]) -> Act:
    """Answer the first put with these indexes, and take what they leave."""

    async def act(destination: CloudWatchDestination, world: World) -> Outcome:
        receiver: CloudWatch = destination.receiver
        ordinary = receiver._put
        owed = [info]

        def put(members: dict[str, Any]) -> dict[str, Any]:
            if not owed:
                return ordinary(members)
            events = members["logEvents"]
            start = max(
                info.get("tooOldLogEventEndIndex", 0), info.get("expiredLogEventEndIndex", 0)
            )
            taken = events[start : info.get("tooNewLogEventStartIndex")]
            answer = ordinary({**members, "logEvents": taken}) if taken else {}
            owed.clear()
            return {**answer, "rejectedLogEventsInfo": info}

        async def begin(life: Life) -> None:
            await life.dispatcher.sink.probe()  # makes the stream
            receiver._put = put  # type: ignore[method-assign]

        return await forward(world, before=begin)

    return act


def aged(groups: tuple[str, ...]) -> Act:
    """Have events of these ages, two of each, on a group that keeps a week."""

    async def act(destination: CloudWatchDestination, world: World) -> Outcome:
        destination.ordered = False  # held in order of time, and these are written out of it
        for group in groups:
            for second in (0, 1):
                at = world.clock.now() - FAST - AGES[group] - timedelta(minutes=second)
                if group in ("too old", "expired"):
                    at -= timedelta(minutes=2)
                world.simulator.emit(at=min(at, world.clock.now()))
        async with world.life() as life:
            await life.poll()
            await life.deliver()
        return await world.outcome()

    return act


def _errors() -> Iterator[tuple[str, str, str, Callable[[Path], Awaitable[Outcome]]]]:
    for code in CODES:
        if code not in BURYING:
            fault = AwsError(f"{code}Exception", "as the matrix asks")
            yield code, "every call", f"aws answers {code}", partial(played, act=until_seen(fault))
    for code in BURYING:
        place = "a put with a culprit"
        yield code, place, f"aws answers {code} to a culprit", partial(played, act=refusing(code))
    for name in EXCEPTIONS:
        yield name, "a put", f"botocore raises {name}", partial(played, act=raising(name))
    for status in STATUSES:
        name = f"HTTP {status} with a web page"
        yield (
            name,
            "every call",
            f"aws answers {name}",
            partial(played, act=until_seen(Page(status))),
        )
    for how in ("drop the request", "drop the answer"):
        yield (
            f"connections that {how}",
            "every call",
            f"aws connections {how}",
            partial(played, act=until_seen(how)),
        )


def _shapes() -> Iterator[tuple[str, str, str, Callable[[Path], Awaitable[Outcome]]]]:
    names = "tooOldLogEventEndIndex", "expiredLogEventEndIndex", "tooNewLogEventStartIndex"
    for indexes in product(OLD, EXPIRED, NEW):
        info = {
            name: index for name, index in zip(names, indexes, strict=True) if index is not None
        }
        if not info:
            continue
        said = " and ".join(f"{name} {index}" for name, index in info.items())
        yield (
            said,
            "a put of 4",
            f"aws answers {said} to a put of 4",
            partial(played, act=answering(info)),
        )
    for present in product((True, False), repeat=4):
        groups = tuple(name for name, is_there in zip(AGES, present, strict=True) if is_there)
        if groups:
            for stale in ("bury", "restamp"):
                said = f"events that are {' and '.join(groups)}"
                yield (
                    said,
                    stale,
                    f"aws is given {said} with stale {stale}",
                    partial(
                        played,
                        act=aged(groups),
                        stale=stale,
                        days=7,
                        events=0,
                        source=EVER,
                        ahead=FAST,
                    ),
                )


def families() -> list[Family]:
    errors, shapes = "CloudWatch Logs fails", "CloudWatch Logs refuses a part"
    return [
        Family(
            errors,
            "Eight events in two batches. Every error code and every exception of botocore that "
            "the sink knows; statuses as a proxy gives them; lost connections.",
            tuple(Cell(errors, *each, virtual=False) for each in _errors()),
        ),
        Family(
            shapes,
            "Every combination of the three indexes of `rejectedLogEventsInfo`, overlapping and "
            "beyond each other too; then every combination of real ages on a log group that keeps "
            "a week, buried or sent again dated now.",
            tuple(Cell(shapes, *each, virtual=False) for each in _shapes()),
        ),
    ]
