"""The outbox and its files: made, locked, shared, refused, full. As a script it plays a part."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path

import anyio
import pytest

from forwarder.errors import StoreError, StoreLocked, TransientError
from forwarder.interfaces import Outbox
from forwarder.model import Checkpoint, EventFilter, Receipt
from forwarder.store import StoreConfig
from forwarder.store.schema import STEPS
from forwarder.store.sqlite import SqliteDatabase
from tests.fakes.events import BEGINNING, event, events

ROOT = Path(__file__).parents[2]
MARK = Checkpoint(BEGINNING)


def at(path: Path) -> StoreConfig:
    return StoreConfig(url=f"sqlite:///{path}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


async def count(outbox: Outbox) -> int:
    return len([place async for place, _ in outbox.events(EventFilter())])


def place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def size_of(path: Path) -> int:
    return path.stat().st_size


async def refused(path: Path, *, lock: bool = True) -> StoreError:
    with pytest.raises(StoreError) as caught:
        async with at(path).open(lock=lock):
            pass
    return caught.value


# -- files and folders


async def test_a_missing_folder_is_made_and_everything_is_for_its_owner_only(path: Path) -> None:
    async with at(path).open() as outbox:
        await outbox.append("bitbucket", events(1), MARK)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {
        "outbox.db": 0o600,
        "outbox.db-wal": 0o600,
        "outbox.db-shm": 0o600,
        "outbox.db.lock": 0o600,
    }


async def test_everything_is_there_again_when_it_is_opened_again(path: Path) -> None:
    async with at(path).open() as outbox:
        await outbox.append("bitbucket", events(3), MARK)
        batch = await outbox.read("splunk", limit=2, max_bytes=10**6)
        assert batch is not None
        await outbox.settle("splunk", batch, Receipt(memo={"a": 1}))
    async with at(path).open() as outbox:
        assert await outbox.checkpoint("bitbucket") == MARK
        assert (await outbox.backlog("splunk")).events == 1
        assert await outbox.memory("splunk").load() == {"a": 1}
        assert len(await outbox.append("bitbucket", events(3), MARK)) == 0


async def test_a_path_with_odd_letters_works(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%e'é" / "x&mode=memory.db"
    async with at(path).open() as outbox:
        await outbox.append("bitbucket", events(1), MARK)
    assert path.exists()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    notes = b"this is no database, but somebody's notes\n" * 500
    place(path, notes)
    for lock in (True, False):
        error = await refused(path, lock=lock)
        assert str(path) in str(error)
        assert "no database" in error.remedy
    assert content_of(path) == notes


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as theirs:
        theirs.execute("create table bookmarks (a)")
    theirs.close()
    error = await refused(path)
    assert f"the store {path} is another program's database" in str(error)
    with sqlite3.connect(path) as theirs:
        assert theirs.execute("select name from sqlite_master").fetchall() == [("bookmarks",)]
    theirs.close()


async def test_a_store_of_a_later_release_is_refused(path: Path) -> None:
    async with at(path).open():
        pass
    with sqlite3.connect(path) as raw:
        raw.execute("update schema_version set version = ?", (len(STEPS) + 1,))
    raw.close()
    for lock in (True, False):
        error = await refused(path, lock=lock)
        assert str(path) in str(error)
        assert "a later release has written it" in str(error)
        assert error.remedy


async def test_a_damaged_database_is_named_with_what_to_do(path: Path) -> None:
    async with at(path).open() as outbox:
        await outbox.append("bitbucket", events(2000), MARK)
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(b"\xff" * (size_of(path) - 40_000))
    with pytest.raises(StoreError) as caught:
        async with at(path).open() as outbox:
            await count(outbox)
    assert str(path) in str(caught.value)
    assert "damaged" in caught.value.remedy


async def test_a_folder_in_the_place_of_the_file_is_refused(path: Path) -> None:
    place(path / "file", b"")
    error = await refused(path)
    assert str(path) in str(error)
    assert error.remedy


async def test_a_file_in_the_place_of_the_folder_is_refused(path: Path) -> None:
    path.parent.write_text("")
    error = await refused(path)
    assert f"the folder {path.parent} for the store cannot be made" in str(error)


async def test_a_store_that_is_busy_at_the_start_is_refused_with_a_remedy(path: Path) -> None:
    async with at(path).open():
        pass
    browser = sqlite3.connect(path, isolation_level=None)
    browser.execute("begin exclusive")
    browser.execute("update places set last = 0")
    error = await refused(path)
    assert type(error) is StoreError
    assert f"the store {path} is busy" in str(error)
    assert "backup" in error.remedy
    browser.close()


# -- one process that writes, others that read


@contextmanager
def script(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Play a part of this file in another process."""
    command = [sys.executable, "-W", "error", "-m", "tests.integration.test_store_files"]
    process = subprocess.Popen(
        [*command, *(str(each) for each in arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.real
async def test_a_second_process_says_that_another_one_runs_and_which(path: Path) -> None:
    with script("hold", path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid} on ") as caught:
            async with at(path).open():
                pass
        assert "stop it first" in caught.value.remedy
        async with at(path).open(lock=False) as outbox:
            assert await count(outbox) == 3
            assert (await outbox.status()).sources["bitbucket"].stored == 3


@pytest.mark.real
async def test_a_killed_process_leaves_no_lock_and_all_that_it_had_stored(path: Path) -> None:
    with script("hold", path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
    async with at(path).open(lock=False) as outbox:
        assert await count(outbox) == 3
    async with at(path).open() as outbox:
        assert await count(outbox) == 3


async def test_reading_makes_no_store_where_there_is_none(path: Path) -> None:
    error = await refused(path, lock=False)
    assert str(error) == f"there is no store at {path}"
    assert "soteri-forwarder run" in error.remedy
    assert not path.parent.exists()


async def test_reading_an_empty_file_says_what_to_do(path: Path) -> None:
    place(path, b"")
    error = await refused(path, lock=False)
    assert str(error) == f"the store {path} is empty"
    assert content_of(path) == b""


async def test_reading_sees_what_is_stored_meanwhile_and_can_change_nothing(path: Path) -> None:
    async with at(path).open() as daemon:
        await daemon.append("bitbucket", events(1), MARK)
        async with at(path).open(lock=False) as reader:
            assert await count(reader) == 1
            await daemon.append("bitbucket", events(2), MARK)
            assert await count(reader) == 2
            with pytest.raises(StoreError, match="for reading only"):
                await reader.register("splunk")


# -- no room, busy


async def test_a_full_store_changes_nothing_and_goes_on_when_there_is_room(path: Path) -> None:
    async with at(path).open() as outbox:
        await outbox.append("bitbucket", events(100), MARK)
        database: SqliteDatabase = outbox._database  # type: ignore[attr-defined]
        await database.write(partial(_limit, pages=40))
        later = Checkpoint(BEGINNING.replace(year=2027))
        for _ in range(3):
            with pytest.raises(TransientError, match="no room") as caught:
                await outbox.append("bitbucket", events(3000), later)
            assert "make room" in caught.value.remedy
        assert await outbox.checkpoint("bitbucket") == MARK
        assert await count(outbox) == 100
        await database.write(partial(_limit, pages=2**30))
        assert len(await outbox.append("bitbucket", events(3000), later)) == 2900
        assert (await outbox.backlog("splunk")).events == 3000


def _limit(connection: object, pages: int) -> None:
    connection.exec_driver_sql(f"pragma max_page_count = {pages}")  # type: ignore[attr-defined]


async def test_a_file_that_another_program_writes_to_is_busy_and_then_works(path: Path) -> None:
    async with at(path).open():
        pass
    database = SqliteDatabase(path, writable=True, busy_timeout=0.01)
    browser = sqlite3.connect(path, isolation_level=None)
    browser.execute("begin immediate")
    with pytest.raises(TransientError, match="is busy"):
        await database.write(lambda _: None)
    browser.execute("rollback")
    await database.write(lambda _: None)
    browser.close()
    await database.close()


@pytest.mark.real
@pytest.mark.parametrize("part", ["full", "read-only"])
def test_a_real_disk_that_is_full_or_read_only_is_survived_and_named(part: str) -> None:
    """The part runs on a tmpfs of 4 MiB in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    assert unshare, "unshare is missing: apt-get install util-linux"
    folder = Path(tempfile.mkdtemp(prefix="forwarder-disk-"))
    command = [
        *(unshare, "--mount", "--map-root-user", "--propagation", "private", "sh", "-ec"),
        'mount -t tmpfs -o size=4m tmpfs "$1"; shift; exec "$@"',
        *("sh", str(folder), sys.executable, "-W", "error"),
        *("-m", "tests.integration.test_store_files", part, str(folder)),
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        folder.rmdir()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "survived\n"


# -- cancellation


async def test_a_cancelled_append_is_stored_whole_or_not_at_all(path: Path) -> None:
    async with at(path).open() as outbox:
        for turn in range(10):
            last = await outbox.checkpoint("bitbucket")
            before = 0 if last is None else int(last.extra["count"])
            mark = Checkpoint(BEGINNING, {"count": before + 500})
            some = events(500, first=before + 1)
            with anyio.move_on_after(turn * 0.002):
                await outbox.append("bitbucket", some, mark)
            found = await outbox.checkpoint("bitbucket")
            stored = 0 if found is None else int(found.extra["count"])
            assert await count(outbox) == stored
            assert stored in {before, before + 500}


async def test_a_cancelled_daemon_leaves_one_whole_file_and_no_lock(path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with at(path).open() as outbox:
            await outbox.append("bitbucket", events(3), MARK)
            scope.cancel()
            await anyio.sleep_forever()
    assert names(path.parent) == ["outbox.db", "outbox.db.lock"]
    async with at(path).open() as outbox:
        assert await count(outbox) == 3


# -- shrinking


async def test_room_is_given_back_to_the_disk_once_much_was_forgotten(path: Path) -> None:
    async with at(path).open() as outbox:
        large = [event(n, original=b'"' + b"x" * 100_000 + b'"') for n in range(200)]
        await outbox.append("bitbucket", large, MARK)
        while batch := await outbox.read("splunk", limit=1000, max_bytes=10**9):
            await outbox.settle("splunk", batch, Receipt())
        before = await outbox.size()
        forgotten = 0
        later = BEGINNING.replace(year=9999)
        while found := await outbox.prune(stored_before=later, sinks=["splunk"]):
            forgotten += found
        assert forgotten == 200
        assert await outbox.size() < before / 2
    assert size_of(path) < before / 2


async def test_what_somebody_else_asks_for_wakes_a_sink_that_waits(path: Path) -> None:
    async with at(path).open() as daemon:
        await daemon.append("bitbucket", events(3), MARK)
        batch = await daemon.read("splunk", limit=3, max_bytes=10**6)
        assert batch
        await daemon.settle("splunk", batch, Receipt())
        with anyio.fail_after(20):
            async with (
                at(path).open(lock=False, write=True) as verb,
                anyio.create_task_group() as group,  # ends where `wait` does
            ):
                group.start_soon(daemon.wait, "splunk")
                for _ in range(3):  # it has looked by now
                    await daemon.backlog("splunk")
                assert await verb.ask_replay(await verb.plan_replay("splunk", EventFilter()))
        again = await daemon.read_replay("splunk", limit=3, max_bytes=10**6)
        assert again
        assert len(again) == 3


# -- the parts that are played in other processes


async def hold(path: Path) -> None:
    async with at(path).open() as outbox:
        await outbox.append("bitbucket", events(3), MARK)
        print("held", flush=True)
        await anyio.sleep_forever()


async def fill(outbox: Outbox) -> int:
    """Append until there is no room; return how many events are stored then."""
    with pytest.raises(TransientError, match="no room") as caught:
        await append_many(outbox)
    assert "make room" in caught.value.remedy
    return await count(outbox)


async def append_many(outbox: Outbox) -> None:
    stored = await count(outbox)
    while stored < 10_000:
        stored += len(await outbox.append("bitbucket", events(50, first=stored + 1), MARK))


async def full(folder: Path) -> None:
    async with at(folder / "outbox.db").open() as outbox:
        stored = await fill(outbox)
        assert stored > 500
        for _ in range(3):
            assert await fill(outbox) == stored
            assert (await outbox.backlog("splunk")).events == stored
            assert await outbox.read("splunk", limit=10, max_bytes=10**6)
    remove(folder / "outbox.db")
    async with at(folder / "outbox.db").open() as outbox:
        await outbox.append("bitbucket", events(10), MARK)
        take_all_room(folder / "filler")
        stored = await fill(outbox)
        remove(folder / "filler")
        assert len(await outbox.append("bitbucket", events(100, first=stored + 1), MARK)) == 100
        assert await count(outbox) == stored + 100
    print("survived")


def take_all_room(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while _written(file):
            pass


def _written(file: FileIO) -> int:
    with suppress(OSError):
        return file.write(b"x" * 4096)
    return 0


def remove(path: Path) -> None:
    path.unlink()


async def read_only(folder: Path) -> None:
    async with at(folder / "kept.db").open() as outbox:
        await outbox.append("bitbucket", events(3), MARK)
    await anyio.run_process(["mount", "-o", "remount,ro", str(folder)])
    for path in (folder / "kept.db", folder / "new.db", folder / "sub" / "new.db"):
        error = await refused(path)
        assert "Read-only file system" in str(error), error
        assert str(folder) in str(error)
        assert error.remedy
    error = await refused(folder / "kept.db", lock=False)
    assert "writable" in error.remedy
    print("survived")


async def test_what_a_store_without_the_last_commits_gives_other_places_to_is_not_passed_over(
    tmp_path: Path,
) -> None:
    """A batch is under way when a standby that lacks its events takes over, or a copy does."""
    async with (
        at(tmp_path / "lost.db").open() as lost,
        at(tmp_path / "standby.db").open() as outbox,
    ):
        for each in (lost, outbox):
            await each.append("bitbucket", events(3), MARK)
            batch = await each.read("siem", limit=10, max_bytes=10**6)
            assert batch
            await each.settle("siem", batch, Receipt())
        await lost.append("bitbucket", events(3, first=4), MARK)
        under_way = await lost.read("siem", limit=10, max_bytes=10**6)
        assert under_way
        await outbox.settle("siem", under_way, Receipt())
        assert (await outbox.backlog("siem")).events == 0
        late = event(100)
        await outbox.append("bitbucket", [late, *events(3, first=4)], MARK)
        await outbox.settle("siem", under_way, Receipt())
        batch = await outbox.read("siem", limit=10, max_bytes=10**6)
    assert batch
    assert [each.event_id for each in batch.events] == [
        each.event_id for each in (late, *events(3, first=4))
    ]


if __name__ == "__main__":
    parts = {"hold": hold, "full": full, "read-only": read_only}
    anyio.run(parts[sys.argv[1]], Path(sys.argv[2]))
