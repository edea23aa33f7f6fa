"""The HTTP Event Collector on the wire: post events, ask for acks, ask how it is."""

from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final

import anyio
import httpx
import msgspec
from isal import isal_zlib

from forwarder.errors import AccessError, TransientError
from forwarder.http import diagnosed, translated
from forwarder.network import within
from forwarder.secret import Secret
from forwarder.sinks.splunk_hec.codes import (
    REFUSED,
    Verdict,
    read,
    refusal,
    verdict,
)

EVENTS: Final = "/services/collector/event"
ACKS: Final = "/services/collector/ack"
HEALTH: Final = "/services/collector/health"

_ANSWER_LIMIT: Final = 64 * 1024
"""Bytes: HEC's answers have a few hundred; an endless one is not read to its end."""


class SplunkToken(httpx.Auth):
    """``Authorization: Splunk TOKEN``, revealed at each request and kept nowhere."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header.

        Raises:
            AccessError: the token cannot be read, or cannot stand in a header; the HTTP library
                would show it in its complaint.
        """
        token = self._token.reveal()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise AccessError(
                "the token has characters that no HEC token has",
                remedy="set token to the token alone, without spaces and line ends",
            )
        request.headers["Authorization"] = f"Splunk {token}"
        yield request


_SWITCHED_OFF: Final = (
    "HEC has a port of its own (8088), which is closed while HEC is switched off: Settings > Data "
    "inputs > HTTP Event Collector > Global Settings > All Tokens: Enabled"
)
_JSON: Final = MappingProxyType({"Content-Type": "application/json"})
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class UnsureError(TransientError):
    """The connection broke, or a proxy answered: the events may have arrived all the same."""


class _AckAnswer(msgspec.Struct, frozen=True):
    acks: dict[str, bool]


class Collector:
    """One HEC. Cookies are kept from one request to the next: a load balancer may need them."""

    def __init__(
        self, client: httpx.AsyncClient, *, timeout: float, gzip: bool, proxy: str | None = None
    ) -> None:
        self._client = client
        self._proxy = proxy
        self._timeout = timeout
        self._gzip = gzip
        self.where = f"splunk at {client.base_url.copy_with(userinfo=b'')}".rstrip("/")

    async def post(
        self, envelopes: Iterable[bytes], *, events: int, channel: str | None
    ) -> Verdict:
        """Send envelopes in one request and return what became of them.

        Raises:
            UnsureError: they may have been taken.
            TransientError: they were not taken.
            AccessError: they were not taken, and a person must act.
        """
        body = b"\n".join(envelopes)
        headers = dict(_JSON)
        if self._gzip:
            headers["Content-Encoding"] = "gzip"
            body = _gzip(body)
        try:
            response, said = await self._exchange("POST", EVENTS, headers, body, channel)
        except TransientError as error:
            if isinstance(error.__cause__, _NEVER_SENT):
                raise
            raise UnsureError(str(error)) from error
        answer = read(said)
        try:
            return verdict(response, answer, where=self.where, events=events)
        except TransientError as error:
            if answer is not None:
                raise
            raise UnsureError(str(error), retry_after=error.retry_after) from error

    async def ask(self, ack_id: int, *, channel: str) -> bool:
        """Return whether what `ack_id` stands for is indexed; HEC forgets it once it says so.

        Raises:
            TransientError: ask again later.
            AccessError: this token acknowledges nothing, or is refused.
        """
        body = msgspec.json.encode({"acks": [ack_id]})
        response, said = await self._exchange("POST", ACKS, _JSON, body, channel)
        if response.status_code == 200:
            with suppress(ValueError, RecursionError):  # msgspec's errors are ValueErrors
                return msgspec.json.decode(said, type=_AckAnswer).acks.get(str(ack_id), False)
        raise refusal(read(said), response, where=self.where)

    @asynccontextmanager
    async def diagnosed(self) -> AsyncIterator[None]:
        """Raise what fails inside with what a further look tells; for probes."""
        url = str(self._client.base_url)
        try:
            async with diagnosed(url, where=self.where, proxy=self._proxy):
                yield
        except TransientError as error:
            if not any(isinstance(each, ConnectionRefusedError) for each in within(error)):
                raise
            raise TransientError(str(error), remedy=f"{error.remedy}; {_SWITCHED_OFF}") from error

    async def check_health(self) -> None:
        """Return if HEC says that it takes events; this needs no token.

        Raises:
            TransientError: not now.
            AccessError: something else answers there.
        """
        response, said = await self._exchange("GET", HEALTH, {}, b"", None)
        answer = read(said)
        if response.status_code != 200 or answer is None:
            raise refusal(answer, response, where=self.where)

    async def check_token(self, *, channel: str | None) -> None:
        """Return if the token is good: a request without events is refused as just that (code 5).

        Raises:
            TransientError: not now.
            AccessError: the token is refused.
        """
        response, said = await self._exchange("POST", EVENTS, _JSON, b"", channel)
        answer = read(said)
        if answer is None or (response.status_code != 200 and answer.code not in REFUSED):
            raise refusal(answer, response, where=self.where)

    async def check_index(self, index: str, *, channel: str | None) -> None:
        """Return if HEC does not refuse the index, tried with a blank event.

        A blank event is never indexed (code 13), whatever else is good about it.

        Raises:
            TransientError: not now.
            AccessError: the index is not there, or this token may not write to it.
        """
        body = msgspec.json.encode({"index": index, "event": ""})
        response, said = await self._exchange("POST", EVENTS, _JSON, body, channel)
        answer = read(said)
        if answer is None or answer.code not in REFUSED:
            raise refusal(answer, response, where=f"{self.where}, index {index}")

    def cookies(self) -> dict[str, str]:
        """Return the cookies that a load balancer gave, to come back to the same indexer."""
        return {cookie.name: cookie.value or "" for cookie in self._client.cookies.jar}

    def take_cookies(self, cookies: Mapping[str, str]) -> None:
        """Send these cookies from now on, to this host alone."""
        host = self._client.base_url.raw_host.decode()
        host = f"[{host}]" if ":" in host else host
        # So the jar calls a host without a dot, and to that name alone it gives cookies (RFC 2965).
        domain = host if "." in host else f"{host}.local"
        for name, value in cookies.items():
            self._client.cookies.set(name, value, domain=domain)

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, channel: str | None
    ) -> tuple[httpx.Response, bytes]:
        sent = {**headers, "Accept-Encoding": "identity"}
        if channel:
            sent["X-Splunk-Request-Channel"] = channel
        query = {"channel": channel} if channel and path == ACKS else None
        async with (
            translated(self.where),
            self._client.stream(method, path, headers=sent, content=body, params=query) as response,
        ):
            said = bytearray()
            with anyio.move_on_after(self._timeout):
                async for piece in response.aiter_raw():  # each byte in time, but without an end?
                    said += piece
                    if len(said) > _ANSWER_LIMIT:
                        break
            return response, bytes(said[:_ANSWER_LIMIT])


def _gzip(body: bytes) -> bytes:
    # Intel's library packs as well as zlib's level 1 in a tenth of the time: a megabyte holds up
    # the event loop less than a thread would have to wait for it. 31 asks for gzip.
    return isal_zlib.compress(body, level=1, wbits=31)
