"""Stopping politely: a loop ends after the step it is in, and no longer waits for the next."""

from collections.abc import Awaitable, Callable

import anyio


class Stop:
    """Asked once, by a signal or because all is done; every loop looks at it between steps."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    @property
    def requested(self) -> bool:
        """Whether the loops are to end."""
        return self._event.is_set()

    def request(self) -> None:
        """End every loop after its present step, at once where it waits."""
        self._event.set()

    async def wait(self) -> None:
        """Return when a stop is requested."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as a stop is requested."""
        with anyio.move_on_after(seconds):
            await self._event.wait()

    async def or_until(self, something: Callable[[], Awaitable[None]]) -> None:
        """Return when `something` has returned, or as soon as a stop is requested.

        Raises what `something` raises, as it is and not in a group.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await self._event.wait()
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            try:
                await something()
            except Exception as error:  # noqa: BLE001  raised again below, outside of the group
                failure = error
            group.cancel_scope.cancel()
        if failure:
            raise failure
