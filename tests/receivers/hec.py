"""A strict HTTP Event Collector, written from docs/destinations.md section 1, for tests.

It enforces: the token (codes 2, 3, 4; 1 where disabled), the channel of tokens with
acknowledgement (10, 11), one index that is allowed (7), envelopes one after the other that are
parsed strictly (6: not JSON, duplicate keys, no object, wrong types; 12: no event; 13: blank
event; 15: fields that are not flat), an unknown envelope key (200, and that object with all
behind it silently dropped), what is indexed of a refused batch (everything before the invalid
event number), the size of a request uncompressed (413, or Splunk Cloud's code 6 with number 0),
the number of events of a request, the size of an event, gzip, the path and the method, acks that
count up per channel, turn true when indexed, and are forgotten once read as true (14 where the
token has none), state that is one indexer's alone, found again by a cookie, restarts that forget
acks and may lose what was not indexed yet.

It does not cover: time stamps taken from text, line breaking, `/raw`, tokens in the query string,
metrics, HTTP/1.0, TLS by itself (uvicorn does it), a queue that really fills (script code 9), the
removal of idle channels (script `restart`), replication, and what a search would show.
"""

import json
import re
import uuid
import zlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.receivers.serving import listening

TEXTS = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    16: (400, "Query string authorization is not enabled"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
    19: (503, "HEC is unhealthy, ack service unavailable"),
    20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
    23: (503, "Server is shutting down"),
    24: (200, "Queue approaching capacity"),
    25: (200, "Ack approaching capacity"),
    26: (429, "Queue at capacity"),
    27: (429, "Ack channel at capacity"),
    28: (400, "Invalid channel"),
}
KEYS = {"time", "host", "source", "sourcetype", "index", "fields", "event"}


@dataclass(frozen=True)
class Fault:
    """What happens to one request in place of, or after, the ordinary.

    `take` reads and indexes the request first, as where only the answer is lost. `body` (with
    `status`) is answered as it is; else `code` as HEC would. `lose` takes the request, answers
    200, and never indexes it. `drop` breaks the connection.
    """

    code: int | None = None
    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    number: int | None = None
    take: bool = False
    lose: bool = False
    drop: bool = False
    delay: float = 0.0


class Broken(Response):
    """Half an answer, and the connection breaks; also through httpx.ASGITransport."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise httpx.ReadError("the receiver broke the connection")


@dataclass
class Indexer:
    """What lives in one indexer's memory."""

    name: str
    counters: dict[str, int] = field(default_factory=dict)
    acks: dict[str, dict[int, bool]] = field(default_factory=dict)
    queued: list[tuple[str, int, list[dict[str, Any]]]] = field(default_factory=list)


class Refused(Exception):  # noqa: N818
    """A HEC code, and the number of the event that it is about."""

    def __init__(self, code: int, number: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.number = number


class Hec:
    """One HEC endpoint with one or several indexers behind it; `app` is its ASGI application.

    `indexed` has every envelope in the order of indexing, doubles included. Without `acking`
    what was taken is indexed at once; with it when the next ack is asked for, or, with `slow`,
    by `index()` alone.
    """

    def __init__(
        self,
        *,
        token: str = "11111111-2222-3333-4444-555555555555",
        acking: bool = False,
        indexes: Iterable[str] = ("security",),
        max_request_bytes: int = 1_000_000,
        max_request_events: int = 1000,
        max_event_bytes: int = 5_000_000,
        oversize_code: int = 6,
        indexers: int = 1,
        sticky: bool = True,
        slow: bool = False,
    ) -> None:
        self.token = token
        self.enabled = True
        self.acking = acking
        self.indexes = set(indexes)
        self.max_request_bytes = max_request_bytes
        self.max_request_events = max_request_events
        self.max_event_bytes = max_event_bytes
        self.oversize_code = oversize_code
        self.sticky = sticky
        self.slow = slow
        self.indexers = [Indexer(f"idx{number}") for number in range(indexers)]
        self.indexed: list[dict[str, Any]] = []
        self.lost: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers and uncompressed body of each request."""
        self.faults: list[Fault | None] = []
        """For the next requests that carry events, in order; None is the ordinary."""
        self.ack_faults: list[Fault | None] = []
        self.health_fault: Fault | None = None
        self.always: Fault | None = None
        """Every request, of whatever kind, is answered so, until it is None again."""
        self.poisoned: dict[str, int] = {}
        """Event ids that are refused with a code (6, 12, 13 or 15)."""
        self._turn = 0
        self.app = Starlette(
            routes=[
                Route("/services/collector/event", self._guarded(self._event), methods=["POST"]),
                Route("/services/collector/ack", self._guarded(self._ack), methods=["POST"]),
                Route("/services/collector/health", self._guarded(self._health), methods=["GET"]),
            ]
        )

    @property
    def ids(self) -> list[str]:
        """The event ids indexed, in order, doubles included."""
        return [envelope["fields"]["event_id"] for envelope in self.indexed]

    @property
    def posts(self) -> int:
        """How many requests with events came."""
        return sum(path.endswith("/event") and body != b"" for path, _, body in self.requests)

    def index(self) -> None:
        """Index what was taken, and let its acks turn true."""
        for indexer in self.indexers:
            for channel, ack_id, envelopes in indexer.queued:
                self.indexed += envelopes
                indexer.acks.setdefault(channel, {})[ack_id] = True
            indexer.queued.clear()

    def restart(self, number: int = 0, *, losing: bool = False) -> None:
        """Make an indexer forget every channel; `losing`, also what it had not indexed yet."""
        indexer = self.indexers[number]
        for _, _, envelopes in indexer.queued:
            (self.lost if losing else self.indexed).extend(envelopes)
        self.indexers[number] = Indexer(indexer.name)

    def _guarded(
        self, endpoint: Callable[[Request, Indexer, bytes], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            indexer = self._choose(request)
            try:
                body = self._uncompressed(request, await request.body())
                self.requests.append((request.url.path, dict(request.headers), body))
                if self.always:
                    response = await self._misbehave(self.always, request, indexer, body)
                else:
                    response = await endpoint(request, indexer, body)
            except Refused as error:
                response = said(error.code, number=error.number)
            response.set_cookie("indexer", indexer.name)
            return response

        return answer

    def _choose(self, request: Request) -> Indexer:
        wanted = request.cookies.get("indexer") if self.sticky else None
        for indexer in self.indexers:
            if indexer.name == wanted:
                return indexer
        self._turn += 1
        return self.indexers[self._turn % len(self.indexers)]

    def _uncompressed(self, request: Request, body: bytes) -> bytes:
        encoding = request.headers.get("Content-Encoding")
        if encoding is None:
            return body
        if encoding != "gzip":
            raise Refused(6, 0)
        try:
            inflater = zlib.decompressobj(31)
            plain = inflater.decompress(body)
        except zlib.error:
            raise Refused(6, 0) from None
        if not inflater.eof or inflater.unused_data:
            raise Refused(6, 0)
        return plain

    def _authorize(self, request: Request) -> None:
        header = request.headers.get("Authorization")
        if header is None:
            raise Refused(2)
        scheme, _, token = header.partition(" ")
        if scheme != "Splunk" or not token:
            raise Refused(3)
        if token != self.token:
            raise Refused(4)
        if not self.enabled:
            raise Refused(1)

    def _channel(self, request: Request) -> str:
        channel = request.headers.get("X-Splunk-Request-Channel") or request.query_params.get(
            "channel"
        )
        if channel is None:
            raise Refused(10)
        try:
            return str(uuid.UUID(channel))
        except ValueError:
            raise Refused(11) from None

    async def _event(self, request: Request, indexer: Indexer, body: bytes) -> Response:
        fault = self.faults.pop(0) if self.faults and body else None
        if fault:
            return await self._misbehave(fault, request, indexer, body)
        ack_id = self._take(request, indexer, body, lose=False)
        return said(0, ack_id=ack_id)

    async def _misbehave(
        self, fault: Fault, request: Request, indexer: Indexer, body: bytes
    ) -> Response:
        if fault.delay:
            await anyio.sleep(fault.delay)
        ack_id = None
        if fault.take or fault.lose or fault.code in (24, 25):
            ack_id = self._take(request, indexer, body, lose=fault.lose)
        if fault.drop:
            return Broken()
        if fault.code is None and fault.status is None:
            return said(0, ack_id=ack_id)
        if fault.code is None:
            return Response(fault.body, fault.status, fault.headers)
        return said(
            fault.code,
            number=fault.number,
            ack_id=ack_id,
            status=fault.status,
            headers=fault.headers,
        )

    def _take(self, request: Request, indexer: Indexer, body: bytes, *, lose: bool) -> int | None:
        self._authorize(request)
        channel = self._channel(request) if self.acking else ""
        if not body.strip():
            raise Refused(5)
        if len(body) > self.max_request_bytes:
            if self.oversize_code == 413:
                raise TooLarge
            raise Refused(self.oversize_code, 0)
        envelopes, refused = self._parse(body)
        if len(envelopes) > self.max_request_events:
            raise Refused(6, 0)
        if refused:
            self.indexed += envelopes  # at once: nobody can ask for an ack of these
            raise refused
        if not self.acking:
            (self.lost if lose else self.indexed).extend(envelopes)
            return None
        ack_id = indexer.counters.get(channel, 0)
        indexer.counters[channel] = ack_id + 1
        if lose:
            self.lost += envelopes
            indexer.acks.setdefault(channel, {})[ack_id] = False
        else:
            indexer.queued.append((channel, ack_id, envelopes))
        return ack_id

    def _parse(self, body: bytes) -> tuple[list[dict[str, Any]], Refused | None]:
        """Return the envelopes that are indexed, and why no more of them are."""
        envelopes: list[dict[str, Any]] = []
        try:
            for text in split(body):
                envelope = self._envelope(text, len(envelopes))
                if envelope is None:
                    break
                envelopes.append(envelope)
        except Refused as error:
            return envelopes, error
        except (ValueError, RecursionError):
            return envelopes, Refused(6, len(envelopes))
        return envelopes, None

    def _envelope(self, text: str, number: int) -> dict[str, Any] | None:
        sizes = [0]

        def counted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            sizes.append(len(pairs))
            return dict(pairs)

        envelope = json.loads(text, object_pairs_hook=counted)
        if not isinstance(envelope, dict) or len(envelope) != sizes[-1]:  # a key twice
            raise Refused(6, number)
        if not envelope.keys() <= KEYS:
            return None
        for key in ("host", "source", "sourcetype", "index"):
            if key in envelope and not (isinstance(envelope[key], str) and envelope[key]):
                raise Refused(6, number)
        time = envelope.get("time", 0)
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 2**31:
            raise Refused(6, number)
        if envelope.get("index", next(iter(self.indexes), "")) not in self.indexes:
            raise Refused(7, number + 1)  # off by one, as measured
        if "event" not in envelope or envelope["event"] is None:
            raise Refused(12, number)
        if envelope["event"] == "":
            raise Refused(13, number)
        fields = envelope.get("fields", {})
        if not isinstance(fields, dict) or any(
            isinstance(value, dict | list) or value is None for value in fields.values()
        ):
            raise Refused(15, number)
        if len(text.encode()) > self.max_event_bytes:
            raise Refused(6, number)
        if code := self.poisoned.get(str(fields.get("event_id"))):
            raise Refused(code, number)
        return envelope

    async def _ack(self, request: Request, indexer: Indexer, body: bytes) -> Response:
        fault = self.ack_faults.pop(0) if self.ack_faults else None
        if fault:
            return await self._misbehave(fault, request, indexer, b"")
        self._authorize(request)
        if not self.acking:
            raise Refused(14)
        channel = self._channel(request)
        try:
            wanted = json.loads(body)["acks"]
        except (ValueError, KeyError, TypeError):
            raise Refused(6) from None
        if not self.slow:
            self.index()
        acks = indexer.acks.get(channel, {})
        answer = {str(ack_id): acks.get(ack_id, False) for ack_id in wanted}
        for ack_id, indexed in answer.items():
            if indexed:
                del acks[int(ack_id)]
        return JSONResponse({"acks": answer})

    async def _health(self, request: Request, indexer: Indexer, body: bytes) -> Response:
        if self.health_fault:
            return await self._misbehave(self.health_fault, request, indexer, body)
        return said(17)


class TooLarge(Refused):
    """HTTP 413, from what stands before HEC."""

    def __init__(self) -> None:
        super().__init__(413)


def said(
    code: int,
    *,
    number: int | None = None,
    ack_id: int | None = None,
    status: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an answer in HEC's words."""
    if code == 413:
        return Response("<html>413 Request Entity Too Large</html>", 413, media_type="text/html")
    usual, text = TEXTS[code]
    body: dict[str, Any] = {"text": text, "code": code}
    if number is not None:
        body["invalid-event-number"] = number
    if ack_id is not None:
        body["ackId"] = ack_id
    return JSONResponse(body, status or usual, headers)


def split(body: bytes) -> Iterable[str]:
    """Yield the JSON values of `body`, which follow one another with or without white space.

    Raises:
        ValueError: what comes next is not JSON, or not UTF-8.
    """
    text, place = body.decode(), 0
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    space = re.compile(r"[ \t\r\n]*")
    while (place := space.match(text, place).end()) < len(text):  # type: ignore[union-attr]
        _, end = decoder.raw_decode(text, place)
        yield text[place:end]
        place = end


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


def served(hec: Hec, **options: Any) -> AbstractAsyncContextManager[str]:
    """Serve `hec` on a free port of this machine and yield its URL; asyncio only."""
    return listening(hec.app, **options)
