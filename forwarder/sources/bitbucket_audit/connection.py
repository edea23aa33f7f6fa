"""What every source needs to ask a Bitbucket: address, credential, trust."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from forwarder import http
from forwarder.options import SourceOptions, TlsOptions, Wait, as_written
from forwarder.secret import Secret
from forwarder.sources.bitbucket_audit.client import Client, Credential
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit.enrichment import Enrichment
from forwarder.sources.bitbucket_audit.source import Start

_SLOT_WAIT: Final = 30.0
"""Seconds that Bitbucket itself waits for a free search slot before it answers at all."""

Name = Annotated[str, Field(min_length=1)]


def parse_start(written: object) -> object:
    """Return what a `start_at` means; raises ValueError where it means nothing."""
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


StartAt = Annotated[
    Start,
    BeforeValidator(parse_start),
    WithJsonSchema({"type": "string"}),
    Field(description='Where to begin when nothing is stored: "now", "beginning" or a time.'),
]
Identity = Annotated[
    Name | None,
    Field(
        description="Name under which event ids are made, the source's own if not given; sources "
        "that read the same Bitbucket by different ways share one."
    ),
]


def repository_name(written: str) -> str:
    """Return `written` if it is ``KEY/slug``; raises ValueError where it is not."""
    key, slash, slug = written.partition("/")
    if not (key and slash and slug) or "/" in slug:
        raise ValueError(f'"{written}" is no repository: write "KEY/slug", such as "SEC/payments"')
    return written


def _address(url: str) -> str:
    parts = urlsplit(url)
    if "://" in url and parts.scheme not in ("http", "https"):
        raise ValueError(f'"{url}" is no web address: begin it with "https://"')
    if parts.query or parts.fragment:
        raise ValueError(f'"{url}" has a query: write the address of Bitbucket\'s front page')
    return url.rstrip("/")


class BitbucketOptions(SourceOptions):
    """The fields of every source that asks a Bitbucket over HTTP."""

    url: Annotated[str, AfterValidator(_address)] = Field(
        description="Bitbucket's address, with its context path where it has one.",
        examples=["https://bitbucket.example.com/bitbucket"],
    )
    token: Secret | None = Field(default=None, description="HTTP access token, sent as Bearer.")
    username: Name | None = Field(default=None, description="Account, where there is no token.")
    password: Secret | None = Field(default=None, description="Its password.")
    timeout: Wait = Field(
        default=as_written("60s"),
        description="Longest silence of the server; over 30s, which it may wait for a search slot.",
    )
    identity: Identity = None
    enrich: bool = Field(
        default=False,
        description="Look up names of users, projects and repositories, and add links, where "
        "Bitbucket answers at once; events never wait for it.",
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

    @asynccontextmanager
    async def connected(
        self,
        name: str,
        *,
        transport: httpx.AsyncBaseTransport | None,
        clock: ServerClock | None,
    ) -> AsyncIterator["Connection"]:
        """Yield what the source called `name` asks with; nothing is asked before it is used.

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
            client = Client(opened, clock or ServerClock(), timeout=self.timeout, proxy=self.proxy)
            client.user = self.username
            enrichment = Enrichment(client, url=self.url) if self.enrich else None
            yield Connection(client, self.identity or name, enrichment)


class Connection(NamedTuple):
    """A client, the namespace of the ids of what it reads, and what looks up more, if wanted."""

    client: Client
    namespace: str
    enrichment: Enrichment | None
