"""Answers that no Bitbucket should give: bounded, named, and never taken for what they are not."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime

import anyio
import httpx
import pytest

from forwarder.errors import AccessError, TransientError
from forwarder.model import Page
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.client import MOST_BYTES
from forwarder.sources.bitbucket_audit.clock import ServerClock

NOW = datetime(2024, 3, 1, tzinfo=UTC)
INSIDE = {"timestamp": "2024-02-29T23:59:59Z"}

Answer = Callable[[httpx.Request], httpx.Response]


def entities(*rows: object, **paging: object) -> httpx.Response:
    return httpx.Response(200, json={"entities": rows, "pagingInfo": {"lastPage": True, **paging}})


async def read(answer: Answer) -> list[Page]:
    """Read one minute of a Bitbucket whose audit log answers like this."""

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("application-properties"):
            return httpx.Response(200, json={"version": "8.19.1"})
        return answer(request)

    config = BitbucketAuditConfig.model_validate(
        {"type": "bitbucket_audit", "url": "https://b", "token": "t", "timeout": "31s"}
    )
    clock = ServerClock(wall=NOW.timestamp, steady=lambda: 0.0)
    transport = httpx.MockTransport(respond)
    async with config.open(name="b", transport=transport, clock=clock) as source:
        since = datetime(2024, 2, 29, 23, 59, tzinfo=UTC)
        async with aclosing(source.read(since, NOW)) as pages:
            return [page async for page in pages]


async def test_rows_outside_of_what_was_asked_for_are_left_out() -> None:
    before, after = {"timestamp": "2024-02-28T00:00:00Z"}, {"timestamp": "2024-03-02T00:00:00Z"}
    (page,) = await read(lambda _: entities(after, INSIDE, before))
    assert [record.occurred_at.day for record in page.records] == [29]


async def test_a_next_page_without_a_cursor_is_an_error() -> None:
    with pytest.raises(TransientError, match="no cursor"):
        await read(lambda _: entities(INSIDE, lastPage=False))


async def test_cursors_that_go_round_in_a_circle_are_an_error() -> None:
    def circle(request: httpx.Request) -> httpx.Response:
        following = {"b": "a", "a": "b"}.get(request.url.params.get("pageCursor", "b"))
        return entities(INSIDE, lastPage=False, nextPageCursor=following)

    with pytest.raises(TransientError, match="cursor does not lead to older rows"):
        await read(circle)


async def test_a_web_page_that_calls_itself_json_is_still_a_web_page() -> None:
    headers = {"Content-Type": "application/json"}
    with pytest.raises(AccessError, match="web page"):
        await read(lambda _: httpx.Response(200, text="\n<html></html>", headers=headers))


class Endless(httpx.AsyncByteStream):
    """A body without an end; counts what was taken from it."""

    def __init__(self) -> None:
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < 1 << 30:
            self.taken += 1 << 20
            yield b" " * (1 << 20)


async def test_an_answer_without_an_end_is_given_up() -> None:
    streams: list[Endless] = []

    def endless(_request: httpx.Request) -> httpx.Response:
        streams.append(Endless())
        return httpx.Response(200, stream=streams[-1])

    with pytest.raises(TransientError, match="passes the size"):
        await read(endless)
    assert all(stream.taken <= MOST_BYTES + (2 << 20) for stream in streams)
    assert len(streams) == 10  # 1000 rows, 500, ... 1


@pytest.mark.parametrize("body", [None, b"[" * 100_000, b"7", b"\xff"])
async def test_what_a_probe_asks_whether_it_is_a_bitbucket_may_answer_anything(
    body: bytes | None,
) -> None:
    streams: list[Endless] = []

    def something(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/status"):
            return httpx.Response(404)
        assert "Authorization" not in request.headers
        if body is not None:
            return httpx.Response(200, content=body)
        streams.append(Endless())
        return httpx.Response(200, stream=streams[-1])

    config = BitbucketAuditConfig.model_validate(
        {"type": "bitbucket_audit", "url": "https://b", "token": "t"}
    )
    async with config.open(name="b", transport=httpx.MockTransport(something)) as source:
        with pytest.raises(AccessError, match="no Bitbucket"):
            await source.probe()
    assert all(stream.taken <= MOST_BYTES + (2 << 20) for stream in streams)


async def test_a_packed_answer_is_measured_unpacked() -> None:
    bomb = gzip.compress(b" " * (MOST_BYTES + 1))
    assert len(bomb) < 100_000
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    with pytest.raises(TransientError, match="passes the size"):
        await read(lambda _: httpx.Response(200, content=bomb, headers=headers))


async def test_an_answer_packed_twice_is_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(b" " * MOST_BYTES))
    headers = {"Content-Encoding": "gzip, gzip", "Content-Type": "application/json"}
    with pytest.raises(TransientError, match="packed twice"):
        await read(lambda _: httpx.Response(200, stream=Packed(bomb), headers=headers))


class Packed(httpx.AsyncByteStream):
    """A body as it comes over the wire."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


async def test_an_error_that_says_terminal_escapes_is_shown_without_them() -> None:
    said = {"errors": [{"message": "\x1b[31mred\r\nforged line\0"}]}
    with pytest.raises(TransientError) as caught:
        await read(lambda _: httpx.Response(500, json=said))
    assert str(caught.value).endswith("HTTP 500: [31mred forged line")


async def test_an_error_of_any_form_is_named() -> None:
    for body in (b"", b"[]", b"7", b'{"errors":"x"}', b'{"errors":[7]}', b"\xff", b"[" * 4000):
        with pytest.raises(TransientError, match="HTTP 500"):
            await read(lambda _, body=body: httpx.Response(500, content=body))  # type: ignore[misc]


async def test_a_bitbucket_without_a_date_is_read_by_our_own_clock() -> None:
    with anyio.fail_after(10):
        (page,) = await read(lambda _: entities(INSIDE))
    assert json.loads(bytes(page.records[0].original)) == INSIDE


async def test_times_that_no_calendar_has_are_not_listened_to() -> None:
    for odd in (f"Fri, 01 Mar {'9' * 20} 00:00:00 GMT", f"Fri, 01 Mar 2024 00:00:00 +{'9' * 20}"):
        (page,) = await read(
            lambda _, odd=odd: httpx.Response(  # type: ignore[misc]
                200, headers={"Date": odd}, content=entities(INSIDE).content
            )
        )
        assert len(page.records) == 1
        with pytest.raises(TransientError, match="HTTP 429") as caught:
            await read(lambda _, odd=odd: httpx.Response(429, headers={"Retry-After": odd}))  # type: ignore[misc]
        assert caught.value.retry_after == 0.0
