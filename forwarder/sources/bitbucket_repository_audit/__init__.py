"""The source `bitbucket_repository_audit`: audit logs of single repositories, before Bitbucket 8.0.

source.py   what a poll reads, and where that leaves it
values.py   bytes -> records; pure
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal, Self

import httpx
from pydantic import AfterValidator, Field, model_validator

from forwarder.options import Duration, as_written
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.connection import (
    BitbucketOptions,
    Name,
    StartAt,
    repository_name,
)
from forwarder.sources.bitbucket_repository_audit.source import (
    BitbucketRepositoryAudit,
    Subject,
    Walks,
)


class BitbucketRepositoryAuditConfig(BitbucketOptions):
    """``[sources.NAME]`` with ``type = "bitbucket_repository_audit"``.

    For Bitbucket before 8.0, which removed this API (Atlassian, "Bitbucket Data Center and Server
    8.0 release notes"); on newer ones ``bitbucket_audit`` takes the same projects and
    repositories. An administrator of each of them is enough. What it gives of an event is
    less than ``bitbucket_audit`` gives, and its ids are others: use one of the two.
    """

    type: Literal["bitbucket_repository_audit"]
    projects: tuple[Name, ...] = Field(
        default=(), description="Keys of projects whose own audit log is read."
    )
    repositories: tuple[Annotated[Name, AfterValidator(repository_name)], ...] = Field(
        default=(), description="Repositories whose audit log is read, as KEY/slug."
    )
    actions: tuple[Name, ...] = Field(
        default=(), description="Names of the actions to forward; [] takes every action."
    )
    start_at: StartAt = "now"
    overlap: Duration = Field(
        default=as_written("1h"),
        description="How far behind the last poll each poll reads again, for what shows up late.",
    )
    page_size: int = Field(default=500, ge=1, le=1000, description="Events asked for at once.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.projects or self.repositories):
            raise ValueError("set projects or repositories: this API shows no others")
        return self

    @property
    def rereads(self) -> float:
        """How many seconds behind the mark a poll may read again."""
        return self.overlap

    @asynccontextmanager
    async def open(
        self,
        *,
        name: str,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: ServerClock | None = None,
    ) -> AsyncIterator[BitbucketRepositoryAudit]:
        """Yield the source; nothing is asked before it is used.

        `transport` and `clock` stand in for the network and for the time.

        Raises:
            ConfigError: a certificate cannot be read.
        """
        async with self.connected(name, transport=transport, clock=clock) as connection:
            client, namespace, enrichment = connection
            yield BitbucketRepositoryAudit(
                client,
                tuple(map(Subject, (*self.projects, *self.repositories))),
                actions=self.actions,
                namespace=namespace,
                start_at=self.start_at,
                walks=Walks(overlap=round(self.overlap * 1000), page_size=self.page_size),
                enrichment=enrichment,
            )
