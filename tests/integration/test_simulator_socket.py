"""The simulator on a real socket: what only a connection can show."""

import anyio
import httpx
import pytest

from forwarder.simulator import HandClock, Simulator, SimulatorOptions, serve

EVENTS = "/rest/auditing/1.0/events"


def client(simulator: Simulator, url: str) -> httpx.AsyncClient:
    bearer = {"Authorization": f"Bearer {simulator.options.token}"}
    return httpx.AsyncClient(base_url=url, headers=bearer, trust_env=False)


async def test_it_tells_its_real_address_with_the_context_path():
    simulator = Simulator(SimulatorOptions(context="/bitbucket", history=5))
    async with serve(simulator) as url, client(simulator, url) as asking:
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/bitbucket")
        assert len((await asking.get(EVENTS)).json()["entities"]) == 5


async def test_two_serve_side_by_side():
    first, second = Simulator(SimulatorOptions(history=1)), Simulator(SimulatorOptions(history=2))
    async with (
        serve(first) as one,
        serve(second) as two,
        client(first, one) as asking,
        client(second, two) as other,
    ):
        assert len((await asking.get(EVENTS)).json()["entities"]) == 1
        assert len((await other.get(EVENTS)).json()["entities"]) == 2


async def test_after_its_end_nobody_answers():
    simulator = Simulator()
    async with serve(simulator) as url:
        pass
    async with client(simulator, url) as asking:
        with pytest.raises(httpx.ConnectError):
            await asking.get(EVENTS)


async def test_cancelling_whoever_serves_ends_it_with_a_client_connected():
    simulator = Simulator()
    with anyio.fail_after(10):
        async with (
            anyio.create_task_group() as tasks,
            serve(simulator) as url,
            client(simulator, url) as asking,
        ):
            assert (await asking.get("/status")).status_code == 200
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()
    async with client(simulator, url) as asking:
        with pytest.raises(httpx.ConnectError):
            await asking.get("/status")


async def test_a_port_in_use_is_an_error_of_its_own():
    simulator = Simulator()
    async with serve(simulator) as url:
        with pytest.raises(OSError, match="in use"):
            async with serve(Simulator(), port=int(url.rpartition(":")[2])):
                pytest.fail("both listen")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("drop_before", "without sending a response"),
        ("drop_in_body", "without sending complete message body"),
    ],
)
async def test_a_dropped_connection_is_really_cut(fault, message):
    simulator = Simulator(SimulatorOptions(history=200), clock=HandClock())
    async with serve(simulator) as url, client(simulator, url) as asking:
        simulator.faults.next = [fault]
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as error:
            await asking.get(EVENTS)
        # An abort can also reach the client as a reset.
        assert message in str(error.value) or isinstance(error.value, httpx.ReadError)
        assert len((await asking.get(EVENTS)).json()["entities"]) == 200


async def test_truncated_json_is_a_whole_http_answer():
    simulator = Simulator(SimulatorOptions(history=200), clock=HandClock())
    async with serve(simulator) as url, client(simulator, url) as asking:
        simulator.faults.next = ["truncated"]
        answer = await asking.get(EVENTS)
        assert answer.headers["Content-Length"] == str(len(answer.content))
        with pytest.raises(ValueError, match=r"."):
            answer.json()


async def test_the_date_is_said_once_and_by_the_simulated_clock():
    simulator = Simulator(clock=HandClock())
    async with serve(simulator) as url, client(simulator, url) as asking:
        answer = await asking.get(EVENTS)
        assert answer.headers.get_list("Date") == ["Thu, 01 Jan 2026 00:00:00 GMT"]


async def test_a_slow_answer_keeps_nobody_else_waiting():
    simulator = Simulator(SimulatorOptions(slow_seconds=60.0))
    async with serve(simulator) as url, client(simulator, url) as asking:
        simulator.faults.next = ["slow"]  # whichever of the two comes first
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:

                async def ask() -> None:
                    await asking.get(EVENTS)
                    tasks.cancel_scope.cancel()

                tasks.start_soon(ask)
                tasks.start_soon(ask)
    assert simulator.requests == 2
    assert simulator.searches == 1
