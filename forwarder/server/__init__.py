"""How it is, over HTTP: /livez /readyz /metrics /api/status."""

from pydantic import Field, field_validator

from forwarder.options import Options


class ServerConfig(Options):
    """``[server]``."""

    listen: str = Field(
        default="127.0.0.1:9187",
        description='Address and port, "[::1]:9187" for IPv6; "" switches the server off.',
    )

    @field_validator("listen")
    @classmethod
    def _is_address_and_port(cls, text: str) -> str:
        host, colon, port = text.rpartition(":")
        if text and not (colon and host and port.isdigit() and int(port) < 65536):
            raise ValueError(f'"{text}" is not an address and a port, such as "127.0.0.1:9187"')
        return text

    @property
    def address(self) -> tuple[str, int] | None:
        """Host without brackets and port, or None where the server is switched off."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)
