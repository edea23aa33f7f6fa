"""What the file may hold, as a JSON schema for editors."""

from typing import Annotated, Any, Final

from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema

from forwarder.config.kinds import NAME as KIND
from forwarder.config.kinds import KindConfig
from forwarder.config.layers import NAME
from forwarder.correlations import CorrelationsConfig
from forwarder.logs import LogConfig
from forwarder.options import Options
from forwarder.otlp import TelemetryConfig
from forwarder.server import ServerConfig
from forwarder.sinks import SinkConfig
from forwarder.sources import SourceConfig
from forwarder.store import StoreConfig
from forwarder.watches import HeartbeatConfig, WatchConfig

_Name = Annotated[str, Field(pattern=f"^{NAME}$")]

_Kind = Annotated[str, Field(pattern=f"^{KIND}$")]


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
    watch: WatchConfig = WatchConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    correlations: CorrelationsConfig = CorrelationsConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    kinds: dict[_Kind, KindConfig] = Field(
        default={}, description="Kinds of events of your own, and changes to ours."
    )


def schema() -> dict[str, Any]:
    """Return the schema of the file, JSON Schema draft 2020-12.

    Secrets are not required by it, because they mostly come from elsewhere.
    """
    described = _plain(_File.model_json_schema())
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "soteri-forwarder", **described}


_PYTHONS: Final = frozenset({"gt", "ge", "lt", "le"})
"""Left over by pydantic where a bound is on what a text means; no words of JSON Schema."""


def _plain(node: Any) -> Any:  # noqa: ANN401  any JSON value
    """Leave out what is not for those who write TOML.

    ``discriminator`` is OpenAPI's, titles are made from the keys, TOML has no null, and a default
    that is a table shows parsed values, which are not what may be written.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _plain(value) for key, value in node.items() if not _is_noise(key, value)}
    present = [kind for kind in kept.get("anyOf", []) if kind != {"type": "null"}]
    if len(present) == 1:
        del kept["anyOf"]
        return {**present[0], **kept}
    return kept


def _is_noise(key: str, value: object) -> bool:
    match key:
        case "discriminator":
            return isinstance(value, dict) and "mapping" in value
        case "title":
            return isinstance(value, str)
        case "default":
            return value is None or isinstance(value, dict)
    return key in _PYTHONS and not isinstance(value, dict)
