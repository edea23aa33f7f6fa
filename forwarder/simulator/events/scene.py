"""One event in the making: who does what, where, and the shape that REST gives it. Pure."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from forwarder.simulator.catalogue import Catalogue, Person, Project, Repository

Json = dict[str, Any]

INVENTED: Final = "invented.simulator."
"""Begins every key beside which the text is made up."""

UNKNOWN_KEY: Final = "unknown.simulator."
"""Begins a key that is made up for a text that is known."""


class Scene:
    """One event in the making: the dice, and who does what to which repository."""

    def __init__(self, random: Random, catalogue: Catalogue, host: str) -> None:
        self.random = random
        self.host = host
        self.person: Person = random.choice(catalogue.people)
        self.other: Person = random.choice(catalogue.people)
        self.project: Project = random.choice(catalogue.projects)
        self.repository: Repository | None = (
            random.choice(self.project.repositories) if self.project.repositories else None
        )
        self.node: str = random.choice(catalogue.nodes)
        self.address: str = random.choice(catalogue.addresses)

    @property
    def target(self) -> str:
        """``KEY/slug``, or the key alone."""
        return f"{self.project.key}/{self.repository.slug}" if self.repository else self.project.key

    def commit(self) -> str:
        """Return a commit hash."""
        return f"{self.random.getrandbits(160):040x}"

    def user(self, person: Person) -> Json:
        """Return an author."""
        return {
            "name": person.name,
            "type": "NORMAL",
            "id": str(person.id),
            "uri": f"{self.host}/users/{person.name}",
            "avatarUri": "",
        }

    def objects(self) -> list[Json]:
        """Return the project and its repository, as the first affected objects."""
        key = self.project.key
        found: list[Json] = [
            {
                "name": key,
                "type": "PROJECT",
                "uri": f"{self.host}/projects/{key}",
                "id": str(self.project.id),
            }
        ]
        if self.repository:
            # Without a uri, as in the real events; a deleted one has none either.
            one = {"name": self.repository.slug, "type": "REPOSITORY"}
            found.append({**one, "id": str(self.repository.id)})
        return found

    def event(
        self,
        *,
        kind: Json,
        objects: list[Json] | None = None,
        changes: list[Json] | None = None,
        attributes: list[Json] | None = None,
    ) -> Json:
        """Return the event without its timestamp, attributes sorted by name as REST sorts them."""
        return {
            "author": self.user(self.person),
            "type": kind,
            "affectedObjects": self.objects() if objects is None else objects,
            "changedValues": changes or [],
            "source": self.address,
            "system": self.host,
            "node": self.node,
            "method": "Browser",
            "extraAttributes": sorted(attributes or [], key=lambda one: one["name"]),
        }


Template = Callable[[Scene], Json]


def attribute(name: str, value: object, *, key: str | None = None) -> Json:
    """Return an extra attribute; what is not text becomes JSON inside a string."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return {
        "nameI18nKey": key or f"{INVENTED}attribute.{name.replace(' ', '').lower()}",
        "name": name,
        "value": text,
    }


def legacy(scene: Scene, details: object | None = None) -> list[Json]:
    """Return the attributes that Bitbucket itself gives: the target, and details if any."""
    found = [
        attribute("target", scene.target, key="bitbucket.audit.attribute.legacy.target"),
    ]
    if details is not None:
        found.append(attribute("details", details, key="bitbucket.audit.attribute.legacy.details"))
    return found
