"""Which projects and repositories are asked for, in the API's words."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from forwarder.sources.bitbucket_audit.client import Client

_OBJECTS: Final = 100
"""Ids in one question: with 8 digits each its address stays far below Tomcat's 8 KiB."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Keys of projects, and repositories as ``KEY/slug``; neither asks for everything.

    The API joins ids of one type by OR, but types by AND, so the union takes several questions.
    """

    projects: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many questions it takes."""
        return max(sum(-(-len(some) // _OBJECTS) for some in (self.projects, self.repositories)), 1)

    async def questions(self, client: Client) -> tuple[str | None, ...]:
        """Return the values of `affectedObject` that together ask for it; (None,) for everything.

        Raises:
            AccessError: one does not exist or may not be seen; the message names it.
            TransientError: Bitbucket cannot be asked now.
        """
        projects = [
            await client.id_of(f"/projects/{_quoted(key)}", what=f"project {key}")
            for key in self.projects
        ]
        repositories = []
        for named in self.repositories:
            key, _, slug = named.partition("/")
            path = f"/projects/{_quoted(key)}/repos/{_quoted(slug)}"
            repositories.append(await client.id_of(path, what=f"repository {named}"))
        return (*_asked("PROJECT", projects), *_asked("REPOSITORY", repositories)) or (None,)


def _asked(kind: str, ids: list[str]) -> list[str]:
    starts = range(0, len(ids), _OBJECTS)
    return [";".join(f"{kind},{id_}" for id_ in ids[at : at + _OBJECTS]) for at in starts]


def _quoted(part: str) -> str:
    return quote(part, safe="~")
