"""Every errno that a call of the file sink can give, by the manual, at every such call."""

import errno
import fcntl
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from forwarder.interfaces import Memory, Sink
from forwarder.sinks.file import FileSink, RotateOptions
from forwarder.sinks.file.appender import Appender
from forwarder.sinks.file.place import Place
from tests.matrix.cell import Cell, Family, Outcome
from tests.matrix.destinations import JSON, FileDestination
from tests.matrix.world import World

ERRNOS = {
    # The sections ERRORS of Linux's manual pages, of pages 2, but for those that name a mistake
    # in the call itself (EBADF, EFAULT, EINVAL) and what EINTR means, which Python repeats.
    "open": "EACCES EDQUOT EISDIR ELOOP EMFILE ENAMETOOLONG ENFILE ENODEV ENOENT ENOMEM ENOSPC "
    "ENOTDIR ENXIO EOVERFLOW EPERM EROFS ETXTBSY ESTALE",
    "write": "EAGAIN EDQUOT EFBIG EIO ENOSPC EPERM EPIPE EROFS ESTALE",
    "fdatasync": "EIO ENOSPC EROFS EDQUOT",
    "fsync": "EIO ENOSPC EROFS EDQUOT",
    "rename": "EACCES EBUSY EDQUOT EISDIR ENOENT ENOMEM ENOSPC ENOTDIR EPERM EROFS EXDEV",
    "fstat": "EIO EOVERFLOW ENOMEM",
    "pread": "EIO",
    "flock": "EWOULDBLOCK ENOLCK EINTR EIO",
    "mkdir": "EACCES EDQUOT EMLINK ENAMETOOLONG ENOMEM ENOSPC ENOTDIR EPERM EROFS",
    "fchmod": "EIO EPERM EROFS",
}
_EACH = ("EIO",)
MADE = {
    "mkdir": 3,
    "open": 6,
    "fchmod": 3,
    "fsync": 3,
    "fstat": 19,
    "flock": 3,
    "pread": 11,
    "write": 3,
    "fdatasync": 3,
    "rename": 2,
}
"""How often three batches make each call; a test holds it."""
AFTER = ("write", "fdatasync", "rename")
"""What can be done and yet be reported as failed."""


class Failing:
    """An appender one of whose system calls fails, once: Python tells of each before it is made.

    `how` is ``before`` or ``after`` the call, or ``torn``: half of the bytes are written.
    """

    def __init__(
        self,
        appender: Appender,
        *,
        call: str,
        number: int,
        how: str,
        at: int,
        calls: Counter[str] | None = None,
    ) -> None:
        self.path = appender.path
        self.failed = False
        self._appender = appender
        self._call, self._number, self._how = call, number, how
        self._left = at
        self._calls = Counter() if calls is None else calls

    def put(self, lines: bytes, kept: Place | None) -> tuple[Place, bool]:
        if self.failed:
            return self._appender.put(lines, kept)
        sys.setprofile(self._profile)
        try:
            return self._appender.put(lines, kept)
        finally:
            sys.setprofile(None)

    def reopen(self) -> None:
        self._appender.reopen()

    def close(self) -> None:
        self._appender.close()

    def probe(self) -> str:
        return self._appender.probe()

    def _profile(self, frame: Any, happened: str, called: Any) -> None:
        if getattr(called, "__module__", None) not in (os.open.__module__, fcntl.__name__):
            return  # what writes the log
        self._calls[called.__name__ if happened == "c_call" else ""] += 1
        wanted = "c_return" if self._how == "after" else "c_call"
        if happened != wanted or called.__name__ != self._call or self.failed:
            return
        self._left -= 1
        if self._left:
            return
        self.failed = True
        if self._how == "torn":
            left = frame.f_locals["left"]
            os.write(frame.f_locals["descriptor"], left[: len(left) // 2])
        raise OSError(self._number, os.strerror(self._number))


class FailingFile(FileDestination):
    """A file that is rotated before the third batch, some call to which fails."""

    def __init__(self, folder: Path, **failing: Any) -> None:
        super().__init__(folder)
        self.path = folder / "deep" / "audit.jsonl"
        self._failing = failing
        self.appender: Failing | None = None

    @asynccontextmanager
    async def open(self, memory: Memory) -> AsyncIterator[Sink]:
        appender = Appender(self.path, rotate_size=14_000)
        self.appender = Failing(appender, **self._failing)
        rotate = RotateOptions(compress=False)
        sink = FileSink(self.appender, JSON, memory, rotate)  # type: ignore[arg-type]
        try:
            yield sink
        finally:
            sink.close()


async def failed(folder: Path, *, call: str, number: int, how: str, at: int) -> Outcome:
    destination = FailingFile(folder, call=call, number=number, how=how, at=at)
    world = World(folder, destination)
    async with world.life() as life:
        await life.poll()
        await life.deliver()
        if not destination.appender or not destination.appender.failed:
            world.failures.append("the call was never made")
    return await world.outcome()


async def made() -> dict[str, int]:
    """Return how often each call is made for three batches, where none fails."""
    calls: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        failing = {"call": "", "number": 0, "how": "before", "at": 0}
        destination = FailingFile(Path(folder), calls=calls, **failing)
        world = World(Path(folder), destination)
        async with world.life() as life:
            await life.poll()
            await life.deliver()
    return {call: calls[call] for call in ERRNOS}


def _cells() -> Iterator[tuple[str, str, str, Callable[[Path], Awaitable[Outcome]]]]:
    for call, names in ERRNOS.items():
        for name in names.split():
            hows = [
                "before",
                *(["after"] if call in AFTER else []),
                *(["torn"] * (call == "write")),
            ]
            for how in hows:
                places = range(1, MADE[call] + 1) if name in _EACH else (1, MADE[call])
                for at in sorted(set(places)):
                    said = {
                        "before": "",
                        "after": ", the call made",
                        "torn": ", half of it written",
                    }
                    fault = f"{name} from {call}{said[how]}"
                    play = partial(failed, call=call, number=getattr(errno, name), how=how, at=at)
                    yield fault, str(at), f"the file sink gets {fault} the {at} time", play


def families() -> list[Family]:
    title = "A call of the file sink fails"
    return [
        Family(
            title,
            "Three batches, with a new file before the second and the third; the column says which "
            "of the calls fails: EIO at each, the others at the first and the last. "
            "ftruncate is made only where another call has failed: see the crashes.",
            tuple(Cell(title, *each) for each in _cells()),
        )
    ]
