"""How replicas on one store run its parts: each under the lease that it has of it."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
from anyio.abc import TaskStatus

from forwarder.app.parts import Part, Parts
from forwarder.errors import ForwarderError, StoreError, StoreLocked, TransientError
from forwarder.interfaces import Leases, Outbox
from forwarder.model import Lease
from forwarder.pipeline.sharing import LEAVING, RENEWALS, Run
from forwarder.pipeline.stop import Stop

House: TypeAlias = Callable[[Outbox, Stop], Coroutine[Any, Any, None]]
"""Runs what is there once beside sources and sinks, until the stop."""

_PAUSE: Final = 0.2  # seconds until a renewal that failed is tried again
HOUSE: Final = "janitor"
"""The lease of the house."""


def shared_runs(
    made: Iterable[Part], parts: Parts, outbox: Outbox, house: House
) -> Mapping[str, Run]:
    """Return how each part, and the house, runs under a lease, by the lease's name."""

    async def run_house(lease: Lease, stop: Stop) -> None:
        with ungrouped():
            await house(outbox.under(lease), stop)

    async def run_part(part: Part, lease: Lease, stop: Stop) -> None:
        fenced = outbox.under(lease)
        try:
            with ungrouped():
                await parts.run(part, fenced, stop)
        except (StoreError, TransientError):
            raise
        except Exception as error:
            remedy = str(getattr(error, "remedy", ""))
            await fenced.note(part.name, state="retrying", error=str(error), remedy=remedy)
            raise

    runs: dict[str, Run] = {part.name: partial(run_part, part) for part in made}
    return {**runs, HOUSE: run_house}


async def alone(
    outbox: Outbox, names: Sequence[str], *, task_status: TaskStatus[Mapping[str, Outbox]]
) -> None:
    """Hold the lease of every part, until cancelled; starts with the outbox of each part.

    Raises:
        StoreLocked: replicas run on the store.
        StoreError: the leases could not be renewed in time.
    """
    leases = outbox.leases
    if leases is None:
        task_status.started(dict.fromkeys(names, outbox))
        return
    held = await _everything(leases, names)
    task_status.started({lease.name: outbox.under(lease) for lease in held})
    try:
        while True:
            await anyio.sleep(leases.ttl / RENEWALS)
            with anyio.move_on_after(leases.ttl / RENEWALS) as late:
                await _renew_all(leases, names, held)
            if late.cancelled_caught:
                raise StoreError(
                    "the store could not be reached to renew the leases",
                    remedy="see that PostgreSQL runs and answers, then run it again",
                )
    finally:
        with anyio.move_on_after(LEAVING, shield=True), suppress(TransientError):
            await leases.release(held)
            await leases.leave()


async def _renew_all(leases: Leases, names: Sequence[str], held: Sequence[Lease]) -> None:
    while True:
        try:
            renewed, _ = await leases.renew(names, held)
        except TransientError:
            await anyio.sleep(_PAUSE)
            continue
        if len(renewed) < len(held):
            raise StoreLocked(
                "another replica has taken sources or sinks over",
                remedy="stop the other replicas, then run it again",
            )
        return


async def _everything(leases: Leases, names: Sequence[str]) -> Sequence[Lease]:
    _, shares = await leases.renew([], [])
    others = [each.name for each in shares.replicas if each.name != leases.replica]
    held = [] if others else await leases.claim([*names, HOUSE])
    if len(held) <= len(names):
        await leases.release(held)
        await leases.leave()
        raise StoreLocked(
            f"other replicas run on this store: {', '.join(others) or 'one is just starting'}",
            remedy=f"stop them first; what has crashed counts as running for {leases.ttl:.0f} s",
        )
    return held


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise our own error out of the groups that the tasks wrap it in."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = next(
                (e for e in error.exceptions if isinstance(e, ForwarderError)), error.exceptions[0]
            )
        raise error from group
