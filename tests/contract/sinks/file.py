"""The file sink. No `break_down`: a full disk needs one, see integration/test_file_sink_disk.py."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from forwarder.formats.json import JsonFormat
from forwarder.interfaces import Memory, Sink
from forwarder.model import Event
from forwarder.sinks.file import FileConfig

LEVERS = frozenset({"lock_out", "refuse"})


class ChoosyFormat:
    """The json format, but for events that it cannot encode."""

    media_type = "application/json"

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def encode(self, event: Event) -> bytes:
        if event.event_id in self.refused:
            raise ValueError("the test refuses it")
        return JsonFormat().encode(event)


class FileDestination:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aside = folder.with_name("aside")
        self.config = FileConfig(type="file", path=folder / "audit.jsonl")
        self.format = ChoosyFormat()

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        return self.config.open(name="archive", format=self.format, memory=memory)

    async def held(self, count: int) -> Sequence[str]:
        if not self.config.path.exists():
            return []
        lines = self.config.path.read_bytes().splitlines()
        return [json.loads(line)["event_id"] for line in lines]

    async def lock_out(self) -> None:
        # A user's missing rights do not stop root, who may run the tests; this stops everybody.
        if self.folder.exists():
            self.folder.rename(self.aside)
        self.folder.write_text("a file where the folder should be")

    async def recover(self) -> None:
        self.folder.unlink()
        if self.aside.exists():
            self.aside.rename(self.folder)

    async def refuse(self, event_id: str) -> None:
        self.format.refused.add(event_id)


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[FileDestination]:
    yield FileDestination(tmp_path / "audit")
