"""Fetches the next item while the last one is worked on, and never more than one."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

T = TypeVar("T")


@asynccontextmanager
async def ahead(items: AsyncGenerator[T, None]) -> AsyncIterator[AsyncIterator[T]]:
    """Yield an iterator over `items`, which is closed at the end.

    What `items` raises comes in its turn, after everything that was yielded before it; what is
    raised inside comes out as it is, and not in a group.
    """
    failure: BaseException | None = None
    send, receive = anyio.create_memory_object_stream[T | Exception]()
    async with anyio.create_task_group() as group, receive:
        group.start_soon(_fetch, items, send)
        try:
            async with aclosing(_taken(receive)) as taken:
                yield taken
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  raised again below, outside of the group
            failure = error
        group.cancel_scope.cancel()
    if failure:
        raise failure


async def _fetch(
    items: AsyncGenerator[T, None], send: MemoryObjectSendStream[T | Exception]
) -> None:
    async with send:
        try:
            async with aclosing(items):
                async for item in items:
                    await send.send(item)
        except Exception as error:  # noqa: BLE001  raised by `_taken`
            await send.send(error)


async def _taken(receive: MemoryObjectReceiveStream[T | Exception]) -> AsyncGenerator[T, None]:
    async for item in receive:
        if isinstance(item, Exception):
            raise item
        yield item
