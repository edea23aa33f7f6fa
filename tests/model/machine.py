"""A model of everything that can happen to a forwarder, in any order.

Simulator, source, poller, dispatchers and janitor are the real ones; time is a hand clock. What
must be true is said in `Forwarder.settle`: nothing is missing, everything is in order, and nothing
is doubled that no crash and no lost answer explains.

What the model lets go, because no poller can have it: a row that shows up later than every re-read
(24 hours), one that Bitbucket's clean-up removed before it was read, one still dated in the future,
and, for a sink, what had been forgotten before it was added.
"""

import asyncio
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.lowlevel
import httpx
import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from forwarder.errors import AccessError, PermanentError, TransientError
from forwarder.interfaces import Outbox
from forwarder.model import Batch, EventFilter, Receipt, Rejection
from forwarder.options import BatchOptions, RetryOptions, SinkOptions
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.janitor import Janitor
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.stop import Stop
from forwarder.simulator import FAULTS, HandClock, Simulator, SimulatorOptions
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.store import StoreConfig
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = NOON - timedelta(hours=1)
SOTERI = "Soteri Security for Bitbucket"
ELSEWHERE = {
    "type": {
        "category": "Repositories",
        "categoryI18nKey": "r",
        "action": "Repository created",
        "actionI18nKey": "c",
    }
}
FOUND_WITHIN = timedelta(hours=20)
"""By how much a row may be late and must be found: under the rescan's 24 hours by more than all
that the clock jumps."""
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
JUMP = 3600.0
BATCH = 4
AT_ONCE = RetryOptions.model_validate({"initial": "1ms", "maximum": "1ms"})
NAMES = ("first", "second", "third")


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Row:
    """One row that Bitbucket wrote. `late` is how long after its time it could be read first."""

    at: datetime
    late: timedelta
    wanted: bool


class ModelSink:
    """A destination that fails as it is told, and remembers what it has."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.mode = "takes everything"
        self.poisoned: set[str] = set()
        """Ids that it refuses: by name in a receipt, or, with an odd last digit, by an error."""
        self.allowed = 0
        """Doubles that a lost answer or a crash explains."""
        self.exempt: set[str] = set()
        """Ids that were forgotten while this sink was not configured."""

    async def send(self, batch: Batch) -> Receipt:
        await anyio.lowlevel.checkpoint()
        if self.mode == "is down":
            raise TransientError("down")
        if self.mode == "lets nobody in":
            raise AccessError("locked")
        ids = [event.event_id for event in batch.events]
        refused = self.poisoned.intersection(ids)
        if any(int(one, 16) % 2 for one in refused):
            raise PermanentError("one of them is bad", reason="malformed")
        taken = [one for one in ids if one not in refused]
        if self.mode == "loses its answer":
            self.held += taken
            self.allowed += len(taken)
            raise TransientError("no answer")
        self.held += taken
        return Receipt(tuple(Rejection(one, "refused", "by the model") for one in refused))

    async def probe(self) -> str:
        return "a model"


class Fragile:
    """The outbox, with a next settle at which the daemon dies or finds no room."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.next = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    async def append(self, *given: Any, **named: Any) -> int:
        await self._maybe("append", "before")
        new = await self._outbox.append(*given, **named)
        await self._maybe("append", "after")
        return new

    async def settle(self, *given: Any, **named: Any) -> None:
        await self._maybe("settle", "before")
        await self._outbox.settle(*given, **named)
        await self._maybe("settle", "after")

    async def _maybe(self, call: str, moment: str) -> None:
        if self.next == f"dies {moment} {call}":
            self.next = ""
            raise Killed
        if self.next == f"no room for {call}" and moment == "before":
            self.next = ""
            raise TransientError("no room")


class Forwarder(RuleBasedStateMachine):
    """Rules for everything that can happen; `settle` says what must be true when all is quiet."""

    durable = False
    """Whether the outbox is the one on SQLite."""

    def __init__(self) -> None:
        super().__init__()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self.clock = HandClock(NOON)
        self.simulator = Simulator(SimulatorOptions(slow_seconds=0.0), clock=self.clock)
        self.rows: dict[str, list[Row]] = defaultdict(list)
        """Every row ever written, by its content."""
        self.written: list[dict[str, Any]] = []
        self.places: dict[str, str] = {}
        """Every event ever stored, in the order of the outbox: id to content."""
        self.sinks: dict[str, ModelSink] = {}
        self.configured: list[str] = []
        self.jumps = 0.0
        self.jumped = False
        self._runner = asyncio.Runner()
        self._folder = (
            Path(tempfile.mkdtemp(prefix="forwarder-model-", dir=_FAST)) if self.durable else None
        )
        self._memory = MemoryOutbox(now=self.clock.now)
        self._stack = AsyncExitStack()

    def run(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(step)

    def teardown(self) -> None:
        try:
            self.run(self.settle())
        finally:
            self.run(self._stack.aclose())
            self._runner.close()
            if self._folder:
                shutil.rmtree(self._folder)

    # --- the daemon ---

    @initialize()
    def begin(self) -> None:
        self.configured.append("first")
        self.sinks["first"] = ModelSink()
        self.run(self._start())

    async def _start(self) -> None:
        self._stack = AsyncExitStack()
        if self._folder:
            config = StoreConfig(url=f"sqlite:///{self._folder}/forwarder.db")
            stored = await self._stack.enter_async_context(config.open(now=self.clock.now))
            self.outbox = Fragile(stored)
        else:
            self.outbox = Fragile(self._memory)
        options = self.simulator.options
        source = BitbucketAuditConfig.model_validate(
            {
                "type": "bitbucket_audit",
                "url": "http://bitbucket.test",
                "token": options.token,
                "start_at": START,
                "page_size": 5,
                "retry": AT_ONCE,
            }
        )
        ours = ServerClock(
            wall=lambda: self.clock.elapsed_ms() / 1000,
            steady=lambda: self.clock.elapsed_ms() / 1000,
        )
        transport = httpx.ASGITransport(self.simulator.app)
        opened = await self._stack.enter_async_context(
            source.open(name="bitbucket", transport=transport, clock=ours)
        )
        outbox: Any = self.outbox
        self.poller = Poller("bitbucket", opened, normalize, outbox, source)
        self.rereads = {"bitbucket": source.rereads}
        self.dispatchers: dict[str, Dispatcher] = {}
        for name in self.configured:
            await self._attach(name)

    async def _attach(self, name: str) -> None:
        await self.outbox.register(name)
        options = SinkOptions(batch=BatchOptions(events=BATCH), retry=AT_ONCE)
        outbox: Any = self.outbox
        self.dispatchers[name] = Dispatcher(name, self.sinks[name], outbox, options)

    async def _crash(self) -> None:
        for name, dispatcher in self.dispatchers.items():
            if dispatcher._owed:  # sent, and not known to the outbox
                self.sinks[name].allowed += len(dispatcher._owed[0])
        await self._stack.aclose()
        await self._start()

    @rule()
    def crash(self) -> None:
        self.run(self._crash())

    @rule(
        fate=st.sampled_from(
            ["", "", "dies before append", "dies after append", "no room for append"]
        )
    )
    def poll(self, fate: str = "") -> None:
        self.run(self._poll(fate))

    async def _poll(self, fate: str = "") -> None:
        self.outbox.next = fate
        try:
            await self.poller.attempt(0.0)
        except* Killed:  # it reads ahead in a group of tasks
            await self._crash()
        self.outbox.next = ""
        async for _, event in self.outbox.events(EventFilter()):
            self.places.setdefault(event.event_id, _same(json.loads(bytes(event.original))))

    @rule(
        name=st.sampled_from(NAMES),
        fate=st.sampled_from(
            ["", "", "", "dies before settle", "dies after settle", "no room for settle"]
        ),
    )
    def dispatch(self, name: str, fate: str) -> None:
        if name in self.dispatchers:
            self.run(self._dispatch(name, fate))

    async def _dispatch(self, name: str, fate: str = "") -> None:
        if not (await self.outbox.backlog(name)).events:
            return
        before = len(self.sinks[name].held)
        self.outbox.next = fate
        try:
            await self.dispatchers[name].attempt(Stop())
        except Killed:
            if "before" in fate:
                self.sinks[name].allowed += len(self.sinks[name].held) - before
            await self._crash()
        self.outbox.next = ""

    @rule()
    def tidy(self) -> None:
        janitor = Janitor(
            self.outbox,  # type: ignore[arg-type]
            retention=3600.0,
            rereads=self.rereads,
            sinks=self.configured,
        )
        self.run(janitor.tidy_once(now=self.clock.now()))
        left = self.run(self._stored())
        for name in set(self.sinks) - set(self.configured):
            self.sinks[name].exempt |= self.places.keys() - left

    async def _stored(self) -> set[str]:
        return {event.event_id async for _, event in self.outbox.events(EventFilter())}

    # --- Bitbucket ---

    def _wrote(self, event: dict[str, Any], *, late: float, wanted: bool = True) -> None:
        at = datetime.fromisoformat(event["timestamp"])
        shown = self.clock.now() + timedelta(seconds=late)
        self.rows[_same(event)].append(Row(at, shown - at, wanted))
        if wanted:
            self.written.append(event)

    @rule(copies=st.sampled_from([1, 1, 1, 2, 7]))
    def emit(self, copies: int) -> None:
        event = self.simulator.emit(copies=copies)
        for _ in range(copies):
            self._wrote(event, late=0)

    @rule(
        ago=st.sampled_from([-240, -20, 10, 200, 301, 900, 4000, 30_000, 70_000, 100_000, 200_000]),
        late=st.sampled_from([0, 0, 5, 250, 2000]),
    )
    def emit_at_another_time(self, ago: int, late: int) -> None:
        at = self.clock.now() - timedelta(seconds=ago)
        self._wrote(self.simulator.emit(at=at, late=late), late=late)

    @precondition(lambda self: self.written)
    @rule(back=st.integers(0, 5), late=st.sampled_from([0, 0, 60]))
    def emit_a_twin_later(self, back: int, late: int) -> None:
        event = self.written[-1 - back % len(self.written)]
        self._wrote(self.simulator.emit(event, late=late), late=late)

    @rule()
    def emit_what_nobody_asked_for(self) -> None:
        self._wrote(self.simulator.emit(ELSEWHERE), late=0, wanted=False)

    @rule()
    def clean_up(self) -> None:
        before = self.clock.now() - timedelta(days=2)
        self.simulator.log.forget(before_ms=round(before.timestamp() * 1000), keep=10_000_000)

    @rule(fault=st.sampled_from(FAULTS), after=st.integers(0, 3))
    def fail_a_request(self, fault: Any, after: int) -> None:
        self.simulator.faults.next = [*[None] * after, fault]

    @rule(seconds=st.sampled_from([0.001, 1, 30, 400, 4000, 90_000]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600, -600, -3, 3, 600, 3600]))
    def set_the_clock(self, seconds: float) -> None:
        if abs(self.jumps + seconds) <= JUMP:
            self.jumps += seconds
            self.jumped = True
            self.clock.jump(seconds)

    # --- the sinks ---

    @rule(
        name=st.sampled_from(NAMES),
        mode=st.sampled_from(["takes everything", "is down", "lets nobody in", "loses its answer"]),
    )
    def change_a_sink(self, name: str, mode: str) -> None:
        if name in self.sinks:
            self.sinks[name].mode = mode

    @precondition(lambda self: self.places)
    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 9))
    def poison(self, name: str, back: int) -> None:
        """Refuse for good one of the latest events, unless the sink has it already."""
        one = list(self.places)[-1 - back % len(self.places)]
        if name in self.sinks and one not in self.sinks[name].held:
            self.sinks[name].poisoned.add(one)

    @rule(name=st.sampled_from(NAMES))
    def add(self, name: str) -> None:
        if name in self.configured:
            return
        if name not in self.sinks:
            self.sinks[name] = ModelSink()
            self.sinks[name].exempt = self.places.keys() - self.run(self._stored())
        self.configured.append(name)
        self.run(self._attach(name))

    @precondition(lambda self: len(self.configured) > 1)
    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        """Take a sink out of the configuration, which takes a restart; the last one stays."""
        if name in self.configured:
            self.run(self._crash())
            self.configured.remove(name)
            del self.dispatchers[name]

    # --- what must be true ---

    async def settle(self) -> None:
        """Let all be well for a few hours, and compare."""
        if not self.configured:
            return
        self.simulator.faults.next = []
        for sink in self.sinks.values():
            sink.mode = "takes everything"
        for seconds in (4000, 4000):
            self.clock.advance(seconds)
            for _ in range(5):
                await self._poll()
                if self.poller.progress.state == "running":
                    break
            assert self.poller.progress.state == "running", self.poller.progress.error
        for name in self.configured:
            for _ in range(400):
                if not (await self.outbox.backlog(name)).events:
                    break
                await self._dispatch(name)
            else:
                raise AssertionError(self.dispatchers[name].progress.error)
        self._nothing_is_missing_in_the_outbox()
        for name in self.configured:
            letters = [one.event_id async for one in self.outbox.dead_letters(sink=name)]
            self._a_sink_has_everything(self.sinks[name], set(letters))

    def _nothing_is_missing_in_the_outbox(self) -> None:
        stored = Counter(self.places.values())
        left = Counter(_same(event) for event in self.simulator.truth(categories=[SOTERI]))
        now = self.clock.now()
        for content, rows in self.rows.items():
            wanted = [row for row in rows if row.wanted]
            must = [row for row in wanted if START <= row.at <= now and row.late <= FOUND_WITHIN]
            least = min(len(must), left[content])
            assert least <= stored[content] <= len(wanted), (content, least, stored[content])
        assert stored.keys() <= self.rows.keys()

    def _a_sink_has_everything(self, sink: ModelSink, dead: set[str]) -> None:
        first = list(dict.fromkeys(sink.held))
        missing = self.places.keys() - set(first) - dead - sink.exempt
        assert not missing, f"{len(missing)} of {len(self.places)} are missing"
        order = [one for one in self.places if one in set(first)]
        assert first == order, "not in the outbox's order"
        doubles = len(sink.held) - len(first)
        assert doubles <= sink.allowed, f"{doubles} doubled, {sink.allowed} explained"
        if not self.jumped:
            on_time = [
                self.rows[self.places[one]][0].at
                for one in first
                if all(row.late == timedelta() for row in self.rows[self.places[one]])
            ]
            assert on_time == sorted(on_time), "not in the order of time"


def _same(event: Any) -> str:
    return json.dumps(event, sort_keys=True)
