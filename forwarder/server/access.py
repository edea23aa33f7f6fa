"""Who is let in: names of this server, credentials, and where a request that changes comes from."""

import base64
import hmac
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forwarder.errors import AccessError
from forwarder.server import ServerConfig

PROBES: Final = frozenset({"/livez", "/readyz"})
"""Asked by whatever name, without credentials: an orchestrator's probe must not depend on them."""
_OPEN: Final = ("/static/", "/metrics")
ACTION: Final = "x-forwarder-action"
"""The header that a request that changes something must have: a form or a link on another site
cannot set it, and a script there only after a question (CORS preflight) that nobody answers."""
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_CHALLENGE: Final = {"www-authenticate": 'Basic realm="soteri-forwarder", charset="UTF-8"'}

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Guard:
    """The application behind it gets only what may pass; each answer says what a browser may do."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or refuse it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def harden(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        request = Request(scope)
        answer = refusal(request, self._config) or self._app
        return await answer(scope, receive, harden)


def refusal(request: Request, config: ServerConfig) -> Response | None:
    """Return why a request is not let in, or None where it is."""
    path = request.scope["path"]  # not of `request.url`: the Host header is a part of that
    if path in PROBES:
        return None
    if not _is_ours(request, config):
        return _refused(
            request,
            421,
            "this name is not one of this server's: ask it as localhost, or name it in"
            " [server] hosts",
        )
    if path.startswith(_OPEN):
        return None
    answer = _ask_who(request, config) if config.asks else None
    if answer is None and request.method not in ("GET", "HEAD"):
        return _ask_whence(request, config)
    return answer


def _ask_who(request: Request, config: ServerConfig) -> Response | None:
    try:
        if _is_known(request.headers.get("authorization", ""), config):
            return None
    except AccessError as error:
        return _refused(request, 503, str(error))
    return _refused(request, 401, "say who you are", _CHALLENGE)


def _ask_whence(request: Request, config: ServerConfig) -> Response | None:
    if not config.asks:
        return _refused(
            request,
            403,
            "nobody is asked who they are here, so nobody may change anything: set"
            " [server] token_file, or username and password_file",
        )
    if not _is_from_here(request):
        return _refused(request, 403, "this request does not come from the status page")
    return None


def _refused(
    request: Request, status: int, why: str, headers: dict[str, str] | None = None
) -> Response:
    if status != 401 or "authorization" in request.headers:
        client = request.client.host if request.client else ""
        path = request.scope["path"]
        log.warning("request.refused", status=status, path=path, client=client, why=why)
    return PlainTextResponse(f"{why}\n", status_code=status, headers=headers)


def _is_ours(request: Request, config: ServerConfig) -> bool:
    """Whether the name that was asked for is ours.

    A page of another site whose name is made to lead to 127.0.0.1 (DNS rebinding) would otherwise
    read along; it cannot ask for an address, nor for localhost.
    """
    if not (config.is_loopback or config.hosts):
        return True
    name = _host(f"//{request.headers.get('host', '')}")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if name in {host.lower() for host in config.hosts}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_known(authorization: str, config: ServerConfig) -> bool:
    """Whether the credentials are right: the token, or a user's password. In constant time.

    Raises:
        AccessError: the secret's file cannot be read.
    """
    scheme, _, given = authorization.partition(" ")
    given = given.strip()
    username = ""
    if scheme.lower() == "basic":
        try:
            username, _, given = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:  # no base64, or no UTF-8
            return False
    elif scheme.lower() != "bearer":
        return False
    is_token = config.token is not None and _same(given, config.token.reveal())
    is_user = (
        scheme.lower() == "basic"
        and config.username is not None
        and config.password is not None
        and _same(username, config.username) & _same(given, config.password.reveal())
    )
    return is_token or is_user


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _is_from_here(request: Request) -> bool:
    """Whether a request that changes something was made by our page, or by no browser at all.

    Sec-Fetch-Site is the browser's own word (W3C Fetch Metadata); Origin is looked at where a
    browser does not send it, and names the host that was asked.
    """
    if not request.headers.get(ACTION):
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    host = request.headers.get("host", "").lower()
    return origin is None or origin.lower() in (f"http://{host}", f"https://{host}")


def _host(url: str) -> str:
    """Return the host that `url` names, or nothing where it is no URL."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
