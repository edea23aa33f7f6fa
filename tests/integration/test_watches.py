"""The watches against the simulator: what goes on is told once at its start and at its end."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from forwarder.app.overview import stored_status
from forwarder.chain import Check
from forwarder.cli.status import _beside
from forwarder.config import load
from forwarder.errors import TransientError
from forwarder.formats import FORMATS
from forwarder.formats.json import VERSION, JsonFormat
from forwarder.interfaces import Outbox
from forwarder.model import (
    Event,
    EventFilter,
    LossHorizon,
    SourceStatus,
    Status,
)
from forwarder.normalizers import Catalogue, CatalogueNormalizer
from forwarder.options import RedactOptions, SourceOptions
from forwarder.pipeline.poller import Poller
from forwarder.simulator import HandClock, Simulator, SimulatorOptions
from forwarder.simulator.clock import from_ms
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.store import StoreConfig
from forwarder.watches import HeartbeatConfig, WatchConfig
from forwarder.watches.findings import ENDS
from forwarder.watches.heart import Heart
from forwarder.watches.memory import Memory, place, recalled
from forwarder.watches.telling import Teller
from forwarder.watches.watch import Watch
from tests.fakes.outbox import MemoryOutbox

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SOTERI = "Soteri Security for Bitbucket"
TOKEN_ID = "252973515069"
TOKEN = "BBDC-" + base64.b64encode(f"{TOKEN_ID}:".encode() + b"\x01" * 20).decode()
NORMALIZE = CatalogueNormalizer(Catalogue())
CONFIGURED = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "http://b.example.com"
token = "t"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
[store]
url = "sqlite:///{folder}/forwarder.db"
[watch]
enabled = {watched}
"""


@dataclass
class World:
    """A Bitbucket, a source that polls it, and its watch."""

    clock: HandClock
    simulator: Simulator
    outbox: Outbox
    poller: Poller
    watch: Watch
    make: Any
    options: WatchConfig
    seen: int = 0
    told: list[Event] = field(default_factory=list)

    async def look(self, **later: float) -> list[str]:
        """Let time pass, poll, look; return the kinds that are told by it."""
        self.clock.advance(timedelta(**later).total_seconds())
        await self.poller.poll_once()
        assert await self.watch.attempt() in {"ok", "denied"}
        return await self.news()

    async def news(self) -> list[str]:
        wanted = EventFilter(kinds=("forwarder.*",))
        news = [(at, event) async for at, event in self.outbox.events(wanted, after=self.seen)]
        self.seen = max((at for at, _ in news), default=self.seen)
        self.told += [event for _, event in news]
        return [event.kind for _, event in news]

    def restart(self) -> None:
        self.watch = self.make(self.options)
        self.poller.heard = self.watch.sightings.heard

    async def memory(self) -> Memory:
        found = recalled(await self.outbox.checkpoint(place("bitbucket")))
        assert found
        return found


@asynccontextmanager
async def world(
    *,
    simulated: SimulatorOptions | None = None,
    outbox: Outbox | None = None,
    token: str = TOKEN,
    written: dict[str, Any] | None = None,
    **watch: Any,
) -> AsyncIterator[World]:
    clock = HandClock(NOON)
    given = simulated or SimulatorOptions(token=TOKEN, history=50, span=3600)
    simulator = Simulator(given, clock=clock)
    kept = outbox or MemoryOutbox(now=clock.now)
    config = BitbucketAuditConfig.model_validate(
        {"type": "bitbucket_audit", "url": "http://b.example.com", "token": token,
         "start_at": "beginning"} | (written or {})
    )  # fmt: skip
    transport = httpx.ASGITransport(simulator.app)
    wall = ServerClock(
        wall=lambda: clock.elapsed_ms() / 1000, steady=lambda: clock.elapsed_ms() / 1000
    )
    options = WatchConfig.model_validate({"learn": "0s"} | watch)
    async with config.open(name="bitbucket", transport=transport, clock=wall) as source:
        poller = Poller("bitbucket", source, NORMALIZE, kept, SourceOptions())

        def make(options: WatchConfig) -> Watch:
            return Watch(
                "bitbucket",
                source,
                kept,
                options,
                Teller(NORMALIZE, "host-1"),
                progress=poller.progress,
                system="http://b.example.com",
                now=lambda: from_ms(clock.elapsed_ms()),
            )

        made = World(clock, simulator, kept, poller, make(options), make, options)
        poller.heard = made.watch.sightings.heard
        yield made


async def settled(**given: Any) -> list[str]:
    """Return the kinds told by the first look."""
    async with world(**given) as here:
        return await here.look()


async def test_where_all_is_well_nothing_is_told_but_the_kinds_that_are_new():
    async with world(learn="7d") as here:
        assert await here.look() == []
        memory = await here.memory()
        assert memory.settings
        assert memory.settings.coverage["ecosystem"] == "base"
        assert memory.settings.excluded_actions == ()
        assert (memory.settings.app_installed, memory.settings.app_enabled) == (True, True)
        assert memory.settings.not_allowed == ()


async def trouble_and_its_end(here: World, begin: Any, end: Any, kind: str) -> tuple[Event, Event]:
    """Make trouble, look twice, restart, look, end it, look twice; return the two events."""
    await here.look(minutes=10)
    begin(here)
    assert await here.look(minutes=10) == [kind]
    assert await here.look(minutes=10) == []
    here.restart()
    assert await here.look(minutes=10) == []
    (condition,) = (await here.memory()).conditions
    assert (condition.kind, condition.part) == (kind, "sources.bitbucket")
    end(here)
    here.restart()
    assert await here.look(minutes=10) == [ENDS[kind]]
    assert await here.look(minutes=10) == []
    assert (await here.memory()).conditions == ()
    began, ended = here.told[-2:]
    facts = {each.name: each.value for each in ended.attributes}
    assert facts["since"] == condition.since_at.isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )
    assert facts["seconds"] == "1800"
    assert ended.severity == "info"
    return began, ended


def tokens(days: int | None) -> list[dict[str, Any]]:
    other = {"id": "1", "name": "another", "createdDate": 0, "expiryDays": 1}
    created = int((NOON - timedelta(days=80)).timestamp() * 1000)
    mine = {"id": TOKEN_ID, "name": "ours", "createdDate": created}
    return [other, mine | ({} if days is None else {"expiryDays": days})]


def settings(name: str, value: Any) -> Any:
    return lambda here: setattr(here.simulator, name, value)


TROUBLES = {
    "forwarder.audit_coverage_lowered": (
        lambda here: here.simulator.coverage.update(ecosystem="off"),
        lambda here: here.simulator.coverage.update(ecosystem="advanced"),
    ),
    "forwarder.audit_action_excluded": (
        settings("denylist", ["Security hook skipped", "Repository created"]),
        settings("denylist", ["Repository created"]),
    ),
    "forwarder.app_disabled": (
        settings("soteri", {"version": "4.17.0", "enabled": False}),
        settings("soteri", {"version": "4.17.0", "enabled": True}),
    ),
    "forwarder.app_uninstalled": (
        settings("soteri", None),
        settings("soteri", {"version": "4.17.0", "enabled": True}),
    ),
    "forwarder.token_expiring": (settings("tokens", tokens(90)), settings("tokens", tokens(400))),
}


@pytest.mark.parametrize("kind", TROUBLES)
async def test_what_goes_on_is_told_at_its_start_and_at_its_end_whatever_restarts(kind: str):
    async with world(learn="7d") as here:
        here.simulator.tokens = tokens(None)
        began, _ = await trouble_and_its_end(here, *TROUBLES[kind], kind)
    assert began.source == "forwarder"
    assert began.severity in {"high", "critical"}
    assert began.system == "http://b.example.com"
    assert ("SOURCE", "bitbucket") in {(each.type, each.name) for each in began.objects}


async def test_a_level_that_was_lowered_before_we_came_is_told_where_soteri_needs_it():
    given = SimulatorOptions(token=TOKEN, coverage={"ecosystem": "off"})
    async with world(simulated=given, learn="7d") as here:
        assert await here.look() == ["forwarder.audit_coverage_lowered"]


async def test_areas_and_actions_that_no_wanted_event_belongs_to_do_not_matter():
    async with world(learn="7d") as here:
        await here.look()
        here.simulator.coverage["permissions"] = "off"
        here.simulator.denylist = ["Repository created", "Pull request merged"]
        assert await here.look(minutes=10) == []


async def test_who_wants_every_category_is_told_of_every_area_and_action():
    async with world(learn="7d", written={"categories": []}) as here:
        await here.look()
        here.simulator.coverage["permissions"] = "off"
        here.simulator.denylist = ["Pull request merged"]
        assert sorted(await here.look(minutes=10)) == [
            "forwarder.audit_action_excluded",
            "forwarder.audit_coverage_lowered",
        ]
        (change,) = next(e for e in here.told if "coverage" in e.kind).changes
        assert (change.key, change.from_, change.to) == ("permissions", "base", "off")


async def test_a_lower_level_that_the_configuration_calls_enough_is_not_told():
    given = SimulatorOptions(token=TOKEN, coverage={"permissions": "full"})
    options = {"learn": "7d", "coverage": ["permissions=base"]}
    async with world(simulated=given, written={"categories": []}, **options) as here:
        await here.look()
        here.simulator.coverage["permissions"] = "base"
        assert await here.look(minutes=10) == []
        here.simulator.coverage["permissions"] = "off"
        assert await here.look(minutes=10) == ["forwarder.audit_coverage_lowered"]


async def test_a_new_version_of_the_app_is_told_once():
    async with world(learn="7d") as here:
        await here.look()
        here.simulator.soteri = {"version": "4.18.0", "enabled": True}
        assert await here.look(minutes=10) == ["forwarder.app_upgraded"]
        here.restart()
        assert await here.look(minutes=10) == []
        (change,) = here.told[-1].changes
        assert (change.from_, change.to) == ("4.17.0", "4.18.0")


async def test_an_app_that_was_never_seen_is_not_missed():
    async with world(learn="7d") as here:
        here.simulator.soteri = None
        assert await here.look() == []


async def test_clocks_that_differ_are_told_and_a_little_less_is_no_end():
    async with world(learn="7d") as here:
        here.clock.jump(50)
        assert await here.look() == []
        here.clock.jump(30)
        assert await here.look() == ["forwarder.clock_skewed"]
        here.clock.jump(-35)
        assert await here.look() == []
        here.clock.jump(-40)
        assert await here.look() == ["forwarder.clock_corrected"]


async def test_silence_is_told_only_while_the_log_goes_on_and_ends_with_the_next_word():
    async with world(learn="7d") as here:
        await here.look()
        assert await here.look(days=2, hours=23) == []
        assert await here.look(hours=2) == []  # nothing but our own searches
        event = {"type": {"category": "Repositories", "action": "Repository created"}}
        here.simulator.emit(event)
        assert await here.look(minutes=10) == []  # asked within the hour
        here.clock.advance(2400)
        here.simulator.emit(event)
        assert await here.look(minutes=9) == []
        assert await here.look(minutes=2) == ["forwarder.silence_began"]
        here.restart()
        assert await here.look(days=1) == []
        here.simulator.emit()
        assert await here.look(minutes=10) == ["forwarder.silence_ended"]
        assert (await here.memory()).silence.longest > 4 * 86_400
        # As long as that was, it is usual now.
        here.clock.advance(5 * 86_400)
        here.simulator.emit(event)
        assert await here.look(minutes=10) == []


async def test_who_does_not_ask_for_soteris_events_does_not_miss_them():
    async with world(learn="7d", written={"categories": ["Repositories"]}) as here:
        await here.look()
        here.clock.advance(4 * 86_400)
        here.simulator.emit({"type": {"category": "Repositories", "action": "Repository created"}})
        assert await here.look(minutes=1) == []


async def test_what_is_read_again_after_a_restart_is_no_end_of_a_silence():
    async with world(learn="7d", silence="6h") as here:
        await here.look()
        event = {"type": {"category": "Repositories", "action": "Repository created"}}
        here.clock.advance(7 * 3600)
        here.simulator.emit(event)
        assert await here.look(minutes=1) == ["forwarder.silence_began"]
        here.restart()
        for _ in range(2):  # the deep re-read holds what Soteri said before
            here.simulator.emit(event)
            assert await here.look(hours=1) == []
        here.simulator.emit()
        assert await here.look(minutes=10) == ["forwarder.silence_ended"]


async def test_a_kind_is_told_when_it_comes_for_the_first_time_once_the_usual_ones_are_learnt():
    async with world(learn="1d") as here:
        assert await here.look() == []
        here.clock.advance(2 * 86_400)
        here.simulator.emit()
        before = set((await here.memory()).kinds)
        assert before
        type_ = {"category": SOTERI, "action": "Custom rule deleted"}
        here.simulator.emit({"type": type_})
        told = await here.look(minutes=1)
        new = {e.objects[0].name for e in here.told if e.kind == "forwarder.kind_first_seen"}
        assert set(told) == {"forwarder.kind_first_seen"}
        assert "rule.custom_deleted" in new
        assert not new & before
        here.restart()
        here.simulator.emit({"type": type_})
        assert await here.look(minutes=1) == []


async def test_an_account_without_rights_is_told_in_the_status_and_nowhere_else():
    given = SimulatorOptions(token="other", project_token=TOKEN, history=50, span=60)
    async with world(simulated=given, written={"projects": ["SEC"]}, learn="7d") as here:
        assert await here.look() == []
        seen = (await here.memory()).settings
        assert seen.not_allowed == ("coverage", "excluded_actions", "app")
        assert seen.coverage is None
        assert here.poller.progress.state != "paused"
        asked = here.simulator.requests
        await here.watch.attempt()
        shown = SourceStatus(name="bitbucket", type="t", audit=seen)
        (line,) = _beside(status(sources=(shown,)))
        assert "bitbucket: not allowed to ask for coverage, excluded actions, app" in line
        # Within the hour it is not refused again: the version and the tokens are asked for.
        assert here.simulator.requests == asked + 2


async def test_what_could_not_be_asked_is_no_end_of_what_was_told():
    async with world(learn="7d") as here:
        await here.look()
        here.simulator.coverage["ecosystem"] = "off"
        await here.look(minutes=10)
        here.simulator.faults.next_other = ["http_503"]
        assert await here.watch.attempt() == "transient"
        here.simulator.soteri = None
        here.watch._upstream._inspection._refused["coverage"] = 1e12
        assert await here.look(minutes=10) == ["forwarder.app_uninstalled"]
        kinds = [condition.kind for condition in (await here.memory()).conditions]
        assert kinds == ["forwarder.audit_coverage_lowered", "forwarder.app_uninstalled"]


async def test_an_outbox_that_fails_after_it_has_stored_gets_the_same_events_again():
    async with world(learn="7d") as here:
        await here.look()
        here.simulator.coverage["ecosystem"] = "off"
        await here.poller.poll_once()

        class Forgetful:
            """Stores, and says that it did not: as a connection does that breaks at the end."""

            def __init__(self, outbox: Outbox) -> None:
                self.outbox = outbox

            def __getattr__(self, name: str) -> Any:
                return getattr(self.outbox, name)

            async def append(self, *given: Any, **named: Any) -> int:
                await self.outbox.append(*given, **named)
                here.watch._outbox = self.outbox
                raise TransientError("the connection broke")

        here.watch._outbox = Forgetful(here.outbox)
        assert await here.watch.attempt() == "transient"
        here.clock.advance(600)
        assert await here.watch.attempt() == "ok"
        assert await here.news() == ["forwarder.audit_coverage_lowered"]


async def test_what_was_found_goes_on_in_no_status_once_nobody_looks(tmp_path: Path):
    async with world(learn="7d") as here:
        here.simulator.coverage["ecosystem"] = "off"
        assert await here.look() == ["forwarder.audit_coverage_lowered"]
        heart = beating(here.outbox, here.clock, status())
        await heart.look()
        (beat,) = await heart.look(hours=1)
        file = tmp_path / "config.toml"
        for is_watched in (True, False):
            written = CONFIGURED.format(folder=tmp_path, watched=str(is_watched).lower())
            file.write_text(written, "utf-8")
            seen = await stored_status(load(file, {}), here.outbox)
            assert bool(seen.conditions) is is_watched
            assert bool(seen.sources[0].audit) is is_watched
            assert seen.heartbeat_at == beat.occurred_at


async def test_a_watch_that_fails_raises_nothing():
    async with world() as here:
        here.outbox.failures += [ZeroDivisionError(), ZeroDivisionError()]
        await here.poller._outbox.checkpoint("bitbucket")
        assert await here.watch.attempt() == "bug"


def status(**changes: Any) -> Status:
    given = {"version": "1.2.3", "at": NOON, "running": True, "sources": (), "sinks": ()}
    return Status(**(given | changes))


@dataclass
class Beating:
    heart: Heart
    clock: HandClock
    outbox: Outbox
    said: Status

    async def look(self, **later: float) -> list[Event]:
        self.clock.advance(timedelta(**later).total_seconds())
        return await self.heart.look_once()


def beating(outbox: Outbox, clock: HandClock, said: Status, interval: str = "1h") -> Beating:
    made: Beating

    async def asked() -> Status:
        return made.said

    teller = Teller(NORMALIZE, "host-1", RedactOptions().redactor())
    options = HeartbeatConfig.model_validate({"interval": interval})
    heart = Heart(outbox, asked, WatchConfig(), options, teller, now=clock.now)
    made = Beating(heart, clock, outbox, said)
    return made


async def test_hearts_beat_at_the_interval_over_restarts_with_the_head_of_each_chain(
    tmp_path: Path,
):
    clock = HandClock(NOON)
    store = StoreConfig.model_validate({"url": f"sqlite:///{tmp_path}/f.db"})
    async with store.open(now=clock.now) as outbox, world(outbox=outbox) as here:
        await here.poller.poll_once()
        chain = (await outbox.status()).sources["bitbucket"].chain
        assert chain
        source = SourceStatus(name="bitbucket", type="t", state="running", mark=NOON, chain=chain)
        said = status(sources=(source,))
        assert await beating(outbox, clock, said).look() == []
        assert await beating(outbox, clock, said).look(minutes=59) == []
        beats = await beating(outbox, clock, said).look(minutes=1)
        assert await beating(outbox, clock, said).look(minutes=30) == []
        beats += await beating(outbox, clock, said).look(minutes=30)
        assert [event.kind for event in beats] == ["forwarder.heartbeat"] * 2
        first, second = ({a.name: a.value for a in event.attributes} for event in beats)
        assert first["sources.bitbucket.chain"] == f"{chain.sequence}:{chain.digest}"
        assert first["version"] == "1.2.3"
        assert "forwarder.chain" not in first
        stored = [event async for _, event in outbox.events(EventFilter())]
        ours = [event for event in stored if event.source == "forwarder"]
        link = ours[0].chain
        assert second["forwarder.chain"] == f"{link.sequence}:{link.digest}"
        # `verify` takes every line, and the heads that the heartbeats told.
        check = Check(versions={VERSION}, heads={"bitbucket": chain, "forwarder": link})
        problems = [check.add(JsonFormat().encode(event), "x") for event in stored]
        assert not any(problems)
        assert list(check.end()) == []


async def test_no_heart_beats_where_none_is_wanted():
    outbox, clock = MemoryOutbox(), HandClock(NOON)
    here = beating(outbox, clock, status(), interval="0s")
    assert await here.look() == []
    assert await here.look(days=9) == []


async def test_what_is_about_to_be_lost_is_told_once_for_each_part():
    outbox, clock = MemoryOutbox(), HandClock(NOON)
    here = beating(outbox, clock, status(), interval="0s")

    def near(**hours: float) -> Status:
        return status(
            loss_horizons=tuple(
                LossHorizon(part=f"sinks.{name}", cause="sink_age", seconds=each * 3600)
                for name, each in hours.items()
            )
        )

    async def told(**later: float) -> list[tuple[str, str]]:
        return [(e.kind, e.attributes[0].value) for e in await here.look(**later)]

    here.said = near(a=30, b=30)
    assert await told() == []
    here.said = near(a=23, b=30)
    assert await told() == []
    here.said = near(a=30, b=30)  # over before it was worth a word
    assert await told(minutes=9) == []
    here.said = near(a=23, b=30)
    assert await told(minutes=1) == []
    assert await told(minutes=10) == [("forwarder.loss_near", "sinks.a")]
    here.said = near(a=-2, b=3)
    assert await told(minutes=1) == []
    assert await told(minutes=10) == [("forwarder.loss_near", "sinks.b")]
    here.said = near(a=47, b=47)
    assert await told() == []
    here.said = near(b=49)
    assert sorted(await told()) == [
        ("forwarder.loss_averted", "sinks.a"),
        ("forwarder.loss_averted", "sinks.b"),
    ]


async def told_of_every_kind() -> list[Event]:
    events: list[Event] = []
    for kind, (begin, end) in TROUBLES.items():
        async with world(learn="7d") as here:
            here.simulator.tokens = tokens(None)
            await trouble_and_its_end(here, begin, end, kind)
            events += here.told
    outbox, clock = MemoryOutbox(), HandClock(NOON)
    await outbox.append("bitbucket", events, (await here.outbox.checkpoint("bitbucket")))
    chain = (await outbox.status()).sources["bitbucket"].chain
    source = SourceStatus(name="bitbucket", type="t", mark=NOON, chain=chain)
    heart = beating(outbox, clock, status(sources=(source,)))
    await heart.look()
    return events + await heart.look(hours=1)


async def test_every_format_takes_what_is_told_and_redaction_leaves_it_whole():
    events = await told_of_every_kind()
    assert len(events) == 11
    redact = RedactOptions().redactor()
    for event in events:
        assert redact(event) is event, event.kind
        for name, line_format in FORMATS.items():
            line = line_format.encode(event)
            assert b"\n" not in line
            assert name in {"raw", "audit_log"} or event.event_id.encode() in line, name
            if line_format.media_type == "application/json":
                json.loads(line)
        original = json.loads(bytes(event.original))
        assert original["type"]["actionI18nKey"] == event.kind
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
    assert len({event.event_id for event in events}) == len(events)


async def test_another_severity_of_the_configuration_holds_for_what_is_told():
    catalogue = Catalogue(
        [msgspec.structs.replace(NORMALIZE.catalogue.kinds["forwarder.heartbeat"], severity="low")]
    )
    teller = Teller(CatalogueNormalizer(catalogue), "host-1")
    assert teller.heartbeat({}, NOON).severity == "low"


def test_a_wrong_level_is_refused_with_the_levels_that_there_are():
    with pytest.raises(ValueError, match="levels are off, base, advanced, full"):
        WatchConfig.model_validate({"coverage": ["ecosystem=some"]})
