"""Dead letters, as the status page shows, replays and discards them."""

from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from forwarder.model import DeadLetter
from forwarder.redaction import Redactor
from forwarder.server import ServerConfig
from forwarder.server.answers import Done, Ids, Letter, LetterCount, Letters, Number, Original
from forwarder.server.api import Daemon, explained, json

_LETTERS: Final = 100
"""Dead letters in one answer, the oldest: a person reads no more, `dead-letters list` has all."""
_DETAIL: Final = 2000
_ORIGINAL: Final = 20_000
"""Characters that are shown of a detail and of an original; the command line shows all."""
_BODY: Final = 1024**2

_REDACT: Final = Redactor()

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def routes(daemon: Daemon, config: ServerConfig) -> list[Route]:
    """Return what lies under ``/api/dead-letters``."""

    async def letters(_: Request) -> Response:
        counts = await daemon.outbox.count_dead_letters()
        found: list[Letter] = []
        async for letter in daemon.outbox.dead_letters():
            found.append(_letter(letter))
            if len(found) == _LETTERS:
                break
        return json(
            Letters(
                letters=tuple(found),
                counts=tuple(
                    LetterCount(sink=sink, reason=reason, letters=count)
                    for (sink, reason), count in sorted(counts.items())
                ),
                may_act=config.asks,
            )
        )

    async def original(request: Request) -> Response:
        letter_id = msgspec.convert(request.path_params["id"], Number)
        async for letter in daemon.outbox.dead_letters(ids=[letter_id]):
            return json(_original(letter))
        return PlainTextResponse(f"there is no dead letter {letter_id}\n", status_code=404)

    async def replay(request: Request) -> Response:
        ids = await _ids(request)
        done = await daemon.replay_letters(ids)
        log.warning("letters.replayed", ids=ids, client=_client(request))
        return json(Done(letters=done.asked + len(done.read), said=(*done.read, *done.stay)))

    async def discard(request: Request) -> Response:
        ids = await _ids(request)
        count = await daemon.outbox.discard_letters(ids)
        log.warning("letters.discarded", ids=ids, letters=count, client=_client(request))
        return json(Done(letters=count))

    return [
        Route("/api/dead-letters", explained(letters)),
        Route("/api/dead-letters/{id:int}", explained(original)),
        Route("/api/dead-letters/replay", explained(replay), methods=["POST"]),
        Route("/api/dead-letters/discard", explained(discard), methods=["POST"]),
    ]


async def _ids(request: Request) -> list[int]:
    """Return the ids in the body, of a megabyte at most.

    Raises:
        msgspec.DecodeError: they are not there.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _BODY:
            raise msgspec.ValidationError("too many")
    return msgspec.json.decode(body, type=Ids).ids


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def _letter(letter: DeadLetter) -> Letter:
    known: dict[str, Any] = {name: getattr(letter, name) for name in Letter.__struct_fields__}
    return Letter(**known | {"detail": letter.detail[:_DETAIL]})


def _original(letter: DeadLetter) -> Original:
    text = _REDACT.record(letter.body).decode("utf-8", "backslashreplace")
    with suppress(msgspec.DecodeError, RecursionError):  # else as it came
        text = msgspec.json.format(text, indent=2)
    return Original(id=letter.id, original=text[:_ORIGINAL], is_whole=len(text) <= _ORIGINAL)
