"""The sink `file`: one line an event, each exactly once, whatever crashes.

`appender.py` says why that holds, `rotation.py` what becomes of full files, `place.py` how a file
is known again. The file is the forwarder's own: what others add to it while the forwarder is
stopped cannot be told from an unfinished write and is cut off at the next start.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from threading import Event as Flag
from typing import Annotated, Any, Final, Literal

import anyio
from anyio.to_thread import run_sync
from pydantic import BeforeValidator, Field, WithJsonSchema

from forwarder.errors import TransientError
from forwarder.interfaces import Format, Memory
from forwarder.model import Batch, Concern, Receipt, Rejection
from forwarder.options import Duration, Options, SinkOptions, Size, as_written
from forwarder.sinks.file.appender import Appender
from forwarder.sinks.file.failures import named_failures
from forwarder.sinks.file.place import Place
from forwarder.sinks.file.reading import event_ids
from forwarder.sinks.file.rotation import tidy

_IDS_AT_ONCE: Final = 10_000
_TRIES: Final = 5
"""Two places to save are ordinary (a first file, then a rotation); more mean company."""


def _parse_mode(text: object) -> int:
    if isinstance(text, str) and len(text) == 4 and text[0] == "0" and set(text) <= set("01234567"):
        mode = int(text, 8)
        if mode & 0o600 == 0o600 and not mode & 0o002:
            return mode
        raise ValueError(f'"{text}" must let the owner read and write, and not everybody write')
    raise ValueError(f'"{text}" is not a file mode: write four octal digits, such as "0640"')


Mode = Annotated[
    int,
    BeforeValidator(_parse_mode),
    WithJsonSchema({"type": "string", "pattern": "^0[67][0-7][0145]$", "examples": ["0640"]}),
]


class RotateOptions(Options):
    """When a file is full and what becomes of it; a part is never cut inside a batch."""

    enabled: bool = Field(
        default=True, description="false leaves it to logrotate: no copytruncate, delaycompress."
    )
    size: Size = Field(
        default=as_written("100MiB"),
        gt=0,
        description="Rotate before a batch would pass this size.",
    )
    age: Duration | None = Field(
        default=None, gt=0, description="Rotate with the first batch after this time too."
    )
    keep: int | None = Field(
        default=None, ge=1, description="Remove the oldest parts over this number; unset: none."
    )
    compress: bool = Field(default=True, description="Compress parts with gzip, in the background.")


class FileConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "file"``."""

    type: Literal["file"]
    path: Path = Field(description="The file; its folder is made (0750) if need be.")
    mode: Mode = Field(default=as_written("0640"), description="Of files that we make, octal.")
    fsync: bool = Field(
        default=True,
        description="Have each batch on disk before it counts; false may lose some to a power cut.",
    )
    rotate: RotateOptions = RotateOptions()

    @asynccontextmanager
    async def open(
        self,
        *,
        name: str,  # noqa: ARG002  every sink is given it
        format: Format,  # noqa: A002  the word for it
        memory: Memory,
    ) -> AsyncIterator["FileSink"]:
        """Yield the sink; the disk is first touched by `send`, so a bad disk is no bad start."""
        rotate = self.rotate
        appender = Appender(
            self.path.absolute(),
            mode=self.mode,
            fsync=self.fsync,
            rotate_size=rotate.size if rotate.enabled else None,
            rotate_age=rotate.age if rotate.enabled else None,
        )
        sink = FileSink(appender, format, memory, rotate)
        try:
            yield sink
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(sink.close)


class FileSink:
    """Lines in a file. Exactly once, given that the outbox settles memo and position together."""

    def __init__(
        self, appender: Appender, line_format: Format, memory: Memory, rotate: RotateOptions
    ) -> None:
        self._appender = appender
        self._format = line_format
        self._memory = memory
        self._rotate = rotate
        self._stopping = Flag()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="file-parts")
        self._tidied: int | None = None

    async def send(self, batch: Batch) -> Receipt:
        """Return when the lines are in the file, on disk if so configured.

        Before that, what an earlier, unsettled `send` has left there is cut off.

        Raises:
            TransientError: no room, or the disk fails; no torn line stays.
            AccessError: the file may not be written.
        """
        lines, rejections = self._lines(batch)
        if not lines:
            return Receipt(rejections)
        for _ in range(_TRIES):
            kept = Place.of(await self._memory.load())
            place, written = await run_sync(self._appender.put, lines, kept)
            if written:
                self._tidy_after(place.part)
                return Receipt(rejections, memo=place.memo())
            await self._memory.save(place.memo())
        raise TransientError(
            f"{self._appender.path}: another program keeps writing to it",
            remedy="give the forwarder a file of its own",
        )

    async def probe(self) -> str:
        """Return one line about file, size and room, having made nothing."""
        return await run_sync(self._appender.probe)

    async def concerns(self) -> list[Concern]:
        """Return whether the disk is nearly full."""
        return await run_sync(self._appender.concerns)

    async def holds(self, since: datetime, until: datetime) -> AsyncIterator[str]:
        """Yield the ids of the file's lines, rotated and compressed parts included."""
        found = event_ids(self._appender.path, since, until)
        while ids := await run_sync(_some, found, self._appender.path):
            for event_id in ids:
                yield event_id

    def reopen(self) -> None:
        """Open the path afresh with the next batch (SIGHUP, after logrotate's rename)."""
        self._appender.reopen()

    def close(self) -> None:
        """Give file and thread back; a compression under way is left for the next start."""
        self._stopping.set()
        self._background.shutdown(cancel_futures=True)
        self._appender.close()

    def _lines(self, batch: Batch) -> tuple[bytes, tuple[Rejection, ...]]:
        encode = self._format.encode
        try:
            lines = [encode(event) for event in batch.events]
        except Exception:  # noqa: BLE001  found again and named below
            lines = []
        if not lines or any(b"\n" in line for line in lines):
            return self._lines_one_by_one(batch)
        lines.append(b"")
        return b"\n".join(lines), ()

    def _lines_one_by_one(self, batch: Batch) -> tuple[bytes, tuple[Rejection, ...]]:
        lines = bytearray()
        rejections = []
        for event in batch.events:
            try:
                line = self._format.encode(event)
                if b"\n" in line:
                    raise ValueError("the format gave more than one line")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001  a format from elsewhere may raise anything
                detail = f"{type(error).__name__}: {error}"
                rejections.append(Rejection(event.event_id, "malformed", detail))
            else:
                lines += line + b"\n"
        return bytes(lines), tuple(rejections)

    def _tidy_after(self, part: int) -> None:
        """Have the parts compressed and counted, at the first batch and after each rotation."""
        if self._rotate.enabled and part != self._tidied:
            self._tidied = part
            options: dict[str, Any] = {"keep": self._rotate.keep, "compress": self._rotate.compress}
            self._background.submit(
                tidy, self._appender.path, stopping=self._stopping.is_set, **options
            )


def _some(found: Iterator[str], path: Path) -> list[str]:
    """Return the next of `found`, some at a time, so that a thread is not held for long."""
    with named_failures(path):
        try:
            return list(islice(found, _IDS_AT_ONCE))
        except (EOFError, zlib.error) as error:
            raise TransientError(f"{path}: a compressed part cannot be read: {error}") from error
