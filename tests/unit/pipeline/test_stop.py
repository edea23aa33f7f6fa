import anyio
import pytest

from forwarder.errors import StoreError
from forwarder.pipeline.stop import Stop


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_sleep_ends_at_once_when_a_stop_is_requested() -> None:
    stop = Stop()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(stop.sleep, 3600)
            stop.request()
    assert stop.requested


async def test_waiting_for_something_ends_with_it_or_with_the_stop() -> None:
    stop = Stop()

    async def nothing() -> None:
        await anyio.sleep_forever()

    async def done() -> None:
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        await stop.or_until(done)
        assert not stop.requested
        async with anyio.create_task_group() as group:
            group.start_soon(stop.or_until, nothing)
            stop.request()


async def test_what_is_waited_for_raises_its_own_error_and_no_group() -> None:
    async def fail() -> None:
        raise StoreError("gone")

    with pytest.raises(StoreError, match="gone"):
        await Stop().or_until(fail)


async def test_cancelling_a_wait_is_not_swallowed() -> None:
    with anyio.move_on_after(0.01) as scope:
        await Stop().or_until(anyio.sleep_forever)
    assert scope.cancelled_caught
