"""What the Sink contract suite needs of each destination: a file for each in `sinks/`.

A file `sinks/NAME.py` defines

- `destination(tmp_path)`: an async context manager that yields a `Destination`,
- `LEVERS`: which of its levers the destination has at all (a file refuses no event, UDP reports
  no fault); the suite runs the tests that these allow.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from forwarder.interfaces import Memory, Sink

Lever = Literal["break_down", "lock_out", "refuse"]


class Destination(Protocol):
    """A destination, real or in this process, that outlives the sinks opened on it."""

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        """Open a sink on this destination; opened again, it is the restart of the first."""
        ...

    async def held(self, count: int) -> Sequence[str]:
        """Return the ids of the events that are there, in order of arrival, doubles included.

        Where arrival is only seen later (a socket read by another process), wait until at least
        `count` are there, or for a second or two.
        """
        ...

    async def break_down(self) -> None:
        """From now on fail in a way that passes: `send` raises TransientError."""
        ...

    async def lock_out(self) -> None:
        """From now on refuse the credential or its like: `send` raises AccessError."""
        ...

    async def recover(self) -> None:
        """End what `break_down` and `lock_out` began."""
        ...

    async def refuse(self, event_id: str) -> None:
        """From now on refuse this event for good, alone."""
        ...
