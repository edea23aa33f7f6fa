"""The parts of a running daemon: each source and each sink opened, run and closed on its own."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import anyio
from anyio.abc import TaskGroup, TaskStatus

from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.stop import Stop

Loop: TypeAlias = Poller | Dispatcher
Key: TypeAlias = tuple[Literal["source", "sink"], str]


@dataclass(frozen=True, slots=True)
class Part:
    """One source or sink as configured. `settings` is all that its behaviour depends on."""

    key: Key
    settings: tuple[Any, ...]
    open: Callable[[], AbstractAsyncContextManager[Loop]] = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Running:
    part: Part
    loop: Loop
    stop: Stop
    ended: anyio.Event


class Parts:
    """The parts that are open, each in a task of its own in `group`: none waits for another.

    With `once`, a source's loop ends when it has caught up; else every loop runs until stopped.
    """

    def __init__(self, group: TaskGroup, *, once: bool = False) -> None:
        self._group = group
        self._once = once
        self._begun = anyio.Event()
        self._running: dict[Key, _Running] = {}

    async def open(self, part: Part) -> None:
        """Open `part`; its loop runs at once, or with `begin` where that was not called yet.

        Raises:
            ConfigError, StoreError: the part cannot be made; nothing of it is left open.
        """
        await self._group.start(self._live, part)

    def begin(self) -> None:
        """Run every loop: all parts could be opened."""
        self._begun.set()

    async def close(self, key: Key) -> None:
        """Let the part's loop end after the step that it is in, and close the part."""
        running = self._running[key]
        running.stop.request()
        await running.ended.wait()
        del self._running[key]

    def stop(self) -> None:
        """Let every loop end after the step that it is in."""
        for running in self._running.values():
            running.stop.request()

    async def caught_up(self) -> None:
        """Return when the loop of every source has ended."""
        for running in list(self._running.values()):
            if isinstance(running.loop, Poller):
                await running.ended.wait()

    async def ended(self) -> None:
        """Return when every loop has ended."""
        for running in list(self._running.values()):
            await running.ended.wait()

    @property
    def open_parts(self) -> dict[Key, Part]:
        """The parts that are open."""
        return {key: running.part for key, running in self._running.items()}

    @property
    def loops(self) -> list[Loop]:
        """The loop of each part that is open."""
        return [running.loop for running in self._running.values()]

    @property
    def pollers(self) -> list[Poller]:
        """The loops of the sources."""
        return [loop for loop in self.loops if isinstance(loop, Poller)]

    @property
    def dispatchers(self) -> list[Dispatcher]:
        """The loops of the sinks."""
        return [loop for loop in self.loops if isinstance(loop, Dispatcher)]

    async def _live(self, part: Part, *, task_status: TaskStatus[None]) -> None:
        async with part.open() as loop:
            running = _Running(part, loop, Stop(), anyio.Event())
            self._running[part.key] = running
            task_status.started()
            await self._begun.wait()
            if self._once and isinstance(loop, Poller):
                await loop.catch_up(running.stop)
            else:
                await loop.run(running.stop)
        running.ended.set()
