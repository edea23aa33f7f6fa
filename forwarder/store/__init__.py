"""The outbox on SQL: SQLite by default, PostgreSQL to share it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from forwarder.errors import StoreError
from forwarder.interfaces import Outbox
from forwarder.options import Duration, Options, RedactOptions, Size, as_written

_SCHEME: Final = "sqlite:///"


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class StoreConfig(Options):
    """``[store]``."""

    url: str = Field(
        default="sqlite:////var/lib/soteri-forwarder/forwarder.db",
        description="Where the outbox lives: sqlite:////absolute/path.",
    )
    retention: Duration = Field(
        default=as_written("30d"), description="How long delivered events are kept."
    )
    capacity: Size | None = Field(
        default=None,
        ge=32 * 1024**2,
        description="Room on the disk; near it delivered events go early, and then reading pauses."
        " Unset: what the disk has.",
    )
    dead_letters: int = Field(
        default=100_000,
        ge=1,
        description="Dead letters of one sink, or unreadable records, at which it pauses.",
    )

    redact: RedactOptions = Field(
        default=RedactOptions(credentials=False),
        description="What is not even stored; by default events are kept as they are, and"
        " redacted on their way to each sink.",
    )

    @field_validator("url")
    @classmethod
    def _names_a_file(cls, url: str) -> str:
        name = url.removeprefix(_SCHEME)
        if not url.startswith(_SCHEME) or not name.strip("/") or ":memory:" in name:
            raise ValueError(
                f'"{url}" is not a store: write "sqlite:////" and the absolute path of a file,'
                ' such as "sqlite:////var/lib/soteri-forwarder/forwarder.db"'
            )
        return url

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self.url.removeprefix(_SCHEME))

    @asynccontextmanager
    async def open(
        self, *, lock: bool = True, write: bool = False, now: Callable[[], datetime] = utc_now
    ) -> AsyncIterator[Outbox]:
        """Open the outbox, made and brought up to date where need be.

        With `lock` no other process can open it so. Without, it is used beside the daemon and
        must be there and up to date; without `write` too, what would write raises StoreError.
        `now` dates what is stored.

        Raises:
            StoreLocked: another process has it; the message says which.
            StoreError: it cannot be used; the message names the file, the remedy what to do.
        """
        # Late: SQLAlchemy is 0.2 s that `--help` and `check --offline` need not wait for.
        from forwarder.store.outbox import open_outbox

        async with open_outbox(
            self.path, lock=lock, write=lock or write, now=now, capacity=self.capacity
        ) as outbox:
            yield outbox

    def in_use(self) -> bool:
        """Return whether a process runs on the store."""
        from forwarder.store.lock import held, lock_file

        return held(lock_file(self.path))

    async def probe(self) -> str:
        """Try the store without making or changing anything; return one line about it.

        Raises:
            StoreError: it cannot be used, or could not be made.
        """
        if not self.path.exists():
            return _room_for(self.path)
        async with self.open(lock=False) as outbox:
            size = (await outbox.size()) / 1e6
        return f"{self.path}, {size:.1f} MB{', in use by a daemon' if self.in_use() else ''}"


def _room_for(path: Path) -> str:
    folder = next(each for each in path.absolute().parents if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"{path} does not exist, and {folder} is not writable",
            remedy="make the folder and give it to the user that runs the forwarder",
        )
    return f"{path} will be made by the first run"
