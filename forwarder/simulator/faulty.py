"""The server around the application: its clock's `Date`, and every way to fail an answer."""

import gzip
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import anyio
import httpx
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forwarder.simulator import answers
from forwarder.simulator.clock import from_ms
from forwarder.simulator.faults import CONTENT, FaultName

if TYPE_CHECKING:
    from forwarder.simulator.simulator import Simulator

_EVENTS: Final = "/rest/auditing/1.0/events"
_LEGACY: Final = "/rest/audit/"

_NOT_PERMITTED: Final = "You are not permitted to access this resource"
_WRONG: Final = "Authentication failed. Please check your credentials and try again."
_BAD_FROM: Final = {"validation.error.from.invalid": "The 'from' parameter is invalid."}
_NO_PAGE: Final = {"pagingInfo": {"lastPage": True, "size": 0}}

Refusal = Callable[["Simulator", str], Response]
"""Makes an answer in Bitbucket's place, for the request's path."""

_REFUSALS: Final[Mapping[FaultName, Refusal]] = {
    "invalid_query": lambda simulator, _: answers.audit_error(
        400, "Invalid Query", _BAD_FROM, simulator.clock.now_ms()
    ),
    "unauthorized": lambda *_: answers.error(401, _WRONG, answers.INCORRECT_PASSWORD),
    "forbidden": lambda *_: answers.error(403, _NOT_PERMITTED, answers.NOT_AUTHORISED),
    "filters_refused_400": lambda simulator, _: answers.filters_refused(
        400, simulator.clock.now_ms()
    ),
    "filters_refused_500": lambda simulator, _: answers.filters_refused(
        500, simulator.clock.now_ms()
    ),
    "slots_busy": lambda *_: answers.slots_busy(),
    "http_429": lambda *_: answers.rate_limited(None),
    "http_429_seconds": lambda simulator, _: answers.rate_limited(
        simulator.options.retry_after_seconds
    ),
    "http_429_date": lambda simulator, _: answers.rate_limited(
        from_ms(simulator.clock.now_ms() + round(simulator.options.retry_after_seconds * 1000))
    ),
    "http_502": lambda *_: answers.proxy_error(502),
    "http_503": lambda *_: answers.proxy_error(503),
    "http_504": lambda *_: answers.proxy_error(504),
    "redirect_login": lambda _, path: answers.login_redirect("https://sso.internal", path),
    "html_login": lambda *_: answers.login_page(),
    "no_entities": lambda *_: answers.json_answer(_NO_PAGE),
}


class FaultyServer:
    """ASGI middleware: lets time pass, then lets a request through or fails it.

    Only addresses below ``/rest/`` fail. A lost connection is cut in earnest where the client is
    on a socket; within one process it is what httpx would raise.
    """

    def __init__(self, app: ASGIApp, simulator: "Simulator") -> None:
        self._app = app
        self._simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        simulator = self._simulator
        simulator.advance()
        dated = self._dated(send)
        path = str(scope["path"]).removeprefix(simulator.options.context.rstrip("/"))
        if not path.startswith("/rest/"):
            await self._app(scope, receive, dated)
            return
        simulator.requests += 1
        fault = simulator.faults.draw(of_events=path == _EVENTS or path.startswith(_LEGACY))
        if fault is None or (fault.startswith("filters_refused") and not _filtered(scope)):
            await self._app(scope, receive, dated)
        elif fault in CONTENT:
            await self._spoil(fault, scope, receive, dated)
        else:
            await self._refuse(fault, scope, receive, dated)

    async def _refuse(self, fault: FaultName, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in Bitbucket's place, or not at all."""
        if fault == "drop_before":
            await self._drop(scope, receive)
            return
        if fault == "slots_busy":
            await anyio.sleep(self._simulator.options.busy_seconds)
        response = _REFUSALS[fault](self._simulator, str(scope["path"]))
        await response(scope, receive, send)

    async def _spoil(self, fault: FaultName, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the real answer, but late, cut, garbled, lost half-way or compressed."""
        if fault == "slow":
            await anyio.sleep(self._simulator.options.slow_seconds)
            await self._app(scope, receive, send)
            return
        if fault == "stuck_cursor":
            await self._app({**scope, "fault": fault}, receive, send)
            return
        start, body = await self._answer(scope, receive)
        headers = MutableHeaders(raw=start["headers"])
        if fault == "truncated":
            body = body[: len(body) * self._simulator.faults.random.randint(20, 80) // 100]
        elif fault == "malformed":
            body = body.replace(b":", b"=", 1)
        elif fault == "gzip":
            body = gzip.compress(body, 6, mtime=0)
            headers["Content-Encoding"] = "gzip"
        if fault != "drop_in_body":
            headers["Content-Length"] = str(len(body))
        await send(start)
        half = body[: len(body) // 2] if fault == "drop_in_body" else body
        await send(
            {"type": "http.response.body", "body": half, "more_body": fault == "drop_in_body"}
        )
        if fault == "drop_in_body":
            await self._drop(scope, receive, polite=True)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
        """Return the application's answer instead of sending it."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages[1:])
        return messages[0], body

    async def _drop(self, scope: Scope, receive: Receive, *, polite: bool = False) -> None:
        """Cut the client's connection; `polite` lets what was sent arrive before."""
        connection = self._simulator.connections.get(tuple(scope["client"] or ()))
        if connection is None:
            raise httpx.RemoteProtocolError("Server disconnected without sending all of its answer")
        if polite:
            connection.close()
        else:
            connection.abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _dated(self, send: Send) -> Send:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                at = self._simulator.clock.now()
                MutableHeaders(scope=message)["Date"] = answers.http_date(at)
            await send(message)

        return dated


def _filtered(scope: Scope) -> bool:
    """Whether a request asks for filters that need a Data Center licence."""
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    return "categories" in asked or "actions" in asked
