"""The Outbox contract: the one on SQL and its twin in memory pass it alike."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import given
from sqlalchemy import NullPool, create_engine

from forwarder.errors import Reason
from forwarder.interfaces import Outbox
from forwarder.model import (
    Actor,
    AffectedObject,
    Attribute,
    Batch,
    Checkpoint,
    DeadLetter,
    Event,
    EventFilter,
    Receipt,
    Rejection,
    Sample,
    StoredPage,
    StoredReceipt,
    Trail,
    Unreadable,
)
from forwarder.store import StoreConfig
from forwarder.store.recent import RECENT_BYTES
from forwarder.store.schema import TABLES, migrate
from tests.fakes.events import BEGINNING, event, events, hostile_events, ids, linked
from tests.fakes.outbox import MemoryOutbox
from tests.receivers.postgres import Postgres

MARK = Checkpoint(BEGINNING, {"rescanned_at": "2026-01-02T03:04:05Z", "deep": [1, {"a": None}]})
ROOM = 10_000_000
EVERYTHING = EventFilter()
TODAY = datetime(2026, 1, 10, tzinfo=UTC)


class Clock:
    """What the outbox takes the time from."""

    def __init__(self) -> None:
        self.at = TODAY

    def __call__(self) -> datetime:
        return self.at


Opening = Callable[[Clock], AbstractAsyncContextManager[Outbox]]


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncIterator[Outbox]:
    yield MemoryOutbox(now=clock)


def on_sqlite(folder: Path, *, recent_bytes: int = RECENT_BYTES) -> Opening:
    url = f"sqlite:///{folder}/outbox.db"
    return lambda clock: StoreConfig(url=url).open(now=clock, recent_bytes=recent_bytes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def on_postgresql(pg: Postgres) -> Opening:
    """Open the one database that is made once and emptied: a new one for each test takes long."""
    made = "made"
    if not pg.execute(f"select 1 from pg_database where datname = '{made}'"):
        pg.execute(f"create database {made}")
        migrated(pg.url(made))
    filled = ", ".join(TABLES.tables.keys() - {"places", "schema_version"})
    pg.execute(f"truncate {filled} restart identity", made)
    pg.execute("update places set last = 0, forgotten = 0", made)
    return lambda clock: StoreConfig(url=pg.url(made)).open(now=clock)


def migrated(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.begin() as connection:
        migrate(connection)


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "sqlite, read from the disk",
        pytest.param("postgresql", marks=pytest.mark.real),
    ],
)
async def outbox(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Outbox]:
    if request.param == "memory":
        opening: Opening = in_memory
    elif request.param == "sqlite":
        opening = on_sqlite(tmp_path)
    elif request.param == "sqlite, read from the disk":
        opening = on_sqlite(tmp_path, recent_bytes=0)
    else:
        opening = on_postgresql(request.getfixturevalue("pg"))
    async with opening(clock) as opened:
        yield opened


async def stored(outbox: Outbox, wanted: EventFilter = EVERYTHING) -> list[str]:
    return [each.event_id async for _, each in outbox.events(wanted)]


async def letters(outbox: Outbox, sink: str | None = None) -> list[DeadLetter]:
    return [letter async for letter in outbox.dead_letters(sink=sink)]


async def taken(outbox: Outbox, sink: str, limit: int = 100) -> Batch:
    batch = await outbox.read(sink, limit=limit, max_bytes=ROOM)
    assert batch is not None
    return batch


def whole(batch: Batch) -> list[Event]:
    return [each.whole() for each in batch.events]


async def settle_all(outbox: Outbox, sink: str) -> None:
    while batch := await outbox.read(sink, limit=1000, max_bytes=ROOM):
        await outbox.settle(sink, batch, Receipt())


# -- append and checkpoint


async def test_an_empty_outbox_knows_nothing(outbox: Outbox) -> None:
    assert await outbox.checkpoint("bitbucket") is None
    assert await outbox.read("splunk", limit=1, max_bytes=1) is None
    assert await stored(outbox) == []
    assert await letters(outbox) == []
    assert await outbox.count_dead_letters() == {}


async def test_events_come_back_as_they_were_stored_in_the_order_given(outbox: Outbox) -> None:
    given_events = [event(3), event(1), event(2)]
    assert len(await outbox.append("bitbucket", given_events, MARK)) == 3
    batch = await taken(outbox, "splunk")
    assert whole(batch) == linked(given_events)
    assert list(batch.positions) == sorted(set(batch.positions))


async def test_the_original_comes_back_byte_for_byte(outbox: Outbox) -> None:
    original = b'{"b":1 , "a":"\\u00e9\xc3\xa9", "a":1e400,"n":' + b"9" * 400 + b"}"
    await outbox.append("bitbucket", [event(1, original=msgspec.Raw(original))], MARK)
    assert bytes(whole(await taken(outbox, "splunk"))[0].original) == original


async def test_a_known_event_is_stored_once_and_left_as_it_is(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    again = [event(2, kind="other"), event(4), event(4, kind="twin"), event(1)]
    assert len(await outbox.append("bitbucket", again, MARK)) == 1
    batch = await taken(outbox, "splunk")
    assert ids(batch) == [each.event_id for each in events(4)]
    assert {each.kind for each in batch.events} == {"hook.skipped"}


async def test_thousands_of_events_go_in_at_once_and_again_without_effect(outbox: Outbox) -> None:
    many = events(2345)
    assert len(await outbox.append("bitbucket", many, MARK)) == 2345
    assert len(await outbox.append("bitbucket", many, MARK)) == 0
    assert await stored(outbox) == [each.event_id for each in many]


async def test_a_thousand_twins_in_one_millisecond_are_all_kept(outbox: Outbox) -> None:
    prefix = event(1).event_id[:12]
    twins = [event(1, event_id=f"{prefix}{number:020x}") for number in range(1000)]
    assert len(await outbox.append("bitbucket", twins, MARK)) == 1000


async def test_the_checkpoint_is_the_last_one_of_its_source(outbox: Outbox) -> None:
    later = Checkpoint(BEGINNING + timedelta(days=1, microseconds=1))
    await outbox.append("bitbucket", events(1), MARK)
    await outbox.append("other", [], later)
    assert await outbox.checkpoint("bitbucket") == MARK
    assert await outbox.checkpoint("other") == later
    await outbox.append("bitbucket", [], later)
    assert await outbox.checkpoint("bitbucket") == later


async def test_an_unreadable_record_becomes_one_dead_letter_however_often_it_is_read(
    outbox: Outbox, clock: Clock
) -> None:
    record = Unreadable(b'{"timestamp":"\xff\x00', "no time")
    await outbox.append("bitbucket", events(1), MARK, unreadable=[record, Unreadable(b"", "empty")])
    clock.at += timedelta(hours=1)
    await outbox.append("bitbucket", [], MARK, unreadable=[record])
    found, empty = await letters(outbox)
    assert (found.source, found.sink, found.event_id) == ("bitbucket", "", "")
    assert (found.reason, found.detail, found.body) == ("unreadable", "no time", record.original)
    assert found.first_seen_at == TODAY
    assert found.last_seen_at == TODAY + timedelta(hours=1)
    assert found.attempts == 2
    assert empty.body == b""
    assert await outbox.count_dead_letters() == {("", "unreadable"): 2}


async def test_events_of_before_1970_and_of_the_far_future_are_kept(outbox: Outbox) -> None:
    early = event(1, event_id="f" * 32, occurred_at=datetime(1, 1, 1, tzinfo=UTC))
    late = event(2, occurred_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    await outbox.append("bitbucket", [early, late], MARK)
    assert whole(await taken(outbox, "splunk")) == linked([early, late])
    backlog = await outbox.backlog("splunk")
    assert backlog.oldest_at == early.occurred_at


async def test_each_source_has_a_chain_that_goes_on_from_append_to_append(outbox: Outbox) -> None:
    ours = [event(1), event(3), event(5)]
    theirs = [event(2, source="other"), event(4, source="other")]
    await outbox.append("bitbucket", ours[:1], MARK)
    await outbox.append("other", theirs[:1], MARK)
    await outbox.append("bitbucket", [*ours[:2], event(3, kind="twin")], MARK)
    await outbox.append("other", theirs[1:], MARK)
    await outbox.append("bitbucket", ours, MARK)
    given_events = [ours[0], theirs[0], ours[1], theirs[1], ours[2]]
    assert whole(await taken(outbox, "splunk")) == linked(given_events)
    heads = {name: source.chain for name, source in (await outbox.status()).sources.items()}
    assert heads == {"bitbucket": linked(ours)[-1].chain, "other": linked(theirs)[-1].chain}


async def test_without_a_checkpoint_the_one_that_is_stored_stays(outbox: Outbox) -> None:
    await outbox.append("bitbucket", [event(1)], MARK)
    assert len(await outbox.append("bitbucket", [event(1), event(2)], None)) == 1
    assert await outbox.checkpoint("bitbucket") == MARK
    assert (await outbox.status()).sources["bitbucket"].stored == 2


async def test_without_a_checkpoint_nothing_is_stored_for_a_source_that_has_none(
    outbox: Outbox,
) -> None:
    with pytest.raises(ValueError, match="nothing was ever stored for the source bitbucket"):
        await outbox.append("bitbucket", [event(1)], None)
    assert await stored(outbox) == []


async def test_events_are_found_by_their_ids(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(4), MARK)
    wanted = EventFilter(event_ids=(event(4).event_id, event(2).event_id, "f" * 32))
    found = [each.event_id async for _, each in outbox.events(wanted)]
    assert found == [event(2).event_id, event(4).event_id]


async def test_the_chain_goes_on_where_everything_is_forgotten(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(2), MARK)
    await settle_all(outbox, "splunk")
    await outbox.prune(stored_before=TODAY + timedelta(days=1), sinks=["splunk"])
    await outbox.append("bitbucket", [event(3)], MARK)
    assert whole(await taken(outbox, "splunk")) == linked(events(3))[2:]


async def test_an_event_that_comes_from_another_outbox_gets_a_link_of_this_one(
    outbox: Outbox,
) -> None:
    await outbox.append("bitbucket", linked(events(3))[1:], MARK)
    assert whole(await taken(outbox, "splunk")) == linked(events(3)[1:])


# -- read


async def test_a_batch_holds_no_more_events_than_asked_for(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    assert len(await taken(outbox, "splunk", limit=2)) == 2


async def test_a_batch_holds_no_more_bytes_than_asked_for(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    size = len(msgspec.json.encode(linked(events(1))[0]))
    batch = await outbox.read("splunk", limit=10, max_bytes=2 * size + size // 2)
    assert batch is not None
    assert ids(batch) == [each.event_id for each in events(2)]


async def test_an_event_larger_than_a_batch_comes_alone(outbox: Outbox) -> None:
    large = event(1, original=msgspec.Raw(b'"' + b"x" * 5_000_000 + b'"'))
    await outbox.append("bitbucket", [large, event(2)], MARK)
    batch = await outbox.read("splunk", limit=10, max_bytes=1)
    assert batch is not None
    assert whole(batch) == linked([large])


async def test_reading_again_gives_the_same_until_it_is_settled(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    assert await taken(outbox, "splunk") == await taken(outbox, "splunk")


# -- settle


async def test_each_sink_goes_on_where_it_has_settled(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    await outbox.settle("splunk", await taken(outbox, "splunk", limit=3), Receipt())
    assert ids(await taken(outbox, "splunk")) == [event(4).event_id, event(5).event_id]
    assert len(await taken(outbox, "file")) == 5


async def test_what_is_refused_for_good_becomes_a_dead_letter(outbox: Outbox, clock: Clock) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    refused = Rejection(event(2).event_id, "too_large", "over 1 MB")
    await outbox.settle("splunk", await taken(outbox, "splunk"), Receipt((refused,)), attempts=4)
    (letter,) = await letters(outbox)
    assert letter == DeadLetter(
        id=letter.id,
        source="bitbucket",
        sink="splunk",
        event_id=event(2).event_id,
        reason="too_large",
        detail="over 1 MB",
        attempts=4,
        first_seen_at=TODAY,
        last_seen_at=TODAY,
        body=msgspec.json.encode(linked(events(2))[1]),
    )
    assert await outbox.count_dead_letters() == {("splunk", "too_large"): 1}
    assert await outbox.read("splunk", limit=1, max_bytes=ROOM) is None


async def test_settling_a_batch_twice_changes_nothing(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    batch = await taken(outbox, "splunk")
    receipt = Receipt((Rejection(event(1).event_id, "refused", "no"),), memo={"length": 1})
    await outbox.settle("splunk", batch, receipt)
    before = await outbox.status(), await letters(outbox)
    await outbox.settle("splunk", batch, Receipt(receipt.rejections, memo={"length": 2}))
    assert (await outbox.status(), await letters(outbox)) == before
    assert await outbox.memory("splunk").load() == {"length": 1}


async def test_a_position_never_moves_back(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    batch = await taken(outbox, "splunk")
    await outbox.settle("splunk", batch, Receipt())
    await outbox.settle("splunk", batch.part(0, 1), Receipt())
    assert (await outbox.backlog("splunk")).events == 0


async def test_parts_of_a_batch_are_settled_one_after_the_other(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(4), MARK)
    batch = await taken(outbox, "splunk")
    await outbox.settle("splunk", batch.part(0, 2), Receipt())
    await outbox.settle("splunk", batch.part(2, 3), Receipt())
    assert ids(await taken(outbox, "splunk")) == [event(4).event_id]


async def test_a_rejection_of_a_stranger_changes_nothing(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(2), MARK)
    batch = await taken(outbox, "splunk")
    with pytest.raises(ValueError, match="not in the batch"):
        await outbox.settle("splunk", batch, Receipt((Rejection("0" * 32, "refused", "no"),)))
    assert await taken(outbox, "splunk") == batch


@pytest.mark.parametrize("reason", sorted({*get_args(Reason)} - {"test"}))
async def test_every_reason_is_kept_and_counted(outbox: Outbox, reason: Reason) -> None:
    await outbox.append("bitbucket", events(1), MARK)
    receipt = Receipt((Rejection(event(1).event_id, reason, "d"),))
    await outbox.settle("splunk", await taken(outbox, "splunk"), receipt)
    assert await outbox.count_dead_letters() == {("splunk", reason): 1}


async def test_dead_letters_of_one_sink_come_alone_and_oldest_first(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(120), MARK, unreadable=[Unreadable(b"?", "d")])
    for sink in ("splunk", "file"):
        batch = await taken(outbox, sink, limit=200)
        receipt = Receipt(tuple(Rejection(each, "refused", "no") for each in ids(batch)))
        await outbox.settle(sink, batch, receipt)
    assert [x.event_id for x in await letters(outbox, "file")] == [x.event_id for x in events(120)]
    everything = await letters(outbox)
    assert len(everything) == 241
    assert [letter.id for letter in everything] == sorted({letter.id for letter in everything})


# -- backlog, register


async def test_the_backlog_says_how_much_and_how_old(outbox: Outbox) -> None:
    await outbox.register("splunk")
    nothing = await outbox.backlog("splunk")
    assert (nothing.events, nothing.oldest_at, nothing.newest_at) == (0, None, None)
    await outbox.append("bitbucket", events(5), MARK)
    batch = await taken(outbox, "splunk", limit=2)
    await outbox.settle("splunk", batch, Receipt())
    backlog = await outbox.backlog("splunk")
    assert (backlog.position, backlog.events) == (batch.last, 3)
    assert backlog.oldest_at == event(3).occurred_at
    assert backlog.newest_at == event(5).occurred_at


async def test_a_sink_starts_before_the_oldest_event_and_registering_again_moves_nothing(
    outbox: Outbox,
) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await outbox.register("splunk")
    assert (await outbox.backlog("splunk")).events == 3
    await settle_all(outbox, "splunk")
    await outbox.register("splunk")
    assert (await outbox.backlog("splunk")).events == 0


# -- memory


async def test_a_memo_is_kept_for_its_sink(outbox: Outbox) -> None:
    memory = outbox.memory("file")
    assert await memory.load() == {}
    await memory.save({"length": 2**40, "name": "a\u0000é", "parts": [1, 2.5, None, True]})
    assert await outbox.memory("file").load() == {
        "length": 2**40,
        "name": "a\u0000é",
        "parts": [1, 2.5, None, True],
    }
    assert await outbox.memory("splunk").load() == {}


async def test_a_receipts_memo_replaces_the_one_before_and_none_keeps_it(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await outbox.memory("file").save({"length": 1, "part": 7})
    await outbox.settle("file", await taken(outbox, "file", limit=1), Receipt(memo={"length": 2}))
    assert await outbox.memory("file").load() == {"length": 2}
    await outbox.settle("file", await taken(outbox, "file", limit=1), Receipt())
    assert await outbox.memory("file").load() == {"length": 2}


async def test_saving_a_memo_moves_no_position(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await outbox.settle("file", await taken(outbox, "file", limit=2), Receipt())
    await outbox.memory("file").save({"length": 1})
    assert (await outbox.backlog("file")).events == 1


# -- wait


async def test_waiting_ends_at_once_where_something_lies_after_the_position(
    outbox: Outbox,
) -> None:
    await outbox.append("bitbucket", events(1), MARK)
    with anyio.fail_after(5):
        await outbox.wait("splunk")


async def test_waiting_ends_for_every_sink_when_something_is_appended(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(1), MARK)
    done: list[str] = []

    async def wait_for(sink: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        await settle_all(outbox, sink)
        task_status.started()
        await outbox.wait(sink)
        done.append(sink)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for sink in ("splunk", "file"):
                await tasks.start(wait_for, sink)
            assert done == []
            await outbox.append("bitbucket", events(2), MARK)
    assert sorted(done) == ["file", "splunk"]


async def test_waiting_goes_on_while_nothing_new_is_appended(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(1), MARK)
    await settle_all(outbox, "splunk")
    waiting = await _waits_through(
        outbox,
        lambda: outbox.append("bitbucket", events(1), MARK, unreadable=[Unreadable(b"", "")]),
    )
    assert waiting


async def _waits_through(outbox: Outbox, act: Callable[[], Awaitable[object]]) -> bool:
    """Say whether a sink still waits after `act` and several turns of the loop."""
    done = anyio.Event()

    async def wait() -> None:
        await outbox.wait("splunk")
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await act()
        for _ in range(3):
            await outbox.backlog("splunk")
        waits = not done.is_set()
        tasks.cancel_scope.cancel()
    return waits


# -- events


async def test_stored_events_come_with_their_places_and_go_on_after_one(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    found = [place_and_event async for place_and_event in outbox.events(EventFilter())]
    assert [each for _, each in found] == linked(events(5))
    later = [each async for _, each in outbox.events(EventFilter(), after=found[2][0])]
    assert later == linked(events(5))[3:]
    assert [each async for _, each in outbox.events(EventFilter(), after=found[4][0])] == []


async def test_settled_events_are_still_there_to_be_read(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(2), MARK)
    await settle_all(outbox, "splunk")
    assert len(await stored(outbox)) == 2


async def test_since_is_inclusive_and_until_exclusive(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    wanted = EventFilter(since=event(2).occurred_at, until=event(4).occurred_at)
    assert await stored(outbox, wanted) == [event(2).event_id, event(3).event_id]


async def test_times_are_compared_to_the_microsecond(outbox: Outbox) -> None:
    occurred_at = event(1).occurred_at + timedelta(microseconds=500)
    await outbox.append("bitbucket", [event(1, occurred_at=occurred_at)], MARK)
    tick = timedelta(microseconds=1)
    assert len(await stored(outbox, EventFilter(since=occurred_at))) == 1
    assert len(await stored(outbox, EventFilter(since=occurred_at + tick))) == 0
    assert len(await stored(outbox, EventFilter(until=occurred_at + tick))) == 1
    assert len(await stored(outbox, EventFilter(until=occurred_at))) == 0


async def test_an_event_that_was_stored_late_is_found_by_its_own_time(outbox: Outbox) -> None:
    await outbox.append("bitbucket", [event(1), event(3), event(2)], MARK)
    wanted = EventFilter(since=event(2).occurred_at)
    assert await stored(outbox, wanted) == [event(3).event_id, event(2).event_id]
    wanted = EventFilter(since=event(2).occurred_at, until=event(3).occurred_at)
    assert await stored(outbox, wanted) == [event(2).event_id]


async def test_events_of_before_1970_are_found_by_their_time(outbox: Outbox) -> None:
    year = [datetime(year, 1, 1, tzinfo=UTC) for year in (1969, 1970, 1971)]
    old = event(1, occurred_at=year[0], event_id="fff8a9f77800" + "0" * 20)
    await outbox.append("bitbucket", [event(2), old], MARK)
    assert await stored(outbox, EventFilter(until=year[1])) == [old.event_id]
    assert await stored(outbox, EventFilter(since=year[0], until=year[2])) == [old.event_id]
    assert await stored(outbox, EventFilter(since=year[2])) == [event(2).event_id]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (EventFilter(kinds=("hook.skipped",)), [1]),
        (EventFilter(kinds=("HOOK.*",)), [1, 2]),
        (EventFilter(kinds=("hook_*",)), []),
        (EventFilter(kinds=("hook",)), []),
        (EventFilter(kinds=("scan.started", "Hook.Blocked")), [2, 3]),
        (EventFilter(actors=("ALICE",)), [1]),
        (EventFilter(actors=("alice", "bob")), [1, 2]),
        (EventFilter(actors=("",)), [3]),
        (EventFilter(projects=("sec",)), [1, 2]),
        (EventFilter(projects=("OPS",)), [3]),
        (EventFilter(projects=("payments",)), []),
        (EventFilter(repositories=("payments",)), [1, 3]),
        (EventFilter(repositories=("SEC/payments",)), [1]),
        (EventFilter(repositories=("sec/Vault",)), [2]),
        (EventFilter(repositories=("OPS/payments",)), [3]),
        (EventFilter(repositories=("SEC",)), []),
        (EventFilter(projects=("SEC",), repositories=("payments",), actors=("bob",)), []),
    ],
)
async def test_events_are_found_by_kind_actor_project_and_repository(
    outbox: Outbox, wanted: EventFilter, numbers: list[int]
) -> None:
    project = AffectedObject(type="PROJECT", name="SEC", id="2")
    first = event(1)
    second = event(
        2,
        kind="hook.blocked",
        actor=Actor(name="bob"),
        objects=(project, AffectedObject(type="REPOSITORY", name="vault")),
        attributes=(),
    )
    third = event(
        3,
        kind="scan.started",
        actor=None,
        objects=(),
        attributes=(Attribute(name="target", value="OPS/payments"),),
    )
    await outbox.append("bitbucket", [first, second, third], MARK)
    assert await stored(outbox, wanted) == [event(number).event_id for number in numbers]


# -- prune


async def test_what_every_sink_has_settled_is_forgotten_once_it_is_old(
    outbox: Outbox, clock: Clock
) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    clock.at += timedelta(days=30)
    await outbox.append("bitbucket", events(2, first=4), MARK)
    await settle_all(outbox, "splunk")
    assert await outbox.prune(stored_before=clock.at, sinks=["splunk"]) == 3
    assert await outbox.prune(stored_before=clock.at, sinks=["splunk"]) == 0
    assert await stored(outbox) == [event(4).event_id, event(5).event_id]


async def test_what_one_sink_still_owes_stays(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await settle_all(outbox, "splunk")
    await outbox.settle("file", await taken(outbox, "file", limit=1), Receipt())
    later = TODAY + timedelta(days=1)
    assert await outbox.prune(stored_before=later, sinks=["splunk", "file", "new"]) == 0
    assert await outbox.prune(stored_before=later, sinks=["splunk", "file"]) == 1
    assert ids(await taken(outbox, "file")) == [event(2).event_id, event(3).event_id]


async def test_a_sink_that_is_no_longer_configured_holds_nothing_back(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await outbox.settle("gone", await taken(outbox, "gone", limit=1), Receipt(memo={"a": 1}))
    await settle_all(outbox, "splunk")
    assert await outbox.prune(stored_before=TODAY + timedelta(days=1), sinks=["splunk"]) == 3
    assert await outbox.memory("gone").load() == {"a": 1}
    assert await outbox.backlog("gone") == (await outbox.backlog("gone"))
    assert (await outbox.backlog("gone")).events == 0


async def test_an_event_that_lies_in_the_future_is_kept_until_it_is_old(
    outbox: Outbox, clock: Clock
) -> None:
    future = event(2, occurred_at=TODAY + timedelta(days=365))
    await outbox.append("bitbucket", [event(1), future, event(3)], MARK)
    await settle_all(outbox, "splunk")
    clock.at += timedelta(days=1)
    assert await outbox.prune(stored_before=clock.at, sinks=["splunk"]) == 2
    assert await stored(outbox) == [future.event_id]
    backlog = await outbox.backlog("a new sink")
    assert (backlog.events, backlog.oldest_at) == (1, future.occurred_at)
    assert len(await outbox.append("bitbucket", [future], MARK)) == 0


async def test_a_clock_that_had_jumped_ahead_keeps_nothing_later_from_being_forgotten(
    outbox: Outbox, clock: Clock
) -> None:
    clock.at = TODAY + timedelta(days=3650)
    await outbox.append("bitbucket", events(1), MARK)
    clock.at = TODAY
    await outbox.append("bitbucket", events(1, first=2), MARK)
    await settle_all(outbox, "splunk")
    clock.at += timedelta(days=1)
    assert await outbox.prune(stored_before=clock.at, sinks=["splunk"]) == 1
    assert await stored(outbox) == [event(1).event_id]


async def test_places_are_never_given_twice_even_when_all_is_forgotten(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    last = (await taken(outbox, "splunk")).last
    await settle_all(outbox, "splunk")
    assert await outbox.prune(stored_before=TODAY + timedelta(days=1), sinks=["splunk"]) == 3
    assert len(await outbox.append("bitbucket", events(1, first=4), MARK)) == 1
    assert (await taken(outbox, "splunk")).first > last
    assert (await outbox.backlog("splunk")).events == 1


async def test_dead_letters_outlive_their_events(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(1), MARK)
    receipt = Receipt((Rejection(event(1).event_id, "refused", "no"),))
    await outbox.settle("splunk", await taken(outbox, "splunk"), receipt)
    assert await outbox.prune(stored_before=TODAY + timedelta(days=1), sinks=["splunk"]) == 1
    assert len(await letters(outbox)) == 1


async def test_repeated_pruning_forgets_all_of_many(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5000), MARK)
    await settle_all(outbox, "splunk")
    forgotten = 0
    while count := await outbox.prune(stored_before=TODAY + timedelta(days=1), sinks=["splunk"]):
        forgotten += count
    assert forgotten == 5000
    assert await stored(outbox) == []


# -- status


async def test_the_status_says_what_is_known_of_every_source_and_sink(
    outbox: Outbox, clock: Clock
) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await outbox.register("file")
    receipt = Receipt((Rejection(event(2).event_id, "refused", "no"),))
    await outbox.settle("splunk", await taken(outbox, "splunk", limit=2), receipt)
    status = await outbox.status()
    assert set(status.sources) == {"bitbucket"}
    source = status.sources["bitbucket"]
    assert (source.checkpoint, source.stored, source.stored_at) == (MARK, 3, TODAY)
    assert set(status.sinks) == {"file", "splunk"}
    splunk = status.sinks["splunk"]
    assert (splunk.settled, splunk.buried, splunk.settled_at) == (1, 1, TODAY)
    assert splunk.backlog == await outbox.backlog("splunk")
    assert status.sinks["file"].settled_at is None
    assert status.dead_letters == {("splunk", "refused"): 1}


async def test_events_behind_the_mark_count_as_late_once_and_a_repair_does_not(
    outbox: Outbox,
) -> None:
    mark = Checkpoint(BEGINNING + timedelta(seconds=10))
    await outbox.append("bitbucket", events(5), mark)
    for _ in range(2):
        await outbox.append("bitbucket", [event(7), event(9), event(10), event(11)], mark)
    await outbox.append("bitbucket", [event(6)], None)
    known = (await outbox.status()).sources["bitbucket"]
    assert (known.stored, known.late, known.late_by) == (10, 2, 3.0)


async def test_a_batch_names_the_pages_that_brought_it(outbox: Outbox) -> None:
    assert await outbox.append("bitbucket", events(3), MARK) == range(1, 4)
    assert await outbox.append("bitbucket", events(4), MARK) == range(4, 5)
    assert await outbox.append("bitbucket", events(2), MARK) == range(5, 5)
    await outbox.append("bitbucket", events(6), MARK)
    first = await outbox.read("splunk", limit=4, max_bytes=10**6)
    assert first.pages == (3, 4)
    assert first.part(0, 1).pages == (3, 4)
    await outbox.settle("splunk", first, Receipt())
    assert (await outbox.read("splunk", limit=4, max_bytes=10**6)).pages == (6,)


async def test_the_newest_events_come_first_and_go_on_before_a_place(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    first = await outbox.newest(before=None, limit=3)
    assert [place for place, _ in first] == [5, 4, 3]
    assert first[0][1].event_id == event(5).event_id
    assert [place for place, _ in await outbox.newest(before=3, limit=3)] == [2, 1]
    assert await outbox.newest(before=1, limit=3) == []


async def test_large_events_come_newest_first_in_small_parts(outbox: Outbox) -> None:
    await outbox.append("bitbucket", [event(n, action="x" * 3_000_000) for n in (1, 2, 3)], MARK)
    seen, before = [], None
    while found := await outbox.newest(before=before, limit=100):
        before = found[-1][0]
        seen += [place for place, _ in found]
    assert seen == [3, 2, 1]


def sample(part: str, minutes: int, count: int, *, backlog: int = 0, lag: float = 0.0) -> Sample:
    at = TODAY + timedelta(minutes=minutes)
    return Sample(part=part, at=at, events=count, backlog=backlog, lag_seconds=lag)


async def test_samples_are_kept_with_the_worst_that_was_seen(outbox: Outbox) -> None:
    await outbox.sample([sample("sinks.a", 0, 7, backlog=9, lag=1.5), sample("sources.b", 0, 3)])
    await outbox.sample([sample("sinks.a", 0, 8, backlog=2, lag=2.5)])
    await outbox.sample([sample("sinks.a", 5, 8)])
    assert list(await outbox.samples()) == [
        sample("sinks.a", 0, 8, backlog=9, lag=2.5),
        sample("sources.b", 0, 3),
        sample("sinks.a", 5, 8),
    ]


async def test_samples_of_more_than_a_day_are_forgotten(outbox: Outbox) -> None:
    for minutes in range(0, 1500, 5):
        await outbox.sample([sample("sinks.a", minutes, minutes)])
    kept = await outbox.samples()
    assert len(kept) == 288
    assert kept[-1] == sample("sinks.a", 1495, 1495)


async def test_a_note_says_how_a_part_is_and_since_when(outbox: Outbox, clock: Clock) -> None:
    await outbox.append("bitbucket", [], MARK)
    await outbox.note("sources.bitbucket", state="paused", error="401", remedy="mend the token")
    await outbox.note("sinks.never.sent", state="retrying", error="first")
    clock.at += timedelta(hours=1)
    await outbox.note("sinks.never.sent", state="retrying", error="second")
    status = await outbox.status()
    paused = status.sources["bitbucket"].note
    assert paused is not None
    assert (paused.state, paused.error, paused.remedy, paused.since_at) == (
        "paused",
        "401",
        "mend the token",
        TODAY,
    )
    retrying = status.sinks["never.sent"].note
    assert retrying is not None
    assert (retrying.error, retrying.since_at) == ("second", TODAY)
    await outbox.note("sinks.never.sent", state="running")
    running = (await outbox.status()).sinks["never.sent"].note
    assert running is not None
    assert (running.state, running.error, running.since_at) == ("running", "", clock.at)


async def test_the_size_grows_with_what_is_stored(outbox: Outbox) -> None:
    before = await outbox.size()
    await outbox.append("bitbucket", events(1000), MARK)
    assert await outbox.size() > before + 900_000
    assert (await outbox.status()).size == await outbox.size()


# -- hostile content


@pytest.mark.parametrize("kind", ["memory", "sqlite, read from the disk"])
def test_whatever_an_event_holds_comes_back_and_is_buried_unchanged(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @given(hostile_events())
    def holds(hostile: Event) -> None:
        anyio.run(_round_trip, kind, tmp_path_factory.mktemp("hostile"), hostile)

    holds()


async def _round_trip(kind: str, folder: Path, hostile: Event) -> None:
    opening = in_memory if kind == "memory" else on_sqlite(folder, recent_bytes=0)
    async with opening(Clock()) as outbox:
        assert len(await outbox.append(hostile.source, [hostile], MARK)) == 1
        batch = await taken(outbox, "splunk")
        (kept,) = linked([hostile])
        assert whole(batch) == [kept]
        receipt = Receipt((Rejection(hostile.event_id, "malformed", hostile.action),))
        await outbox.settle("splunk", batch, receipt)
        (letter,) = await letters(outbox)
        assert msgspec.json.decode(letter.body, type=Event) == kept
        assert letter.detail == hostile.action


# -- dead letters, again


async def buried(outbox: Outbox, count: int, *, sink: str = "splunk") -> list[int]:
    """Store `count` events that the sink refuses; return the letters' ids."""
    await outbox.append("bitbucket", events(count), MARK)
    batch = await taken(outbox, sink, limit=count)
    refused = tuple(Rejection(each.event_id, "refused", "no") for each in batch.events)
    await outbox.settle(sink, batch, Receipt(refused))
    return [letter.id for letter in await letters(outbox, sink)]


async def again(outbox: Outbox, sink: str = "splunk", limit: int = 100) -> Batch:
    batch = await outbox.read_replay(sink, limit=limit, max_bytes=ROOM)
    assert batch is not None
    return batch


async def nothing_again(outbox: Outbox, sink: str = "splunk") -> bool:
    return await outbox.read_replay(sink, limit=1, max_bytes=ROOM) is None


async def test_letters_are_found_by_sink_reason_time_and_id(outbox: Outbox, clock: Clock) -> None:
    first, second = await buried(outbox, 2)
    clock.at += timedelta(hours=1)
    await outbox.append("bitbucket", [], MARK, unreadable=[Unreadable(b"x", "?")])

    async def found(**wanted: object) -> list[int]:
        return [letter.id async for letter in outbox.dead_letters(**wanted)]  # type: ignore[arg-type]

    (record,) = await found(sink="")
    assert await found(sink="splunk") == [first, second]
    assert await found(reason="unreadable") == [record]
    assert await found(since=clock.at) == [record]
    assert await found(since=TODAY) == [first, second, record]
    assert await found(ids=[second, record, 999]) == [second, record]
    assert await found(ids=[second, record], sink="splunk") == [second]


async def test_letters_come_again_only_when_asked_for_and_go_when_delivered(
    outbox: Outbox, clock: Clock
) -> None:
    first, second, third = await buried(outbox, 3)
    assert await nothing_again(outbox)
    assert await outbox.ask_letters([third, first, 999]) == 2
    assert {each.id: each.asked_at for each in await letters(outbox)} == {
        first: TODAY,
        second: None,
        third: TODAY,
    }
    batch = await again(outbox)
    assert ids(batch) == [event(1).event_id, event(3).event_id]
    assert (batch.replay, batch.part(1, 2).replay) == (0, 0)
    assert len(await again(outbox, limit=1)) == 1
    assert await nothing_again(outbox, "another")
    before = await outbox.backlog("splunk")
    await outbox.settle("splunk", batch, Receipt(memo={"length": 5}))
    assert [letter.id for letter in await letters(outbox)] == [second]
    assert await outbox.memory("splunk").load() == {"length": 5}
    assert await outbox.backlog("splunk") == before
    assert await nothing_again(outbox)


async def test_a_test_event_goes_to_its_sink_alone_and_counts_as_nothing(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(1), MARK)
    letter = await outbox.ask_test("splunk", event(2))
    assert await outbox.count_dead_letters() == {}
    assert await nothing_again(outbox, "another")
    batch = await again(outbox)
    assert (ids(batch), batch.positions, batch.replay) == ([event(2).event_id], (letter,), 0)
    before = await outbox.backlog("splunk")
    await outbox.settle("splunk", batch, Receipt())
    assert (await letters(outbox), await outbox.backlog("splunk")) == ([], before)
    refused = await outbox.ask_test("splunk", event(3))
    why = Rejection(event(3).event_id, "too_large", "no")
    await outbox.settle("splunk", await again(outbox), Receipt((why,)))
    assert [(each.id, each.reason) for each in await letters(outbox)] == [(refused, "too_large")]
    assert await outbox.discard_letters([refused]) == 1


async def test_a_letter_that_is_refused_again_stays_and_is_asked_for_no_more(
    outbox: Outbox, clock: Clock
) -> None:
    (letter,) = await buried(outbox, 1)
    await outbox.ask_letters([letter])
    clock.at += timedelta(hours=1)
    refused = Rejection(event(1).event_id, "too_old", "older now")
    await outbox.settle("splunk", await again(outbox), Receipt((refused,)), attempts=3)
    (found,) = await letters(outbox)
    assert (found.id, found.reason, found.detail, found.attempts) == (
        letter,
        "too_old",
        "older now",
        4,
    )
    assert (found.first_seen_at, found.last_seen_at, found.asked_at) == (TODAY, clock.at, None)
    assert await nothing_again(outbox)


async def test_letters_that_are_settled_twice_or_discarded_meanwhile_change_nothing(
    outbox: Outbox,
) -> None:
    await outbox.ask_letters(await buried(outbox, 1))
    batch = await again(outbox)
    assert await outbox.discard_letters(batch.positions) == 1
    await outbox.settle("splunk", batch, Receipt(memo={"length": 5}))
    assert await outbox.memory("splunk").load() == {}
    assert await letters(outbox) == []


async def test_a_discarded_letter_is_gone_and_its_id_never_comes_again(outbox: Outbox) -> None:
    first, second = await buried(outbox, 2)
    assert await outbox.discard_letters([second, 999]) == 1
    assert [letter.id for letter in await letters(outbox)] == [first]
    await outbox.append("bitbucket", [], MARK, unreadable=[Unreadable(b"x", "?")])
    assert all(letter.id != second for letter in await letters(outbox))
    assert await outbox.count_dead_letters() == {("splunk", "refused"): 1, ("", "unreadable"): 1}


async def test_a_discarded_record_stays_so_while_it_is_read_again(
    outbox: Outbox, clock: Clock
) -> None:
    async def read_again(*sources: str) -> list[str]:
        for source in sources:
            await outbox.append(source, [], MARK, unreadable=[Unreadable(b"x", "?")])
        return [letter.source for letter in await letters(outbox)]

    await read_again("bitbucket", "other")
    for discarded in ("bitbucket", "bitbucket"):
        (letter,) = [x.id for x in await letters(outbox) if x.source == discarded]
        assert await outbox.discard_letters([letter]) == 1
        for _ in range(3):
            assert await read_again("bitbucket", "other") == ["other"]
            clock.at += timedelta(days=1)
            await outbox.prune(stored_before=clock.at - timedelta(days=1, hours=1), sinks=[])
        await outbox.prune(stored_before=clock.at, sinks=[])  # no source reads it any more
        assert set(await read_again("bitbucket")) == {"bitbucket", "other"}


async def test_a_record_that_can_be_read_now_becomes_an_event_for_every_sink(
    outbox: Outbox,
) -> None:
    await outbox.append("bitbucket", events(1), MARK, unreadable=[Unreadable(b"x", "?")])
    await settle_all(outbox, "splunk")
    (letter,) = await letters(outbox)
    assert await outbox.ask_letters([letter.id]) == 0
    assert await outbox.adopt(letter.id, event(2)) == 1
    assert await letters(outbox) == []
    assert ids(await taken(outbox, "splunk")) == [event(2).event_id]
    assert await outbox.checkpoint("bitbucket") == MARK
    assert await outbox.adopt(letter.id, event(2)) == 0


# -- replays


async def test_a_plan_holds_what_the_sink_has_settled_and_nothing_else(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(5), MARK)
    await outbox.settle("splunk", await taken(outbox, "splunk", limit=3), Receipt())
    plan = await outbox.plan_replay("splunk", EventFilter(since=event(2).occurred_at))
    assert (plan.id, plan.sink, plan.events) == (0, "splunk", 2)
    assert (plan.oldest_at, plan.newest_at) == (event(2).occurred_at, event(3).occurred_at)
    nothing = await outbox.plan_replay("file", EVERYTHING)
    assert (nothing.events, nothing.oldest_at) == (0, None)
    assert await outbox.ask_replay(nothing) == 0
    assert await nothing_again(outbox)


async def test_a_replay_sends_all_it_holds_once_and_moves_no_position(outbox: Outbox) -> None:
    await outbox.append("bitbucket", [*events(5), event(6, kind="other")], MARK)
    await outbox.settle("splunk", await taken(outbox, "splunk", limit=6), Receipt())
    await outbox.append("bitbucket", events(1, first=7), MARK)
    wanted = EventFilter(since=event(2).occurred_at, kinds=("hook.*",))
    replay = await outbox.ask_replay(await outbox.plan_replay("splunk", wanted))
    assert replay
    sent = []
    while batch := await outbox.read_replay("splunk", limit=3, max_bytes=ROOM):
        assert batch.replay == replay
        assert batch == await again(outbox, limit=3)
        sent += ids(batch)
        await outbox.settle("splunk", batch, Receipt(memo={"sent": len(sent)}))
        await outbox.settle("splunk", batch, Receipt(memo={"sent": -1}))
        sink = (await outbox.status()).sinks["splunk"]
        assert sink.replay_left == max(4 - len(sent), 0)
        assert sink.replay_events == (4 if len(sent) < 4 else 0)
    assert sent == [each.event_id for each in events(4, first=2)]
    assert await outbox.memory("splunk").load() == {"sent": 4}
    assert (await outbox.backlog("splunk")).events == 1
    assert (await outbox.status()).sinks["splunk"].settled == 6


async def test_what_is_refused_in_a_replay_becomes_a_dead_letter(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(2), MARK)
    await settle_all(outbox, "splunk")
    await outbox.ask_replay(await outbox.plan_replay("splunk", EVERYTHING))
    refused = Rejection(event(2).event_id, "too_old", "14 days")
    await outbox.settle("splunk", await again(outbox), Receipt((refused,)))
    assert [letter.event_id for letter in await letters(outbox)] == [event(2).event_id]
    assert await nothing_again(outbox)


async def test_what_is_to_be_sent_again_is_not_forgotten_before(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(4), MARK)
    await settle_all(outbox, "splunk")
    wanted = EventFilter(since=event(2).occurred_at)
    await outbox.ask_replay(await outbox.plan_replay("splunk", wanted))
    later = TODAY + timedelta(days=1)
    assert await outbox.prune(stored_before=later, sinks=["file"]) == 0
    assert await outbox.prune(stored_before=later, sinks=["splunk"]) == 1
    await outbox.settle("splunk", await again(outbox, limit=2), Receipt())
    assert await outbox.prune(stored_before=later, sinks=["splunk"]) == 2
    assert ids(await again(outbox)) == [event(4).event_id]


async def test_a_replay_whose_events_were_forgotten_before_it_was_asked_for_ends(
    outbox: Outbox,
) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    await settle_all(outbox, "splunk")
    plan = await outbox.plan_replay("splunk", EVERYTHING)
    await outbox.prune(stored_before=TODAY + timedelta(days=1), sinks=["splunk"])
    await outbox.ask_replay(plan)
    assert await nothing_again(outbox)
    assert (await outbox.status()).sinks["splunk"].replay_left == 0


async def test_dead_letters_come_before_replays_and_all_can_be_called_off(outbox: Outbox) -> None:
    await outbox.ask_letters(await buried(outbox, 1))
    await outbox.append("bitbucket", events(2, first=2), MARK)
    await settle_all(outbox, "splunk")
    await outbox.ask_replay(await outbox.plan_replay("splunk", EventFilter()))
    sink = (await outbox.status()).sinks["splunk"]
    assert (sink.replay_events, sink.replay_left) == (4, 4)
    assert (await again(outbox)).replay == 0
    assert await outbox.cancel_replays("file") == 0
    assert await outbox.cancel_replays("splunk") == 4
    assert await nothing_again(outbox)
    assert len(await letters(outbox)) == 1


async def test_waiting_ends_when_something_is_to_be_sent_again(outbox: Outbox) -> None:
    (letter,) = await buried(outbox, 1)
    await _ends_by(outbox, lambda: outbox.ask_letters([letter]))
    await outbox.settle("splunk", await again(outbox), Receipt())
    plan = await outbox.plan_replay("splunk", EVERYTHING)
    await _ends_by(outbox, lambda: outbox.ask_replay(plan))


async def _ends_by(outbox: Outbox, act: Callable[[], Awaitable[object]]) -> None:
    """Have a sink wait, act, and return once it waits no more."""
    assert await _waits_through(outbox, anyio.lowlevel.checkpoint)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outbox.wait, "splunk")
            await anyio.lowlevel.checkpoint()
            await act()


# -- room


async def test_the_room_says_what_is_used_of_how_much(outbox: Outbox) -> None:
    before = await outbox.room()
    await outbox.append("bitbucket", events(1000), MARK)
    room = await outbox.room()
    assert before.used + 900_000 < room.used == await outbox.size()
    if room.limit is None:  # on another machine
        assert room.share == 0
    else:
        assert 0 < room.used < room.limit
        assert room.share == room.used / room.limit


async def test_the_status_says_how_much_is_stored_and_how_fast_it_came(
    outbox: Outbox, clock: Clock
) -> None:
    await outbox.append("bitbucket", events(300), MARK)
    clock.at += timedelta(seconds=100)
    status = await outbox.status()
    assert (status.events, status.rate) == (300, 3.0)
    await settle_all(outbox, "splunk")
    await outbox.prune(stored_before=clock.at, sinks=["splunk"])
    status = await outbox.status()
    assert (status.events, status.rate) == (0, 0.0)


async def test_places_beyond_those_of_the_events_are_passed_and_counted_as_filtered(
    outbox: Outbox,
) -> None:
    await outbox.append("bitbucket", events(4), MARK)
    batch = await outbox.read("splunk", limit=10, max_bytes=10**6)
    assert batch is not None
    first, rest = batch.part(0, 2), batch.part(2, 4)
    await outbox.settle("splunk", Batch(first.events[1:], first.positions), Receipt())
    await outbox.settle("splunk", Batch((), rest.positions), Receipt())
    known = (await outbox.status()).sinks["splunk"]
    assert (known.settled, known.filtered, known.backlog.events) == (1, 3, 0)


async def test_the_status_counts_what_no_kind_fits(outbox: Outbox) -> None:
    unknown = [event(number, kind="soteri.unknown") for number in (2, 3)]
    await outbox.append("bitbucket", [event(1), *unknown], MARK)
    assert (await outbox.status()).unknown == 2


# -- the way of an event

WINDOW = (BEGINNING - timedelta(minutes=5), BEGINNING)


async def way(outbox: Outbox, number: int) -> Trail:
    found = await outbox.trail(event(number).event_id)
    assert found is not None
    return found


async def test_an_event_knows_the_page_and_the_window_that_brought_it(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK, window=WINDOW)
    await outbox.append("bitbucket", events(3, first=3), MARK, window=WINDOW)
    await outbox.append("bitbucket", events(5), MARK, window=WINDOW)  # nothing new: no page
    await outbox.append("bitbucket", events(1, first=6), MARK)
    found = await way(outbox, 4)
    assert (found.event, found.place) == (linked(events(6))[3], 4)
    assert found.page == StoredPage(
        source="bitbucket", window=WINDOW, records=3, first=4, last=5, stored_at=TODAY
    )
    last = (await way(outbox, 6)).page
    assert last is not None
    assert (last.window, last.first, last.last) == (None, 6, 6)


async def test_an_event_knows_what_each_sink_made_of_it(outbox: Outbox, clock: Clock) -> None:
    await outbox.append("bitbucket", events(4), MARK)
    batch = await taken(outbox, "splunk")
    await outbox.settle("splunk", batch.part(0, 2), Receipt(), attempts=3)
    clock.at += timedelta(seconds=5)
    await outbox.settle("splunk", Batch(batch.events[2:3], batch.positions[2:]), Receipt())
    await outbox.register("siem")
    first, last = await way(outbox, 1), await way(outbox, 4)
    assert first.positions == last.positions == {"splunk": 4, "siem": 0}
    assert first.receipts == (
        StoredReceipt(
            sink="splunk", how="turn", first=1, last=2, events=2, filtered=0, attempts=3, at=TODAY
        ),
    )
    assert [(each.first, each.last, each.filtered) for each in last.receipts] == [(3, 4, 1)]
    assert last.receipts[0].at == clock.at


async def test_an_event_knows_that_it_was_buried_sent_again_and_discarded(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(3), MARK)
    refused = [Rejection(event(number).event_id, "too_large", "5 MB") for number in (1, 2)]
    await outbox.settle("splunk", await taken(outbox, "splunk"), Receipt(tuple(refused)))
    first, second = [letter.id for letter in await letters(outbox)]
    assert [letter.reason for letter in (await way(outbox, 1)).letters] == ["too_large"]
    await outbox.ask_letters([first])
    await outbox.settle("splunk", await again(outbox), Receipt(), attempts=2)
    await outbox.discard_letters([second])
    await outbox.ask_replay(await outbox.plan_replay("splunk", EVERYTHING))
    await outbox.settle("splunk", await again(outbox), Receipt())

    async def hows(number: int) -> list[tuple[str, int]]:
        return [(each.how, each.attempts) for each in (await way(outbox, number)).receipts]

    assert await hows(1) == [("turn", 1), ("letter", 3), ("replay", 1)]
    assert await hows(2) == [("turn", 1), ("discarded", 1), ("replay", 1)]
    assert await hows(3) == [("turn", 1), ("replay", 1)]
    assert (await way(outbox, 3)).receipts[1].wanted == EVERYTHING
    assert (await way(outbox, 1)).letters == ()


async def test_what_is_left_of_a_forgotten_event_is_its_dead_letter(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(2), MARK)
    refused = Rejection(event(1).event_id, "malformed", "no")
    await outbox.settle("splunk", await taken(outbox, "splunk"), Receipt((refused,)))
    assert await outbox.prune(stored_before=clock_after(TODAY), sinks=["splunk"]) == 2
    found = await way(outbox, 1)
    assert (found.place, found.page, found.receipts) == (None, None, ())
    assert (found.event.event_id, len(found.letters)) == (event(1).event_id, 1)
    assert await outbox.trail(event(2).event_id) is None


def clock_after(at: datetime) -> datetime:
    return at + timedelta(days=1)


async def test_ids_are_found_by_how_they_begin(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(20), MARK)
    known = sorted(each.event_id for each in events(20))
    assert await outbox.ids("", limit=100) == known
    assert await outbox.ids(known[3], limit=2) == [known[3]]
    assert await outbox.ids(known[0][:8], limit=3) == known[:3]
    assert await outbox.ids("zz", limit=3) == []
