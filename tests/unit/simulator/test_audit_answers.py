"""GET /rest/auditing/1.0/events: pages, their audit rows, CSV, and what is refused."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from forwarder.simulator.events import AUDITING_CATEGORY, SEARCH_PERFORMED, SOTERI_CATEGORY

EVENTS = "/rest/auditing/1.0/events"


async def walk(client, **parameters: object):
    """Return every event that a walk by cursor gives, and how many pages it took."""
    found, pages, cursor = [], 0, {}
    while True:
        page = (await client.get(EVENTS, params={**parameters, **cursor})).json()
        found += page["entities"]
        pages += 1
        if page["pagingInfo"]["lastPage"]:
            return found, pages
        cursor = {"pageCursor": page["pagingInfo"]["nextPageCursor"]}


async def test_a_walk_gives_the_truth_newest_first(opened):
    async with opened(history=250) as (simulator, client):
        truth = simulator.truth(categories=[SOTERI_CATEGORY])
        found, pages = await walk(client, limit=20, categories=SOTERI_CATEGORY)
    assert found == truth[::-1]
    assert pages == -(-len(truth) // 20)


async def test_every_page_writes_one_audit_row_even_an_empty_one(opened):
    async with opened() as (simulator, client):
        for _ in range(3):
            answer = await client.get(EVENTS, params={"categories": SOTERI_CATEGORY})
            assert answer.json() == {"entities": [], "pagingInfo": {"lastPage": True, "size": 0}}
        rows = simulator.truth()
    assert [row["type"]["action"] for row in rows] == [SEARCH_PERFORMED] * 3
    assert rows[0]["type"]["category"] == AUDITING_CATEGORY
    assert rows[0]["type"]["actionI18nKey"] == "atlassian.audit.event.action.audit.search"
    assert rows[0]["author"]["name"] == "admin"
    assert rows[0]["source"] == "10.9.8.7"


async def test_the_audit_row_says_what_was_found_with_attributes_sorted_by_name(opened):
    async with opened() as (simulator, client):
        simulator.emit(at=datetime(2025, 12, 31, 23, tzinfo=UTC))
        simulator.emit()
        await client.get(EVENTS)
        attributes = simulator.truth()[-1]["extraAttributes"]
    assert [(one["name"], one["value"]) for one in attributes] == [
        ("ID Range", "1 - 2"),
        ("Query", ""),
        ("Results returned", "2"),
        ("Timestamp Range", "2025-12-31T23:00:00Z - 2026-01-01T00:00:00Z"),
    ]


async def test_the_next_page_is_named_three_ways_and_the_link_names_the_internal_host(opened):
    async with opened(history=10, context="/bitbucket") as (_, client):
        page = (await client.get(EVENTS, params={"limit": 3, "search": "a"})).json()
    paging = page["pagingInfo"]
    assert (paging["lastPage"], paging["size"], paging["nextPageOffset"]) == (False, 3, 0)
    cursor = paging["nextPageCursor"]
    assert paging["nextPageLink"] == (
        "http://bitbucket.internal:7990/bitbucket/rest/auditing/1.0/events"
        f"?limit=3&search=a&pageCursor={cursor.replace(',', '%2C')}"
    )


async def test_the_last_page_names_no_next_one(opened):
    async with opened(history=3) as (_, client):
        page = (await client.get(EVENTS, params={"limit": 3})).json()
    assert page["pagingInfo"] == {"lastPage": True, "size": 3}


async def test_without_to_the_future_is_hidden_until_the_clock_passes_it(opened):
    async with opened() as (simulator, client):
        simulator.emit(at=simulator.clock.now() + timedelta(seconds=5))
        assert (await client.get(EVENTS)).json()["entities"] == []
        simulator.clock.advance(5)
        assert (
            len(
                (await client.get(EVENTS, params={"categories": SOTERI_CATEGORY})).json()[
                    "entities"
                ]
            )
            == 1
        )


async def test_both_bounds_are_inclusive_over_http(opened):
    async with opened() as (simulator, client):
        at = simulator.clock.now() - timedelta(seconds=1)
        simulator.emit(at=at)
        exactly = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        answer = await client.get(EVENTS, params={"from": exactly, "to": exactly})
    assert len(answer.json()["entities"]) == 1


async def test_the_date_header_follows_the_servers_clock(opened):
    async with opened() as (simulator, client):
        simulator.clock.jump(-3600)
        answer = await client.get(EVENTS)
    assert answer.headers["Date"] == "Wed, 31 Dec 2025 23:00:00 GMT"


@pytest.mark.parametrize("cap", [10_000, 100_000])
async def test_both_limit_caps_can_be_played(opened, cap):
    async with opened(limit_cap=cap) as (_, client):
        assert (await client.get(EVENTS, params={"limit": cap})).status_code == 200
        answer = await client.get(EVENTS, params={"limit": cap + 1})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["key"] == "validation.error.limit.invalid"


async def test_a_bad_parameter_is_answered_as_documented(opened):
    async with opened() as (_, client):
        answer = await client.get(EVENTS, params={"from": "yesterday"})
    body = answer.json()
    assert answer.status_code == 400
    assert (body["status"], body["message"]) == (400, "Invalid Query")
    assert body["errors"][0]["key"] == "validation.error.from.invalid"
    assert body["timestamp"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_without_a_good_credential_it_is_401_with_the_exceptions_name(opened, token):
    async with opened(token=token) as (simulator, client):
        answer = await client.get(EVENTS)
        assert simulator.truth() == []
    assert answer.status_code == 401
    error = answer.json()["errors"][0]
    assert error["context"] is None
    assert error["exceptionName"].endswith("auth.IncorrectPasswordAuthenticationException")


async def test_basic_authentication_opens_too_and_a_locked_account_says_captcha(opened):
    async with opened(token="") as (_, client):
        assert (await client.get(EVENTS, auth=("admin", "admin"))).status_code == 200
        for _ in range(5):
            answer = await client.get(EVENTS, auth=("admin", "wrong"))
        assert answer.headers["X-Authentication-Denied-Reason"] == "CAPTCHA_CHALLENGE"
        assert (await client.get(EVENTS, auth=("admin", "admin"))).status_code == 401


@pytest.mark.parametrize("status", [401, 403])
async def test_a_project_admin_reads_their_own_project_and_nothing_else(opened, status):
    async with opened(token="simulator-project-token", denied_status=status, history=300) as (
        _,
        client,
    ):
        denied = await client.get(EVENTS)
        other = await client.get(EVENTS, params={"affectedObject": "PROJECT,2"})
        own = await client.get(EVENTS, params={"affectedObject": "PROJECT,1"})
    assert (denied.status_code, other.status_code, own.status_code) == (status, status, 200)
    assert denied.json()["errors"][0]["exceptionName"].endswith("AuthorisationException")
    assert {event["affectedObjects"][0]["name"] for event in own.json()["entities"]} == {"SEC"}


async def test_csv_is_prose_for_people_and_ignores_the_cursor(opened):
    async with opened() as (simulator, client):
        simulator.emit()
        simulator.emit(at=simulator.clock.now() - timedelta(seconds=5))
        answer = await client.get(
            EVENTS,
            params={"outputFormat": "csv", "pageCursor": "0,0", "categories": SOTERI_CATEGORY},
        )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert [row["Action"] for row in rows] == ["Security hook skipped"] * 2
    assert "Project: " in rows[0]["Affected objects"]
    assert "\r\n" in rows[0]["Extra attributes"]  # a commit message's own line ends


@pytest.mark.parametrize("how", ["seconds", "date", "none"])
async def test_the_rate_limit_refuses_the_61st_request_and_tells_the_wait(opened, how):
    async with opened(rate_limit=True, retry_after=how) as (simulator, client):
        statuses = [(await client.get(EVENTS)).status_code for _ in range(60)]
        refused = await client.get(EVENTS)
        simulator.clock.advance(1)
        later = await client.get(EVENTS)
    assert set(statuses) == {200}
    assert (refused.status_code, later.status_code) == (429, 200)
    expected = {"seconds": "1", "date": "Thu, 01 Jan 2026 00:00:01 GMT", "none": None}
    assert refused.headers.get("Retry-After") == expected[how]
