import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from forwarder.formats.json import JsonFormat
from forwarder.sinks.file import FileSink, RotateOptions
from forwarder.sinks.file.appender import Appender
from forwarder.sinks.file.rotation import part_path, parts, tidy
from tests.fakes.events import ids, numbered
from tests.fakes.memory import FakeMemory

LINE = len(JsonFormat().encode(numbered(1).events[0])) + 1
HOUR = 3600.0
NOON = 1_790_000_000.0


class Clock:
    """Seconds since 1970, when the test says so."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Archive:
    """A file sink that rotates, the outbox's part of it, and all that it has written."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path = path
        self.clock = Clock()
        self.memory = FakeMemory()
        self.rotate = RotateOptions.model_validate({"compress": False, **options})
        self.sink = self.restart()

    def restart(self) -> FileSink:
        appender = Appender(
            self.path,
            rotate_size=self.rotate.size,
            rotate_age=self.rotate.age,
            clock=self.clock,
        )
        self.sink = FileSink(appender, JsonFormat(), self.memory, self.rotate)
        return self.sink

    async def deliver(self, count: int, *, first: int) -> None:
        receipt = await self.sink.send(numbered(count, first=first))
        assert receipt.memo is not None
        await self.memory.save(receipt.memo)

    def names(self) -> list[str]:
        return [part.name for _, part in parts(self.path)]

    def all_held(self) -> list[str]:
        return [each for part in self.held() for each in part]

    def held(self) -> list[list[str]]:
        found = [part for _, part in parts(self.path)] + [self.path]
        return [
            [json.loads(line)["event_id"] for line in read(each).splitlines()] for each in found
        ]


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def archive(path: Path) -> Iterator[Archive]:
    made = Archive(path, size=f"{3 * LINE}B", age="24h")
    yield made
    made.sink.close()


async def test_a_file_never_passes_the_size_unless_a_single_batch_does(archive):
    await archive.deliver(2, first=1)
    await archive.deliver(2, first=3)
    await archive.deliver(5, first=5)
    await archive.deliver(1, first=10)
    assert [len(part) for part in archive.held()] == [2, 2, 5, 1]
    assert archive.all_held() == ids(numbered(10))


async def test_a_file_is_rotated_with_the_first_batch_after_its_age(archive):
    await archive.deliver(1, first=1)
    archive.clock.now += 23 * HOUR
    archive.sink.close()
    archive.restart()
    await archive.deliver(1, first=2)
    archive.clock.now += 1 * HOUR
    await archive.deliver(1, first=3)
    assert [len(part) for part in archive.held()] == [2, 1]


async def test_the_age_counts_from_the_first_event_not_from_an_empty_file(archive):
    await archive.deliver(3, first=1)
    await archive.deliver(3, first=4)
    archive.clock.now += 24 * HOUR
    await archive.deliver(1, first=7)
    archive.clock.now += 23 * HOUR
    await archive.deliver(1, first=8)
    assert [len(part) for part in archive.held()] == [3, 3, 2]


async def test_parts_sort_by_name_even_when_the_clock_jumps_back(archive):
    for number in range(1, 5):
        await archive.deliver(3, first=3 * number)
        archive.clock.now -= 1 * HOUR
    names = archive.names()
    assert len(names) == 3
    assert names == sorted(names)
    assert archive.all_held() == ids(numbered(12, first=3))


async def test_a_part_is_named_after_its_number_and_time(archive):
    await archive.deliver(3, first=1)
    await archive.deliver(3, first=4)
    assert archive.names() == ["audit-000001-20260921T141320Z.jsonl"]


async def test_no_number_comes_twice_when_parts_were_taken_away(archive):
    for number in range(3):
        await archive.deliver(3, first=1 + 3 * number)
    for _, part in parts(archive.path):
        part.unlink()
    archive.sink.close()
    archive.restart()
    await archive.deliver(3, first=10)
    assert [number for number, _ in parts(archive.path)] == [3]


async def test_no_part_is_overwritten_when_the_outbox_is_new(archive):
    await archive.deliver(3, first=1)
    await archive.deliver(3, first=4)
    archive.sink.close()
    archive.memory.saved.clear()
    archive.restart()
    await archive.deliver(3, first=7)
    assert archive.all_held() == ids(numbered(9))


async def test_a_batch_not_settled_before_a_rotation_is_written_once(archive):
    await archive.deliver(2, first=1)
    await archive.sink.send(numbered(2, first=3))  # rotates, and is not settled
    archive.sink.close()
    archive.restart()
    await archive.deliver(3, first=3)
    assert archive.held() == [ids(numbered(2)), ids(numbered(3, first=3))]


async def test_parts_are_compressed_and_the_oldest_removed(path):
    archive = Archive(path, size=f"{LINE}B", compress=True, keep=2)
    for number in range(1, 6):
        await archive.deliver(1, first=number)
    archive.sink._background.shutdown()  # what was begun is ended
    assert [number for number, _ in parts(path)] == [3, 4]
    assert [part.suffix for _, part in parts(path)] == [".gz", ".gz"]
    assert archive.all_held() == ids(numbered(3, first=3))
    archive.sink.close()


def test_what_a_crash_left_of_a_compression_is_finished(path):
    whole, torn = part_path(path, 1, NOON), part_path(path, 2, NOON)
    whole.write_bytes(b"one\n")
    Path(f"{whole}.gz").write_bytes(gzip.compress(b"one\n"))  # renamed, the plain one still there
    torn.write_bytes(b"two\n")
    Path(f"{torn}.gz.tmp").write_bytes(b"\x1f\x8b torn")
    tidy(path, keep=None, compress=True, stopping=lambda: False)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        f"{whole.name}.gz",
        f"{torn.name}.gz",
    ]
    assert [read(part) for _, part in parts(path)] == [b"one\n", b"two\n"]


def test_a_compressed_part_has_the_mode_of_the_plain_one(path):
    part = part_path(path, 1, NOON)
    part.write_bytes(b"one\n")
    part.chmod(0o640)
    tidy(path, keep=None, compress=True, stopping=lambda: False)
    assert Path(f"{part}.gz").stat().st_mode & 0o777 == 0o640


def test_a_compression_that_is_stopped_leaves_the_part_as_it_was(path):
    part = part_path(path, 1, NOON)
    part.write_bytes(b"one\n")
    asked = iter([False, True])
    tidy(path, keep=None, compress=True, stopping=lambda: next(asked))
    assert [each.name for each in path.parent.iterdir()] == [part.name]


def test_what_cannot_be_tidied_is_told_and_left(path):
    part = part_path(path, 1, NOON)
    part.write_bytes(b"one\n")
    Path(f"{part}.gz.tmp").mkdir()
    with capture_logs() as logs:
        tidy(path, keep=None, compress=True, stopping=lambda: False)
    assert [entry["event"] for entry in logs] == ["parts.left_untidy"]
    assert part.read_bytes() == b"one\n"


def test_parts_of_other_files_are_not_taken_for_ours(path):
    for name in ("audit.jsonl.1", "audit-000001.jsonl", "other-000001-20260921T141320Z.jsonl"):
        path.with_name(name).touch()
    assert parts(path) == []
