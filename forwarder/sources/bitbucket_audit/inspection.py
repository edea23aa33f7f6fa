"""What Bitbucket records, and how it is: asked beside the log, for the watches.

Coverage and excluded actions are Atlassian's audit API (developer.atlassian.com, "Atlassian SDK:
REST APIs, Configuration"). Apps and tokens are answered in inferred shapes (docs/bitbucket.md):
what is not understood counts as not told. Bitbucket may refuse tokens on all of these
(BSERV-10482), and answers an account that is no administrator with 401 or 403.
"""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from forwarder.errors import AccessError
from forwarder.model import AuditSettings
from forwarder.secret import Secret
from forwarder.sources.bitbucket_audit.client import Client

_REFUSED: Final = 3600.0
"""Seconds until what was refused is asked for again."""
_APP: Final = "soteri"
_PREFIX: Final = "BBDC-"

Answer = Mapping[str, Any]


class Inspection:
    """Asks one Bitbucket; `token` is what it is asked with, if it is a token.

    `categories` are those that are wanted; none asks for all.
    """

    def __init__(
        self,
        client: Client,
        token: Secret | None,
        *,
        categories: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.categories = categories
        self._client = client
        self._token = token
        self._clock = clock
        self._refused: dict[str, float] = {}

    async def look(self) -> AuditSettings:
        """Return what was told; what is not allowed is named, and asked for again in an hour.

        Raises:
            TransientError: Bitbucket cannot be asked now.
            AccessError: not even its version is told: the credential is refused.
        """
        await self._client.version()
        said: dict[str, Any] = {}
        for name, asked in (
            ("coverage", self._coverage),
            ("excluded_actions", self._excluded),
            ("app", self._app),
            ("token", self._expiry),
        ):
            said |= await self._allowed(name, asked)
        return AuditSettings(
            seen_at=datetime.now(UTC),
            clock_ahead_seconds=self._client.clock.ahead(),
            not_allowed=tuple(self._refused),
            **said,
        )

    async def _allowed(self, name: str, asked: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._clock() - self._refused.get(name, -_REFUSED) < _REFUSED:
            return {}
        self._refused.pop(name, None)
        try:
            return await asked()
        except AccessError:
            self._refused[name] = self._clock()
            return {}

    async def _coverage(self) -> Answer:
        levels = (await self._client.object("/rest/auditing/1.0/configuration/coverage")).get(
            "levelByArea"
        )
        if not isinstance(levels, dict):
            return {}
        return {
            "coverage": {str(area).lower(): str(level).lower() for area, level in levels.items()}
        }

    async def _excluded(self) -> Answer:
        found = await self._client.object("/rest/auditing/1.0/configuration/denylist")
        actions = found.get("actions")
        if not isinstance(actions, list):
            return {}
        return {"excluded_actions": tuple(str(action) for action in actions)}

    async def _app(self) -> Answer:
        plugins = (await self._client.object("/rest/plugins/1.0/")).get("plugins")
        if not isinstance(plugins, list) or not plugins:
            return {}
        known = [plugin for plugin in plugins if isinstance(plugin, dict)]
        app = next((each for each in known if _is_soteris(each)), None)
        if app is None:
            return {"app_installed": False}
        enabled = app.get("enabled")
        return {
            "app_installed": True,
            "app_version": str(app["version"]) if app.get("version") else None,
            "app_enabled": enabled if isinstance(enabled, bool) else None,
        }

    async def _expiry(self) -> Answer:
        own = token_id(self._token.reveal()) if self._token else None
        if own is None or self._client.user is None:
            return {}
        path = f"/rest/access-tokens/latest/users/{quote(self._client.user, safe='')}"
        found = await self._client.object(path, {"limit": "1000"})
        return {"token_expires_at": _expires_at(found.get("values"), own)}


def token_id(token: str) -> str | None:
    """Return the id of an HTTP access token, or None where it does not tell.

    Such a token is, perhaps behind ``BBDC-``, Base64 of its id in digits, a colon and the secret.
    """
    try:
        head, colon, _ = base64.b64decode(token.removeprefix(_PREFIX), altchars=b"-_").partition(
            b":"
        )
    except (binascii.Error, ValueError):
        return None
    return head.decode() if colon and head.isdigit() else None


def _expires_at(tokens: object, own: str) -> datetime | None:
    known: Sequence[Any] = tokens if isinstance(tokens, list) else ()
    for each in known:
        if isinstance(each, dict) and str(each.get("id")) == own:
            created, days = each.get("createdDate"), each.get("expiryDays")
            if isinstance(created, int) and isinstance(days, int):
                return datetime.fromtimestamp(created / 1000, UTC) + timedelta(days=days)
    return None


def _is_soteris(plugin: Mapping[str, Any]) -> bool:
    return any(_APP in str(plugin.get(field, "")).casefold() for field in ("name", "key"))
