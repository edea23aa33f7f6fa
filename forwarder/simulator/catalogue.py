"""Who and what the simulated Bitbucket has: people, projects, repositories, nodes. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from forwarder.simulator.log import decoded


@dataclass(frozen=True, slots=True)
class Person:
    """A user. Ids are text in audit events and numbers at /rest/api."""

    id: int
    name: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of one project."""

    id: int
    slug: str


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its repositories; a personal one has a key that begins with ``~``."""

    id: int
    key: str
    name: str
    repositories: tuple[Repository, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that events can be about, and that /rest/api can look up."""

    people: tuple[Person, ...]
    projects: tuple[Project, ...]
    nodes: tuple[str, ...]
    addresses: tuple[str, ...] = field(default=("10.50.73.5",))

    def project(self, key: str) -> Project | None:
        """Return the project with this key, in whatever case, or None."""
        return next((one for one in self.projects if one.key.lower() == key.lower()), None)

    def repository(self, key: str, slug: str) -> tuple[Project, Repository] | None:
        """Return a repository and its project, or None."""
        project = self.project(key)
        for one in project.repositories if project else ():
            if project and one.slug.lower() == slug.lower():
                return project, one
        return None


def invented() -> Catalogue:
    """Return the people and projects of a company that does not exist."""
    people = (
        Person(2, "admin", "Administrator"),
        Person(52, "mira.holm", "Mira Holm"),
        Person(53, "jonas.weber", "Jonas Weber"),
        Person(54, "aiko.tanaka", "Aiko Tanaka"),
        Person(55, "luis.ortega", "Luis Ortega"),
        Person(56, "zoë.müller", "Zoë Müller"),  # not everybody is ASCII
        Person(57, "build.agent", "Build Agent"),
    )
    projects = (
        Project(1, "SEC", "Security", (Repository(1, "payments"), Repository(2, "vault-tools"))),
        Project(
            2,
            "WEB",
            "Web shop",
            (Repository(3, "storefront"), Repository(4, "checkout"), Repository(5, "search")),
        ),
        Project(3, "OPS", "Operations", (Repository(6, "terraform"), Repository(7, "helm-charts"))),
        # The same slug in two projects, as real ones have it.
        Project(4, "DATA", "Data platform", (Repository(8, "etl"), Repository(9, "search"))),
        Project(5, "~mira.holm", "Mira Holm", (Repository(10, "dotfiles"),)),
    )
    nodes = (
        "8767044c-1b98-4d64-82db-ef29af8c3792",
        "1f0a2b6d-5c4e-4f6b-9a55-2f6f3f1f7a10",
        "c2d7c5f1-0b83-4a3e-8f0e-6f9e3d1b2c44",
    )
    addresses = ("10.50.73.5", "10.100.100.2", "10.20.4.17", "192.0.2.44", "2001:db8::17")
    return Catalogue(people, projects, nodes, addresses)


def of_events(bodies: Iterable[bytes]) -> Catalogue:
    """Return the projects and repositories that captured events name, for the look-ups.

    Repositories are put under the project that the same event names; those without one are left
    out, and so is what has no numeric id.
    """
    projects: dict[str, int] = {}
    repositories: dict[str, dict[str, int]] = {}
    for body in bodies:
        named = _named_objects(body)
        keys = [(name, id_) for kind, name, id_ in named if kind == "PROJECT"]
        slugs = [(name, id_) for kind, name, id_ in named if kind == "REPOSITORY"]
        projects.update(keys)
        if len(keys) == 1:
            repositories.setdefault(keys[0][0], {}).update(slugs)
    return Catalogue(
        people=(Person(2, "admin", "Administrator"),),
        projects=tuple(
            Project(
                id_,
                key,
                key,
                tuple(Repository(id_, slug) for slug, id_ in repositories.get(key, {}).items()),
            )
            for key, id_ in projects.items()
        ),
        nodes=("8767044c-1b98-4d64-82db-ef29af8c3792",),
    )


def _named_objects(body: bytes) -> list[tuple[str, str, int]]:
    """Return (type, name, id) of the affected objects that have all three."""
    try:
        event: Any = decoded(body)
    except (ValueError, RecursionError):
        return []
    objects = event.get("affectedObjects") if isinstance(event, dict) else None
    if not isinstance(objects, list):
        return []
    return [
        (str(one["type"]), one["name"], int(one["id"]))
        for one in objects
        if isinstance(one, dict)
        and isinstance(one.get("name"), str)
        and str(one.get("id")).isdecimal()
        and "type" in one
    ]
