"""Each fault, as a client in the same process meets it. Sockets are in tests/integration."""

from email.utils import parsedate_to_datetime

import httpx
import pytest

from forwarder.simulator import FAULTS
from forwarder.simulator.events import SOTERI_CATEGORY

EVENTS = "/rest/auditing/1.0/events"


@pytest.mark.parametrize(
    ("fault", "status", "media", "part"),
    [
        ("invalid_query", 400, "application/json", "validation.error.from.invalid"),
        ("unauthorized", 401, "application/json", "IncorrectPasswordAuthenticationException"),
        ("forbidden", 403, "application/json", "AuthorisationException"),
        ("filters_refused_400", 400, "application/json", "only supported for Datacenter license"),
        ("filters_refused_500", 500, "application/json", "only supported for Datacenter license"),
        ("slots_busy", 500, "text/plain", "there are many other search requests in progress"),
        ("http_429", 429, "application/json", "rate limited"),
        ("http_502", 502, "text/html", "Bad Gateway"),
        ("http_503", 503, "text/html", "Service Unavailable"),
        ("http_504", 504, "text/html", "Gateway Time-out"),
        ("html_login", 200, "text/html", "Log in"),
        ("no_entities", 200, "application/json", "pagingInfo"),
    ],
)
async def test_an_answer_in_bitbuckets_place_leaves_no_audit_row(
    opened, fault, status, media, part
):
    async with opened() as (simulator, client):
        simulator.faults.next = [fault]
        answer = await client.get(EVENTS, params={"categories": SOTERI_CATEGORY})
        assert simulator.truth() == []
        assert simulator.faults.counts == {fault: 1}
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith(media)
    assert part in answer.text


@pytest.mark.parametrize("fault", ["filters_refused_400", "filters_refused_500"])
async def test_without_a_licence_only_requests_with_filters_are_refused(opened, fault):
    async with opened(fault_rates={fault: 1.0}) as (_, client):
        assert (await client.get(EVENTS, params={"limit": 5})).status_code == 200
        assert (await client.get(EVENTS, params={"actions": "x"})).status_code != 200


async def test_a_redirect_leads_to_another_origin(opened):
    async with opened() as (simulator, client):
        simulator.faults.next = ["redirect_login"]
        answer = await client.get(EVENTS)
    assert answer.status_code == 302
    assert not answer.headers["Location"].startswith("http://bitbucket")


async def test_retry_after_comes_in_seconds_as_a_date_or_not_at_all(opened):
    async with opened(retry_after_seconds=7) as (simulator, client):
        simulator.faults.next = ["http_429", "http_429_seconds", "http_429_date"]
        none, seconds, date = [
            (await client.get(EVENTS)).headers.get("Retry-After") for _ in range(3)
        ]
        at = parsedate_to_datetime(date)
        assert (at - simulator.clock.now()).total_seconds() == 7
    assert (none, seconds) == (None, "7")


@pytest.mark.parametrize("fault", ["truncated", "malformed"])
async def test_a_broken_answer_is_a_200_that_was_searched_and_audited(opened, fault):
    async with opened(history=5) as (simulator, client):
        simulator.faults.next = [fault]
        answer = await client.get(EVENTS)
        assert len(simulator.truth()) == 6
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        answer.json()


@pytest.mark.parametrize("fault", ["drop_before", "drop_in_body"])
async def test_a_lost_connection_is_what_httpx_would_raise(opened, fault):
    async with opened(history=5) as (simulator, client):
        simulator.faults.next = [fault]
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(EVENTS)
        assert (await client.get(EVENTS)).status_code == 200


@pytest.mark.parametrize("fault", ["gzip", "slow"])
async def test_a_compressed_and_a_slow_answer_are_good_ones(opened, fault):
    async with opened(history=50, slow_seconds=0.0) as (simulator, client):
        truth = simulator.truth()
        simulator.faults.next = [fault]
        answer = await client.get(EVENTS)
    assert answer.json()["entities"] == truth[::-1]
    assert (answer.headers.get("Content-Encoding") == "gzip") == (fault == "gzip")


async def test_a_stuck_cursor_never_leads_further_back(opened):
    async with opened(history=20) as (simulator, client):
        simulator.faults.rates = {"stuck_cursor": 1.0}
        cursors, parameters = [], {"limit": 5}
        for _ in range(3):
            paging = (await client.get(EVENTS, params=parameters)).json()["pagingInfo"]
            assert not paging["lastPage"]
            cursors.append(tuple(int(part) for part in paging["nextPageCursor"].split(",")))
            parameters = {"limit": 5, "pageCursor": paging["nextPageCursor"]}
    newest = max((row.at_ms, row.id) for row in simulator.log.rows[:20])
    assert cursors[0] >= newest
    assert len(set(cursors)) == 1


async def test_look_ups_fail_by_a_script_of_their_own(opened):
    async with opened() as (simulator, client):
        simulator.faults.next = ["http_503"]
        simulator.faults.next_other = ["http_504"]
        assert (await client.get("/rest/api/latest/projects/SEC")).status_code == 504
        assert (await client.get(EVENTS)).status_code == 503


async def test_every_fault_can_be_played(opened):
    async with opened(history=5, slow_seconds=0.0) as (simulator, client):
        for fault in FAULTS:
            simulator.faults.next = [fault]
            try:
                await client.get(EVENTS, params={"categories": SOTERI_CATEGORY})
            except httpx.RemoteProtocolError:
                assert fault.startswith("drop")
        assert simulator.faults.counts == dict.fromkeys(FAULTS, 1)
