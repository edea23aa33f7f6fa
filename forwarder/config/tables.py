"""Which table is described by which class, and text from outside the file in its field's type."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from forwarder.config.layers import Where, Written
from forwarder.config.problems import models
from forwarder.correlations import CorrelationsConfig
from forwarder.errors import ConfigError
from forwarder.formats import FORMATS
from forwarder.interfaces import Format
from forwarder.logs import LogConfig
from forwarder.options import Options, extension, extensions, members
from forwarder.otlp import TelemetryConfig
from forwarder.secret import Secret
from forwarder.server import ServerConfig
from forwarder.sinks import SinkConfig
from forwarder.sources import SourceConfig
from forwarder.store import StoreConfig
from forwarder.watches import HeartbeatConfig, WatchConfig

PLAIN: Final[Mapping[str, type[Options]]] = MappingProxyType(
    {
        "store": StoreConfig,
        "server": ServerConfig,
        "log": LogConfig,
        "watch": WatchConfig,
        "heartbeat": HeartbeatConfig,
        "correlations": CorrelationsConfig,
        "telemetry": TelemetryConfig,
    }
)
"""The sections that are one table each."""


def _by_type(union: object) -> Mapping[str, type[Options]]:
    return {get_args(t.model_fields["type"].annotation)[0]: t for t in models(union)}


CATALOGUE: Final[Mapping[str, Mapping[str, type[Options]]]] = MappingProxyType(
    {"sources": _by_type(SourceConfig), "sinks": _by_type(SinkConfig)}
)
"""Our own sources and sinks by the ``type`` that users write."""


def table_of(section: str, named: str) -> type[Options] | None:
    """Return the class for ``type = named``: ours, or another package's, or None."""
    ours = CATALOGUE[section].get(named)
    if ours is not None:
        return ours
    found = extension(section, named)
    return found if isinstance(found, type) and issubclass(found, Options) else None


def known_types(section: str) -> list[str]:
    """Return every ``type`` that can be written in `section`."""
    return [*CATALOGUE[section], *extensions(section)]


def typed(table: type[Options], written: Written, where: Where) -> dict[str, Any]:
    """Return what was written at `where`, ready for `table` to validate.

    Text from variables and secrets directories is given the shape of its field: lists from JSON or
    from text between commas. A file stays a path where the field is a secret.
    """
    return _shaped([table], written.table(*where), written, where)


def _shaped(
    tables: list[type[Options]], tree: dict[str, Any], written: Written, where: Where
) -> dict[str, Any]:
    fields = {name: field for table in tables for name, field in table.model_fields.items()}
    shaped = dict(tree)
    for key, value in tree.items():
        leaf = written.leaves.get((*where, key))
        field = fields.get(key)
        if isinstance(value, dict) and field is not None:
            shaped[key] = _shaped(list(models(field.annotation)), value, written, (*where, key))
        elif leaf is not None and leaf.layer != "file":
            shaped[key] = _from_outside(field, value)
    return shaped


def text_of(value: object) -> object:
    """Return what a file in a secrets directory says; anything else is returned as it is.

    So is a file that cannot be read: the field says then what it wants instead.
    """
    if not isinstance(value, Path):
        return value
    try:
        return value.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return value


def _from_outside(field: FieldInfo | None, value: str | Path) -> object:
    if field is None or Secret in members(field.annotation):
        return value
    text = text_of(value)
    if not isinstance(text, str):
        return text
    kinds = {get_origin(member) or member for member in members(field.annotation)}
    if kinds & {list, tuple, set, frozenset}:
        split = [part.strip() for part in text.split(",") if part.strip()]
        return _json(text) if text.lstrip().startswith("[") else split
    if kinds & {dict, Mapping} or (Literal in kinds and not _is_text(field)):
        return _json(text)
    return text


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the field says what it wants instead


def _is_text(field: FieldInfo) -> bool:
    literals = [m for m in members(field.annotation) if get_origin(m) is Literal]
    return all(isinstance(choice, str) for literal in literals for choice in get_args(literal))


def format_named(name: str) -> Format:
    """Return the format that a loaded configuration names: ours, or another package's.

    Raises:
        ConfigError: there is none of that name.
    """
    found = FORMATS.get(name) or extension("formats", name)
    if found is None:
        raise ConfigError([f'there is no format "{name}"'])
    return cast("Format", found)
