"""What the file may hold, as a JSON schema for editors."""

from typing import Annotated, Any, Final

from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema

from forwarder.options import Options
from forwarder.server import ServerConfig
from forwarder.sinks import SinkConfig
from forwarder.sources import SourceConfig
from forwarder.store import StoreConfig
from forwarder.telemetry import LogConfig

NAME_PATTERN: Final = "^[a-z0-9_-]+$"

_Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class _File(Options):
    """soteri-forwarder's configuration file."""

    sources: dict[_Name, SourceConfig] = Field(
        default={}, description="Where events come from: one table for each name."
    )
    sinks: dict[_Name, SinkConfig] = Field(
        default={}, description="Where events go: one table for each name."
    )
    store: StoreConfig = StoreConfig()
    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()


def schema() -> dict[str, Any]:
    """Return the schema of the file, JSON Schema draft 2020-12.

    Nothing that may come from the environment instead is required, but for ``type``.
    """
    described = _plain(_File.model_json_schema())
    return {"$schema": GenerateJsonSchema.schema_dialect, **described, "title": "soteri-forwarder"}


def _plain(node: Any) -> Any:  # noqa: ANN401  any JSON value
    """Leave out what editors stumble over.

    ``discriminator`` is OpenAPI's, and a default that is a table shows parsed values, which are
    not what may be written.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _plain(value)
        for key, value in node.items()
        if not (key == "discriminator" and "mapping" in value)
        and not (key == "default" and isinstance(value, dict))
    }
