"""The source against the simulator: whatever happens, what is read is what the log holds."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from forwarder.errors import AccessError, ForwarderError, TransientError
from forwarder.model import Checkpoint, Page, Record, Unreadable
from forwarder.simulator import TRANSIENT, FaultName, HandClock, Simulator, SimulatorOptions, mix
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.source import BitbucketAudit

SOTERI = "Soteri Security for Bitbucket"
NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)
EVENTS = "/rest/auditing/1.0/events"


class Network(httpx.AsyncBaseTransport):
    """The way to the simulator; remembers what was asked and names the account, as Bitbucket."""

    def __init__(self, simulator: Simulator, *, user: str | None) -> None:
        self.requests: list[httpx.Request] = []
        self._inner = httpx.ASGITransport(simulator.app)
        self._user = user

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = await self._inner.handle_async_request(request)
        response.headers.pop("X-AUSERNAME", None)  # as behind a proxy that drops it
        if self._user:
            response.headers["X-AUSERNAME"] = self._user
        return response

    @property
    def searches(self) -> list[httpx.QueryParams]:
        asked = [request.url for request in self.requests]
        return [url.params for url in asked if url.path.endswith(EVENTS)]


@dataclass
class World:
    """A Bitbucket, a source that reads it, and a store that keeps what the source yields."""

    simulator: Simulator
    clock: HandClock
    network: Network
    source: BitbucketAudit
    stored: dict[str, Record] = field(default_factory=dict)
    unreadable: dict[bytes, Unreadable] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None

    def keep(self, page: Page) -> None:
        times = [record.occurred_at for record in page.records]
        assert times == sorted(times)
        for record in page.records:
            self.stored.setdefault(record.event_id, record)
        self.unreadable.update({one.original: one for one in page.unreadable})
        self.checkpoint = page.checkpoint

    async def poll(self, *, pages: int | None = None) -> int:
        """Poll once, or only until so many pages are stored; return how many there were."""
        count = 0
        async with aclosing(self.source.poll(self.checkpoint)) as polled:
            async for page in polled:
                self.keep(page)
                count += 1
                if count == pages:
                    break
        return count

    async def persist(self, *, tries: int = 400) -> list[ForwarderError]:
        """Poll until a poll ends well; return the errors until then."""
        errors: list[ForwarderError] = []
        for _ in range(tries):
            try:
                await self.poll()
            except ForwarderError as error:
                errors.append(error)
            else:
                return errors
        raise AssertionError(f"no poll ended well: {errors[-1]}")

    def read(self) -> Counter[str]:
        return Counter(_same(json.loads(bytes(one.original))) for one in self.stored.values())

    def truth(self, **filters: Any) -> Counter[str]:
        return Counter(_same(event) for event in self.simulator.truth(**filters))


def _same(event: Any) -> str:
    return json.dumps(event, sort_keys=True)


@asynccontextmanager
async def world(
    *,
    user: str | None = "admin",
    simulator: SimulatorOptions | None = None,
    at: datetime = NOON,
    **written: Any,
) -> AsyncIterator[World]:
    clock = HandClock(at)
    bitbucket = Simulator(simulator or SimulatorOptions(), clock=clock)
    network = Network(bitbucket, user=user)
    options = bitbucket.options
    config = BitbucketAuditConfig.model_validate(
        {
            "type": "bitbucket_audit",
            "url": f"https://bitbucket.example.com{options.context}",
            "token": options.token,
            "start_at": "beginning",
            "page_size": 50,
        }
        | written
    )
    ours = ServerClock(
        wall=lambda: clock.elapsed_ms() / 1000, steady=lambda: clock.elapsed_ms() / 1000
    )
    async with config.open(name="bitbucket", transport=network, clock=ours) as source:
        yield World(bitbucket, clock, network, source)


def history(count: int, **options: Any) -> SimulatorOptions:
    return SimulatorOptions(history=count, **options)


# --- what is read ---


@pytest.mark.parametrize("page_size", [1, 7, 50, 1000])
async def test_everything_of_the_category_is_read_once(page_size: int) -> None:
    async with world(simulator=history(700), page_size=page_size) as here:
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        assert len(here.stored) > 100


async def test_every_category_is_read_where_none_is_named() -> None:
    async with world(simulator=history(700), categories=[]) as here:
        before = here.truth()
        await here.poll()
        assert here.read() == before


async def test_actions_choose_further() -> None:
    async with world(simulator=history(700), actions=["Security hook skipped"]) as here:
        await here.poll()
        assert here.read() == here.truth(actions=["Security hook skipped"])
        assert here.stored


async def test_a_decade_of_silence_before_the_first_event_takes_few_questions() -> None:
    async with world() as here:
        for days in (0, 1, 2):
            here.simulator.emit(at=NOON - timedelta(days=days + 3650))
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        assert len(here.network.searches) <= 40


async def test_an_empty_log_is_found_empty_and_polled_with_one_question() -> None:
    async with world() as here:
        await here.poll()
        before = len(here.network.requests)
        here.clock.advance(30)
        assert await here.poll() == 1
        assert len(here.network.requests) == before + 1
        assert not here.stored


async def test_an_event_is_read_by_the_first_poll_after_it_shows() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        for _ in range(3):
            here.clock.advance(30)
            event = here.simulator.emit()
            await here.poll()
            assert _same(event) in here.read()


async def test_from_now_on_means_neither_before_nor_by_a_deeper_reread() -> None:
    async with world(simulator=history(300), start_at="now") as here:
        await here.poll()
        for _ in range(3):
            here.clock.advance(4000)
            await here.poll()
        assert not here.stored
        here.simulator.emit()
        await here.poll()
        assert len(here.stored) == 1


async def test_from_a_time_on_means_from_that_very_time() -> None:
    start = NOON - timedelta(hours=6)
    async with world(simulator=history(300), start_at=start) as here:
        here.simulator.emit(at=start)
        here.simulator.emit(at=start - timedelta(milliseconds=1))
        for _ in range(3):
            await here.poll()
            here.clock.advance(4000)
        wanted = [
            event
            for event in here.simulator.truth(categories=[SOTERI])
            if datetime.fromisoformat(event["timestamp"]) >= start
        ]
        assert here.read() == Counter(map(_same, wanted))


async def test_a_range_is_read_without_a_checkpoint() -> None:
    async with world(simulator=history(500)) as here:
        since, until = NOON - timedelta(hours=18), NOON - timedelta(hours=3)
        marks = []
        async with aclosing(here.source.read(since, until)) as pages:
            async for page in pages:
                here.keep(page)
                marks.append(page.checkpoint.mark)
        assert marks == sorted(marks)
        assert marks[-1] == until
        wanted = [
            event
            for event in here.simulator.truth(categories=[SOTERI])
            if since <= datetime.fromisoformat(event["timestamp"]) <= until
        ]
        assert here.read() == Counter(map(_same, wanted))


async def test_everything_is_read_where_no_range_is_named() -> None:
    async with world(simulator=history(300)) as here:
        async with aclosing(here.source.read(None, None)) as pages:
            async for page in pages:
                here.keep(page)
        assert here.read() == here.truth(categories=[SOTERI])


# --- twins, late and early rows, clocks ---


async def test_a_thousand_twins_in_one_millisecond_are_all_kept_and_read_again_add_none() -> None:
    async with world(simulator=history(200)) as here:
        here.simulator.emit(at=NOON - timedelta(seconds=9), copies=1000)
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        here.clock.advance(30)
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


async def test_events_of_one_millisecond_come_in_the_logs_own_order() -> None:
    async with world() as here:
        for number in range(5):
            here.simulator.emit({"source": f"10.0.0.{number}"}, at=NOON)
        await here.poll()
        assert [one.address for one in here.stored.values()] == [f"10.0.0.{n}" for n in range(5)]


async def test_a_twin_that_shows_up_late_is_one_more_event() -> None:
    async with world() as here:
        event = here.simulator.emit(at=NOON, copies=2)
        await here.poll()
        here.simulator.emit(event, at=NOON, late=20)
        here.clock.advance(30)
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        assert len(here.stored) == 3


async def test_polls_far_apart_leave_nothing_between_them() -> None:
    async with world(start_at="now", rescan_interval="30d") as here:
        await here.poll()
        for _ in range(20):
            here.clock.advance(60)
            here.simulator.emit()
        for pause in (1, 1200, 86_400):
            here.simulator.emit(late=pause / 2 if pause < 1200 else 0)
            here.clock.advance(pause)
            here.simulator.emit()
            await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


async def test_a_row_late_by_less_than_the_overlap_is_read_by_the_next_poll() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        here.simulator.emit(late=280)
        for _ in range(9):
            here.clock.advance(30)
            await here.poll()
            assert not here.stored
        here.clock.advance(30)
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


async def test_a_row_later_than_the_overlap_is_read_by_the_deeper_reread() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        here.simulator.emit(late=5000)
        for _ in range(62):
            here.clock.advance(120)
            await here.poll()
        assert len(here.stored) == 1


async def test_a_row_that_came_late_while_we_were_away_is_read_by_the_deeper_reread() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        here.clock.advance(600)
        await here.poll()
        here.simulator.emit(at=NOON + timedelta(seconds=10), late=3600)
        here.clock.advance(3 * 86_400)
        await here.poll()
        assert len(here.stored) == 1


async def test_events_of_a_node_whose_clock_is_ahead_are_read_at_once() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        here.simulator.emit(at=NOON + timedelta(seconds=299))
        await here.poll()
        assert len(here.stored) == 1


async def test_events_far_in_the_future_are_read_once_the_clock_is_near() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        here.simulator.emit(at=NOON + timedelta(hours=2))
        for _ in range(2):
            here.clock.advance(3600)
            await here.poll()
        assert len(here.stored) == 1


@pytest.mark.parametrize("jump", [-400_000.0, -7200.0, -90.0, 90.0, 7200.0, 400_000.0])
async def test_a_jump_of_the_servers_clock_loses_nothing(jump: float) -> None:
    async with world(start_at="now") as here:
        await here.poll()
        for step in range(12):
            here.clock.advance(30)
            here.simulator.emit()
            if step == 6:
                here.clock.jump(jump)
                here.simulator.emit()
            await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


@pytest.mark.parametrize("heard", [True, False])
async def test_a_clock_set_back_while_we_were_away_loses_nothing_though_a_poll_is_cut_short(
    heard: bool,
) -> None:
    async with world() as here:
        await here.poll()
        here.clock.jump(-86_400 * 3)
        here.simulator.emit()
        here.clock.advance(3600)
        if heard:
            await here.source.probe()
        await here.poll(pages=1)
        for _ in range(80):
            here.clock.advance(3600)
            await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        assert len(here.stored) == 1


async def test_nodes_whose_clocks_differ_by_less_than_the_overlap_cost_no_deeper_reading() -> None:
    async with world(start_at="now") as here:
        await here.poll()
        for behind in (5, 290) * 5:
            here.clock.jump(-behind)
            here.clock.advance(30)
            here.simulator.emit()
            before = len(here.network.requests)
            await here.poll()
            assert len(here.network.requests) - before == 1
            here.clock.jump(behind)
            here.clock.advance(30)
            await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


async def test_a_clock_set_right_again_after_the_start_hides_no_event() -> None:
    async with world(start_at="now") as here:
        here.clock.jump(86_400 * 3)
        await here.poll()
        here.clock.jump(-86_400 * 3)
        here.clock.advance(60)
        here.simulator.emit()
        await here.poll()
        assert len(here.stored) == 1


async def test_the_clock_of_a_log_in_page_is_not_believed() -> None:
    async with world(simulator=history(20), start_at="now") as here:
        await here.poll()
        mark = here.checkpoint
        here.clock.jump(-86_400 * 18_000)
        here.simulator.faults.next = ["html_login"]
        with pytest.raises(AccessError, match="web page"):
            await here.poll()
        here.clock.jump(86_400 * 18_000)
        await here.poll()
        assert not here.stored
        assert here.checkpoint == mark


# --- restarts ---


async def test_a_restart_after_any_page_loses_nothing_and_stores_no_event_twice() -> None:
    async with world(simulator=history(900), page_size=10) as here:
        for _ in range(200):
            mark = here.checkpoint.mark if here.checkpoint else NOON - timedelta(days=99)
            here.clock.advance(1)
            stored = await here.poll(pages=2)
            assert here.checkpoint is not None
            assert here.checkpoint.mark >= mark
            if stored < 2:
                break
        assert here.read() == here.truth(categories=[SOTERI])


async def test_a_poll_that_is_always_cut_short_still_gets_through_a_dense_overlap() -> None:
    async with world(page_size=10, overlap="1h") as here:
        here.simulator.fill(3000, span=3000)
        await here.poll(pages=1)
        for _ in range(300):
            here.clock.advance(30)
            await here.poll(pages=1)
        assert here.read() == here.truth(categories=[SOTERI])


async def test_retention_may_remove_rows_while_we_read() -> None:
    options = history(900, span=86_400.0 * 3, retention=86_400.0 * 2)
    async with world(simulator=options, page_size=10) as here:
        await here.poll(pages=3)
        here.clock.advance(86_400)
        here.simulator.emit()
        await here.poll()
        assert here.truth(categories=[SOTERI]) <= here.read()


# --- questions ---


async def test_a_walk_keeps_its_bounds_filters_and_address_on_every_page() -> None:
    options = history(900, context="/bitbucket", internal_host="http://10.0.0.1:7990")
    async with world(simulator=options, page_size=20, actions=["Security hook skipped"]) as here:
        await here.poll()
        assert {request.url.host for request in here.network.requests} == {"bitbucket.example.com"}
        last: tuple[str, str] | None = None
        for params in here.network.searches:
            bounds = params["from"], params["to"]
            if "pageCursor" in params:
                assert bounds == last
            last = bounds
            assert params["categories"] == SOTERI
            assert params["actions"] == "Security hook skipped"
            assert {"offset", "scanLimit"}.isdisjoint(params)
        assert any("pageCursor" in params for params in here.network.searches)


async def test_neighbouring_windows_share_their_boundary() -> None:
    async with world(simulator=history(900), page_size=10) as here:
        await here.poll()
        wide = [p for p in here.network.searches if p["limit"] == "10" and "pageCursor" not in p]
        ends = {params["to"] for params in here.network.searches}  # of what was empty, too
        assert len(wide) > 10
        assert all(params["from"] in ends for params in wide[1:])


async def test_user_name_and_password_are_as_good_as_a_token() -> None:
    async with world(
        simulator=history(100), token=None, username="admin", password="admin", categories=[]
    ) as here:
        before = here.truth()
        await here.poll()
        assert here.read() == before


async def test_our_own_searches_are_told_by_the_accounts_name() -> None:
    async with world(simulator=history(50), categories=[]) as here:
        before = here.truth()
        for _ in range(3):
            await here.poll()
            here.clock.advance(30)
        assert here.read() == before


async def test_searches_are_kept_where_nobody_says_who_we_are() -> None:
    async with world(user=None, categories=[], start_at="now") as here:
        for _ in range(3):
            await here.poll()
            here.clock.advance(30)
        assert 1 <= len(here.stored) <= 3


async def test_projects_and_repositories_are_a_union_and_each_event_comes_once() -> None:
    async with world(
        simulator=history(1500),
        categories=[],
        projects=["SEC"],
        repositories=["SEC/payments", "OPS/helm-charts"],
    ) as here:
        sec, deploy = _ids(here.simulator)
        before = here.simulator.truth()
        await here.poll()
        wanted = [
            event
            for event in before
            if any(
                (one["type"], one.get("id")) in (("PROJECT", sec), ("REPOSITORY", deploy))
                for one in event.get("affectedObjects", [])[:5]
            )
        ]
        assert here.read() == Counter(map(_same, wanted))
        assert len(wanted) > 20


def _ids(simulator: Simulator) -> tuple[str, str]:
    sec = simulator.catalogue.project("SEC")
    found = simulator.catalogue.repository("OPS", "helm-charts")
    assert sec
    assert found
    return str(sec.id), str(found[1].id)


async def test_a_project_administrators_token_is_enough_for_its_projects() -> None:
    options = SimulatorOptions(history=600)
    async with world(simulator=options, token=options.project_token, projects=["SEC"]) as here:
        await here.poll()
        assert here.stored


@pytest.mark.parametrize(
    ("scope", "named"),
    [
        ({"projects": ["SEC", "NOPE"]}, "project NOPE"),
        ({"repositories": ["SEC/nope"]}, "repository SEC/nope"),
    ],
)
async def test_a_project_or_repository_that_is_not_there_is_named(
    scope: dict[str, list[str]], named: str
) -> None:
    async with world(**scope) as here:
        with pytest.raises(AccessError, match=named):
            await here.poll()


# --- what the server refuses ---


@pytest.mark.parametrize("fault", ["filters_refused_400", "filters_refused_500"])
async def test_without_a_licence_for_filters_we_filter_here(fault: FaultName) -> None:
    async with world(simulator=history(700)) as here:
        here.simulator.faults.next.append(fault)
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        assert [p for p in here.network.searches if "categories" in p] == [here.network.searches[0]]


async def test_a_category_with_a_comma_in_its_name_is_filtered_here() -> None:
    async with world(simulator=history(100), categories=["Odd, but ours"]) as here:
        here.simulator.emit({"type": {"category": "Odd, but ours", "action": "a"}})
        await here.poll()
        assert len(here.stored) == 1


async def test_a_server_that_gives_small_pages_only_is_asked_for_small_ones() -> None:
    async with world(simulator=history(700, limit_cap=30), page_size=1000) as here:
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])
        refused = [p for p in here.network.searches if int(p["limit"]) > 30]
        assert [int(p["limit"]) for p in refused] == [1000, 500, 250, 125, 62, 31]


async def test_events_of_megabytes_are_read_in_smaller_pages() -> None:
    async with world(page_size=1000) as here:
        for second in range(24):
            at = NOON - timedelta(seconds=second)
            here.simulator.emit({"node": "x" * 2_000_000}, at=at)
        await here.poll()
        assert len(here.stored) == 24


async def test_a_cursor_that_leads_nowhere_ends_the_walk_with_a_plain_error() -> None:
    async with world(simulator=history(700)) as here:
        here.simulator.faults.rates["stuck_cursor"] = 1.0
        with pytest.raises(TransientError, match="cursor does not lead to older rows"):
            await here.poll()
        here.simulator.faults.rates.clear()
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


REFUSALS: list[tuple[FaultName, type[ForwarderError], str]] = [
    ("invalid_query", AccessError, "validation.error.from.invalid"),
    ("unauthorized", AccessError, "HTTP 401"),
    ("forbidden", AccessError, "HTTP 403"),
    ("slots_busy", TransientError, "other search requests"),
    ("http_429", TransientError, "HTTP 429"),
    ("http_502", TransientError, "HTTP 502"),
    ("http_503", TransientError, "HTTP 503"),
    ("http_504", TransientError, "HTTP 504"),
    ("redirect_login", AccessError, "redirected"),
    ("html_login", AccessError, "web page"),
    ("no_entities", AccessError, "no page"),
    ("truncated", TransientError, "no whole JSON"),
    ("malformed", TransientError, "no whole JSON"),
    ("drop_before", TransientError, "disconnected"),
    ("drop_in_body", TransientError, "disconnected"),
]


@pytest.mark.parametrize(("fault", "kind", "said"), REFUSALS)
async def test_a_fault_is_named_for_what_to_do_next(
    fault: FaultName, kind: type[ForwarderError], said: str
) -> None:
    async with world(simulator=history(100)) as here:
        here.simulator.faults.next.append(fault)
        with pytest.raises(kind, match=said) as caught:
            await here.poll()
        assert "simulator-admin-token" not in f"{caught.value!r} {caught.value.remedy}"
        assert "\n" not in str(caught.value)
        if kind is AccessError:
            assert caught.value.remedy
        here.simulator.faults.next.clear()
        await here.poll()
        assert here.read() == here.truth(categories=[SOTERI])


@pytest.mark.parametrize("fault", ["http_429_seconds", "http_429_date"])
async def test_the_wait_that_the_server_asks_for_is_handed_on(fault: FaultName) -> None:
    options = SimulatorOptions(retry_after_seconds=7.0)
    async with world(simulator=options, at=datetime.now(UTC)) as here:
        here.simulator.faults.next.append(fault)
        with pytest.raises(TransientError) as caught:
            await here.poll()
        assert 4 <= caught.value.retry_after <= 8


async def test_a_wrong_token_is_refused_with_a_remedy_before_the_log_is_asked() -> None:
    async with world(token="wrong") as here:
        with pytest.raises(AccessError, match="401") as caught:
            await here.poll()
        assert "credential" in caught.value.remedy
        assert not here.network.searches


async def test_a_token_with_odd_characters_is_refused_before_it_is_sent() -> None:
    async with world(token="tok\nen") as here:
        with pytest.raises(AccessError, match="characters"):
            await here.poll()
        assert not here.network.requests


# --- faults ---


@pytest.mark.parametrize("fault", [f for f in TRANSIENT if f not in ("slow", "gzip")])
async def test_a_fault_at_any_request_loses_nothing(fault: FaultName) -> None:
    async with world(simulator=history(120), page_size=10, categories=[SOTERI]) as calm:
        await calm.poll()
        requests = len(calm.network.searches)
        truth = calm.truth(categories=[SOTERI])
    for place in range(requests):
        async with world(simulator=history(120), page_size=10) as here:
            here.simulator.faults.next += [*[None] * place, fault]
            assert len(await here.persist()) == 1
            assert here.read() == truth


@pytest.mark.parametrize("seed", range(3))
async def test_faults_at_a_fifth_of_all_requests_lose_nothing(seed: int) -> None:
    options = history(600, seed=seed, fault_rates=mix(0.2), slow_seconds=0.0)
    async with world(simulator=options, page_size=10, start_at="beginning") as here:
        for _ in range(8):
            await here.persist()
            here.clock.advance(30)
            here.simulator.emit(late=45)
        here.clock.advance(60)
        errors = await here.persist()
        here.simulator.faults.rates.clear()
        assert all(isinstance(error, TransientError) for error in errors)
        assert here.read() == here.truth(categories=[SOTERI])


# --- rows that are not as they should be ---


def _row(**fields: Any) -> bytes:
    return json.dumps(
        {"type": {"category": SOTERI, "action": "a"}, "timestamp": "2020-03-01T11:00:00Z"} | fields
    ).encode()


BAD: list[tuple[bytes, Callable[[World], int]]] = [
    (_row(author=7, source=9), lambda here: len(here.stored)),
    (_row(x=1).replace(b'"x": 1', b'"x": NaN'), lambda here: len(here.stored)),
    (_row(source="@").replace(b"@", rb"\ud800"), lambda here: len(here.stored)),
    (_row(source="@").replace(b"@", b"a\nb"), lambda here: len(here.stored)),
    (_row(source="@").replace(b"@", b"\xff"), lambda here: len(here.stored)),
    (_row(timestamp="soon"), lambda here: len(here.unreadable)),
    (_row(timestamp=None), lambda here: len(here.unreadable)),
    (b"null", lambda here: len(here.unreadable)),
    (b"{not: json}", lambda here: len(here.unreadable)),
]


@pytest.mark.parametrize(("row", "counted"), BAD)
async def test_a_bad_row_is_kept_and_costs_no_other(
    row: bytes, counted: Callable[[World], int]
) -> None:
    async with world(categories=[]) as here:
        await here.poll()
        before = counted(here)
        for minute in (58, 62):
            here.simulator.emit(at=NOON - timedelta(minutes=minute))
        here.simulator.emit_raw(row, at=NOON - timedelta(minutes=60))
        here.checkpoint = None
        await here.poll()
        assert len(here.stored) + len(here.unreadable) == 3
        assert counted(here) - before >= 1
        if here.unreadable:
            assert set(here.unreadable) == {row}


# --- probe ---


async def test_a_probe_says_what_it_found() -> None:
    async with world() as here:
        here.clock.jump(90)
        said = await here.source.probe()
    assert said.startswith("Bitbucket 8.19.1 as admin; the audit log can be read; ")
    assert "90 s ahead of ours" in said
    assert "2,904 rows a day" in said


async def test_a_probe_says_that_filters_are_refused_and_raises_what_a_poll_would() -> None:
    async with world() as here:
        here.simulator.faults.next.append("filters_refused_400")
        assert "not filtered" in await here.source.probe()
        here.simulator.faults.next.append("forbidden")
        with pytest.raises(AccessError):
            await here.source.probe()
