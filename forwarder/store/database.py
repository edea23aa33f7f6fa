"""What the outbox needs of a database."""

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection

from forwarder.model import Room

T = TypeVar("T")
News: TypeAlias = Literal["events", "leases"]
"""What there is more of: to be sent, or to be shared anew."""


class Database(Protocol):
    """Connections in worker threads, and what their errors mean for us.

    A call returns, or is cancelled, only when its thread has let go of the connection: a write
    that has begun is stored or rolled back as a whole.
    """

    async def write(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns, once all that it changed is durable; it may run repeatedly.

        Raises:
            TransientError: it cannot be written now. Nothing changed, unless the connection was
                lost in the very moment of the commit: then nobody knows.
            StoreError: it cannot be used.
        """
        ...

    async def read(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns: all that it reads is of one moment. Raises as `write` does."""
        ...

    def announce(self, connection: Connection, news: News) -> None:
        """Have every process that listens look for `news` once the transaction is stored."""
        ...

    def stamp(self) -> object:
        """Return what is equal to the last answer only where nothing was stored since."""
        ...

    async def size(self) -> int:
        """Return the bytes in use."""
        ...

    async def room(self, capacity: int | None) -> Room:
        """Return what is in use, and the limit: `capacity`, or less where the disk has less."""
        ...

    async def give_back(self) -> None:
        """Give the disk back what is free, where that is worth it and not done by itself."""
        ...

    async def close(self) -> None:
        """Let go of everything, even when cancelled."""
        ...
