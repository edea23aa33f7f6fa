"""Correlations through the real outbox: late rows, crashes and restarts change nothing."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.correlations import CorrelationsConfig
from forwarder.correlations.correlator import Correlator, rules_of
from forwarder.correlations.reading import eased, switched
from forwarder.errors import LeaseLost, TransientError
from forwarder.formats import FORMATS
from forwarder.interfaces import Outbox
from forwarder.model import (
    Actor,
    AffectedObject,
    Attribute,
    Change,
    Checkpoint,
    Event,
    EventFilter,
)
from forwarder.normalizers import Catalogue, CatalogueNormalizer
from forwarder.store import StoreConfig
from forwarder.watches.telling import Teller
from tests.fakes.outbox import MemoryOutbox
from tests.receivers.postgres import Postgres

START = datetime(2026, 3, 2, tzinfo=UTC)
TELLER = Teller(CatalogueNormalizer(Catalogue()), "host-1")
MINUTES = 10
ALL_ON = CorrelationsConfig.model_validate(
    {
        "protection_gap": {"enabled": True, "within": f"{MINUTES}m"},
        "skips_above_habit": {
            "enabled": True, "look_back": "3d", "minimum": 2, "factor": 1.5, "days": 1,
        },
        "block_became_warning": {"enabled": True, "within": f"{MINUTES}m"},
    }
)  # fmt: skip

GAPS = CorrelationsConfig.model_validate({"protection_gap": {"enabled": True}})


@dataclass(frozen=True)
class Row:
    """What happened, where, by whom, so many minutes after the start."""

    kind: str
    minute: int
    to: str = ""
    by: str = "mira"
    where: str = ""
    system: str = "https://a"

    def event(self, number: int) -> Event:
        at = START + timedelta(minutes=self.minute)
        key, _, slug = self.where.partition("/")
        things = (("PROJECT", key), ("REPOSITORY", slug))
        return Event(
            event_id=f"{int(at.timestamp() * 1000):012x}{number:020x}",
            source="bitbucket",
            kind=self.kind,
            severity="high",
            occurred_at=at,
            actor=Actor(name=self.by) if self.by else None,
            objects=tuple(AffectedObject(type=type_, name=name) for type_, name in things if name),
            changes=(Change(key="Status", to=self.to),) if self.to else (),
            attributes=(Attribute(name="Rule", value="AWS"),) if "rule" in self.kind else (),
            system=self.system,
            original=msgspec.Raw(b"{}"),
        )


OFF = Row("hook.status_changed", 0, to="disabled", by="admin")
PUSH = Row("bitbucket.pushed", 3, by="jonas", where="SEC/payments")
ON = Row("hook.status_changed", 8, to="enabled", by="admin")


def stored(rows: Sequence[Row]) -> list[Event]:
    return [row.event(number) for number, row in enumerate(rows, 1)]


# ------------------------------------------------------------------ the outbox, and what is told


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Outbox]:
    config = StoreConfig.model_validate({"url": f"sqlite:///{folder}/forwarder.db"})
    async with config.open() as outbox:
        yield outbox


async def put(outbox: Outbox, events: Sequence[Event]) -> None:
    await outbox.append("bitbucket", events, Checkpoint(START))


def started(outbox: Outbox, options: CorrelationsConfig = ALL_ON) -> list[Correlator]:
    return [Correlator(tuple(rules_of(options)), outbox, TELLER, at_once=3)]


async def caught_up(outbox: Outbox, options: CorrelationsConfig = ALL_ON) -> None:
    for correlator in started(outbox, options):
        while await correlator.look_once():
            pass


async def told(outbox: Outbox) -> list[Event]:
    return [event async for _, event in outbox.events(EventFilter(kinds=("correlation.*",)))]


def fact(event: Event, name: str) -> str:
    return next(each.value or "" for each in event.attributes if each.name == name)


async def correlated(rows: Sequence[Row], **options: Any) -> list[Event]:
    """Return what is told once `rows` are stored."""
    outbox = MemoryOutbox()
    await put(outbox, stored(rows))
    await caught_up(outbox, CorrelationsConfig.model_validate(options) if options else ALL_ON)
    return await told(outbox)


# ------------------------------------------------------------------ the reference


Said = tuple[str, tuple[str, ...]]


def place_of(event: Event) -> str:
    return "/".join(each.name or "" for each in event.objects)


def name_of(event: Event) -> str:
    return (event.actor and event.actor.name) or ""


def gaps(known: list[Event]) -> Iterator[tuple[str, Said]]:
    """Yield every off, push, on within the time: by hand, over everything there is."""
    named = [each for each in known if each.changes]
    switches = [each for each in named if switched(each) is not None]
    switches += [each for each in known if each.kind.startswith("bitbucket.hook_")]
    subjects: dict[tuple[str, ...], list[Event]] = {}
    for each in sorted(switches, key=lambda one: (one.occurred_at, one.event_id)):
        is_local = each.kind.startswith("bitbucket.")
        where = place_of(each) if is_local else ""
        key = (
            each.system or "",
            each.kind.removesuffix("abled").removesuffix("dis").removesuffix("en"),
            where,
        )
        subjects.setdefault(key, []).append(each)
    for (system, _, where), ordered in subjects.items():
        for (is_on, run), (_, after) in itertools.pairwise(
            (is_on, list(run)) for is_on, run in itertools.groupby(ordered, key=switched)
        ):
            off, on = run[0], after[0]
            if is_on or on.occurred_at - off.occurred_at > timedelta(minutes=MINUTES):
                continue
            pushes = [
                each
                for each in known
                if each.kind in {"hook.skipped", "hook.blocked", "hook.warned", "bitbucket.pushed"}
                and each.system == system
                and off.occurred_at <= each.occurred_at <= on.occurred_at
                and (not where or place_of(each) == where)
            ]
            if pushes:
                pushes.sort(key=lambda one: (one.occurred_at, one.event_id))
                cited = (off.event_id, on.event_id, *(each.event_id for each in pushes))
                yield on.event_id, ("correlation.protection_gap", cited)


def habits(known: list[Event]) -> Iterator[tuple[str, Said]]:
    skips = [each for each in known if each.kind == "hook.skipped" and name_of(each)]
    for system, name in {(each.system, name_of(each)) for each in skips}:
        mine = [each for each in skips if (each.system, name_of(each)) == (system, name)]
        for day in {each.occurred_at.date() for each in mine}:
            on_it = [each for each in mine if each.occurred_at.date() == day]
            before = [
                sum(each.occurred_at.date() == day - timedelta(days=ago) for each in mine)
                for ago in (1, 2, 3)
            ]
            if any(before) and len(on_it) >= 2 and len(on_it) > 1.5 * max(before):
                on_it.sort(key=lambda one: (one.occurred_at, one.event_id), reverse=True)
                cited = tuple(each.event_id for each in on_it)
                yield f"{system} {name} {day}", ("correlation.skips_above_habit", cited)


def warnings(known: list[Event]) -> Iterator[tuple[str, Said]]:
    kind = "correlation.block_became_warning"
    ordered = sorted(known, key=lambda one: (one.occurred_at, one.event_id))
    for after in ordered:
        blocks = [
            each
            for each in ordered
            if each.kind == "hook.blocked"
            and each.system == after.system
            and timedelta() <= after.occurred_at - each.occurred_at <= timedelta(minutes=MINUTES)
        ]
        if after.kind == "hook.mode_changed" and eased(after) and blocks:
            yield after.event_id, (kind, (blocks[-1].event_id, after.event_id))
        if after.kind == "hook.warned" and place_of(after):
            words = [
                each
                for each in ordered[: ordered.index(after)]
                if each.kind in {"hook.blocked", "hook.warned"}
                and (each.system, place_of(each)) == (after.system, place_of(after))
            ]
            if words and words[-1] in blocks:
                yield after.event_id, (kind, (words[-1].event_id, after.event_id))


def reference(events: Sequence[Event]) -> set[Said]:
    """Return what is to be told: as soon as it is so, once, whatever comes after."""
    said: dict[tuple[str, str], Said] = {}
    for length in range(1, len(events) + 1):
        known = list(events[:length])
        for find in (gaps, habits, warnings):
            for anchor, found in find(known):
                said.setdefault((found[0], anchor), (found[0], found[1][:20]))
    return set(said.values())


# ------------------------------------------------------------------ the property


KINDS = (
    *["hook.skipped"] * 3, "hook.blocked", "hook.warned", "bitbucket.pushed",
    *["hook.status_changed"] * 2, "rule.builtin_toggled", "bitbucket.hook_disabled",
    "bitbucket.hook_enabled", "hook.mode_changed", "access.granted",
)  # fmt: skip


def drawn(seed: int, size: int) -> list[Row]:
    """Return rows so near to one another, and so mixed, that every rule finds something in most."""
    dice = Random(seed)
    found = []
    for _ in range(size):
        kind = dice.choice(KINDS)
        state = dice.choice(["warn", "block"] if "mode" in kind else ["false", "true"])
        row = Row(
            kind,
            minute=dice.choice((0, 0, 1440, 1440, 2880)) + dice.randrange(13),
            to=state if "changed" in kind or "toggled" in kind else "",
            by=dice.choice(["mira"] * 5 + ["jonas", ""]),
            where="" if "changed" in kind else dice.choice(["SEC/payments"] * 3 + ["WEB/search"]),
            system=dice.choice(["https://a"] * 9 + ["https://b"]),
        )
        found.append(row)
    return found


class CrashingOutbox:
    """An outbox whose `append` fails now and then, before or after it has stored everything."""

    def __init__(self, outbox: Outbox, failures: list[str]) -> None:
        self._outbox = outbox
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    async def append(self, *given: Any, **more: Any) -> range:
        failure = self._failures.pop() if self._failures else "none"
        if failure == "before":
            raise LeaseLost("somebody else has it")
        new = await self._outbox.append(*given, **more)
        if failure == "after":
            raise TransientError("the connection was lost")
        return new


@dataclass(frozen=True)
class Course:
    """How the rows come in, and what becomes of those who look at them."""

    rows: list[Row]
    pages: list[int]
    steps: list[str]
    failures: list[str]

    async def run(self, outbox: Outbox) -> None:
        events = stored(self.rows)
        crashing: Any = CrashingOutbox(outbox, [*self.failures])
        running = started(crashing)
        left, pages, steps = events, [*self.pages], [*self.steps]
        while left:
            size = pages.pop() if pages else len(left)
            page, left = left[:size], left[size:]
            await put(outbox, page)
            step = steps.pop() if steps else "look"
            if step == "restart":
                running = started(crashing)
            if step == "again":
                await put(outbox, events[: len(events) - len(left)])
            for correlator in running if step != "wait" else ():
                with suppress(TransientError):
                    await correlator.look_once()
        await caught_up(outbox)
        await caught_up(outbox)

    async def holds(self, outbox: Outbox) -> None:
        await self.run(outbox)
        found = await told(outbox)
        said = [(event.kind, tuple(fact(event, "events").split())) for event in found]
        assert len(said) == len(set(said))
        assert set(said) == reference(stored(self.rows))


COURSES = st.builds(
    Course,
    st.builds(drawn, st.integers(0, 2**32), st.integers(15, 40)),
    pages=st.lists(st.integers(1, 9), max_size=12),
    steps=st.lists(st.sampled_from(["look", "restart", "again", "wait"]), max_size=20),
    failures=st.lists(st.sampled_from(["none", "none", "before", "after"]), max_size=12),
)


@settings(max_examples=80, deadline=None)
@given(COURSES)
def test_what_is_told_is_what_all_that_happened_tells_whatever_crashes_and_whatever_is_late(
    course: Course,
) -> None:
    async def run() -> None:
        await course.holds(MemoryOutbox())

    anyio.run(run)


@settings(max_examples=3, deadline=None)
@given(COURSES)
def test_the_same_is_told_through_a_file(course: Course) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with opened(Path(folder)) as outbox:
                await course.holds(outbox)

    anyio.run(run)


@pytest.mark.parametrize("failure", ["before", "after"])
async def test_what_could_not_be_stored_is_told_by_the_next_look(failure: str) -> None:
    outbox = MemoryOutbox()
    crashing: Any = CrashingOutbox(outbox, [failure])
    (running,) = started(crashing, GAPS)
    events = stored([OFF, PUSH, ON, OFF])
    await put(outbox, events[:1])
    crashing._failures.append("none")
    await running.look_once()
    await put(outbox, events[:3])
    with pytest.raises(TransientError):
        await running.look_once()
    await put(outbox, events)
    while await running.look_once():
        pass
    assert [each.kind for each in await told(outbox)] == ["correlation.protection_gap"]


async def test_a_push_that_shows_up_long_after_the_gap_is_told_then() -> None:
    outbox = MemoryOutbox()
    events = stored([OFF, ON, PUSH, PUSH])
    for number, expected in ((2, 0), (3, 1), (4, 1)):
        await put(outbox, events[:number])
        await caught_up(outbox, GAPS)
        assert len(await told(outbox)) == expected


@pytest.mark.real
async def test_of_two_replicas_the_one_that_has_lost_the_house_tells_nothing(pg: Postgres) -> None:
    config = StoreConfig.model_validate({"url": pg.database()})
    async with config.open() as one, config.open() as other:
        assert one.leases
        assert other.leases
        await one.leases.renew(["janitor"], [])
        (lease,) = await one.leases.claim(["janitor"])
        (old,) = started(one.under(lease), ALL_ON)
        await put(one, stored([OFF, PUSH]))
        await old.look_once()
        await one.leases.release([lease])
        await other.leases.renew(["janitor"], [])
        (taken,) = await other.leases.claim(["janitor"])
        await put(one, stored([OFF, PUSH, ON]))
        with pytest.raises(LeaseLost):
            await old.look_once()
        assert await told(one) == []
        await caught_up(other.under(taken))
        assert [each.kind for each in await told(one)] == ["correlation.protection_gap"]


# ------------------------------------------------------------------ each rule, in words


async def test_a_gap_in_the_protection_cites_off_push_and_on_in_every_format(
    tmp_path: Path,
) -> None:
    (event,) = await correlated([OFF, PUSH, ON])
    assert (event.kind, event.severity, event.source) == (
        "correlation.protection_gap", "critical", "forwarder",
    )  # fmt: skip
    ids = [each.event_id for each in stored([OFF, PUSH, ON])]
    assert sorted(fact(event, "events").split()) == sorted(ids)
    assert (
        fact(event, "detail") == "the global hook was off for 480 s, in which something was pushed"
    )
    assert (fact(event, "pushed_by"), fact(event, "off_by"), fact(event, "count")) == (
        "jonas", "admin", "3",
    )  # fmt: skip
    assert event.occurred_at == START + timedelta(minutes=8)
    assert place_of(event) == "SEC/payments"
    for format_ in FORMATS.values():
        line = format_.encode(event)
        assert all(each.encode() in line for each in ids), format_


@pytest.mark.parametrize(
    "rows",
    [
        [OFF, ON],
        [OFF, Row("hook.warned", 9, where="SEC/payments"), ON],
        [OFF, Row("hook.warned", 3, where="SEC/payments"), Row("hook.status_changed", 11, to="on")],
        [OFF, Row("hook.warned", 3, system="https://b"), ON],
        [OFF, Row("hook.warned", 3), Row("rule.builtin_toggled", 8, to="true")],
        [
            Row("bitbucket.hook_disabled", 0, where="SEC/vault"),
            Row("hook.warned", 3, where="SEC/payments"),
            Row("bitbucket.hook_enabled", 8, where="SEC/vault"),
        ],
    ],
    ids=["no push", "after it", "too long", "elsewhere", "something else", "another repository"],
)
async def test_no_gap_is_told_where_there_is_none(rows: list[Row]) -> None:
    assert await correlated(rows) == []


def day_of_skips(day: int, count: int, by: str = "mira") -> list[Row]:
    return [Row("hook.skipped", day * 1440 + n, by=by) for n in range(count)]


async def test_a_person_far_above_the_busiest_of_the_days_before_is_told_once() -> None:
    usual = [row for day in (1, 4, 6) for row in day_of_skips(day, 3)]
    options = {"skips_above_habit": {"enabled": True}}
    (event,) = await correlated([*usual, *day_of_skips(9, 12)], **options)
    assert fact(event, "detail") == (
        "mira skipped the hook 7 times on 2026-03-11; the most on any one of the 30 days before"
        " was 3"
    )
    assert event.actor == Actor(name="mira")
    assert fact(event, "count") == "7"


@pytest.mark.parametrize(
    "rows",
    [
        day_of_skips(9, 40),
        [*day_of_skips(1, 1), *day_of_skips(2, 1), *day_of_skips(9, 40)],
        [row for day in range(9) for row in day_of_skips(day, 4)] + day_of_skips(9, 8),
        [row for day in range(9) for row in day_of_skips(day, 1)] + day_of_skips(9, 4),
        [row for day in range(9) for row in day_of_skips(day, 1, "jonas")] + day_of_skips(9, 9),
    ],
    ids=["a new person", "seen on two days", "twice the habit", "few", "another's habit"],
)
async def test_no_habit_no_alarm(rows: list[Row]) -> None:
    assert await correlated(rows, skips_above_habit={"enabled": True}) == []


@pytest.mark.parametrize("at", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
async def test_a_time_at_the_end_of_the_calendar_stops_no_rule(at: datetime) -> None:
    skips = [msgspec.structs.replace(row.event(50 + n), occurred_at=at + timedelta(hours=n))
             for n, row in enumerate(day_of_skips(0, 3))]  # fmt: skip
    outbox = MemoryOutbox()
    await put(outbox, [*skips, *stored([OFF, PUSH, ON])])
    await caught_up(outbox)
    assert "correlation.protection_gap" in [each.kind for each in await told(outbox)]


async def test_a_rule_that_is_switched_on_later_tells_of_what_is_stored_and_goes_on_over_a_change(
    tmp_path: Path,
) -> None:
    block, warn = (
        Row(f"hook.{word}", at, where="SEC/payments")
        for word, at in (("blocked", 1), ("warned", 2))
    )
    gap = {"protection_gap": {"enabled": True}}
    both = {**gap, "block_became_warning": {"enabled": True}}
    async with opened(tmp_path) as outbox:
        await put(outbox, stored([block, OFF, ON]))
        await caught_up(outbox, CorrelationsConfig.model_validate(gap))
        assert [each.kind for each in await told(outbox)] == ["correlation.protection_gap"]
        await put(outbox, stored([block, OFF, ON, warn])[-1:])
        await caught_up(outbox, CorrelationsConfig.model_validate(both))
        await caught_up(outbox, CorrelationsConfig.model_validate(both))
        kinds = [each.kind for each in await told(outbox)]
    assert kinds == ["correlation.protection_gap", "correlation.block_became_warning"]


def test_nothing_runs_where_nothing_is_switched_on() -> None:
    assert list(rules_of(CorrelationsConfig())) == []


@pytest.mark.parametrize(
    ("action", "changes", "on"),
    [
        ("Global hook disabled", (), False),
        ("Built-in rule switched on", (), True),
        ("Global hook switched on or off", (), None),
        ("Hook status changed", (Change(key="Status", from_="ENABLED", to="DISABLED"),), False),
        ("Hook changed", (Change(key="Enabled", to="true"), Change(key="x", to="false")), None),
    ],
)
def test_what_is_not_said_plainly_is_not_guessed(
    action: str, changes: tuple[Change, ...], on: bool | None
) -> None:
    event = Row("hook.status_changed", 0).event(1)
    assert switched(msgspec.structs.replace(event, action=action, changes=changes)) is on
