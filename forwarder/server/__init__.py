"""How it is, over HTTP: /livez, /readyz, /metrics, what lies under /api, and the status page."""

from ipaddress import ip_address
from typing import Self

from pydantic import Field, field_validator, model_validator

from forwarder.options import Options
from forwarder.secret import Secret


class ServerConfig(Options):
    """``[server]``."""

    listen: str = Field(
        default="127.0.0.1:9187",
        description='Address and port, "[::1]:9187" for IPv6; "" switches the server off.',
    )
    token: Secret | None = Field(
        default=None,
        description="With it the status page and /api ask for it: as a bearer token, or as the"
        " password of any user. Replay and discard on the page need it, or username and password.",
    )
    username: str | None = Field(
        default=None, min_length=1, description="Who may see the status page and /api."
    )
    password: Secret | None = Field(default=None, description="The password of `username`.")
    hosts: tuple[str, ...] = Field(
        default=(),
        description="Names under which it is asked, as by a proxy; on a loopback address"
        " it answers to these, localhost and addresses alone.",
    )

    @field_validator("listen")
    @classmethod
    def _is_address_and_port(cls, text: str) -> str:
        host, colon, port = text.rpartition(":")
        if text and not (colon and host and port.isdigit() and int(port) < 65536):
            raise ValueError(f'"{text}" is not an address and a port, such as "127.0.0.1:9187"')
        return text

    @model_validator(mode="after")
    def _has_both_or_neither(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: give both, or neither")
        return self

    @property
    def address(self) -> tuple[str, int] | None:
        """Host without brackets and port, or None where the server is switched off."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can ask it."""
        if self.address is None:
            return True
        try:
            return ip_address(self.address[0]).is_loopback
        except ValueError:
            return self.address[0] == "localhost"

    @property
    def asks(self) -> bool:
        """Whether one has to say who one is."""
        return self.token is not None or self.username is not None

    @property
    def risk(self) -> str:
        """What is risky about it, or nothing."""
        if self.is_loopback or self.asks:
            return ""
        return (
            "everybody who can reach this address sees the status page and every event: set"
            " [server] token_file, or username and password_file, or listen on 127.0.0.1"
        )
