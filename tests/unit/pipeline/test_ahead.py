"""The next item is fetched while the last one is worked on."""

import anyio
import pytest

from forwarder.errors import TransientError
from forwarder.pipeline.ahead import ahead


class Items:
    """Numbers, and what was asked of them."""

    def __init__(self, count, error=None):
        self.fetched = 0
        self.closed = False
        self._count = count
        self._error = error

    async def all(self):
        try:
            for number in range(self._count):
                self.fetched = number + 1
                await anyio.lowlevel.checkpoint()
                yield number
            if self._error:
                raise self._error
        finally:
            self.closed = True


async def test_everything_comes_in_order():
    async with ahead(Items(5).all()) as numbers:
        assert [number async for number in numbers] == [0, 1, 2, 3, 4]


async def test_one_is_fetched_ahead_and_no_more():
    items = Items(5)
    async with ahead(items.all()) as numbers:
        async for number in numbers:
            await anyio.wait_all_tasks_blocked()
            assert items.fetched == min(number + 2, 5)


async def test_an_error_comes_after_all_that_was_yielded_before_it():
    got = []
    with pytest.raises(TransientError, match="gone"):  # noqa: PT012  the items come before it
        async with ahead(Items(3, TransientError("gone")).all()) as numbers:
            async for number in numbers:
                await anyio.wait_all_tasks_blocked()
                got.append(number)
    assert got == [0, 1, 2]


async def test_an_error_of_the_one_who_works_comes_out_as_it_is_and_closes_the_items():
    items = Items(5)
    with pytest.raises(ValueError, match="mine"):  # noqa: PT012  raised where the items are worked on
        async with ahead(items.all()) as numbers:
            async for _ in numbers:
                raise ValueError("mine")
    assert items.closed


async def test_cancelling_closes_the_items():
    items = Items(5)
    with anyio.CancelScope() as scope:
        async with ahead(items.all()) as numbers:
            async for _ in numbers:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
    assert items.closed


async def test_a_killed_worker_is_killed_and_not_in_a_group():
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  raised where the items are worked on
        async with ahead(Items(5).all()) as numbers:
            async for _ in numbers:
                raise KeyboardInterrupt
