"""The sink `syslog`: what users write, and how it is opened.

message.py header, shorten.py size limit; udp.py, stream.py and relp.py the transports, over what
framing.py and relp_frame.py frame, link.py, connection.py and tls.py connect.
"""

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal, Self

import anyio
import structlog
from pydantic import AfterValidator, Field, model_validator

from forwarder.interfaces import Format, Memory
from forwarder.options import SinkOptions, TlsOptions, Wait, as_written
from forwarder.sinks.syslog.address import parse_address
from forwarder.sinks.syslog.framing import FRAMINGS, Framing
from forwarder.sinks.syslog.link import Receiver
from forwarder.sinks.syslog.message import Facility, Header, Rfc3164, Rfc5424
from forwarder.sinks.syslog.relp import RelpTransport
from forwarder.sinks.syslog.sink import Oversize, SyslogSink, Transport
from forwarder.sinks.syslog.stream import StreamTransport
from forwarder.sinks.syslog.udp import UdpTransport

# RFC 5424 section 6.3.2: 1 to 32 characters but `= SP ] "`, and `@` before the number.
_SD_ID = r"^(-|[!#-<>?A-\[\\^-~]+@[0-9]+(\.[0-9]+)*)$"
_PRINTABLE = r"^[!-~]+$"
_SECURED = ("tls", "relp+tls")
_ONLY_FOR = {"framing": ("tcp", "tls"), "rate": ("udp",), "window": ("relp", "relp+tls")}

log = structlog.get_logger()


def _address(text: str) -> str:
    parse_address(text)
    return text


class SyslogConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "syslog"``.

    Over TCP and TLS a batch is one connection and its end the checkpoint that settles it, so
    `batch.events` is the interval of the checkpoints. Over RELP each message is answered for.
    """

    type: Literal["syslog"]
    address: Annotated[str, AfterValidator(_address)] = Field(
        description="The receiver: udp://host:514, tcp://host:514, tls://host:6514, "
        "relp://host:2514 or relp+tls://host:2514.",
        examples=["tls://siem.example.com:6514"],
    )
    protocol: Literal["rfc5424", "rfc3164"] = Field(
        default="rfc5424", description="The header; rfc3164 only for receivers that know no other."
    )
    framing: Framing = Field(
        default="octet-counting",
        description="How messages are told apart over tcp:// and tls://; lf for old receivers.",
    )
    # local0: RFC 3164 section 4.1.1 leaves it to programs that have no facility of their own, and
    # every receiver has a rule and a name for it. 13, "log audit" in RFC 5424, is about the
    # machine's own log, and is called audit, security or nothing at all.
    facility: Facility = Field(default="local0", description="The facility of every message.")
    app_name: str = Field(
        default="soteri-forwarder",
        min_length=1,
        max_length=48,
        pattern=_PRINTABLE,
        description="APP-NAME, or the tag of rfc3164.",
    )
    hostname: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        pattern=_PRINTABLE,
        description="HOSTNAME of every message; by default the host in the base URL of the event's "
        "Bitbucket, else its node, else this machine's name.",
    )
    # Nobody registered a number for Soteri. 32473 is IANA's number for examples (RFC 5612): it
    # belongs to no one, so it cannot be taken for somebody else's; users with one put it here.
    structured_data: str = Field(
        default="soteri@32473",
        max_length=32,
        pattern=_SD_ID,
        description="SD-ID (name@enterprise-number) under which rfc5424 carries event_id, source, "
        'kind and severity; "-" leaves them out.',
    )
    bom: bool = Field(
        default=False,
        description="A byte order mark before the message (rfc5424); it breaks JSON readers "
        "behind rsyslog.",
    )
    max_message_bytes: int = Field(
        default=8096,
        ge=480,
        le=16 * 1024**2,
        description="Size of a message with its header, at most; rsyslog cuts what is over its "
        "own maxMessageSize, which is 8096. Over udp:// never more than 65507.",
    )
    oversize: Oversize = Field(
        default="shorten",
        description="What becomes of a larger event: shortened, marked and with its id, or buried "
        "as a dead letter.",
    )
    connect_timeout: Wait = Field(
        default=as_written("10s"),
        description="To connect, and again to agree on TLS and on RELP, at most.",
    )
    timeout: Wait = Field(
        default=as_written("60s"), description="For the receiver to take a batch, at most."
    )
    rate: int = Field(
        default=2000,
        ge=1,
        le=1_000_000,
        description="Messages a second over udp://, at most: a receiver drops what comes faster "
        "than it reads, and nobody is told.",
    )
    # 128 is librelp's own default; the answers to 1024 fit into any socket's buffers.
    window: int = Field(
        default=128,
        ge=1,
        le=1024,
        description="Messages under way over relp:// before the receiver has answered for one; "
        "more where the way is long.",
    )
    tls: TlsOptions = TlsOptions()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        scheme = parse_address(self.address).scheme
        for name, schemes in _ONLY_FOR.items():
            if scheme not in schemes and name in self.model_fields_set:
                said = " and ".join(f"{one}://" for one in schemes)
                raise ValueError(f"{name} is for {said} addresses, and this is {scheme}://")
        if scheme not in _SECURED and self.tls != TlsOptions():
            raise ValueError(
                f"tls is for tls:// and relp+tls:// addresses: {self.address} would not be "
                "encrypted"
            )
        return self

    @asynccontextmanager
    async def open(
        self,
        *,
        name: str,
        format: Format,  # noqa: A002  the word for it here
        memory: Memory,  # noqa: ARG002  there is nothing to remember
    ) -> AsyncIterator[SyslogSink]:
        """Yield the sink; nothing is connected before it is used.

        Raises:
            ConfigError: a certificate cannot be read.
        """
        transport = self._transport(name)
        try:
            yield SyslogSink(
                name=name,
                format=format,
                header=self._header(),
                transport=transport,
                largest=self.max_message_bytes,
                oversize=self.oversize,
            )
        finally:
            with anyio.CancelScope(shield=True):
                await transport.close()

    def _header(self) -> Header:
        own_host = platform.node()
        if self.protocol == "rfc3164":
            return Rfc3164(
                facility=self.facility,
                app_name=self.app_name,
                hostname=self.hostname,
                own_host=own_host,
            )
        return Rfc5424(
            facility=self.facility,
            app_name=self.app_name,
            hostname=self.hostname,
            own_host=own_host,
            structured_data=None if self.structured_data == "-" else self.structured_data,
            bom=self.bom,
        )

    def _transport(self, name: str) -> Transport:
        address = parse_address(self.address)
        if address.scheme == "udp":
            return UdpTransport(address, rate=self.rate, name=name)
        secured = address.scheme in _SECURED
        if secured and not self.tls.verify:
            log.warning("tls.left_unverified", sink=name, address=str(address))
        receiver = Receiver(
            address=address,
            connect_timeout=self.connect_timeout,
            tls=self.tls.context() if secured else None,
            server_name=self.tls.server_name,
        )
        if address.scheme.startswith("relp"):
            return RelpTransport(receiver, timeout=self.timeout, window=self.window)
        return StreamTransport(receiver, frame=FRAMINGS[self.framing], timeout=self.timeout)
