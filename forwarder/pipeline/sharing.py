"""Keeps this replica's share of the parts: claims, runs, hands over."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup

from forwarder.errors import ForwarderError, LeaseLost, StoreError, TransientError
from forwarder.interfaces import Leases
from forwarder.model import Lease
from forwarder.pipeline.shares import assignment
from forwarder.pipeline.stop import Stop

Run: TypeAlias = Callable[[Lease, Stop], Awaitable[None]]
"""Runs one part, all of whose writes are under the lease, until the stop; then it is closed."""

RENEWALS: Final = 3
"""In the life of a lease: two may fail."""
LEAVING: Final = 2.0
"""Seconds that handing over may take, with the store away."""
_MARGIN: Final = 0.2  # of its life: what is stopped then has so long to be gone
_SOON: Final = 0.02  # seconds after another's lease ends, or until one that was not free is tried
_AGAIN: Final = 1.0  # seconds until the store is asked again that could not be reached
_ASIDE: Final = 30.0  # seconds that a part which cannot be opened here is left to the others

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    stop: Stop = field(default_factory=Stop)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Sharing:
    """The loop of one replica. `runs` has every part that it is configured for, by lease name.

    A part runs only while its lease is ours, by our own clock less a margin: where the store
    cannot be reached for so long, everything that runs is cancelled, and begins again later.
    """

    def __init__(
        self,
        leases: Leases,
        runs: Mapping[str, Run],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble = ""
        self._leases = leases
        self._runs = runs
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._aside: dict[str, float] = {}
        self._until = clock()
        self._ended = anyio.Event()

    @property
    def held(self) -> list[str]:
        """The parts that run here."""
        return sorted(self._held)

    async def run(self, stop: Stop) -> None:
        """Run this replica's share until `stop`, then hand it over, part by part as each ends.

        Raises:
            StoreError: the store cannot be used at all.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._guard)
            while not stop.requested:
                wake: list[anyio.Event | Stop] = [self._leases.change(), self._ended]
                wait = await self.share_once(group)
                await _first([*wake, stop], wait)
            while self._held:
                wake = [self._leases.change(), self._ended]
                wait = await self.share_once(group, leaving=True)
                if self._held:
                    await _first(wake, wait)
            group.cancel_scope.cancel()
        with anyio.move_on_after(LEAVING, shield=True):
            try:
                await self._leases.leave()
            except TransientError as error:
                log.debug("leaving.missed", error=str(error))

    def swap(self, runs: Mapping[str, Run], changed: Collection[str]) -> None:
        """Have `runs` in place of what there was; what has `changed` ends, and begins anew."""
        self._runs = runs
        self._aside.clear()
        self._wake()
        for name, held in self._held.items():
            if name in changed or name not in runs:
                held.stop.request()

    async def share_once(self, group: TaskGroup, *, leaving: bool = False) -> float:
        """Renew, give up what is another's share, take what is ours; return seconds to wait."""
        begun = self._clock()
        wanted = {name for name in self._runs if self._aside.get(name, begun) <= begun}
        try:
            return await self._share(group, set() if leaving else wanted, begun)
        except TransientError as error:
            self._miss(error)
            return min(_AGAIN, self._leases.ttl / RENEWALS)

    async def _share(self, group: TaskGroup, wanted: set[str], begun: float) -> float:
        ours = [held.lease for held in self._held.values()]
        renewed, shares = await self._leases.renew(wanted, ours)
        self._until = begun + self._leases.ttl * (1 - _MARGIN)
        if self.trouble:
            self.trouble = ""
            log.info("store.recovered")
        for held in [held for held in self._held.values() if held.lease in ours]:
            if held.lease not in renewed:
                log.warning("lease.lost", part=held.lease.name)
                held.scope.cancel()
        plan = assignment(shares.replicas, shares.holders)
        mine = {name for name, replica in plan.items() if replica == self._leases.replica}
        for name, held in self._held.items():
            if name not in mine:
                held.stop.request()
        free = (
            mine
            - self._held.keys()
            - {name for name, holder in shares.holders.items() if holder != self._leases.replica}
        )
        taken = await self._leases.claim(free) if free else []
        for lease in taken:
            log.info("lease.taken", part=lease.name, token=lease.token)
            self._held[lease.name] = _Held(lease)
            group.start_soon(self._hold, self._held[lease.name])
        wait = self._leases.ttl / RENEWALS
        if len(taken) < len(free):
            return min(wait, _SOON * 10)
        return wait if shares.changes_in is None else min(wait, shares.changes_in + _SOON)

    async def _hold(self, held: _Held) -> None:
        """Run a part for as long as we hold its lease, and let go of it."""
        name = held.lease.name
        try:
            with held.scope:
                if run := self._runs.get(name):  # none where it was taken out meanwhile
                    await run(held.lease, held.stop)
        except LeaseLost as error:
            log.warning("lease.lost", part=name, error=str(error))
        except TransientError as error:
            self._aside[name] = self._clock() + _AGAIN
            log.warning("part.postponed", part=name, error=str(error), remedy=error.remedy)
        except StoreError:
            raise
        except Exception as error:
            self._aside[name] = self._clock() + _ASIDE
            remedy = str(getattr(error, "remedy", ""))
            log.exception("part.failed", part=name, error=str(error), remedy=remedy)
        finally:
            del self._held[name]
            if not held.scope.cancel_called and not self.trouble:
                await self._release(held.lease)
            self._wake()

    def _wake(self) -> None:
        self._ended.set()
        self._ended = anyio.Event()

    async def _release(self, lease: Lease) -> None:
        """Hand the lease over; where that fails it ends by itself."""
        with anyio.move_on_after(LEAVING, shield=True):
            try:
                await self._leases.release([lease])
            except (StoreError, TransientError) as error:
                self._miss(error)
                log.debug("lease.kept", part=lease.name, error=self.trouble)
            else:
                log.info("lease.released", part=lease.name)

    def _miss(self, error: ForwarderError) -> None:
        if not self.trouble:
            log.warning("store.unreachable", error=str(error), remedy=error.remedy)
        self.trouble = str(error)

    async def _guard(self) -> None:
        """Cancel everything that runs when the leases may end before they could be renewed."""
        while True:
            left = self._until - self._clock()
            running = [each for each in self._held.values() if not each.scope.cancel_called]
            if left <= 0 and running:
                log.warning("leases.ended", parts=sorted(each.lease.name for each in running))
                for each in running:
                    each.scope.cancel()
            await anyio.sleep(left if left > 0 else _SOON * 10)


async def _first(events: Sequence[anyio.Event | Stop], seconds: float) -> None:
    """Return when any of `events` is set, or after `seconds`."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:

            async def end_with(event: anyio.Event | Stop) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            for event in events:
                group.start_soon(end_with, event)
