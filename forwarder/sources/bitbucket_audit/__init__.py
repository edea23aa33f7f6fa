"""The source `bitbucket_audit`: Bitbucket Data Center's audit log over REST.

source.py       what a poll reads, and where that leaves it; start reading here
position.py     what is kept of that in the checkpoint; pure
connection.py   address and credential: the fields of every source that asks a Bitbucket
clock.py        the server's time
audit_log.py    the log in whole windows, out of newest-first pages
window.py       which windows; pure
selection.py    what is wanted, and who filters; pure
scope.py        projects and repositories as ids
inspection.py   what Bitbucket records, asked beside the log
enrichment.py   names and links beside what events say
client.py       one question over HTTP
wire.py         bytes -> records; lenient.py where they are odd, shapes.py; pure
identity.py     ids; instants.py: milliseconds; pure
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal

import httpx
from pydantic import AfterValidator, Field

from forwarder.options import Duration, as_written
from forwarder.sources.bitbucket_audit.audit_log import AuditLog
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.connection import (
    BitbucketOptions,
    Name,
    StartAt,
    repository_name,
)
from forwarder.sources.bitbucket_audit.inspection import Inspection
from forwarder.sources.bitbucket_audit.scope import Scope
from forwarder.sources.bitbucket_audit.selection import Selection
from forwarder.sources.bitbucket_audit.source import BitbucketAudit, Rereads

_DAY: Final = 86_400.0


class BitbucketAuditConfig(BitbucketOptions):
    """``[sources.NAME]`` with ``type = "bitbucket_audit"``.

    Reading takes a global administrator or, with `projects` or `repositories`, an administrator
    of all of them; give the forwarder an account of its own.
    """

    type: Literal["bitbucket_audit"]
    categories: tuple[Name, ...] = Field(
        default=("Soteri Security for Bitbucket",),
        description="Display texts of the categories to forward; [] takes every category.",
    )
    actions: tuple[Name, ...] = Field(
        default=(), description="Display texts of the actions to forward; [] takes every action."
    )
    projects: tuple[Name, ...] = Field(
        default=(), description="Keys of projects; with them only events on these are read."
    )
    repositories: tuple[Annotated[Name, AfterValidator(repository_name)], ...] = Field(
        default=(), description="Repositories as KEY/slug, beside those of `projects`."
    )
    start_at: StartAt = "now"
    overlap: Duration = Field(
        default=as_written("5m"),
        description="How far behind the mark every poll reads again, for events that show up late.",
    )
    rescan_interval: Duration = Field(
        default=as_written("1h"), description="How often a deeper re-read is made."
    )
    rescan_window: Duration = Field(
        default=as_written("24h"), description="How deep it goes behind the one before."
    )
    page_size: int = Field(default=1000, ge=1, le=10_000, description="Events asked for at once.")

    @property
    def _scope(self) -> Scope:
        return Scope(self.projects, self.repositories)

    @property
    def rereads(self) -> float:
        """How many seconds behind the mark a poll may read again."""
        return max(self.overlap, self.rescan_window + self.rescan_interval)

    @property
    def audit_rows_a_day(self) -> int:
        """How many rows polling an idle Bitbucket writes into its audit log in a day.

        One for each page read, empty ones too: each poll and each deep re-read takes one for each
        question (see `Scope`). Every full page of events adds one each time it is read.
        """
        each = 1 / max(self.poll_interval, 1.0) + 1 / max(self.rescan_interval, 1.0)
        return math.ceil(_DAY * each * self._scope.count)

    @asynccontextmanager
    async def open(
        self,
        *,
        name: str,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: ServerClock | None = None,
    ) -> AsyncIterator[BitbucketAudit]:
        """Yield the source; nothing is asked before it is used.

        `transport` and `clock` stand in for the network and for the time.

        Raises:
            ConfigError: a certificate cannot be read.
        """
        async with self.connected(name, transport=transport, clock=clock) as connection:
            client, namespace, enrichment = connection
            audit_log = AuditLog(
                client,
                Selection(self.categories, self.actions),
                namespace=namespace,
                page_size=self.page_size,
            )
            yield BitbucketAudit(
                client,
                audit_log,
                scope=self._scope,
                start_at=self.start_at,
                rereads=Rereads(
                    overlap=round(self.overlap * 1000),
                    interval=round(self.rescan_interval * 1000),
                    window=round(self.rescan_window * 1000),
                ),
                rows_a_day=self.audit_rows_a_day,
                enrichment=enrichment,
                inspection=Inspection(client, self.token, categories=self.categories),
            )
