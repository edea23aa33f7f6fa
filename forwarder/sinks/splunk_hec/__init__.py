"""The sink `splunk_hec`: Splunk's HTTP Event Collector, without loss also where its indexers crash.

`envelope` frames an event, `codes` reads the answers, `collector` speaks HTTP, `progress` knows
what of a batch has arrived, and `sink` joins them. `management` asks what was indexed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal

import httpx
from pydantic import AfterValidator, Field

from forwarder.http import client
from forwarder.interfaces import Format, Memory
from forwarder.options import BatchOptions, SinkOptions, Size, TlsOptions, Wait, as_written
from forwarder.secret import Secret
from forwarder.sinks.splunk_hec.collector import Collector, SplunkToken
from forwarder.sinks.splunk_hec.envelope import Envelope
from forwarder.sinks.splunk_hec.management import Management, ManagementOptions
from forwarder.sinks.splunk_hec.sink import HecSink

SOURCETYPE: Final = "soteri:bitbucket:audit"
"""Splunk's convention is vendor:product:technology:format, with the last part left out where there
is but one (Splunk, "Source types for add-ons"). Vendor is Soteri, not Atlassian: the shape of the
data is ours, and settings made for Atlassian's own must not take hold of it."""


def _base(url: str) -> str:
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError('must begin with "https://" and a host, such as "https://splunk:8088"')
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError("must be an address alone: no user, no ? and no #")
    path = parsed.path.rstrip("/").removesuffix("/event").removesuffix("/services/collector")
    return str(parsed.copy_with(path=path)).rstrip("/")


class HecBatchOptions(BatchOptions):
    """How many events go out in one `send`; it is cut into requests of at most 1 MB and 1,000.

    More than one request's worth, because the acks of all of them are waited for together.
    """

    events: int = Field(
        default=10_000, ge=1, le=10_000, description="Events in one batch, at most."
    )
    bytes: Size = Field(
        default=as_written("8MiB"),
        description="Stored size of one batch, at most; a larger event goes alone.",
    )


class SplunkHecConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "splunk_hec"``."""

    type: Literal["splunk_hec"]
    batch: HecBatchOptions = HecBatchOptions()
    url: Annotated[str, AfterValidator(_base)] = Field(
        description="Address of the HTTP Event Collector.", examples=["https://splunk:8088"]
    )
    token: Secret = Field(description="HEC token.")
    index: str | None = Field(
        default=None, min_length=1, description="Index; without it the token's default."
    )
    source: str = Field(default="soteri-forwarder", min_length=1, description="Splunk's `source`.")
    sourcetype: str | None = Field(
        default=None,
        min_length=1,
        description=f"Without it {SOURCETYPE}, with :FORMAT behind it for formats but json.",
    )
    host: str | None = Field(
        default=None,
        min_length=1,
        description="Splunk's `host`; without it the Bitbucket that the event names.",
    )
    ack: bool = Field(
        default=True,
        description="Wait until Splunk has indexed the events; the token must have indexer "
        "acknowledgement. false trusts what Splunk has received, and loses it if it crashes then.",
    )
    ack_timeout: Wait = Field(
        default=as_written("5m"),
        gt=0,
        description="How long to wait for an ack before sending again, marked possible_duplicate.",
    )
    compression: Literal["gzip", "none"] = Field(default="gzip", description="Of each request.")
    max_event_bytes: Size = Field(
        default=as_written("5MB"),
        description="A larger event is buried (Splunk: maxEventSize in limits.conf).",
    )
    timeout: Wait = Field(default=as_written("30s"), gt=0, description="To wait for an answer.")
    proxy: str | None = Field(default=None, description="Proxy; without it HTTPS_PROXY holds.")
    tls: TlsOptions = TlsOptions()
    management: ManagementOptions = ManagementOptions()

    @asynccontextmanager
    async def open(
        self,
        *,
        name: str,
        format: Format,  # noqa: A002  the word that users type
        memory: Memory,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> AsyncIterator[HecSink]:
        """Yield the sink, which goes on where `memory` says that the last one ended.

        `transport` stands in for the network. Nothing is sent before the first `send`.

        Raises:
            ConfigError: the TLS files cannot be used.
        """
        suffix = "" if self.format == "json" else f":{self.format}"
        envelope = Envelope(
            format,
            index=self.index,
            source=self.source,
            sourcetype=self.sourcetype or SOURCETYPE + suffix,
            host=self.host,
        )
        async with client(
            self.url,
            tls=self.tls,
            read_timeout=self.timeout,
            proxy=self.proxy,
            auth=SplunkToken(self.token),
            transport=transport,
        ) as opened:
            sink = HecSink(
                name,
                Collector(
                    opened,
                    timeout=self.timeout,
                    gzip=self.compression == "gzip",
                    proxy=self.proxy,
                ),
                envelope,
                memory,
                ack_timeout=self.ack_timeout if self.ack else None,
                max_event_bytes=self.max_event_bytes,
                management=Management(self.management, index=self.index, source=self.source),
            )
            await sink.resume()
            yield sink
