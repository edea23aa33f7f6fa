"""Replicas on one PostgreSQL: leases, what they refuse, the order of what many write, shares."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from threading import Event

import anyio
import pytest
from anyio import to_thread
from structlog.testing import capture_logs

from forwarder.app.replicas import HOUSE, alone, ungrouped
from forwarder.errors import LeaseLost, StoreError, StoreLocked, TransientError
from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, EventFilter, Lease, Receipt
from forwarder.pipeline.sharing import Sharing
from forwarder.pipeline.stop import Stop
from forwarder.store import StoreConfig
from forwarder.store.postgresql import PostgresDatabase, begin
from forwarder.store.transactions.append import append
from tests.fakes.events import BEGINNING, event, events, numbered
from tests.receivers.postgres import Postgres, postgres

pytestmark = pytest.mark.real
MARK = Checkpoint(BEGINNING)
PARTS = ["sources.bitbucket", "sinks.splunk"]


@asynccontextmanager
async def replicas(url: str, count: int, *, lease: str = "15s") -> AsyncIterator[list[Outbox]]:
    async with AsyncExitStack() as stack:
        store = StoreConfig(url=url, lease=lease)
        yield [await stack.enter_async_context(store.open()) for _ in range(count)]


async def claimed(outbox: Outbox, *names: str) -> list[Lease]:
    assert outbox.leases
    await outbox.leases.renew(names, [])
    return list(await outbox.leases.claim(names))


async def until(condition: Callable[[], bool], *, within: float = 20) -> None:
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.01)


async def test_one_lease_has_one_holder_until_it_is_released(pg: Postgres) -> None:
    async with replicas(pg.database(), 3) as (one, two, three):
        assert one.leases
        assert two.leases
        assert three.leases
        (first,) = await claimed(one, "sources.a")
        assert await claimed(two, "sources.a") == []
        await one.leases.release([first])
        (second,) = await claimed(three, "sources.a")
        assert second.token > first.token
        _, shares = await two.leases.renew([], [])
        assert shares.holders == {"sources.a": three.leases.replica}


async def test_of_many_who_claim_at_once_one_wins(pg: Postgres) -> None:
    async with replicas(pg.database(), 4) as outboxes:
        taken: list[Lease] = []

        async def race(outbox: Outbox) -> None:
            taken.extend(await claimed(outbox, *(f"sources.{number}" for number in range(20))))

        async with anyio.create_task_group() as group:
            for outbox in outboxes:
                group.start_soon(race, outbox)
        while len(taken) < 20:  # what was locked at that moment
            await race(outboxes[0])
        assert sorted(lease.name for lease in taken) == sorted(
            {f"sources.{number}" for number in range(20)}
        )


async def test_whoever_has_lost_a_lease_writes_nothing_more(pg: Postgres) -> None:
    async with replicas(pg.database(), 2) as (old, new):
        leases = await claimed(old, *PARTS)
        by_name = {lease.name: lease for lease in leases}
        source, sink = (old.under(by_name[name]) for name in PARTS)
        assert len(await source.append("bitbucket", events(10), MARK)) == 10
        await sink.register("splunk")
        await sink.settle("splunk", numbered(5), Receipt(memo={"a": 1}))
        assert old.leases
        await old.leases.release(leases)
        await claimed(new, *PARTS)
        later = Checkpoint(BEGINNING, {"late": True})
        for write in (
            partial(source.append, "bitbucket", events(20), later),
            partial(source.note, "sources.bitbucket", state="running"),
            partial(sink.settle, "splunk", numbered(5, first=6), Receipt(memo={"a": 2})),
            partial(sink.memory("splunk").save, {"a": 3}),
        ):
            with pytest.raises(LeaseLost):
                await write()
        assert await new.checkpoint("bitbucket") == MARK
        assert (await new.backlog("splunk")).position == 5
        assert await new.memory("splunk").load() == {"a": 1}
        assert (await new.status()).events == 10


async def test_a_lease_cannot_change_hands_within_a_write_under_it(pg: Postgres) -> None:
    async with replicas(pg.database(), 2, lease="1s") as (old, new):
        (lease,) = await claimed(old, "sources.bitbucket")
        begun, go_on = Event(), Event()

        def slow(connection: object) -> None:
            begun.set()
            go_on.wait(10)

        under = old.under(lease)
        async with anyio.create_task_group() as group:
            group.start_soon(under._write, slow)  # type: ignore[attr-defined]
            await to_thread.run_sync(begun.wait)
            pg.execute("update leases set expires_at = 0", _name(under))
            assert await claimed(new, "sources.bitbucket") == []
            go_on.set()
        assert len(await claimed(new, "sources.bitbucket")) == 1


def _name(outbox: Outbox) -> str:
    return outbox._database.server.url.rpartition("/")[2]  # type: ignore[attr-defined]


async def test_a_lease_that_is_not_renewed_is_taken_when_it_ends_and_not_before(
    pg: Postgres,
) -> None:
    async with replicas(pg.database(), 2, lease="1s") as (dead, alive):
        assert alive.leases
        await claimed(dead, "sources.a")
        began = anyio.current_time()
        with anyio.fail_after(10):
            while not await claimed(alive, "sources.a"):
                await anyio.sleep(0.02)
        assert anyio.current_time() - began > 0.8
        _, shares = await alive.leases.renew(["sources.a"], [])
        assert [each.name for each in shares.replicas] == [alive.leases.replica]


async def test_a_sink_that_reads_while_many_sources_write_misses_nothing(pg: Postgres) -> None:
    async with replicas(pg.database(), 3) as (reader, *writers):
        await reader.register("splunk")
        read: list[str] = []

        async def write(outbox: Outbox, source: str, first: int) -> None:
            for number in range(first, first + 30):
                one = event(number, source=source)
                await outbox.append(source, [one], MARK)

        async def deliver() -> None:
            while len(read) < 240:
                if batch := await reader.read("splunk", limit=7, max_bytes=10**7):
                    read.extend(each.event_id for each in batch.events)
                    await reader.settle("splunk", batch, Receipt())

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(deliver)
                for number in range(8):
                    group.start_soon(write, writers[number % 2], f"s{number}", 1000 * number)
        assert len(set(read)) == 240
        places = [place async for place, _ in reader.events(EventFilter())]
        assert places == list(range(1, 241))


async def test_an_append_waits_for_one_that_began_before_so_that_places_appear_in_order(
    pg: Postgres,
) -> None:
    async with replicas(pg.database(), 2) as (slow, quick):
        await slow.append("a", [event(1, source="a")], MARK)
        begun, go_on = Event(), Event()

        def held(connection: object) -> None:
            append(connection, "a", [event(2, source="a")], MARK, (), 0)  # type: ignore[arg-type]
            begun.set()
            go_on.wait(10)

        done: list[str] = []

        async def first() -> None:
            await slow._write(held)  # type: ignore[attr-defined]
            done.append("first")

        async def second() -> None:
            await quick.append("b", [event(3, source="b")], MARK)
            done.append("second")

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await to_thread.run_sync(begun.wait)
            group.start_soon(second)
            batch = await quick.read("splunk", limit=10, max_bytes=10**6)
            assert batch
            assert batch.positions == (1,)
            assert done == []
            go_on.set()
        assert done == ["first", "second"]
        batch = await quick.read("splunk", limit=10, max_bytes=10**6)
        assert batch
        assert [each.source for each in batch.events] == ["a", "a", "b"]


async def test_what_one_replica_stores_wakes_the_sink_of_another_at_once(pg: Postgres) -> None:
    async with replicas(pg.database(), 2) as (source, sink):
        await source.append("a", [event(1, source="a")], MARK)
        with anyio.fail_after(20):
            await sink.wait("splunk")  # listening since then
        await sink.settle("splunk", numbered(1), Receipt())
        woken = anyio.Event()

        async def wait() -> None:
            await sink.wait("splunk")
            woken.set()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            began = anyio.current_time()
            await source.append("a", [event(2, source="a")], MARK)
            await woken.wait()
        assert anyio.current_time() - began < 1.5  # looking alone takes up to two seconds


async def test_a_server_that_restarts_is_waited_for_and_nothing_is_lost() -> None:
    with postgres() as server:
        async with replicas(server.database(), 1) as (outbox,):
            await outbox.append("a", [event(1, source="a")], MARK)
            await to_thread.run_sync(server.stop)
            with pytest.raises(TransientError, match="cannot be reached"):
                await outbox.append("a", [event(2, source="a")], MARK)
            await to_thread.run_sync(server.start)
            await outbox.append("a", [event(2, source="a")], MARK)
            # Sessions that are ended while nobody uses them are not even noticed.
            server.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname like 'd%' and pid <> pg_backend_pid()"
            )
            assert (await outbox.status()).events == 2


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("create table bookmarks (a int)", "another program's database"),
        ("alter database {name} set default_transaction_read_only = on", "takes no writes"),
        ("", "in SQL_ASCII: not every event can be kept"),
    ],
)
async def test_a_database_that_cannot_be_used_is_refused(
    pg: Postgres, prepare: str, message: str
) -> None:
    url = pg.database(encoding="UTF8" if prepare else "SQL_ASCII")
    if prepare:
        pg.execute(prepare.format(name=url.rpartition("/")[2]), url.rpartition("/")[2])
    database = PostgresDatabase(StoreConfig(url=url).server(), writable=True)
    try:
        with pytest.raises(StoreError, match=message):
            await begin(database, make=True)
    finally:
        await database.close()


# -- shares


class Played:
    """Replicas that run parts which do nothing, and what runs where."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.running: dict[str, list[str]] = {}
        self.twice: list[str] = []

    async def replica(self, outbox: Outbox, stop: Stop) -> None:
        assert outbox.leases
        mine = self.running.setdefault(outbox.leases.replica, [])

        async def run(lease: Lease, part_stop: Stop) -> None:
            if any(lease.name in held for held in self.running.values()):
                self.twice.append(lease.name)
            mine.append(lease.name)
            try:
                await part_stop.wait()
            finally:
                mine.remove(lease.name)

        runs: dict[str, Callable[[Lease, Stop], Awaitable[None]]] = dict.fromkeys(self.names, run)
        await Sharing(outbox.leases, runs).run(stop)

    def even(self, *counts: int) -> bool:
        return sorted(len(held) for held in self.running.values()) == sorted(counts)


async def test_a_hundred_sources_are_even_over_three_replicas_as_they_come_and_go(
    pg: Postgres,
) -> None:
    played = Played([f"sources.s{number:03}" for number in range(100)])
    stops = [Stop() for _ in range(3)]
    async with replicas(pg.database(), 3) as outboxes, anyio.create_task_group() as group:
        group.start_soon(played.replica, outboxes[0], stops[0])
        await until(lambda: played.even(100))
        group.start_soon(played.replica, outboxes[1], stops[1])
        group.start_soon(played.replica, outboxes[2], stops[2])
        await until(lambda: played.even(33, 33, 34))
        stops[0].request()
        await until(lambda: played.even(0, 50, 50))
        for stop in stops:
            stop.request()
    assert played.twice == []
    assert Counter(map(len, played.running.values())) == {0: 3}


async def test_what_is_taken_out_of_the_configuration_while_it_is_claimed_is_let_go(
    pg: Postgres,
) -> None:
    async def run(lease: Lease, stop: Stop) -> None:
        await stop.wait()

    async with replicas(pg.database(), 1) as (outbox,):
        assert outbox.leases
        sharing = Sharing(outbox.leases, {"sinks.a": run})
        with capture_logs() as said:
            async with anyio.create_task_group() as group:
                await sharing.share_once(group)
                sharing.swap({}, [])
        assert [line["event"] for line in said] == ["lease.taken", "lease.released"]


async def test_a_server_that_is_first_missed_when_a_part_is_let_go_is_told_of_once() -> None:
    async def run(lease: Lease, stop: Stop) -> None:
        await stop.wait()

    with postgres() as server:
        async with replicas(server.database(), 1) as (outbox,):
            assert outbox.leases
            sharing = Sharing(outbox.leases, {"sinks.a": run})
            with capture_logs() as said:
                async with anyio.create_task_group() as group:
                    await sharing.share_once(group)
                    await to_thread.run_sync(server.stop)
                    sharing.swap({"sinks.a": run}, ["sinks.a"])
                    await until(lambda: not sharing.held)
                    await sharing.share_once(group)
                    await to_thread.run_sync(server.start)
                    await sharing.share_once(group)
                    group.cancel_scope.cancel()
            told = [line["event"] for line in said if line["event"].startswith("store.")]
            assert told == ["store.unreachable", "store.recovered"]


async def test_whoever_cannot_have_the_store_alone_keeps_no_part_from_the_others(
    pg: Postgres,
) -> None:
    async with replicas(pg.database(), 2) as (once, starting):
        assert starting.leases
        await starting.leases.claim([HOUSE])  # so it is just about to be known
        with pytest.raises(StoreLocked, match="just starting"), ungrouped():
            async with anyio.create_task_group() as group:
                await group.start(alone, once, PARTS)
        assert len(await starting.leases.claim(PARTS)) == len(PARTS)
