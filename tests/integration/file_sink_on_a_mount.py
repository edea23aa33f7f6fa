"""Drives the file sink on a file system that fills up or is read-only; prints what it met.

python -m tests.integration.file_sink_on_a_mount STORY FOLDER

Run by test_file_sink_disk.py in a mount namespace of its own, as root there.
"""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import structlog

from forwarder.errors import ForwarderError
from forwarder.formats.json import JsonFormat
from forwarder.sinks.file import FileConfig
from tests.fakes.events import numbered
from tests.fakes.memory import FakeMemory


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def named(error: ForwarderError) -> list[str]:
    return [type(error).__name__, str(error), error.remedy]


async def fill_up(folder: Path) -> dict:
    """Send until the disk is full, ask and send again, make room, go on."""
    mount(folder, "size=1m")
    (folder / "ballast").write_bytes(bytes(400_000))
    path, memory, told = folder / "audit.jsonl", FakeMemory(), {}
    config = FileConfig(type="file", path=path)
    async with config.open(name="archive", format=JsonFormat(), memory=memory) as sink:
        sent = 0
        while "refused" not in told:
            try:
                receipt = await sink.send(numbered(100, first=sent + 1))
            except ForwarderError as error:
                told["refused"] = named(error)
            else:
                await memory.save(receipt.memo)
                sent += 100
        told["settled"], told["lines"] = sent, path.read_bytes().count(b"\n")
        told["torn"] = not path.read_bytes().endswith(b"\n")
        try:
            await sink.probe()
        except ForwarderError as error:
            told["probe"] = named(error)
        told["concerns"] = [each.found for each in await sink.concerns()]
        (folder / "ballast").unlink()
        await sink.send(numbered(100, first=sent + 1))
    expected = [JsonFormat().encode(each) for each in numbered(sent + 100).events]
    return {**told, "exact": path.read_bytes().splitlines() == expected}


async def be_read_only(folder: Path) -> dict:
    """Send to and probe a read-only file system, make it writable, go on."""
    mount(folder, "size=1m,ro")
    path, memory, told = folder / "deep" / "audit.jsonl", FakeMemory(), {}
    config = FileConfig(type="file", path=path)
    async with config.open(name="archive", format=JsonFormat(), memory=memory) as sink:
        for what, ask in {"probe": sink.probe, "refused": lambda: sink.send(numbered(5))}.items():
            try:
                await ask()
            except ForwarderError as error:
                told[what] = named(error)
        await anyio.run_process(["mount", "-o", "remount,rw", str(folder)])
        await sink.send(numbered(5))
    return {**told, "lines": path.read_bytes().count(b"\n")}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    story = {"full": fill_up, "read-only": be_read_only}[sys.argv[1]]
    print(json.dumps(anyio.run(story, Path(sys.argv[2]))))
