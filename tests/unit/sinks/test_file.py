import fcntl
import json
import os
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from structlog.testing import capture_logs

from forwarder.errors import AccessError, TransientError
from forwarder.formats.json import JsonFormat
from forwarder.model import Batch, Event
from forwarder.sinks.file import FileConfig, FileSink
from tests.fakes.events import event, ids, numbered
from tests.fakes.memory import FakeMemory


@pytest.fixture
def memory() -> FakeMemory:
    return FakeMemory()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def opened(
    path: Path, memory: FakeMemory, **options: object
) -> AbstractAsyncContextManager[FileSink]:
    config = TypeAdapter(FileConfig).validate_python({"type": "file", "path": path, **options})
    return config.open(name="archive", format=JsonFormat(), memory=memory)


async def deliver(sink: FileSink, sent: Batch, memory: FakeMemory) -> None:
    receipt = await sink.send(sent)
    assert receipt.memo is not None
    await memory.save(receipt.memo)


def held(*paths: Path) -> list[str]:
    return [
        json.loads(line)["event_id"]
        for path in paths
        for line in path.read_bytes().split(b"\n")[:-1]
    ]


def said(logs: list) -> list[str]:
    return [entry["event"] for entry in logs]


async def test_a_batch_whose_receipt_was_not_settled_is_written_once(path, memory):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(3), memory)
        await sink.send(numbered(4, first=4))  # the outbox has no room for the receipt
        await deliver(sink, numbered(2, first=4), memory)
        await deliver(sink, numbered(2, first=6), memory)
    assert held(path) == ids(numbered(7))


async def test_a_batch_written_just_before_a_crash_is_written_once(path, memory):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(3), memory)
        await sink.send(numbered(4, first=4))
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(4, first=4), memory)
    assert held(path) == ids(numbered(7))


async def test_the_very_first_batch_cut_short_by_a_crash_is_written_once(path, memory):
    async with opened(path, memory) as sink:
        await sink.send(numbered(3))
    with path.open("ab") as torn:
        torn.write(b'{"version":1,"event_')
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(3), memory)
    assert held(path) == ids(numbered(3))


async def test_a_file_that_was_there_before_is_never_cut(path, memory):
    path.write_bytes(b"an older line\nand a torn o")
    async with opened(path, memory) as sink:
        await sink.send(numbered(2))
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(2), memory)
    older, torn, *lines = path.read_bytes().splitlines()
    assert (older, torn) == (b"an older line", b"and a torn o")
    assert [json.loads(line)["event_id"] for line in lines] == ids(numbered(2))


async def test_a_memo_of_another_kind_of_sink_counts_as_none(path, memory):
    path.write_bytes(b"an older line\n")
    await memory.save({"channel": "b7f5", "length": "0"})
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(1), memory)
    assert path.read_bytes().startswith(b"an older line\n")


async def test_another_file_with_the_same_inode_is_never_cut(path, memory):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(1), memory)
    kept = b"what somebody wrote in its place\n" * 200
    path.write_bytes(kept)
    with capture_logs() as logs:
        async with opened(path, memory) as sink:
            await deliver(sink, numbered(1, first=2), memory)
    assert path.read_bytes().startswith(kept)
    assert "file.replaced" in said(logs)


async def test_a_truncated_file_is_told_and_gone_on_with(path, memory):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(3), memory)
        os.truncate(path, 0)  # logrotate's copytruncate
        with capture_logs() as logs:
            await sink.send(numbered(2, first=4))
    assert said(logs) == ["file.shrunk"]
    async with opened(path, memory) as sink:  # the receipt was not settled
        await deliver(sink, numbered(2, first=4), memory)
    assert held(path) == ids(numbered(2, first=4))


async def test_lines_that_another_program_adds_meanwhile_stay(path, memory):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(1), memory)
        with path.open("ab") as other:
            other.write(b"a remark")
        await deliver(sink, numbered(1, first=2), memory)
        await sink.send(numbered(1, first=3))
        await deliver(sink, numbered(1, first=3), memory)
    first, remark, *others = path.read_bytes().splitlines()
    assert remark == b"a remark"
    lines = [first, *others]
    assert [json.loads(line)["event_id"] for line in lines] == ids(numbered(3))


async def test_a_renamed_file_is_followed_by_a_new_one_at_the_next_batch(path, memory, tmp_path):
    moved = tmp_path / "audit.jsonl.1"
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(2), memory)
        path.rename(moved)
        await deliver(sink, numbered(2, first=3), memory)
    assert held(moved) == ids(numbered(2))
    assert held(path) == ids(numbered(2, first=3))


async def test_what_was_not_settled_is_cut_off_a_file_renamed_since(path, memory, tmp_path):
    moved = tmp_path / "audit.jsonl.1"
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(2), memory)
        await sink.send(numbered(3, first=3))
    path.rename(moved)
    path.touch()
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(3, first=3), memory)
    assert held(moved, path) == ids(numbered(5))


async def test_what_was_not_settled_is_cut_off_the_old_path_when_the_path_changes(
    path, memory, tmp_path
):
    elsewhere = tmp_path / "elsewhere" / "events.jsonl"
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(2), memory)
        await sink.send(numbered(3, first=3))
    async with opened(elsewhere, memory) as sink:
        await deliver(sink, numbered(3, first=3), memory)
    assert held(path, elsewhere) == ids(numbered(5))


async def test_a_file_that_cannot_be_found_again_is_told(path, memory, tmp_path):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(2), memory)
    (tmp_path / "attic").mkdir()
    path.rename(tmp_path / "attic" / "audit.jsonl")
    with capture_logs() as logs:
        async with opened(path, memory) as sink:
            await deliver(sink, numbered(1, first=3), memory)
    assert said(logs) == ["file.lost"]
    assert held(path) == ids(numbered(1, first=3))


async def test_asked_to_reopen_it_goes_on_in_the_file_of_that_name(path, memory):
    async with opened(path, memory) as sink:
        await deliver(sink, numbered(1), memory)
        sink.reopen()
        await deliver(sink, numbered(1, first=2), memory)
    assert held(path) == ids(numbered(2))


async def test_an_event_that_cannot_be_encoded_is_refused_alone(path, memory):
    lone = event(2, action="a lone \ud800 surrogate")
    async with opened(path, memory) as sink:
        receipt = await sink.send(Batch((event(1), lone, event(3)), (1, 2, 3)))
    (rejection,) = receipt.rejections
    assert (rejection.event_id, rejection.reason) == (lone.event_id, "malformed")
    assert "surrogates not allowed" in rejection.detail
    assert held(path) == [event(1).event_id, event(3).event_id]


async def test_a_batch_of_which_nothing_can_be_written_touches_no_file(path, memory):
    async with opened(path, memory) as sink:
        receipt = await sink.send(Batch((event(1, action="\ud800"),), (1,)))
    assert len(receipt.rejections) == 1
    assert receipt.memo is None
    assert not path.exists()


async def test_a_format_that_breaks_a_line_does_not_break_the_file(path, memory):
    class TwoLines:
        media_type = "text/plain"

        def encode(self, event: Event) -> bytes:
            return b"first\nsecond" if event.event_id == numbered(1).events[0].event_id else b"one"

    config = FileConfig(type="file", path=path)
    async with config.open(name="archive", format=TwoLines(), memory=memory) as sink:
        receipt = await sink.send(numbered(2))
    assert [rejection.reason for rejection in receipt.rejections] == ["malformed"]
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("mode", ["0640", "0600", "0664"])
async def test_files_have_the_mode_that_was_asked_for_whatever_the_umask(tmp_path, memory, mode):
    path = tmp_path / "new" / "audit.jsonl"
    before = os.umask(0o077)
    try:
        async with opened(path, memory, mode=mode) as sink:
            await deliver(sink, numbered(1), memory)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o027 == 0


@pytest.mark.parametrize("mode", [640, "640", "0o640", "rw-r-----", "0444", "0646", "0888"])
def test_a_mode_that_makes_no_sense_is_refused(path, mode):
    with pytest.raises(ValidationError, match=r"mode|owner"):
        FileConfig(type="file", path=path, mode=mode)


async def test_a_file_that_another_process_writes_is_left_alone(path, memory):
    path.touch()
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        async with opened(path, memory) as sink:
            with pytest.raises(TransientError, match="another process") as caught:
                await sink.send(numbered(1))
            assert caught.value.remedy
            other.close()
            await deliver(sink, numbered(1), memory)
    assert held(path) == ids(numbered(1))


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda path: path.mkdir(), "folder"),
        (lambda path: path.symlink_to("elsewhere"), "name the file itself"),
        (os.mkfifo, "regular"),
    ],
    ids=["folder", "link", "pipe"],
)
async def test_what_is_no_regular_file_is_not_written_to(path, memory, make, remedy):
    make(path)
    async with opened(path, memory) as sink:
        for ask in (sink.probe, lambda: sink.send(numbered(1))):
            with pytest.raises(AccessError) as caught:
                await ask()
            assert remedy in caught.value.remedy
    assert not path.with_name("elsewhere").exists()


async def test_a_probe_makes_nothing(tmp_path, memory):
    path = tmp_path / "new" / "audit.jsonl"
    async with opened(path, memory) as sink:
        assert "does not exist yet" in await sink.probe()
        assert list(tmp_path.iterdir()) == []
        await deliver(sink, numbered(1), memory)
        assert f"{path.stat().st_size:,} bytes" in await sink.probe()
