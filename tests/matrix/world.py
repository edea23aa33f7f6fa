"""A whole forwarder between a simulated Bitbucket and one destination, moved step by step.

Source, loops and sink are the product's own; Bitbucket is the simulator behind ASGI, its clock a
hand clock. No time passes: a loop's step returns how long it would wait, and the clock is moved on
by that. The outbox is the one on SQLite where commits or threads are what a cell is about;
elsewhere it is the one in memory, which passes the same contract suite and spares a cell half of
its time: the hops to SQLite's threads.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import httpx
import structlog
import trustme

from forwarder.interfaces import Memory, Outbox, Sink
from forwarder.model import Event, EventFilter
from forwarder.options import BatchOptions, RetryOptions, SinkOptions
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.stop import Stop
from forwarder.simulator import HandClock, Simulator, SimulatorOptions
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.store import StoreConfig
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox
from tests.matrix.cell import Outcome

SOTERI = "Soteri Security for Bitbucket"
AT_ONCE = RetryOptions.model_validate({"initial": "1ms", "maximum": "1ms"})
TRIES = 40
_DID = {"retrying": "retried"}


@dataclass(frozen=True)
class Held:
    """One event as the destination has it; `marked` says that it came as a possible duplicate."""

    event_id: str
    original: Any
    marked: bool = False


class Destination(Protocol):
    """A receiver that outlives the sinks opened on it."""

    ordered: bool
    """Whether what it holds can be compared with the order of the outbox."""

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]: ...

    def held(self) -> list[Held]:
        """Return what it holds, in order of arrival, doubles included."""
        ...


@dataclass
class Told:
    """What the loops said of themselves, step by step."""

    polls: Counter[str] = field(default_factory=Counter)
    sends: Counter[str] = field(default_factory=Counter)
    asked: float = 0.0
    """The longest wait, in seconds, that was not for access refused and not of our own making."""
    lives: int = 0


class World:
    """One cell's world. `keep` stands between the loops and the real outbox, to break commits."""

    def __init__(
        self,
        folder: Path,
        destination: Destination,
        *,
        events: int = 12,
        batch: int = 4,
        apart: timedelta = timedelta(minutes=1),
        ahead: timedelta = timedelta(),
        durable: bool = False,
        simulator: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        keep: Callable[[Outbox], Outbox] = lambda outbox: outbox,
    ) -> None:
        # Not a fixed time: a Retry-After date means a wait only beside the machine's own clock.
        self.clock = HandClock(datetime.now(UTC).replace(microsecond=0) + ahead)
        self.simulator = Simulator(SimulatorOptions(**(simulator or {})), clock=self.clock)
        self.destination = destination
        self.told = Told()
        self.keep = keep
        self.failures: list[str] = []
        self._store = StoreConfig(url=f"sqlite:///{folder}/forwarder.db") if durable else None
        self._memory = MemoryOutbox(now=self.clock.now)
        self._batch = batch
        options = self.simulator.options
        began = self.clock.now() - events * apart
        self._config = BitbucketAuditConfig.model_validate(
            {
                "type": "bitbucket_audit",
                "url": "http://bitbucket.test",
                "token": options.token,
                "start_at": began - apart,
                "retry": AT_ONCE,
                "tls": {"ca_file": any_ca(folder)},
            }
            | dict(source or {})
        )
        for number in range(events):
            self.simulator.emit(at=began + number * apart)

    @asynccontextmanager
    async def _stored(self) -> AsyncIterator[Outbox]:
        if self._store is None:
            yield self._memory  # type: ignore[misc]
            return
        async with self._store.open(now=self.clock.now) as outbox:
            yield outbox

    @asynccontextmanager
    async def life(self) -> AsyncIterator["Life"]:
        """Yield every part, built anew from what is on disk, as after a start."""
        self.told.lives += 1
        ours = ServerClock(
            wall=lambda: self.clock.elapsed_ms() / 1000,
            steady=lambda: self.clock.elapsed_ms() / 1000,
        )
        transport = httpx.ASGITransport(self.simulator.app)
        async with self._stored() as stored:
            outbox = self.keep(stored)
            await outbox.register("sink")
            async with (
                self._config.open(name="bitbucket", transport=transport, clock=ours) as source,
                self.destination.open(outbox.memory("sink")) as sink,
            ):
                size = {"events": self._batch, "bytes": "16MiB"}
                options = SinkOptions(batch=BatchOptions.model_validate(size), retry=AT_ONCE)
                yield Life(
                    self,
                    outbox,
                    Poller("bitbucket", source, normalize, outbox, self._config),
                    Dispatcher("sink", sink, outbox, options),
                )

    async def outcome(self) -> Outcome:
        """Compare all that is anywhere with the truth."""
        async with self._stored() as outbox:
            stored = [event async for _, event in outbox.events(EventFilter())]
            letters = [letter async for letter in outbox.dead_letters()]
        held = self.destination.held()
        first: dict[str, Held] = {}
        for one in held:
            first.setdefault(one.event_id, one)
        dead = {letter.event_id: letter for letter in letters if letter.sink}
        problems = list(self.failures)
        truth = Counter(
            _same(json.loads(body)) for body in self.simulator.truth_bytes(categories=[SOTERI])
        )
        there = Counter(_same(one.original) for one in first.values())
        there.update(
            _same(json.loads(letter.body)["original"])
            for letter in dead.values()
            if letter.event_id not in first
        )
        if missing := truth - there:
            problems.append(f"{missing.total()} events are missing")
        if extra := there - truth:
            problems.append(f"{extra.total()} events are not Bitbucket's")
        if both := dead.keys() & first.keys():
            problems.append(f"{len(both)} events are both delivered and buried")
        if letters and len(dead) < len(letters):
            problems.append("records were buried that can be read")
        wanted = [event.event_id for event in stored if event.event_id in first]
        if self.destination.ordered and list(first) != wanted:
            problems.append("the order is not the outbox's")
        doubles = len(held) - len(first)
        reasons = Counter(letter.reason for letter in dead.values())
        marked = sum(one.marked for one in held)
        return Outcome(self._words(doubles, marked, reasons), tuple(problems))

    def _words(self, doubles: int, marked: int, reasons: Counter[str]) -> str:
        told = self.told
        words = [
            *(f"source {_times(state, count)}" for state, count in sorted(told.polls.items())),
            *(f"sink {_times(state, count)}" for state, count in sorted(told.sends.items())),
        ]
        if told.asked >= 1:
            words.append("waited as asked")
        if told.lives > 1:
            words.append("started again")
        words += [f"{count} buried ({reason})" for reason, count in sorted(reasons.items())]
        if doubles:
            words.append(f"{doubles} doubled")
        if marked:
            words.append(f"{marked} marked as possible duplicates")
        return ", ".join(words) or "went on at once"


@dataclass
class Life:
    """One run of the daemon, in steps."""

    world: World
    outbox: Outbox
    poller: Poller
    dispatcher: Dispatcher

    async def stored(self) -> tuple[Event, ...]:
        """Return what the sink has not yet."""
        batch = await self.outbox.read("sink", limit=1000, max_bytes=1 << 30)
        return batch.events if batch else ()

    async def poll(self) -> None:
        """Poll until a poll has read everything."""
        for _ in range(TRIES):
            wait = await self.poller.attempt(0.0)
            if self.poller.progress.state == "running":
                return
            self._note(self.world.told.polls, self.poller.progress.state, wait)
        self.world.failures.append(f"no poll ended well: {self.poller.progress.error}")

    async def deliver(self, after_failure: Callable[[], None] = lambda: None) -> None:
        """Send until nothing is left; `after_failure` lets the destination recover."""
        for _ in range(TRIES):
            if not (await self.outbox.backlog("sink")).events:
                return
            wait = await self.dispatcher.attempt(Stop())
            if self.dispatcher.progress.state != "running":
                self._note(self.world.told.sends, self.dispatcher.progress.state, wait)
                after_failure()
            elif wait:
                self._note(self.world.told.sends, "slowed down", wait)
        self.world.failures.append(f"not all was delivered: {self.dispatcher.progress.error}")

    def _note(self, told: Counter[str], state: str, wait: float) -> None:
        told[_DID.get(state, state)] += 1
        if state != "paused":
            self.world.told.asked = max(self.world.told.asked, wait)
        self.world.clock.advance(max(round(wait), 1))  # the jitter of a millisecond left out


async def _nothing(_: "Life") -> None:
    pass


async def forward(
    world: World,
    after_failure: Callable[[], None] = lambda: None,
    before: Callable[["Life"], Awaitable[None]] = _nothing,
) -> Outcome:
    """Read and deliver what there is and two events more; return what came of it.

    `before` is called when the events are stored and none is sent.
    """
    async with world.life() as life:
        await life.poll()
        await before(life)
        await life.deliver(after_failure)
        world.clock.advance(30)
        world.simulator.emit(copies=2)
        await life.poll()
        await life.deliver(after_failure)
    return await world.outcome()


@cache
def _authority() -> bytes:
    return trustme.CA().cert_pem.bytes()


def any_ca(folder: Path) -> Path:
    """Return the file of some CA: to read the system's would take longer than the whole cell."""
    path = folder / "ca.pem"
    path.write_bytes(_authority())
    return path


def _times(state: str, count: int) -> str:
    return state if count == 1 else f"{state} {count} times"


def _same(original: Any) -> str:
    return json.dumps(original, sort_keys=True)


def quiet() -> None:
    """Keep the daemon's own log out of the way."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
