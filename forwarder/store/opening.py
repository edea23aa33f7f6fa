"""An outbox is opened: on a file that one process has alone, or on a server that many share."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from forwarder.store import sqlite
from forwarder.store.bell import Bell
from forwarder.store.leases import SqlLeases
from forwarder.store.lock import exclusive, lock_file
from forwarder.store.outbox import SqlOutbox
from forwarder.store.recent import RECENT_BYTES, Recent

if TYPE_CHECKING:
    from forwarder.store.postgresql import Server

PATIENCE: Final = 30.0
"""Seconds that a starting daemon waits for a server that is just starting too."""


@asynccontextmanager
async def open_file(
    path: Path,
    *,
    lock: bool,
    write: bool,
    now: Callable[[], datetime],
    capacity: int | None = None,
    recent_bytes: int = RECENT_BYTES,
) -> AsyncIterator[SqlOutbox]:
    """Open the outbox in the file `path`; see `StoreConfig.open`."""
    async with AsyncExitStack() as stack:
        if lock:
            path = await to_thread.run_sync(sqlite.make_folder, path)
            stack.enter_context(exclusive(lock_file(path)))
        database = await stack.enter_async_context(sqlite.opened(path, writable=write, make=lock))
        yield SqlOutbox(database, now, capacity, recent=Recent(recent_bytes))


@asynccontextmanager
async def open_shared(
    server: "Server",
    *,
    serve: bool,
    write: bool,
    now: Callable[[], datetime],
    capacity: int | None = None,
    recent_bytes: int = RECENT_BYTES,
) -> AsyncIterator[SqlOutbox]:
    """Open the outbox on `server`, with leases to `serve` it; see `StoreConfig.open`."""
    # Late: the driver is there only where it is configured.
    from forwarder.store.listening import listen
    from forwarder.store.postgresql import PostgresDatabase, opened

    patience = PATIENCE if serve else 0.0
    recent = Recent(recent_bytes)
    async with opened(
        server, writable=write, make=serve, patience=patience, when_lost=recent.forget
    ) as database:
        if not serve:
            yield SqlOutbox(database, now, capacity)
            return
        # Leases have a connection of their own: nothing that is slow delays their renewal.
        apart = PostgresDatabase(server, writable=True, readers=0, writers=1)
        bells = {"events": Bell(), "leases": Bell()}
        leases = SqlLeases(apart, bells["leases"], ttl=server.lease)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(listen, server, bells)
                yield SqlOutbox(
                    database,
                    now,
                    capacity,
                    appended=bells["events"],
                    shared=leases,
                    recent=recent,
                )
                group.cancel_scope.cancel()
        finally:
            await apart.close()
