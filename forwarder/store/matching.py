"""Does a stored event match a filter? Pure; what SQL narrows down, this decides."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from forwarder.model import Event, EventFilter

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """Return whole epoch milliseconds, rounded down; negative before 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(epoch_milliseconds: int) -> datetime:
    """Return the aware UTC time of epoch milliseconds."""
    return _EPOCH + epoch_milliseconds * _MILLISECOND


def matcher(wanted: EventFilter) -> Callable[[Event], bool]:
    """Return a function that says whether an event matches every field of `wanted`."""
    kinds = tuple(kind.casefold() for kind in wanted.kinds)
    actors = _folded(wanted.actors)
    projects = _folded(wanted.projects)
    repositories = _folded(wanted.repositories)

    def matches(event: Event) -> bool:
        if wanted.since is not None and event.occurred_at < wanted.since:
            return False
        if wanted.until is not None and event.occurred_at >= wanted.until:
            return False
        if kinds and not any(_is_kind(event.kind.casefold(), kind) for kind in kinds):
            return False
        if actors and ((event.actor and event.actor.name) or "").casefold() not in actors:
            return False
        if projects and projects.isdisjoint(_projects(event)):
            return False
        return not repositories or not repositories.isdisjoint(_repositories(event))

    return matches


def _folded(values: tuple[str, ...]) -> frozenset[str]:
    return frozenset(value.casefold() for value in values)


def _is_kind(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


def _projects(event: Event) -> Iterator[str]:
    for thing in event.objects:
        if thing.type == "PROJECT":
            yield (thing.name or "").casefold()
            yield (thing.id or "").casefold()
    for key, _slug in _targets(event):
        yield key


def _repositories(event: Event) -> Iterator[str]:
    slugs = [(x.name or "").casefold() for x in event.objects if x.type == "REPOSITORY"]
    targets = tuple(_targets(event))
    yield from slugs
    yield from (f"{key}/{slug}" for key in _projects(event) for slug in slugs)
    for key, slug in targets:
        yield slug
        yield f"{key}/{slug}"


def _targets(event: Event) -> Iterator[tuple[str, str]]:
    """Yield key and slug where the `target` attribute names a repository as ``KEY/slug``."""
    for attribute in event.attributes:
        if attribute.name == "target":
            key, slash, slug = (attribute.value or "").casefold().partition("/")
            if slash and slug:
                yield key, slug
