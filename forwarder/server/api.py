"""What the status page and machines ask, as JSON; docs/status-api.md describes each answer."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from forwarder.errors import ForwarderError
from forwarder.interfaces import Outbox
from forwarder.model import SAMPLE_SECONDS, Replayed, Sample, Status
from forwarder.server import search
from forwarder.server.answers import History, PartHistory, Search


class Daemon(Protocol):
    """What the server asks the daemon."""

    @property
    def outbox(self) -> Outbox:
        """The outbox."""
        ...

    async def status(self) -> Status:
        """Return how everything is."""
        ...

    def stuck(self) -> list[str]:
        """Return the loops that make no progress and do not wait for a good reason."""
        ...

    async def not_ready(self) -> list[str]:
        """Return what is still missing before the daemon does its work."""
        ...

    async def replay_letters(self, ids: Sequence[int]) -> Replayed:
        """Try dead letters again."""
        ...


def routes(daemon: Daemon) -> list[Route]:
    """Return what lies under ``/api``."""

    async def status(_: Request) -> Response:
        return json(await daemon.status())

    async def history(_: Request) -> Response:
        return json(_history(await daemon.outbox.samples()))

    async def events(request: Request) -> Response:
        asked = msgspec.convert(dict(request.query_params), Search, strict=False)
        found = await search.newest(
            daemon.outbox,
            kind=asked.kind,
            severity=asked.severity or None,
            text=asked.text,
            before=asked.before,
        )
        return json(found)

    return [
        Route("/api/status", explained(status)),
        Route("/api/history", explained(history)),
        Route("/api/events", explained(events)),
    ]


Answer = Callable[[Request], Awaitable[Response]]


def explained(answer: Answer) -> Answer:
    """Return `answer`, whose errors are answers too."""

    async def with_errors(request: Request) -> Response:
        try:
            return await answer(request)
        except msgspec.ValidationError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        except msgspec.DecodeError as error:
            return PlainTextResponse(f"not JSON: {error}\n", status_code=400)
        except ForwarderError as error:
            said = f"{error}\n{error.remedy}".strip()
            return PlainTextResponse(f"{said}\n", status_code=503)

    return with_errors


def json(answer: msgspec.Struct) -> Response:
    """Return `answer` encoded."""
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _history(samples: Sequence[Sample]) -> History:
    parts: dict[str, list[Sample]] = {}
    for sample in samples:
        parts.setdefault(sample.part, []).append(sample)
    return History(
        seconds=SAMPLE_SECONDS,
        parts=tuple(_part(part, known) for part, known in parts.items()),
    )


def _part(part: str, samples: list[Sample]) -> PartHistory:
    totals = [sample.events for sample in samples]
    grown = [max(after - before, 0) for before, after in pairwise(totals)]
    return PartHistory(
        part=part,
        at=tuple(int(sample.at.timestamp()) for sample in samples),
        events=(None, *grown),
        backlog=tuple(sample.backlog for sample in samples),
        lag_seconds=tuple(sample.lag_seconds for sample in samples),
    )
