"""Dead letters of records, tried again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from forwarder.app.letters import replay_letters
from forwarder.config import load
from forwarder.model import Checkpoint, Record, Unreadable
from tests.fakes.events import BEGINNING
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.source import make_record

LEAST = {
    "FORWARDER_SOURCES__BITBUCKET__TYPE": "bitbucket_audit",
    "FORWARDER_SOURCES__BITBUCKET__URL": "https://bitbucket.example.com",
    "FORWARDER_SOURCES__BITBUCKET__TOKEN": "t",
    "FORWARDER_SINKS__ARCHIVE__TYPE": "file",
    "FORWARDER_SINKS__ARCHIVE__PATH": "/var/log/soteri-forwarder/audit.jsonl",
}


class Counted:
    """A source's configuration that counts how often it is opened; nothing can be read."""

    def __init__(self) -> None:
        self.opened = 0

    @asynccontextmanager
    async def open(self, *, name: str) -> AsyncIterator["Counted"]:
        self.opened += 1
        yield self

    def decode(self, original: bytes) -> Record | Unreadable:
        return Unreadable(original, "as before")


async def test_many_records_of_one_source_open_it_once(tmp_path: Path) -> None:
    none = tmp_path / "none"
    config, counted = load(None, LEAST, default_file=none, default_secrets=none), Counted()
    sources: dict[str, Any] = {"bitbucket": counted}
    outbox = MemoryOutbox()
    for source, bodies in (("bitbucket", (b"1", b"2", b"3")), ("gone", (b"4",))):
        unreadable = [Unreadable(body, "no JSON") for body in bodies]
        await outbox.append(source, [], Checkpoint(BEGINNING), unreadable=unreadable)
    letters = [letter async for letter in outbox.dead_letters()]
    done = await replay_letters(replace(config, sources=sources), outbox, letters)
    assert counted.opened == 1
    assert done.stay == (
        *(f"{number} stays: it still cannot be read: as before" for number in (1, 2, 3)),
        "4 stays: there is no source gone any more",
    )


class Generous(Counted):
    """A source that reads what nobody can write down again."""

    def decode(self, original: bytes) -> Record:
        return structs.replace(make_record(1), node="\ud800")


async def test_a_record_whose_event_cannot_be_written_stays(tmp_path: Path) -> None:
    none = tmp_path / "none"
    config = load(None, LEAST, default_file=none, default_secrets=none)
    sources: dict[str, Any] = {"bitbucket": Generous()}
    outbox = MemoryOutbox()
    await outbox.append("bitbucket", [], Checkpoint(BEGINNING), unreadable=[Unreadable(b"1", "?")])
    letters = [letter async for letter in outbox.dead_letters()]
    (said,) = (await replay_letters(replace(config, sources=sources), outbox, letters)).stay
    assert said.startswith("1 stays: it cannot be made an event: ")
