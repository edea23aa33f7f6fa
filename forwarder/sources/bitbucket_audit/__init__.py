"""The source `bitbucket_audit`: Bitbucket Data Center's audit log over REST.

source.py       what a poll reads, and where that leaves it; start reading here
position.py     what is kept of that in the checkpoint; pure
clock.py        the server's time
audit_log.py    the log in whole windows, out of newest-first pages
window.py       which windows; pure
selection.py    what is wanted, and who filters; pure
scope.py        projects and repositories as ids
client.py       one question over HTTP
wire.py         bytes -> records; lenient.py where they are odd, shapes.py; pure
identity.py     ids; instants.py: milliseconds; pure
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from forwarder import http
from forwarder.options import Duration, Secret, SourceOptions, TlsOptions, as_written
from forwarder.sources.bitbucket_audit.audit_log import AuditLog
from forwarder.sources.bitbucket_audit.client import Client, Credential
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.scope import Scope
from forwarder.sources.bitbucket_audit.selection import Selection
from forwarder.sources.bitbucket_audit.source import BitbucketAudit, Rereads, Start

_SLOT_WAIT: Final = 30.0
"""Seconds that Bitbucket itself waits for a free search slot before it answers at all."""
_DAY: Final = 86_400.0


def _start(written: object) -> object:
    if written in ("now", "beginning"):
        return written
    try:
        at = datetime.fromisoformat(written) if isinstance(written, str) else written
    except ValueError:
        at = None
    if isinstance(at, datetime) and at.tzinfo is not None:
        return at
    raise ValueError(
        f'"{written}" is no start: write "now", "beginning" or a time with its zone, such as '
        '"2026-01-31T00:00:00Z"'
    )


def _address(url: str) -> str:
    parts = urlsplit(url)
    if "://" in url and parts.scheme not in ("http", "https"):
        raise ValueError(f'"{url}" is no web address: begin it with "https://"')
    if parts.query or parts.fragment:
        raise ValueError(f'"{url}" has a query: write the address of Bitbucket\'s front page')
    return url.rstrip("/")


def repository_name(written: str) -> str:
    """Return `written` if it is ``KEY/slug``; raises ValueError where it is not."""
    key, slash, slug = written.partition("/")
    if not (key and slash and slug) or "/" in slug:
        raise ValueError(f'"{written}" is no repository: write "KEY/slug", such as "SEC/payments"')
    return written


Name = Annotated[str, Field(min_length=1)]


class BitbucketAuditConfig(SourceOptions):
    """``[sources.NAME]`` with ``type = "bitbucket_audit"``.

    Reading takes a global administrator or, with `projects` or `repositories`, an administrator
    of all of them; give the forwarder an account of its own.
    """

    type: Literal["bitbucket_audit"]
    url: Annotated[str, AfterValidator(_address)] = Field(
        description="Bitbucket's address, with its context path where it has one.",
        examples=["https://bitbucket.example.com/bitbucket"],
    )
    token: Secret | None = Field(default=None, description="HTTP access token, sent as Bearer.")
    username: Name | None = Field(default=None, description="Account, where there is no token.")
    password: Secret | None = Field(default=None, description="Its password.")
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
    start_at: Annotated[Start, BeforeValidator(_start), WithJsonSchema({"type": "string"})] = Field(
        default="now",
        description='Where to begin when nothing is stored: "now", "beginning" or a time.',
    )
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
    timeout: Duration = Field(
        default=as_written("60s"),
        description="Longest silence of the server; over 30s, which it may wait for a search slot.",
    )
    identity: Name | None = Field(
        default=None,
        description="Name under which event ids are made, the source's own if not given; sources "
        "that read the same Bitbucket by different ways share one.",
    )
    proxy: str | None = Field(default=None, description="Proxy's address, if one is needed.")
    tls: TlsOptions = TlsOptions()

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.token is None) == (self.username is None and self.password is None):
            raise ValueError(
                "set either token (or token_file), or username and password (or password_file)"
            )
        if self.token is None and (self.username is None or self.password is None):
            raise ValueError("username and password (or password_file) go together: set both")
        if self.timeout <= _SLOT_WAIT:
            raise ValueError(
                "timeout must be over 30s: Bitbucket waits that long for a search slot"
            )
        return self

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
        secret: Any = self.token or self.password
        async with http.client(
            self.url,
            tls=self.tls,
            read_timeout=self.timeout,
            proxy=self.proxy,
            auth=Credential(secret, username=self.username),
            transport=transport,
        ) as opened:
            client = Client(opened, clock or ServerClock(), timeout=self.timeout)
            client.user = self.username
            audit_log = AuditLog(
                client,
                Selection(self.categories, self.actions),
                namespace=self.identity or name,
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
            )
