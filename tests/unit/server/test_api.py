"""What the server tells: status, history, events, dead letters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from forwarder.errors import TransientError
from forwarder.model import Attribute, Checkpoint, Receipt, Rejection, Sample, Unreadable
from forwarder.server import ServerConfig
from forwarder.server.search import SHOWN
from tests.fakes.daemon import FakeDaemon, asking
from tests.fakes.events import BEGINNING, event, events

MARK = Checkpoint(BEGINNING)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
ACT = {"authorization": "Bearer t", "x-forwarder-action": "1"}


async def get(daemon: FakeDaemon, path: str, *, status: int = 200) -> Any:
    async with asking(daemon, ServerConfig()) as client:
        answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.text


async def act(daemon: FakeDaemon, verb: str, content: bytes) -> tuple[int, Any]:
    async with asking(daemon, ServerConfig(token="t")) as client:
        answer = await client.post(f"/api/dead-letters/{verb}", content=content, headers=ACT)
    return answer.status_code, answer.json() if answer.is_success else answer.text


async def test_livez_says_what_is_stuck_and_readyz_what_is_missing() -> None:
    daemon = FakeDaemon()
    async with asking(daemon, ServerConfig()) as client:
        assert [(await client.get(path)).text for path in ("/livez", "/readyz")] == ["ok\n", "ok\n"]
        daemon.loops_stuck, daemon.missing = ["sink a"], ["source b: no poll has succeeded yet"]
        livez, readyz = [await client.get(path) for path in ("/livez", "/readyz")]
    assert (livez.status_code, livez.text) == (503, "stuck: sink a\n")
    assert (readyz.status_code, readyz.text) == (
        503,
        "not ready: source b: no poll has succeeded yet\n",
    )


async def test_livez_answers_while_the_store_does_not() -> None:
    daemon = FakeDaemon()
    daemon.failure = TransientError("the store is busy", remedy="wait")
    async with asking(daemon, ServerConfig()) as client:
        assert (await client.get("/livez")).status_code == 200
        status = await client.get("/api/status")
    assert (status.status_code, status.text) == (503, "the store is busy\nwait\n")


async def test_history_counts_each_five_minutes_from_those_before() -> None:
    daemon = FakeDaemon()
    for minutes, total in ((0, 100), (5, 107), (60, 110)):
        at = NOON + timedelta(minutes=minutes)
        taken = Sample(part="sinks.a", at=at, events=total, backlog=minutes, lag_seconds=0.5)
        await daemon.outbox.sample([taken])
    began = int(NOON.timestamp())
    assert await get(daemon, "/api/history") == {
        "seconds": 300,
        "parts": [
            {
                "part": "sinks.a",
                "at": [began, began + 300, began + 3600],
                "events": [None, 7, 3],
                "backlog": [0, 5, 60],
                "lag_seconds": [0.5, 0.5, 0.5],
            }
        ],
    }


async def test_the_newest_events_come_first_and_older_ones_are_asked_for() -> None:
    daemon = FakeDaemon()
    await daemon.outbox.append("bitbucket", events(SHOWN + 2), MARK)
    first = await get(daemon, "/api/events")
    assert [each["place"] for each in first["events"]] == list(range(SHOWN + 2, 2, -1))
    older = await get(daemon, f"/api/events?before={first['before']}")
    assert [each["place"] for each in older["events"]] == [2, 1]
    assert older["before"] is None


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("severity=high", [3, 2, 1]),
        ("severity=critical", [2]),
        ("kind=hook.*", [3, 1]),
        ("kind=SCAN.failed", [2]),
        ("text=Straße", [3]),
        ("text=payments&kind=hook.skipped&severity=low", [3, 1]),
        ("text=nothing%20has%20this", []),
    ],
)
async def test_events_are_found_by_kind_severity_and_text(query: str, places: list[int]) -> None:
    daemon = FakeDaemon()
    note = Attribute(name="note", value="in der STRASSE 5")
    some = [event(1), event(2, kind="scan.failed", severity="critical")]
    await daemon.outbox.append("bitbucket", [*some, event(3, attributes=(note,))], MARK)
    found = await get(daemon, f"/api/events?{query}")
    assert [each["place"] for each in found["events"]] == places


async def test_a_search_goes_on_where_the_last_one_ended_and_skips_none() -> None:
    daemon = FakeDaemon()
    await daemon.outbox.append("bitbucket", events(120), MARK)
    seen, query = [], "/api/events?kind=hook.*"
    while True:
        found = await get(daemon, query)
        seen += [each["place"] for each in found["events"]]
        if found["before"] is None:
            break
        query = f"/api/events?kind=hook.*&before={found['before']}"
    assert seen == list(range(120, 0, -1))


async def test_a_credential_is_neither_shown_nor_found() -> None:
    daemon = FakeDaemon()
    leaked = "AKIAIOSFODNN7EXAMPLQ"
    found = Attribute(name="line", value=f"key = {leaked} # prod")
    await daemon.outbox.append("bitbucket", [event(1, attributes=(found,))], MARK)
    everything = await get(daemon, "/api/events")
    assert "[redacted]" in str(everything)
    assert leaked not in str(everything)
    assert (await get(daemon, f"/api/events?text={leaked}"))["events"] == []


@pytest.mark.parametrize(
    "query", ["severity=grave", "before=soon", "colour=red", "before=-1", f"before={2**63}"]
)
async def test_a_question_that_makes_no_sense_is_refused(query: str) -> None:
    await get(FakeDaemon(), f"/api/events?{query}", status=400)


async def with_letters() -> FakeDaemon:
    daemon = FakeDaemon()
    unreadable = Unreadable(b"\xff<script>alert(1)</script>", "not JSON")
    await daemon.outbox.append("bitbucket", events(3), MARK, unreadable=[unreadable])
    batch = await daemon.outbox.read("splunk", limit=3, max_bytes=10**6)
    assert batch
    rejected = tuple(Rejection(x.event_id, "too_large", "x" * 5000) for x in batch.events[:2])
    await daemon.outbox.settle("splunk", batch, Receipt(rejected))
    return daemon


async def test_dead_letters_come_with_their_reasons_and_counts() -> None:
    found = await get(await with_letters(), "/api/dead-letters")
    assert [(x["sink"], x["reason"], len(x["detail"])) for x in found["letters"]] == [
        ("", "unreadable", 8),
        ("splunk", "too_large", 2000),
        ("splunk", "too_large", 2000),
    ]
    assert found["counts"] == [
        {"sink": "", "reason": "unreadable", "letters": 1},
        {"sink": "splunk", "reason": "too_large", "letters": 2},
    ]
    assert found["may_act"] is False


async def test_the_original_of_a_letter_is_text_and_a_missing_one_404() -> None:
    daemon = await with_letters()
    assert await get(daemon, "/api/dead-letters/1") == {
        "id": 1,
        "original": "\\xff<script>alert(1)</script>",
        "is_whole": True,
    }
    assert '"event_id": ' in (await get(daemon, "/api/dead-letters/2"))["original"]
    await get(daemon, "/api/dead-letters/99", status=404)
    await get(daemon, f"/api/dead-letters/{2**63}", status=400)


async def test_letters_are_sent_again_and_discarded_by_their_ids() -> None:
    daemon = await with_letters()
    assert await act(daemon, "replay", b'{"ids":[2]}') == (200, {"letters": 1, "said": []})
    again = await daemon.outbox.read_replay("splunk", limit=9, max_bytes=10**6)
    assert again
    assert again.positions == (2,)
    assert await act(daemon, "discard", b'{"ids":[1,3,99]}') == (200, {"letters": 2, "said": []})
    assert [x.id async for x in daemon.outbox.dead_letters()] == [2]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b'{"ids":[]}', b'{"ids":["1"]}', b'{"ids":[1],"all":true}'),
        *(b'{"ids":[9223372036854775808]}', b"x" * 2**21),
    ],
)
async def test_a_request_of_another_shape_changes_nothing(body: bytes) -> None:
    daemon = await with_letters()
    status, _ = await act(daemon, "discard", body)
    assert status == 400
    assert len([x async for x in daemon.outbox.dead_letters()]) == 3


async def test_the_status_is_the_daemons() -> None:
    daemon = FakeDaemon()
    assert await get(daemon, "/api/status") == msgspec.json.decode(
        msgspec.json.encode(daemon.found)
    )
