"""One question to Bitbucket over HTTP, and what its answer means for us."""

import base64
import json
from collections.abc import Generator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import unquote

import anyio
import httpx

from forwarder.concealed import conceal
from forwarder.errors import AccessError, ForwarderError, TransientError
from forwarder.http import diagnosed, failure, translated
from forwarder.secret import Secret
from forwarder.sources.bitbucket_audit import wire
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.shapes import Answer

MOST_BYTES: Final = 32 << 20
"""Of one answer, unpacked: room for the largest event that we can expect, and no bomb."""
_PATIENCE: Final = 5
"""An answer that trickles in may take so many times the timeout of each of its parts."""
_LOOK: Final = 1024
"""Bytes at an answer's beginning that tell a web page."""
_EVENTS: Final = "/rest/auditing/1.0/events"
_PROPERTIES: Final = "/rest/api/latest/application-properties"

Params = Mapping[str, str]


class MissingError(AccessError):
    """What was asked for does not exist, or the account may not see it."""


class TooLargeError(Exception):
    """The answer passed MOST_BYTES: ask for fewer rows."""


class LimitRefusedError(Exception):
    """The server does not give so many rows in one answer."""


class FiltersRefusedError(Exception):
    """The server does not filter by category and action (no Data Center licence)."""


class Credential(httpx.Auth):
    """Bearer, or Basic where there is a user name; the secret is asked for at each request."""

    def __init__(self, secret: Secret, *, username: str | None = None) -> None:
        self._secret = secret
        self._username = username

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with its credential.

        Raises:
            AccessError: the secret cannot be read, or is no token.
        """
        secret = self._secret.reveal()
        if self._username is not None:
            conceal(secret, user=self._username)
            pair = base64.b64encode(f"{self._username}:{secret}".encode()).decode()
            request.headers["Authorization"] = f"Basic {pair}"
        elif secret.isascii() and secret.isprintable() and " " not in secret:
            request.headers["Authorization"] = f"Bearer {secret}"
        else:
            raise AccessError(
                "the token holds characters that no HTTP access token has",
                remedy="put nothing but the token into its file: no quotes, name or second line",
            )
        yield request


class Client:
    """Asks one Bitbucket: only at its configured address, whatever its answers point to.

    `user` is the name that we are logged in by, None until an answer says so. `clock` is set by
    every good answer.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        clock: ServerClock,
        *,
        timeout: float,
        proxy: str | None = None,
    ) -> None:
        self.user: str | None = None
        self.clock = clock
        self._http = http
        self.url = str(http.base_url).rstrip("/")
        self._where = f"Bitbucket at {self.url}"
        self._proxy = proxy
        self._patience = timeout * _PATIENCE

    def diagnosed(self) -> AbstractAsyncContextManager[None]:
        """Raise what fails inside with what a further look tells; for probes."""
        return diagnosed(self.url, where=self._where, proxy=self._proxy)

    async def events(self, params: Params) -> Answer:
        """Return one page of the audit log.

        Raises:
            TransientError, AccessError: see `interfaces.Source.poll`.
            TooLargeError, LimitRefusedError, FiltersRefusedError: ask in another way.
        """
        response, body = await self._get(_EVENTS, params)
        if response.status_code != 200:
            raise self._refusal(response, body, params)
        self._no_login_page(response, body)
        try:
            page = wire.page(body)
        except wire.NotAPageError as error:
            raise AccessError(
                f"{self._where}: the answer is no page of the audit log: {error}",
                remedy="check the url: something else answers there",
            ) from error
        except ValueError as error:
            raise TransientError(f"{self._where}: the answer is no whole JSON: {error}") from error
        self._hear(response)
        return page

    async def version(self) -> str:
        """Return Bitbucket's version; needs no permission and writes no audit row.

        Raises:
            TransientError, AccessError: as `events`.
        """
        return str((await self.object(_PROPERTIES)).get("version", "of unknown version"))

    async def object(
        self, path: str, params: Params | None = None, *, missing: str = ""
    ) -> dict[str, Any]:
        """Return the JSON object at `path`.

        Raises:
            AccessError, TransientError: as `body`.
        """
        body = await self.body(path, params or {}, missing=missing)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise TransientError(f"{self._where}: the answer is no whole JSON: {error}") from error
        if not isinstance(found, dict):
            raise AccessError(
                f"{self._where}: the answer is no JSON object", remedy="check the url"
            )
        return found

    async def body(self, path: str, params: Params, *, missing: str = "") -> bytearray:
        """Return what is answered at `path`, which should be JSON.

        Raises:
            AccessError: we are refused, or (where `missing` names it) there is no such thing.
            TransientError: as `events`.
        """
        try:
            response, body = await self._get(path, params)
        except TooLargeError as error:
            raise TransientError(f"{self._where}: the answer does not end") from error
        if response.status_code == 404 and missing:
            raise MissingError(
                f"{self._where}: {missing} does not exist, or the account may not see it",
                remedy="check projects and repositories, and what the account may see",
            )
        if response.status_code != 200:
            raise self._refusal(response, body, {})
        self._no_login_page(response, body)
        self._hear(response)
        return body

    async def _get(
        self, path: str, params: Params, *, anonymous: bool = False
    ) -> tuple[httpx.Response, bytearray]:
        """Return the answer and its body, unpacked; no redirect is followed."""
        headers = {"Accept": "application/json"}
        auth = None if anonymous else httpx.USE_CLIENT_DEFAULT
        try:
            with anyio.fail_after(self._patience):
                async with (
                    translated(self._where),
                    self._http.stream(
                        "GET", path, params=params, headers=headers, auth=auth
                    ) as response,
                ):
                    body = bytearray()
                    if "," in response.headers.get("Content-Encoding", ""):
                        # A thousand times a thousand: one part alone could fill the memory.
                        raise TransientError(f"{self._where}: the answer is packed twice over")
                    async for part in response.aiter_bytes():
                        body += part
                        if len(body) > MOST_BYTES:
                            raise TooLargeError
        except TimeoutError as error:
            raise TransientError(
                f"{self._where}: no whole answer in {self._patience:.0f} s"
            ) from error
        return response, body

    def _hear(self, response: httpx.Response) -> None:
        """Take what the headers of a good answer say; another's may be no Bitbucket's.

        X-AUSERNAME is how Bitbucket Data Center names the account of a request (Atlassian
        developer community, "Obtain authorised user's username from API").
        """
        user = unquote(response.headers.get("X-AUSERNAME", ""))
        if user and user != "anonymous":
            self.user = user
        if "Age" not in response.headers:
            self.clock.hear(response.headers.get("Date"))

    def _no_login_page(self, response: httpx.Response, body: bytearray) -> None:
        media_type = response.headers.get("Content-Type", "")
        if "html" in media_type or body[:_LOOK].lstrip()[:1] == b"<":
            raise AccessError(
                f"{self._where}: HTTP 200 with a web page ({media_type}) in place of JSON",
                remedy="this is a log-in or maintenance page: check the credential, and that "
                "single sign-on lets REST requests through",
            )

    def _refusal(
        self, response: httpx.Response, body: bytearray, params: Params
    ) -> ForwarderError | LimitRefusedError | FiltersRefusedError:
        status, said = response.status_code, _said(body)
        if (
            status in (400, 500)
            and ("categories" in params or "actions" in params)
            and "license" in said.lower()
        ):
            return FiltersRefusedError(said)
        if status == 400 and "limit" in said.lower() and int(params.get("limit", "1")) > 1:
            return LimitRefusedError(said)
        if status == 400 and "pageCursor" in params:  # the row may be gone: walk anew
            return TransientError(f"{self._where}: HTTP 400: {said}")
        if status == 400:
            return AccessError(
                f"{self._where}: HTTP 400: {said}",
                remedy="Bitbucket refuses the question itself: check categories, actions, "
                "projects, repositories and start_at",
            )
        if status in (401, 403):
            return AccessError(
                f"{self._where}: HTTP {status}: {said}", remedy=_refused(response, body)
            )
        return failure(response, where=self._where, detail=said)

    async def is_bitbucket(self, url: str) -> bool:
        """Return whether a Bitbucket says there how it is; no credential is sent.

        Raises:
            TransientError: nobody answers.
        """
        try:
            response, body = await self._get(f"{url}/status", {}, anonymous=True)
            return response.status_code in (200, 503) and "state" in json.loads(body)
        except (TooLargeError, ValueError, TypeError, RecursionError):
            return False


def _refused(response: httpx.Response, body: bytearray) -> str:
    """Return what to do about a 401 or 403: whose fault it is stands in the exception's name."""
    rights = (
        "reading the audit log takes a global administrator, or with projects or repositories an "
        "administrator of all of them"
    )
    # https://developer.atlassian.com/server/bitbucket/reference/ "Authentication"
    denied = response.headers.get("X-Authentication-Denied-Reason", "")
    if b"CaptchaRequired" in body or "CAPTCHA" in denied:
        return "log in to Bitbucket once in a browser as this account, and answer its CAPTCHA"
    if b"AuthenticationException" in body:
        return (
            "the credential is not accepted: it may be mistyped, expired or revoked; set token to "
            "a valid HTTP access token, or username and password. After many failed log-ins answer "
            "Bitbucket's CAPTCHA in a browser"
        )
    if b"AuthorisationException" in body:
        return f"give the account the right: {rights}"
    return (
        f"check the credential; {rights}; after many failed log-ins answer Bitbucket's CAPTCHA in "
        "a browser"
    )


def _said(body: bytearray) -> str:
    """Return what an error's body says, on one line and not long; web pages say nothing."""
    text = body[:4096].decode(errors="replace")
    try:
        told = json.loads(text)
        errors = told.get("errors") or [told]
        parts = [f"{error.get('key') or ''} {error.get('message') or ''}" for error in errors]
        text = "; ".join(part.strip() for part in parts)
    except (ValueError, RecursionError, AttributeError, TypeError):
        if text.lstrip().startswith("<"):
            return ""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:300]
