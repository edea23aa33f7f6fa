"""How it is, over HTTP: /livez /readyz /metrics /api/status and the status page."""

from pydantic import Field

from forwarder.options import Options


class ServerConfig(Options):
    """``[server]``."""

    listen: str = Field(default="127.0.0.1:9187", description="Address and port.")
