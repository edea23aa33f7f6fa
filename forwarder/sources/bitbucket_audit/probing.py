"""What a probe looks at beyond a poll: is it a Bitbucket, and does it tell us everything?"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from forwarder.errors import AccessError, ForwarderError
from forwarder.model import Concern
from forwarder.sources.bitbucket_audit.client import Client
from forwarder.sources.bitbucket_audit.selection import Selection

_CONFIGURATION: Final = "/rest/auditing/1.0/configuration"
_USUAL: Final = ("/bitbucket", "/stash")
_AREA: Final = "ecosystem"
"""The audit area of what apps write, Soteri's events among it."""
_SKEW: Final = 60.0
"""Seconds of difference between the clocks that no network explains."""
SOTERI: Final = "Soteri Security for Bitbucket"


async def version(client: Client) -> str:
    """Return Bitbucket's version; where something else answers, look for the Bitbucket near by.

    Raises:
        TransientError, AccessError: with the context path that is right, where one is found.
    """
    try:
        return await client.version()
    except AccessError as error:
        if "HTTP 401" in str(error) or "HTTP 403" in str(error):
            raise
        if await client.is_bitbucket(client.url):
            raise
        where = f"Bitbucket at {client.url}"
        for url in _nearby(client.url):
            if await client.is_bitbucket(url):
                raise AccessError(
                    f"{where}: no Bitbucket answers there, but one does at {url}",
                    remedy=f'the context path is wrong: set url = "{url}"',
                ) from error
        raise AccessError(
            f"{where}: something answers, but no Bitbucket, nor at {', '.join(_nearby(client.url))}"
            f" ({str(error).removeprefix(f'{where}: ')})",
            remedy=error.remedy
            if "log-in" in error.remedy or "https://" in error.remedy
            else "check host, port and context path: url is the address of Bitbucket's front page",
        ) from error


def _nearby(url: str) -> list[str]:
    """Return where on the same host a Bitbucket may be: with less of the path, or a usual one."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    steps = [step for step in parts.path.split("/") if step]
    shorter = ["/" + "/".join(steps[:count]) if count else "" for count in range(len(steps))]
    paths = dict.fromkeys([*reversed(shorter), *_USUAL])
    return [origin + path for path in paths if origin + path != url]


async def concerns(
    client: Client,
    selection: Selection,
    newest: Callable[[Selection], Awaitable[list[str]]],
) -> list[Concern]:
    """Return what keeps events from us, or soon may; `newest` tells the categories of late.

    Raises:
        TransientError, AccessError: as a poll does.
    """
    found = list(_of_connection(client, selection))
    found += await _of_settings(client, selection)
    for category in selection.categories if selection.licensed else ():
        if not await newest(Selection((category,), licensed=selection.licensed)):
            found.append(_unknown(category, await newest(Selection())))
    return found


def _of_connection(client: Client, selection: Selection) -> Iterator[Concern]:
    if not selection.licensed:
        yield Concern(
            "Bitbucket refuses filters (no Data Center licence), so every event is read and "
            "filtered here",
            "give Bitbucket its Data Center licence; nothing is lost without, it only reads more",
        )
    ahead = client.clock.ahead()
    if ahead is not None and abs(ahead) > _SKEW:
        yield Concern(
            f"Bitbucket's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours",
            "set both clocks by NTP",
        )


async def _of_settings(client: Client, selection: Selection) -> list[Concern]:
    """Return what Bitbucket's audit settings hide; only a global administrator may ask."""
    try:
        levels = (await client.object(f"{_CONFIGURATION}/coverage")).get("levelByArea", {})
        excluded = (await client.object(f"{_CONFIGURATION}/denylist")).get("actions", [])
    except ForwarderError:
        return []
    found = []
    level = levels.get(_AREA) if isinstance(levels, dict) else None
    if level == "off" and (not selection.categories or SOTERI in selection.categories):
        found.append(
            Concern(
                f"Bitbucket's audit coverage of \"{_AREA}\" is off: it writes no event of Soteri's",
                'set it to "base" or more: Administration > Audit log > Settings > Coverage',
            )
        )
    if excluded:
        names = ", ".join(map(str, excluded[:5])) + (", …" if len(excluded) > 5 else "")
        found.append(
            Concern(
                f"Bitbucket's audit log leaves out {len(excluded)} actions: {names}",
                "if one of them matters, take it off the list: Administration > Audit log > "
                "Settings > Exclude actions",
            )
        )
    return found


def _unknown(category: str, seen: list[str]) -> Concern:
    known = ", ".join(f'"{name}"' for name in seen[:8]) or "none at all"
    return Concern(
        f'the audit log holds no event of the category "{category}"; of late it has: {known}',
        "check its spelling in categories, letter by letter, and that the app is installed",
    )
