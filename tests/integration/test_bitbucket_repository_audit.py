"""The audit API before 8.0: every event of the projects and repositories named, once."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from forwarder.errors import AccessError, TransientError
from forwarder.model import Checkpoint, Record
from forwarder.simulator import HandClock, Mixture, Simulator, SimulatorOptions
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_repository_audit import BitbucketRepositoryAuditConfig
from forwarder.sources.bitbucket_repository_audit.source import BitbucketRepositoryAudit

NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)
PAYMENTS = {"type": "REPOSITORY", "name": "payments", "id": "1"}


class Network(httpx.AsyncBaseTransport):
    """The way to the simulator; `before` is called with the number of each request."""

    def __init__(self, simulator: Simulator) -> None:
        self.requests: list[httpx.Request] = []
        self.before: Callable[[int], None] = lambda _: None
        self._inner = httpx.ASGITransport(simulator.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.before(len(self.requests))
        self.requests.append(request)
        return await self._inner.handle_async_request(request)


@dataclass
class World:
    simulator: Simulator
    clock: HandClock
    network: Network
    source: BitbucketRepositoryAudit
    stored: dict[str, Record] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None

    async def poll(self) -> None:
        async with aclosing(self.source.poll(self.checkpoint)) as pages:
            async for page in pages:
                times = [record.occurred_at for record in page.records]
                assert times == sorted(times)
                self.stored |= {one.event_id: one for one in page.records}
                self.checkpoint = msgspec.json.decode(
                    msgspec.json.encode(page.checkpoint), type=Checkpoint
                )

    def of(self, kind: str, id_: str) -> int:
        """Return how many events of the log touch an object."""
        return len(self.simulator.log.touching({kind: frozenset({id_})}))


@asynccontextmanager
async def world(
    *, version: str = "7.21.0", options: dict[str, Any] | None = None, **written: Any
) -> AsyncIterator[World]:
    clock = HandClock(NOON)
    given = SimulatorOptions(version=version, **(options or {}))
    simulator = Simulator(given, clock=clock)
    network = Network(simulator)
    config = BitbucketRepositoryAuditConfig.model_validate(
        {
            "type": "bitbucket_repository_audit",
            "url": f"https://bitbucket.example.com{given.context}",
            "token": given.token,
            "repositories": ["SEC/payments"],
            "start_at": "beginning",
            "page_size": 50,
        }
        | written
    )

    def now() -> float:
        return clock.elapsed_ms() / 1000

    ours = ServerClock(wall=now, steady=now)
    async with config.open(name="old", transport=network, clock=ours) as source:
        yield World(simulator, clock, network, source)


@pytest.mark.parametrize("page_size", [1, 2, 7, 50, 1000])
async def test_everything_of_a_repository_is_read_once(page_size: int) -> None:
    mixture = Mixture(twins=0.2, bursts=0.2)
    options = {"history": 600, "mixture": mixture, "context": "/bitbucket"}
    async with world(page_size=page_size, options=options) as here:
        await here.poll()
        assert len(here.stored) == here.of("REPOSITORY", "1") > 30
        await here.poll()
        assert len(here.stored) == here.of("REPOSITORY", "1")


async def test_what_it_says_is_kept() -> None:
    async with world() as here:
        here.simulator.emit(
            {
                "affectedObjects": [PAYMENTS],
                "extraAttributes": [{"name": "details", "value": '{"commits":2}'}],
                "author": {"name": "alice", "type": "NORMAL", "id": "52"},
            }
        )
        await here.poll()
        (one,) = here.stored.values()
        assert one.action == "Security hook skipped"
        assert one.occurred_at == NOON
        assert one.actor is not None
        assert (one.actor.name, one.actor.id) == ("alice", "52")
        assert [(each.type, each.name, each.id) for each in one.objects] == [
            ("PROJECT", "SEC", "1"),
            ("REPOSITORY", "payments", "1"),
        ]
        assert one.attributes[0].value == '{"commits":2}'


async def test_a_project_has_a_log_of_its_own_and_a_personal_one_too() -> None:
    names = {"projects": ["WEB", "~mira.holm"], "repositories": []}
    async with world(options={"history": 600}, **names) as here:
        await here.poll()
        assert len(here.stored) == here.of("PROJECT", "2") + here.of("PROJECT", "5")


async def test_what_happens_later_is_read_by_the_next_poll() -> None:
    async with world(start_at="now", options={"history": 100}) as here:
        await here.poll()
        assert not here.stored
        for count in (1, 2, 3):
            here.clock.advance(30)
            here.simulator.emit({"affectedObjects": [PAYMENTS]})
            await here.poll()
            assert len(here.stored) == count


async def test_a_late_row_within_the_overlap_is_read() -> None:
    async with world(start_at="now", overlap="10m") as here:
        await here.poll()
        here.simulator.emit({"affectedObjects": [PAYMENTS]}, late=500)
        for _ in range(20):
            here.clock.advance(30)
            await here.poll()
        assert len(here.stored) == 1


@pytest.mark.parametrize("jump", [7200.0, 400_000.0])
async def test_a_clock_that_is_set_right_again_loses_nothing(jump: float) -> None:
    async with world(start_at="now", overlap="10m") as here:
        await here.poll()
        here.clock.jump(jump)
        await here.poll()
        here.clock.jump(-jump)
        for count in (1, 2, 3):
            here.clock.advance(30)
            here.simulator.emit({"affectedObjects": [PAYMENTS]})
            await here.poll()
            assert len(here.stored) == count


async def test_a_clock_set_right_again_after_the_start_hides_no_event() -> None:
    async with world(start_at="now") as here:
        here.clock.jump(400_000)
        await here.poll()
        here.clock.jump(-400_000)
        here.clock.advance(60)
        here.simulator.emit({"affectedObjects": [PAYMENTS]})
        await here.poll()
        assert len(here.stored) == 1


async def test_only_as_many_pages_are_read_as_there_is_something_new() -> None:
    async with world(options={"history": 3000}, page_size=20) as here:
        await here.poll()
        here.clock.advance(30)
        before = len(here.network.requests)
        await here.poll()
        assert len(here.network.requests) - before <= 3


async def test_events_that_happen_while_pages_are_read_are_not_counted_twice() -> None:
    async with world(options={"history": 600}, page_size=10) as here:

        def happen(_: int) -> None:
            here.simulator.emit({"affectedObjects": [PAYMENTS]}, copies=2)

        here.network.before = happen
        await here.poll()
        here.network.before = lambda _: None
        await here.poll()
        assert len(here.stored) == here.of("REPOSITORY", "1")


async def test_more_than_a_page_of_news_between_two_pages_is_tried_again() -> None:
    async with world(options={"history": 600}, page_size=10) as here:

        def happen(_: int) -> None:
            here.simulator.emit_any(200)

        here.network.before = happen
        with pytest.raises(TransientError, match="changed too much"):
            await here.poll()
        here.network.before = lambda _: None
        await here.poll()
        assert len(here.stored) == here.of("REPOSITORY", "1")


async def test_actions_are_chosen_here() -> None:
    actions = ["Security hook skipped"]
    async with world(options={"history": 900}, actions=actions) as here:
        await here.poll()
        assert {one.action for one in here.stored.values()} == set(actions)


async def test_a_repository_that_is_gone_does_not_stop_the_others() -> None:
    async with world(repositories=["SEC/gone", "SEC/payments"]) as here:
        here.simulator.emit({"affectedObjects": [PAYMENTS]})
        with pytest.raises(AccessError, match="repository SEC/gone"):
            await here.poll()
        assert len(here.stored) == 1


async def test_a_project_administrators_token_is_enough_for_its_repositories() -> None:
    token = SimulatorOptions().project_token
    async with world(token=token, options={"history": 300}) as here:
        await here.poll()
        assert len(here.stored) == here.of("REPOSITORY", "1")
    async with world(token=token, repositories=["WEB/search"]) as here:
        with pytest.raises(AccessError):
            await here.poll()


@pytest.mark.parametrize("version", ["8.0.0", "8.19.1", "9.4.0", "10.0.1"])
async def test_from_8_0_on_the_newer_source_is_named(version: str) -> None:
    async with world(version=version) as here:
        for asked in (here.poll, here.source.probe):
            with pytest.raises(AccessError, match=version) as refused:
                await asked()
            assert 'type = "bitbucket_audit"' in refused.value.remedy


async def test_before_8_0_a_probe_reads_each_log() -> None:
    async with world() as here:
        assert (await here.source.probe()).startswith("Bitbucket 7.21.0")


async def test_nothing_named_is_refused() -> None:
    with pytest.raises(ValueError, match="set projects or repositories"):
        async with world(repositories=[]):
            pass
