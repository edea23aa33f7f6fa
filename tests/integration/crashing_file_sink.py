"""Kills a process that writes with the file sink, between all of its system calls.

    python -m tests.integration.crashing_file_sink STORY FOLDER

plays STORY (see STORIES) once for each call, in a forked process that SIGKILLs itself there; then,
like the dispatcher after a restart, goes on from what was settled (killed once more on the way)
until all is delivered. Prints JSON: how many lives were ended, and what was wrong.
"""

import fcntl
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio._backends._asyncio  # before the forks, or each would import it
import structlog

from forwarder.errors import TransientError
from forwarder.formats.json import JsonFormat
from forwarder.sinks.file import FileConfig
from forwarder.sinks.file.rotation import parts
from tests.fakes.events import events, numbered

FOREIGN = b"a line of somebody else\nand a torn o"
CALLS = {
    *("open", "close", "write", "fsync", "fdatasync", "ftruncate", "fchmod", "pread"),
    *("rename", "replace", "unlink", "mkdir", "flock", "flush", "scandir", "listdir"),
}


class Ledger:
    """Memo and position in one file that is replaced whole: what the outbox is to a sink."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"position": 0, "memo": {}}
        return json.loads(self.path.read_bytes())

    def keep(self, position: int, memo: Mapping[str, Any]) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"position": position, "memo": dict(memo)}))
        fresh.replace(self.path)

    async def load(self) -> Mapping[str, Any]:
        return self.read()["memo"]

    async def save(self, memo: Mapping[str, Any]) -> None:
        self.keep(self.read()["position"], memo)


class Reaper:
    """Ends this process, with SIGKILL, right before the call that it is told.

    Right after a call is right before the next one: nothing of what lasts has changed in between.
    """

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __call__(self, frame: object, happened: str, called: Any) -> None:
        if happened != "c_call" or called.__name__ not in CALLS:
            return
        owner = getattr(called, "__module__", None) or type(called.__self__).__module__
        if owner in (os.open.__module__, fcntl.__name__, io.open.__module__):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

    def follow_this_process(self) -> None:
        threading.setprofile(self)
        sys.setprofile(self)


@dataclass(frozen=True)
class Story:
    total: int
    options: Mapping[str, Any]
    begin: Callable[[Path], None] = lambda path: None
    between: Callable[[Path, int], None] = lambda path, position: None
    existing: bytes = b""


def logrotate(path: Path, position: int) -> None:
    moved = path.with_name("audit.jsonl.1")
    if position >= 7 and not moved.exists():
        path.rename(moved)


def limit_size(path: Path, position: int) -> None:
    """Let a write end short in the middle of a line; sparing it the next time (see `live`)."""
    if position in (4, 9):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 2000, hard))


def write_existing(path: Path) -> None:
    path.write_bytes(FOREIGN)


STORIES = {
    "rotation": Story(11, {"rotate": {"size": "4kB"}}),
    "logrotate": Story(
        11, {"rotate": {"enabled": False}}, write_existing, logrotate, FOREIGN + b"\n"
    ),
    "full-disk": Story(12, {}, between=limit_size),
    "random": Story(3000, {"rotate": {"size": "300kB"}}),
}


async def live(folder: Path, story: Story, step: Callable[[int], int]) -> None:
    """Deliver what is not settled, as the dispatcher does."""
    ledger = Ledger(folder / "ledger.json")
    path = folder / "audit" / "audit.jsonl"
    config = FileConfig(type="file", path=path, **story.options)
    async with config.open(name="archive", format=JsonFormat(), memory=ledger) as sink:
        while (position := ledger.read()["position"]) < story.total:
            story.between(path, position)
            sent = numbered(min(step(position), story.total - position), first=position + 1)
            try:
                receipt = await sink.send(sent)
            except TransientError:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                receipt = await sink.send(sent)
            assert receipt.memo is not None
            ledger.keep(sent.last, receipt.memo)


def fork(life: Callable[[], None]) -> int:
    """Return the process that does `life` and exits with 0."""
    if child := os.fork():
        return child
    status = 1
    try:
        life()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def lived_through(folder: Path, story: Story, *, fatal: int, generation: int) -> bool:
    """Return whether a process came to its end before its fatal call."""

    def life() -> None:
        Reaper(fatal).follow_this_process()
        anyio.run(live, folder, story, lambda position: 1 + (position + 2 * generation) % 4)

    _, status = os.waitpid(fork(life), 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, f"a life ended with {status}"
    return True


def held(folder: Path) -> bytes:
    """Return all that was ever written, in order, through rotation and compression."""
    path = folder / "audit" / "audit.jsonl"
    if not path.parent.exists():
        return b""
    pieces = [path.with_name("audit.jsonl.1"), *(part for _, part in parts(path)), path]
    return b"".join(
        gzip.decompress(each.read_bytes()) if each.suffix == ".gz" else each.read_bytes()
        for each in pieces
        if each.exists()
    )


def lines(count: int) -> bytes:
    return b"".join(JsonFormat().encode(each) + b"\n" for each in events(count))


def begin(folder: Path, story: Story) -> None:
    (folder / "audit").mkdir(parents=True)
    story.begin(folder / "audit" / "audit.jsonl")


def at_every_call(folder: Path, story: Story) -> dict[str, Any]:
    wrong: list[str] = []
    fatal, over = 0, False
    while not over:
        fatal += 1
        here = folder / str(fatal)
        begin(here, story)
        over = lived_through(here, story, fatal=fatal, generation=0)
        settled = Ledger(here / "ledger.json").read()["position"]
        if settled and not held(here).startswith(story.existing + lines(settled)):
            wrong.append(f"call {fatal}: what was settled is not there after the crash")
        lived_through(here, story, fatal=1 + fatal * 7 % 97, generation=1)
        lived_through(here, story, fatal=-1, generation=2)
        if held(here) != story.existing + lines(story.total):
            wrong.append(f"call {fatal}: not exactly once, in order")
    return {"kills": fatal - 1, "wrong": wrong}


def at_random(folder: Path, story: Story) -> dict[str, Any]:
    draw = random.Random(7)
    kills = 0
    begin(folder, story)
    ledger = Ledger(folder / "ledger.json")
    while (position := ledger.read()["position"]) < story.total:
        child = fork(lambda: anyio.run(live, folder, story, lambda _: draw.randint(1, 60)))
        time.sleep(draw.uniform(0.005, 0.05))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        draw.seed(kills * 1000 + position)
    exact = held(folder) == story.existing + lines(story.total)
    return {"kills": kills, "wrong": [] if exact else ["not exactly once, in order"]}


def main(name: str, folder: Path) -> None:
    silent = structlog.make_filtering_bound_logger(50)
    structlog.configure(wrapper_class=silent)
    play = at_random if name == "random" else at_every_call
    print(json.dumps(play(folder, STORIES[name])))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
