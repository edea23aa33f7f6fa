"""Names and links beside events, where Bitbucket answers at once; never in the way of events."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from forwarder.model import Actor, AffectedObject, Context, Record, packed
from forwarder.simulator import FaultName, HandClock, Simulator, SimulatorOptions
from forwarder.simulator.catalogue import Project, Repository
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig, enrichment
from forwarder.sources.bitbucket_audit.client import Client
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.enrichment import Enrichment
from tests.fakes.normalized import normalize
from tests.fakes.source import make_record
from tests.integration.test_bitbucket_audit import NOON, world

REMEMBERED = 200
URL = "https://bitbucket.example.com"
PAYMENTS: dict[str, Any] = {
    "author": {"name": "mira.holm", "type": "NORMAL", "id": "52"},
    "affectedObjects": [
        {"type": "PROJECT", "name": "SEC", "id": "1"},
        {"type": "REPOSITORY", "name": "payments", "id": "1"},
    ],
}


class Api:
    """The simulator behind a transport that counts, and that may hang."""

    def __init__(self) -> None:
        self.simulator = Simulator(clock=HandClock(NOON))
        self.paths: Counter[str] = Counter()
        self.hangs = False
        self.answered: Callable[[], None] = lambda: None
        self._inner = httpx.ASGITransport(self.simulator.app)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.paths[request.url.path] += 1
        if self.hangs:
            await anyio.sleep_forever()
        self.answered()
        return await self._inner.handle_async_request(request)

    def fail(self, fault: FaultName) -> None:
        self.simulator.faults.rates = {fault: 1.0}


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
async def asked(api: Api, now: list[float]) -> Any:
    token = {"Authorization": f"Bearer {api.simulator.options.token}"}
    async with httpx.AsyncClient(
        base_url=URL, transport=httpx.MockTransport(api.answer), headers=token
    ) as http:
        yield Enrichment(
            Client(http, ServerClock(), timeout=60),
            url=URL,
            patience=0.5,
            remembered=REMEMBERED,
            now=lambda: now[0],
        )


def record(number: int = 1, *, project: str = "SEC", id_: str = "1", **fields: Any) -> Record:
    objects = (AffectedObject("PROJECT", project, id_), AffectedObject("REPOSITORY", "payments"))
    return make_record(number, **{"objects": objects, **fields})


async def test_names_and_a_link_come_with_the_event_and_change_no_id() -> None:
    async with world(enrich=True) as here, world() as plain:
        for each in (here, plain):
            each.simulator.emit(PAYMENTS)
            await each.poll()
        assert list(here.stored) == list(plain.stored)
        (one,) = here.stored.values()
        assert normalize(one, source="bitbucket").context == Context(
            actor_name="Mira Holm",
            project_name="Security",
            repository_name="payments",
            link=f"{URL}/projects/SEC/repos/payments",
        )
        (other,) = plain.stored.values()
        assert other.context is msgspec.UNSET


async def test_what_is_known_is_not_asked_again_before_an_hour(
    api: Api, asked: Enrichment, now: list[float]
) -> None:
    for _ in range(50):
        await asked.enriched([record(n, actor=Actor("admin", "NORMAL", "2")) for n in range(100)])
    assert set(api.paths.values()) == {1}
    now[0] += 3601
    await asked.enriched([record()])
    assert api.paths["/rest/api/latest/projects/SEC"] == 2


async def test_another_project_under_the_same_name_lends_it_no_name(asked: Enrichment) -> None:
    (one,) = await asked.enriched([record(id_="99")])
    assert one.context == Context(
        repository_name="payments", link=f"{URL}/projects/SEC/repos/payments"
    )


async def test_what_does_not_exist_is_asked_once_and_left_out(api: Api, asked: Enrichment) -> None:
    for _ in range(3):
        (one,) = await asked.enriched([record(project="GONE")])
        assert one.context == Context(link=f"{URL}/projects/GONE/repos/payments")
    assert api.paths["/rest/api/latest/projects/GONE"] == 1


@pytest.mark.parametrize(
    "fault",
    ["unauthorized", "forbidden", "http_503", "http_429", "html_login", "truncated", "malformed",
     "drop_before", "redirect_login"],
)  # fmt: skip
async def test_a_failure_costs_one_question_and_no_record(
    api: Api, asked: Enrichment, now: list[float], fault: FaultName
) -> None:
    api.fail(fault)
    given = [record(n, project=("SEC", "WEB", "OPS", "DATA")[n % 4]) for n in range(50)]
    for _ in range(5):
        enriched = await asked.enriched(given)
        assert [one.event_id for one in enriched] == [one.event_id for one in given]
    assert api.paths.total() == 1
    api.simulator.faults.rates = {}
    now[0] += 301
    (one,) = await asked.enriched([record()])
    assert isinstance(one.context, Context)
    assert one.context.project_name == "Security"


async def test_no_more_is_asked_for_one_page_than_a_few(api: Api, asked: Enrichment) -> None:
    await asked.enriched([record(n, project=f"P{n}") for n in range(100)])
    assert api.paths.total() == enrichment.LOOKUPS


async def test_an_api_that_hangs_is_not_waited_for(api: Api, asked: Enrichment) -> None:
    api.hangs = True
    with anyio.fail_after(20):
        (one,) = await asked.enriched([record()])
        assert one.event_id == record().event_id
        await asked.enriched([record()] * 1000)
    assert api.paths.total() == 1


async def test_slow_answers_cost_a_long_backlog_a_twentieth_of_its_time(
    api: Api, asked: Enrichment, now: list[float]
) -> None:
    api.answered = lambda: now.__setitem__(0, now[0] + 0.14)
    began = now[0]
    for page in range(200):
        await asked.enriched([record(n, project=f"P{page}-{n}") for n in range(100)])
        now[0] += 1
    waited = now[0] - began - 200
    assert 0 < waited <= 200 / 20 + 20 * 0.14


async def test_what_is_remembered_is_bounded(api: Api, asked: Enrichment) -> None:
    await asked.enriched([record(project="WEB")])
    for number in range(REMEMBERED):
        await asked.enriched([record(project=f"P{number}")])
    await asked.enriched([record(project="WEB")])
    assert api.paths["/rest/api/latest/projects/WEB"] == 2
    await asked.enriched([record(project=f"P{REMEMBERED - 1}")])
    assert api.paths[f"/rest/api/latest/projects/P{REMEMBERED - 1}"] == 1


async def test_personal_projects_and_odd_names_have_a_link(api: Api, asked: Enrichment) -> None:
    objects = (AffectedObject("PROJECT", "~mira.holm"), AffectedObject("REPOSITORY", "a b/ü"))
    (one,) = await asked.enriched([make_record(1, objects=objects)])
    assert isinstance(one.context, Context)
    assert one.context.link == f"{URL}/projects/~mira.holm/repos/a%20b%2F%C3%BC"


async def test_a_record_without_objects_stays_as_it_is(api: Api, asked: Enrichment) -> None:
    given = make_record(1)
    assert await asked.enriched([given]) == [given]
    assert not api.paths


async def test_a_repositorys_own_name_is_shown_beside_its_slug() -> None:
    async with world(enrich=True, start_at="now") as here:
        catalogue = here.simulator.catalogue
        named = Project(1, "SEC", "Security", (Repository(1, "payments"),))
        here.simulator.catalogue = replace(catalogue, projects=(named,))
        await here.poll()
        here.clock.advance(1)
        here.simulator.emit(PAYMENTS)
        await here.poll()
        (one,) = here.stored.values()
        assert isinstance(one.context, Context)
        assert one.context.repository_name == "payments"


async def test_a_name_that_is_no_text_stops_no_event() -> None:
    said = rb'{"id": 1, "name": "half \ud83d a face"}'
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=said))
    async with httpx.AsyncClient(base_url=URL, transport=transport) as http:
        client = Client(http, ServerClock(), timeout=60)
        (one,) = await Enrichment(client, url=URL).enriched([record()])
    event = normalize(one, source="bitbucket")
    assert b'"project_name":"half ? a face"' in packed(event).body


def test_it_is_off_unless_asked_for() -> None:
    token = SimulatorOptions().token
    config = BitbucketAuditConfig.model_validate(
        {"type": "bitbucket_audit", "url": URL, "token": token}
    )
    assert not config.enrich
