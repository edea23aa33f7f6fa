"""The source `bitbucket_audit_log`: the audit log files that each Bitbucket node writes.

source.py   pages out of files, and where that leaves the source; start reading here
places.py   how far each file is read, and which file is which
merge.py    whole lines out of growing files, several nodes merged by time
lines.py    a line -> a record, with the id that it has over REST; pure
tally.py    equals in one millisecond, told apart
disk.py     the files as they lie on disk
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from forwarder.options import SourceOptions
from forwarder.sources.bitbucket_audit.connection import Identity, Name, StartAt
from forwarder.sources.bitbucket_audit_log.disk import Disk
from forwarder.sources.bitbucket_audit_log.lines import Reading
from forwarder.sources.bitbucket_audit_log.source import BitbucketAuditLog


def _absolute(written: str) -> str:
    if not Path(written).is_absolute():
        raise ValueError(f'"{written}" is no absolute path: begin it with "/"')
    return written


class BitbucketAuditLogConfig(SourceOptions):
    """``[sources.NAME]`` with ``type = "bitbucket_audit_log"``.

    For a sidecar that sees the nodes' ``log/audit`` folders: no credential, no audit rows of its
    own. Beside a `bitbucket_audit` source it fills the holes that either has; then give both the
    same `identity`, so that no event comes twice.
    """

    type: Literal["bitbucket_audit_log"]
    paths: tuple[Annotated[Name, AfterValidator(_absolute)], ...] = Field(
        min_length=1,
        description="Folders of audit log files, or patterns of such files; one for each node.",
        examples=[["/var/atlassian/application-data/bitbucket/log/audit"]],
    )
    categories: tuple[Name, ...] = Field(
        default=("Soteri Security for Bitbucket",),
        description="Display texts of the categories to forward; [] takes every category.",
    )
    actions: tuple[Name, ...] = Field(
        default=(), description="Display texts of the actions to forward; [] takes every action."
    )
    start_at: StartAt = "now"
    page_size: int = Field(default=1000, ge=1, le=10_000, description="Events stored at once.")
    identity: Identity = None
    account: Name | None = Field(
        default=None,
        description="Account that the forwarder asks Bitbucket's API with, if it does: its "
        "searches of the audit log are left out.",
    )

    @property
    def rereads(self) -> float:
        """How many seconds behind the mark a poll may read again: each line is read once."""
        return 0.0

    @asynccontextmanager
    async def open(
        self, *, name: str, disk: Disk | None = None
    ) -> AsyncIterator[BitbucketAuditLog]:
        """Yield the source; nothing is read before it is used. `disk` stands in for the files."""
        yield BitbucketAuditLog(
            self.paths,
            Reading(
                categories=self.categories,
                actions=self.actions,
                namespace=self.identity or name,
                account=self.account,
            ),
            start_at=self.start_at,
            page_records=self.page_size,
            disk=disk,
        )
