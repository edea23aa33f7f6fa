"""A store is moved from SQLite to PostgreSQL and back, and all goes on where it was."""

import asyncio
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from forwarder.errors import StoreError, StoreLocked
from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, EventFilter, Receipt, Rejection, Unreadable
from forwarder.store import StoreConfig
from forwarder.store.moving import Moved, move
from tests.acceptance.command import Forwarder
from tests.fakes.events import BEGINNING, events
from tests.receivers.postgres import Postgres

pytestmark = pytest.mark.real
MARK = Checkpoint(BEGINNING, {"deep": [1, {"a": None}]})


async def fill(outbox: Outbox) -> None:
    await outbox.append("bitbucket", events(1200), MARK, unreadable=[Unreadable(b"\x00\xff", "?")])
    for sink in ("splunk", "siem"):
        await outbox.register(sink)
    batch = await outbox.read("splunk", limit=700, max_bytes=10**8)
    assert batch
    refused = Rejection(batch.events[3].event_id, "malformed", "it said \0 and more")
    await outbox.settle("splunk", batch, Receipt((refused,), memo={"length": 5}))
    plan = await outbox.plan_replay("splunk", EventFilter(kinds=("hook.*",)))
    assert await outbox.ask_replay(plan)
    await outbox.note("sinks.splunk", state="retrying", error="away")


async def held(outbox: Outbox) -> dict[str, object]:
    status = await outbox.status()
    return {
        "status": (status.sources, status.sinks, status.dead_letters, status.events),
        "events": [(place, event) async for place, event in outbox.events(EventFilter())],
        "letters": [
            (each.id, each.source, each.sink, each.body, each.reason)
            async for each in outbox.dead_letters()
        ],
        "checkpoint": await outbox.checkpoint("bitbucket"),
        "memo": await outbox.memory("splunk").load(),
        "replay": await outbox.read_replay("splunk", limit=10, max_bytes=10**8),
        "next": await outbox.read("siem", limit=10, max_bytes=10**8),
    }


def quiet(_table: str, _done: int, _total: int) -> None:
    pass


async def test_everything_moves_to_postgresql_and_back_and_goes_on_where_it_was(
    tmp_path: Path, pg: Postgres
) -> None:
    first = StoreConfig(url=f"sqlite:///{tmp_path}/first.db")
    server = StoreConfig(url=pg.database())
    last = StoreConfig(url=f"sqlite:///{tmp_path}/last.db")
    async with first.open() as outbox:
        await fill(outbox)
        before = await held(outbox)
    shown: list[tuple[str, int, int]] = []
    moved = await move(first, server, dry_run=False, progress=lambda *step: shown.append(step))
    assert all(each.found == each.moved for each in moved)
    assert Moved("events", 1200, 1200) in moved
    assert ("events", 1200, 1200) in shown
    async with server.open() as outbox:
        assert await held(outbox) == before
        # Places, chain and numbers go on.
        await outbox.append("bitbucket", events(1203), MARK, unreadable=[Unreadable(b"!", "?")])
        between = await held(outbox)
        assert len(between["events"]) == 1203  # type: ignore[arg-type]
        assert len(between["letters"]) == 3  # type: ignore[arg-type]
    await move(server, last, dry_run=False, progress=quiet)
    async with last.open() as outbox:
        assert await held(outbox) == between


async def send_again(outbox: Outbox) -> int:
    """Have all that the sink has taken sent again, and taken; return the replay's number."""
    number = await outbox.ask_replay(await outbox.plan_replay("siem", EventFilter()))
    while batch := await outbox.read_replay("siem", limit=10, max_bytes=10**8):
        await outbox.settle("siem", batch, Receipt())
    return number


async def test_what_was_sent_again_before_a_move_can_be_sent_again_after_it(
    tmp_path: Path, pg: Postgres
) -> None:
    """What is sent again is remembered by its number, which nothing else may get."""
    stores = [
        StoreConfig(url=f"sqlite:///{tmp_path}/first.db"),
        StoreConfig(url=f"sqlite:///{tmp_path}/second.db"),
        StoreConfig(url=pg.database()),
        StoreConfig(url=pg.database()),
        StoreConfig(url=f"sqlite:///{tmp_path}/last.db"),
    ]
    async with stores[0].open() as outbox:
        await outbox.append("bitbucket", events(25), MARK)
        batch = await outbox.read("siem", limit=25, max_bytes=10**8)
        assert batch
        await outbox.settle("siem", batch, Receipt())
        numbers = [await send_again(outbox)]
    for source, target in pairwise(stores):
        await move(source, target, dry_run=False, progress=quiet)
        async with target.open() as outbox:
            numbers.append(await send_again(outbox))
    assert numbers == sorted(set(numbers))


async def test_a_store_that_is_not_empty_is_left_as_it_is(tmp_path: Path, pg: Postgres) -> None:
    file = StoreConfig(url=f"sqlite:///{tmp_path}/file.db")
    server = StoreConfig(url=pg.database())
    for store in (file, server):
        async with store.open() as outbox:
            await outbox.append("bitbucket", events(3), MARK)
    for dry_run in (True, False):
        with pytest.raises(StoreError, match="not empty"):
            await move(file, server, dry_run=dry_run, progress=quiet)
        with pytest.raises(StoreError, match="not empty"):
            await move(server, file, dry_run=dry_run, progress=quiet)
    async with server.open() as outbox:
        assert (await outbox.status()).events == 3


async def test_a_file_with_nothing_in_it_is_free_to_move_to(tmp_path: Path) -> None:
    first = StoreConfig(url=f"sqlite:///{tmp_path}/first.db")
    target = StoreConfig(url=f"sqlite:///{tmp_path}/target.db")
    async with first.open() as outbox:
        await outbox.append("bitbucket", events(3), MARK)
    (tmp_path / "target.db").touch()
    for dry_run in (True, False):
        await move(first, target, dry_run=dry_run, progress=quiet)
    async with target.open() as outbox:
        assert (await outbox.status()).events == 3


async def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = StoreConfig(url=f"sqlite:///{tmp_path}/nowhere/file.db")
    target = StoreConfig(url=f"sqlite:///{tmp_path}/file.db")
    with pytest.raises(StoreError, match=f"there is no folder {tmp_path}/nowhere") as caught:
        await move(nowhere, target, dry_run=True, progress=quiet)
    assert "[store] url" in caught.value.remedy


async def test_what_is_interrupted_leaves_the_other_store_empty(
    tmp_path: Path, pg: Postgres
) -> None:
    file = StoreConfig(url=f"sqlite:///{tmp_path}/file.db")
    server = StoreConfig(url=pg.database())
    async with file.open() as outbox:
        await fill(outbox)

    def fail(table: str, done: int, _total: int) -> None:
        if table == "events" and done == 1000:
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        await move(file, server, dry_run=False, progress=fail)
    await move(file, server, dry_run=False, progress=quiet)
    async with server.open() as outbox:
        assert (await outbox.status()).events == 1200


async def test_ctrl_c_ends_a_move_before_anything_is_in_the_other_store(tmp_path: Path) -> None:
    """Ctrl-C cancels the task, and not the thread that copies."""
    file = StoreConfig(url=f"sqlite:///{tmp_path}/file.db")
    other = StoreConfig(url=f"sqlite:///{tmp_path}/other.db")
    async with file.open() as outbox:
        await fill(outbox)
    loop = asyncio.get_running_loop()
    is_pressed = Event()

    def cancel() -> None:
        moving.cancel()
        is_pressed.set()

    def press(table: str, done: int, _total: int) -> None:
        if table == "events" and done == 500:
            loop.call_soon_threadsafe(cancel)
            assert is_pressed.wait(10)

    moving = asyncio.create_task(move(file, other, dry_run=False, progress=press))
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert Moved("events", 1200, 1200) in await move(file, other, dry_run=False, progress=quiet)


async def test_nothing_moves_while_a_forwarder_runs(tmp_path: Path, pg: Postgres) -> None:
    file = StoreConfig(url=f"sqlite:///{tmp_path}/file.db")
    server = StoreConfig(url=pg.database())
    async with file.open():
        with pytest.raises(StoreLocked):
            await move(file, server, dry_run=False, progress=quiet)
    async with server.open() as shared:
        assert shared.leases
        await shared.leases.renew(["sources.a"], [])
        with pytest.raises(StoreLocked, match=shared.leases.replica):
            await move(server, file, dry_run=False, progress=quiet)


async def test_a_file_that_is_a_link_is_in_use_by_either_name(tmp_path: Path) -> None:
    names = [tmp_path / "elsewhere.db", tmp_path / "link.db"]
    names[1].symlink_to(names[0])
    stores = [StoreConfig(url=f"sqlite:///{name}") for name in names]
    target = StoreConfig(url=f"sqlite:///{tmp_path}/target.db")
    async with stores[1].open():
        for store in stores:
            assert await store.in_use()
            with pytest.raises(StoreLocked):
                await move(store, target, dry_run=False, progress=quiet)
    assert not await stores[1].in_use()


async def test_the_verb_says_what_moves_and_then_what_has_moved(
    tmp_path: Path, pg: Postgres
) -> None:
    config = (
        '[sources.b]\ntype = "bitbucket_audit"\nurl = "http://127.0.0.1:1"\ntoken = "x"\n'
        f'[store]\nurl = "sqlite:///{tmp_path}/file.db"\n'
        f'[sinks.archive]\ntype = "file"\npath = "{tmp_path}/audit.jsonl"\n'
    )
    async with StoreConfig(url=f"sqlite:///{tmp_path}/file.db").open() as outbox:
        await fill(outbox)
    forwarder = Forwarder(tmp_path, config)
    url = pg.database()
    dry = await forwarder.run("move-store", "--to", url, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert b"events: 1,200\n" in dry.stdout
    assert b"nothing was written" in dry.stdout
    done = await forwarder.run("move-store", "--to", url)
    assert done.returncode == 0, done.stderr
    assert b"events: 1,200 found, 1,200 moved\n" in done.stdout
    again = await forwarder.run("move-store", "--to", url)
    assert again.returncode == 74
    assert b"not empty" in again.stderr
