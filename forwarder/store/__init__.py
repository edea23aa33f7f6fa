"""The outbox on SQL: SQLite by default, PostgreSQL to share it."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from forwarder.errors import StoreError
from forwarder.interfaces import Outbox
from forwarder.model import Concern
from forwarder.options import Duration, Options, RedactOptions, Size, as_written
from forwarder.secret import Secret
from forwarder.store.recent import RECENT_BYTES
from forwarder.times import utc_now

if TYPE_CHECKING:
    from forwarder.store.postgresql import Server

_SCHEME: Final = "sqlite:///"
_SHARED: Final = ("postgresql://", "postgres://")
_NEARLY: Final = 0.8
"""Share of the room from which on `check` speaks up; see `pipeline.pressure` for what follows."""


class StoreConfig(Options):
    """``[store]``."""

    url: str = Field(
        default="sqlite:////var/lib/soteri-forwarder/forwarder.db",
        description="Where the outbox lives: sqlite:////absolute/path, or"
        " postgresql://user@host/database for several replicas (libpq's query arguments hold).",
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
        default=RedactOptions(),
        description="What is not even stored, in originals neither; credentials = false keeps"
        " events as they came, and each sink redacts what it sends.",
    )

    password: Secret | None = Field(
        default=None, description="PostgreSQL's, if the server asks for one."
    )
    lease: Duration = Field(
        default=as_written("15s"),
        ge=1,
        description="On PostgreSQL: how long after a replica's death another takes over.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_password(cls, written: object) -> object:
        """Take a password out of the URL, so that the URL may be shown."""
        if not isinstance(written, Mapping) or not isinstance(url := written.get("url"), str):
            return written
        bare, password = _without_password(url)
        if password is None:
            return written
        if {"password", "password_file"} & written.keys():
            raise ValueError("url holds a password, and there is another beside it: keep one")
        return {**written, "url": bare, "password": password}

    @field_validator("url")
    @classmethod
    def _names_a_store(cls, url: str) -> str:
        name = url.removeprefix(_SCHEME)
        if name != url and name.startswith("/") and name.strip("/"):
            return url
        if url.startswith(_SHARED) and urlsplit(url).path.strip("/"):
            return url
        said = "it" if "@" in url else f'"{url}"'
        raise ValueError(
            f'{said} is not a store: write "sqlite:////" and the absolute path of a file,'
            ' such as "sqlite:////var/lib/soteri-forwarder/forwarder.db",'
            ' or "postgresql://host/database?user=forwarder"'
        )

    @property
    def is_shared(self) -> bool:
        """Whether several replicas may run on it: it is on PostgreSQL."""
        return self.url.startswith(_SHARED)

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self.url.removeprefix(_SCHEME))

    @asynccontextmanager
    async def open(
        self,
        *,
        lock: bool = True,
        write: bool = False,
        now: Callable[[], datetime] = utc_now,
        recent_bytes: int = RECENT_BYTES,
    ) -> AsyncIterator[Outbox]:
        """Open the outbox, made and brought up to date where need be.

        With `lock` no other process can open a file so; on PostgreSQL it has leases. Without, it
        is used beside the daemon and must be there and up to date; without `write` too, what would
        write raises StoreError. `now` dates what is stored. Of what is appended, `recent_bytes`
        stay in memory for the sinks that keep up.

        Raises:
            StoreLocked: another process has it; the message says which.
            StoreError: it cannot be used; the message names it, the remedy what to do.
        """
        # Late: SQLAlchemy is 0.2 s that `--help` and `check --offline` need not wait for.
        from forwarder.store import opening

        settings: dict[str, Any] = {
            "write": lock or write,
            "now": now,
            "capacity": self.capacity,
            "recent_bytes": recent_bytes,
        }
        if self.is_shared:
            opened = opening.open_shared(self.server(), serve=lock, **settings)
        else:
            opened = opening.open_file(self.path, lock=lock, **settings)
        async with opened as outbox:
            yield outbox

    def server(self) -> "Server":
        """Return where the PostgreSQL is."""
        from forwarder.store.postgresql import Server

        return Server(self.url, self.password, self.lease)

    async def in_use(self) -> bool:
        """Return whether a process runs on the store.

        Raises:
            StoreError: it is on PostgreSQL and cannot be asked.
        """
        if self.is_shared:
            async with self.open(lock=False) as outbox:
                return bool((await outbox.status()).shares.replicas)
        from forwarder.store.lock import held, lock_file

        return held(lock_file(self.path))

    async def probe(self) -> str:
        """Try the store without making or changing anything; return one line about it.

        Raises:
            StoreError: it cannot be used, or could not be made.
        """
        if self.is_shared:
            from forwarder.store import postgresql

            return await postgresql.probe(self.server())
        if not _is_there(self.path):
            return _room_for(self.path)
        async with self.open(lock=False) as outbox:
            size = (await outbox.size()) / 1e6
        daemon = ", in use by a daemon" if await self.in_use() else ""
        return f"{self.path}, {size:.1f} MB{daemon}"

    async def concerns(self) -> list[Concern]:
        """Return whether the store is nearly full; raises as `probe` does."""
        if self.is_shared or not _is_there(self.path):
            return []
        async with self.open(lock=False) as outbox:
            room = await outbox.room()
        if room.share < _NEARLY:
            return []
        said = f"{self.path} is {room.share:.0%} full ({room.used / 1e6:,.0f} MB)"
        return [
            Concern(
                f"{said}: at 90 % nothing more is read",
                "see that every sink takes its events, or give it more room ([store] capacity, or"
                " its disk)",
            )
        ]


def _without_password(url: str) -> tuple[str, str | None]:
    """Return the URL without a password that it holds, and that password, or None."""
    try:
        parts = urlsplit(url)
    except ValueError:  # `_names_a_store` has the say
        return url, None
    user, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = user.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    asked = dict(query).get("password")
    if not parts.scheme.startswith("postgres") or not (colon or asked):
        return url, None
    rest = urlencode([pair for pair in query if pair[0] != "password"], quote_via=quote, safe="/")
    bare = parts._replace(netloc=f"{user}{at}{hosts}", query=rest)
    return urlunsplit(bare), unquote(password) or asked


def _is_there(path: Path) -> bool:
    """Return whether we can see it; unlike `Path.exists` no error where a folder is closed."""
    return os.path.exists(path)  # noqa: PTH110  for that


def _room_for(path: Path) -> str:
    parents = path.absolute().parents
    folder = next(each for each in parents if _is_there(each))
    if not folder.is_dir():
        raise StoreError(
            f"{path} cannot be made: {folder} is not a folder",
            remedy="name another file in [store] url",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"{path} does not exist, and {folder} is not writable",
            remedy="make the folder and give it to the user that runs the forwarder",
        )
    return f"{path} will be made by the first run"
