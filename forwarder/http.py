"""One way to make an HTTP client, and one map from what went wrong to our errors."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import httpx

from forwarder import __version__, network
from forwarder.concealed import conceal
from forwarder.errors import AccessError, TransientError
from forwarder.options import TlsOptions


@asynccontextmanager
async def client(
    base_url: str,
    *,
    tls: TlsOptions,
    read_timeout: float,
    proxy: str | None = None,
    auth: httpx.Auth | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that follows no redirect; `failure` names it instead.

    A redirect followed would hand the credential to another origin. Without `proxy` the usual
    environment variables (HTTPS_PROXY, NO_PROXY) hold. `read_timeout` is seconds; connecting has
    10 s at most. `transport` stands in for the network.
    """

    async def expect_server_name(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = tls.server_name

    for address in getproxies().values():
        given = urlsplit(address)
        conceal(unquote(given.password or ""), user=unquote(given.username or ""))
    async with httpx.AsyncClient(
        base_url=base_url,
        verify=tls.context(),
        proxy=proxy,
        trust_env=proxy is None,
        auth=auth,
        transport=transport,
        event_hooks={"request": [expect_server_name] if tls.server_name else []},
        timeout=httpx.Timeout(read_timeout, connect=min(read_timeout, 10.0)),
        follow_redirects=False,
        headers={"User-Agent": f"soteri-forwarder/{__version__}"},
    ) as opened:
        yield opened


@asynccontextmanager
async def translated(where: str) -> AsyncIterator[None]:
    """Raise what httpx raises inside as our errors; `where` begins their message.

    Raises:
        TransientError: no answer, a broken one, or a connection that could not be made.
    """
    try:
        yield
    except httpx.TimeoutException as error:
        raise TransientError(f"{where}: no answer in time ({type(error).__name__})") from error
    except httpx.ConnectError as error:
        said, remedy = network.cause(error) or (
            str(error),
            "check the address, the port, the proxy and, for https, the CA (tls.ca_file)",
        )
        raise TransientError(f"{where}: cannot connect: {said}", remedy=remedy) from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise TransientError(f"{where}: {type(error).__name__}: {error}") from error


@asynccontextmanager
async def diagnosed(url: str, *, where: str, proxy: str | None) -> AsyncIterator[None]:
    """Raise what fails inside as what a further look tells: for probes, not on the way of events.

    Looks whether it is the proxy that fails, or the scheme that is wrong; `proxy` is the
    configured one.
    """
    try:
        yield
    except (TransientError, AccessError) as error:
        found = await _closer(error, url, network.proxy_for(url, proxy))
        if found is None:
            raise
        raise type(error)(f"{where}: {found.said}", remedy=found.remedy) from error


async def _closer(
    error: Exception, url: str, proxy: tuple[str, str] | None
) -> network.Cause | None:
    parts = httpx.URL(url)
    cause = network.cause(error)
    if proxy:
        return _of_proxy(error, *proxy, cause=cause)
    if parts.scheme == "http" and cause is None:
        port = parts.port or 80
        if await network.speaks_tls(parts.host, port):
            return network.Cause(
                "the port speaks TLS, and the address begins with http://",
                'begin url with "https://"',
            )
    return None


def _of_proxy(
    error: Exception, address: str, named_by: str, *, cause: network.Cause | None
) -> network.Cause | None:
    way = f"the proxy {address} ({named_by})"
    around = f"check {named_by}; to go without a proxy, add the host to NO_PROXY"
    refused = next((e for e in network.within(error) if isinstance(e, httpx.ProxyError)), None)
    if refused is not None:
        if str(refused).startswith("407"):
            around = f'give it user and password: {named_by} = "http://user:password@host:port"'
        return network.Cause(f"{way} does not let us through: {refused}", around)
    certificate = any(isinstance(e, ssl.SSLError) for e in network.within(error))
    if cause is not None and not certificate:
        return network.Cause(f"{way} cannot be reached: {cause.said}", around)
    return None


def retry_after(response: httpx.Response, *, now: datetime | None = None) -> float:
    """Return the seconds that the server asks for, 0 where it does not or not plainly.

    RFC 9110 section 10.2.3: delta seconds or an HTTP date. At most a day is believed.
    """
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), 86400.0)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((aware - (now or datetime.now(UTC))).total_seconds(), 0.0), 86400.0)


def failure(
    response: httpx.Response, *, where: str, detail: str = ""
) -> AccessError | TransientError:
    """Return the error that an answer other than success stands for, by its status alone.

    What a status means for one protocol alone (HEC's codes, Bitbucket's 400) is that protocol's
    file's to say, before it asks here. RFC 9110 section 15.
    """
    status = response.status_code
    said = f": {detail}" if detail else ""
    message = f"{where}: HTTP {status}{said}"
    if status in (401, 403):
        return AccessError(message, remedy="check the credential and what it is allowed to do")
    if 300 <= status < 400:
        target = response.headers.get("Location", "elsewhere")
        return AccessError(
            f"{where}: HTTP {status}, redirected to {target}", remedy=_elsewhere(response, target)
        )
    if status in (408, 425, 429) or status >= 500:
        return TransientError(message, retry_after=retry_after(response))
    return AccessError(message, remedy="check the url: something else answers there")


def _elsewhere(response: httpx.Response, target: str) -> str:
    """Return what to do about a redirect, which is never followed."""
    # An answer that came by another library has no request, and a target need be no URL.
    with suppress(RuntimeError, httpx.InvalidURL):
        asked = response.request.url
        wanted = asked.join(target)
        if (asked.scheme, wanted.scheme) == ("http", "https") and asked.host == wanted.host:
            return 'begin url with "https://"'
    if any(word in target.lower() for word in ("login", "saml", "sso", "oauth", "auth")):
        return (
            "this is a log-in page: check the credential, and that single sign-on lets REST "
            "requests through"
        )
    return "set url to where the API answers; a log-in page means a refused credential"
