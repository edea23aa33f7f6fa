"""What an event says, as the schemas want to be told it: who, whom, where, in which words. Pure."""

from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from forwarder.model import AffectedObject, Context, Event, Severity
from forwarder.remembered import remembered

SOTERI: Final = "Security for Bitbucket"
BITBUCKET: Final = "Bitbucket Data Center"
SEVERITIES: Final[dict[Severity, int]] = {
    "info": 1,
    "low": 2,
    "medium": 3,
    "high": 4,
    "critical": 5,
}


class Product(NamedTuple):
    """Whose event it is."""

    vendor: str
    name: str

    @property
    def full_name(self) -> str:
        """Vendor and name."""
        return f"{self.vendor} {self.name}"


_SOTERI: Final = Product("Soteri", SOTERI)
_ATLASSIAN: Final = Product("Atlassian", BITBUCKET)
_OURS: Final = Product("soteri-forwarder", "Forwarder")


def product(event: Event) -> Product:
    """Return whose event it is: Bitbucket's or the forwarder's by its kind, else Soteri's."""
    if event.kind.startswith(("forwarder.", "correlation.")):
        return _OURS
    return _ATLASSIAN if event.kind.startswith("bitbucket.") else _SOTERI


class Gist(NamedTuple):
    """Who is meant by an event's objects; `place` is ``KEY/slug``, ``KEY``, or empty."""

    project: str | None
    repository: str | None
    user: AffectedObject | None
    group: AffectedObject | None
    place: str
    message: str


def gist(event: Event) -> Gist:
    """Return the first project, repository, user and group that have a name, and one sentence."""
    project = repository = user = group = None
    for one in event.objects:
        if not one.name:
            continue
        if one.type == "PROJECT":
            project = project or one.name
        elif one.type == "REPOSITORY":
            repository = repository or one.name
        elif one.type == "USER":
            user = user or one
        elif one.type == "GROUP":
            group = group or one
    place = "/".join(name for name in (project, repository) if name)
    message = event.action or event.kind
    if event.actor and event.actor.name:
        message = f"{message} by {event.actor.name}"
    if place:
        message = f"{message} in {place}"
    return Gist(project, repository, user, group, place, message)


_NOTHING: Final = Context()


def context_of(event: Event) -> Context:
    """Return what was looked up beside the record; all None where nothing was."""
    return _NOTHING if event.context is msgspec.UNSET else event.context


def detail(event: Event, name: str) -> str | None:
    """Return the value of the attribute called `name` (in lower case), if there is one."""
    for one in event.attributes:
        if one.name and one.value and one.name.lower() == name:
            return one.value
    return None


def addresses(text: str | None) -> tuple[str, ...]:
    """Return the IP addresses in an event's address, nearest to the person first.

    Behind proxies it holds several, parted by commas; a zone (``%eth0``) is no part of an address
    that others could use.
    """
    return _addresses(text or "")


def _found(text: str) -> tuple[str, ...]:
    found = []
    for part in text.replace(",", " ").split():
        try:
            found.append(str(ip_address(part.partition("%")[0])))
        except ValueError:
            continue
    return tuple(found)


_addresses: Final = remembered(_found, most=4096)


@lru_cache(maxsize=1024)
def host_of(system: str | None) -> str | None:
    """Return the host in Bitbucket's own address, or None."""
    try:
        return urlsplit(system or "").hostname
    except ValueError:
        return None


def succeeded(verb: str) -> bool | None:
    """Tell whether who acted got what was asked for; None where nobody knows what was done."""
    return None if verb == "done" else verb not in {"failed", "blocked"}


def outcome(verb: str) -> str | None:
    """Return the same in the word that most schemas have for it."""
    well = succeeded(verb)
    return None if well is None else "success" if well else "failure"
