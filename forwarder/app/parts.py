"""The parts of a running daemon: each source and each sink opened, run and closed on its own."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from forwarder.errors import ConfigError, TransientError
from forwarder.interfaces import Outbox
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.stop import Stop

Loop: TypeAlias = Poller | Dispatcher
Key: TypeAlias = tuple[Literal["source", "sink"], str]

_AGAIN: Final = 5.0
"""Seconds until a part that could not be opened after all is tried again."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Part:
    """One source or sink as configured. `settings` is all that its behaviour depends on.

    `rehearse` opens it without its loop and beside its namesake that runs: nothing is asked, sent
    or stored, but a mistake shows.
    """

    key: Key
    settings: tuple[Any, ...]
    open: Callable[[Outbox], AbstractAsyncContextManager[Loop]] = field(compare=False)
    rehearse: Callable[[], AbstractAsyncContextManager[object]] = field(compare=False)

    @property
    def name(self) -> str:
        """The part in the user's words, such as ``sinks.splunk``."""
        kind, name = self.key
        return f"{kind}s.{name}"

    async def problems(self) -> tuple[str, ...]:
        """Return what is wrong with it, seen without asking anyone."""
        try:
            async with self.rehearse():
                return ()
        except ConfigError as error:
            return error.problems


@dataclass(frozen=True, slots=True)
class _Running:
    part: Part
    loop: Loop
    stop: Stop
    scope: anyio.CancelScope
    ended: anyio.Event


@dataclass(frozen=True, slots=True)
class _Awaited:
    part: Part
    scope: anyio.CancelScope
    ended: anyio.Event


class Forgetful:
    """The memory of a sink that is not to send: the daemon's own is not touched."""

    async def load(self) -> Mapping[str, Any]:
        """Return that nothing is known."""
        return {}

    async def save(self, memo: Mapping[str, Any]) -> None:
        """Keep nothing."""


class Parts:
    """The parts that are open, each in a task of its own in `group`: none waits for another.

    With `once`, a source's loop ends when it has caught up; else every loop runs until stopped.
    """

    def __init__(self, group: TaskGroup, *, once: bool = False) -> None:
        self._group = group
        self._once = once
        self._begun = anyio.Event()
        self._stopped = False
        self._running: dict[Key, _Running] = {}
        self._awaited: dict[Key, _Awaited] = {}

    async def open(self, part: Part, outbox: Outbox) -> None:
        """Open `part` on `outbox`; its loop runs at once, or with `begin` if that is to come.

        Raises:
            ConfigError, StoreError: the part cannot be made; nothing of it is left open.
        """
        await self._group.start(self._live, part, outbox)

    def begin(self) -> None:
        """Run every loop: all parts could be opened."""
        self._begun.set()

    async def close(self, key: Key, *, patience: float) -> None:
        """Let the part's loop end after the step that it is in, and close the part.

        A step that takes longer than `patience` seconds is cut short; nothing is lost by that.
        One that could not be opened yet is not tried any more.
        """
        if awaited := self._awaited.get(key):
            awaited.scope.cancel()
            await awaited.ended.wait()
        if (running := self._running.get(key)) is None:
            return
        running.stop.request()
        with anyio.move_on_after(patience):
            await running.ended.wait()
        running.scope.cancel()
        await running.ended.wait()
        del self._running[key]

    async def put(self, part: Part, outbox: Outbox, *, patience: float) -> None:
        """Have `part` run in place of its namesake, if there is one, unless all are stopped.

        One that cannot be opened is tried again and again beside: whoever mends the configuration
        instead must not have to wait for it.

        Raises:
            StoreError: the outbox cannot be used.
        """
        await self.close(part.key, patience=patience)
        if await self._opens(part, outbox):
            return
        awaited = _Awaited(part, anyio.CancelScope(), anyio.Event())
        self._awaited[part.key] = awaited
        self._group.start_soon(self._open_later, awaited, outbox)

    async def _open_later(self, awaited: _Awaited, outbox: Outbox) -> None:
        with awaited.scope:
            is_done = False
            while not is_done:
                await anyio.sleep(_AGAIN)
                is_done = await self._opens(awaited.part, outbox)
        del self._awaited[awaited.part.key]
        awaited.ended.set()

    async def _opens(self, part: Part, outbox: Outbox) -> bool:
        """Return whether there is nothing left to try: it is open, or all are stopped."""
        if self._stopped:
            return True
        try:
            await self.open(part, outbox)
        except ConfigError as error:  # it was well when it was rehearsed: a file has gone
            log.warning("part.unopened", part=part.name, problems=error.problems)
        except TransientError as error:  # a new sink's position wants room on the disk
            log.warning("part.unopened", part=part.name, problems=[str(error)])
        else:
            return True
        return False

    def stop(self) -> None:
        """Let every loop end after the step that it is in; none begins any more."""
        self._stopped = True
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
        """The parts that are open, and those that are to be as soon as they can."""
        parts = {key: awaited.part for key, awaited in self._awaited.items()}
        return parts | {key: running.part for key, running in self._running.items()}

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

    async def run(self, part: Part, outbox: Outbox, stop: Stop) -> None:
        """Open `part`, run its loop until `stop`, and close it: all in the caller's own task."""
        with anyio.CancelScope() as scope:
            try:
                async with part.open(outbox) as loop:
                    self._running[part.key] = _Running(part, loop, stop, scope, anyio.Event())
                    await loop.run(stop)
            finally:
                self._running.pop(part.key, None)

    async def _live(self, part: Part, outbox: Outbox, *, task_status: TaskStatus[None]) -> None:
        ended = anyio.Event()
        with anyio.CancelScope() as scope:
            async with part.open(outbox) as loop:
                running = _Running(part, loop, Stop(), scope, ended)
                self._running[part.key] = running
                if self._stopped:
                    running.stop.request()
                task_status.started()
                await self._begun.wait()
                if self._once and isinstance(loop, Poller):
                    await loop.catch_up(running.stop)
                else:
                    await loop.run(running.stop)
        ended.set()
