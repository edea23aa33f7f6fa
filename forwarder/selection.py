"""Which events are wanted: by readers of the store, and by each sink. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from forwarder.model import Event, EventFilter, Severity
from forwarder.remembered import remembered

_GRAVITY: Final = {severity: rank for rank, severity in enumerate(get_args(Severity))}

Predicate = Callable[[Event], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What events may have; empty fields ask for nothing. All is matched without regard to case.

    `kinds`, `categories` and `actors` are matched whole or, with a trailing ``*``, by their
    beginning; `projects` are keys, `repositories` slugs or ``KEY/slug``.
    """

    kinds: tuple[str, ...] = ()
    severity: Severity | None = None
    categories: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()


def selector(include: Choice, exclude: Choice) -> Predicate | None:
    """Return a function that says whether an event is wanted, or None where every event is.

    An event is wanted that has everything that `include` asks for (its severity or a graver one)
    and nothing of what `exclude` names (its severity or a less grave one).
    """
    must = [has for _, has in _asked(include, least=True)]
    must_not = [has for _, has in _asked(exclude, least=False)]
    if not (must or must_not):
        return None
    return lambda event: all(has(event) for has in must) and not any(has(event) for has in must_not)


def refusing(include: Choice, exclude: Choice, event: Event) -> str:
    """Return the field for which an event is not wanted, ``include.kinds``; "" where it is."""
    for name, has in _asked(include, least=True):
        if not has(event):
            return f"include.{name}"
    for name, has in _asked(exclude, least=False):
        if has(event):
            return f"exclude.{name}"
    return ""


def _asked(choice: Choice, *, least: bool) -> Iterator[tuple[str, Predicate]]:
    """Yield each field that asks for something; severities are at `least` its, or at most."""
    yield from _predicates(choice)
    if choice.severity is not None:
        bound = _GRAVITY[choice.severity]
        if least:
            yield "severity", lambda event: _GRAVITY[event.severity] >= bound
        else:
            yield "severity", lambda event: _GRAVITY[event.severity] <= bound


def matcher(wanted: EventFilter) -> Predicate:
    """Return a function that says whether an event matches every field of `wanted`."""
    since, until = wanted.since, wanted.until
    choice = Choice(
        kinds=wanted.kinds,
        actors=wanted.actors,
        projects=wanted.projects,
        repositories=wanted.repositories,
    )
    must = [has for _, has in _predicates(choice)]
    if since is not None:
        must.append(lambda event: event.occurred_at >= since)
    if until is not None:
        must.append(lambda event: event.occurred_at < until)
    if ids := frozenset(wanted.event_ids):
        must.append(lambda event: event.event_id in ids)
    return lambda event: all(has(event) for has in must)


def _predicates(choice: Choice) -> Iterator[tuple[str, Predicate]]:
    """Yield name and function of each field that asks for something, but for the severity."""
    if choice.kinds:
        is_kind = _texts(choice.kinds)
        yield "kinds", lambda event: is_kind(event.kind)
    if choice.categories:
        is_category = _texts(choice.categories)
        yield "categories", lambda event: is_category(event.category)
    if choice.actors:
        is_actor = _texts(choice.actors)
        yield "actors", lambda event: is_actor((event.actor and event.actor.name) or "")
    if projects := _folded(choice.projects):
        yield "projects", lambda event: not projects.isdisjoint(_projects(event))
    if repositories := _folded(choice.repositories):
        yield "repositories", lambda event: not repositories.isdisjoint(_repositories(event))


def _texts(wanted: Sequence[str]) -> Callable[[str], bool]:
    folded = _folded(wanted)
    whole = frozenset(text for text in folded if not text.endswith("*"))
    beginnings = tuple(text[:-1] for text in folded if text.endswith("*"))

    def matches(text: str) -> bool:
        text = text.casefold()
        return text in whole or text.startswith(beginnings)

    return remembered(matches)


def _folded(values: Sequence[str]) -> frozenset[str]:
    return frozenset(value.casefold() for value in values)


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
