"""`json`: our own event, whole and versioned; docs/formats.md describes every field."""

from typing import Any, Final

import msgspec

from forwarder.model import Event, Outgoing, body_of

VERSION: Final = 1
"""Of the shape: raised when a field changes its meaning or goes, not when one is added."""

_HEAD: Final = b'{"version":%d,' % VERSION


class JsonFormat:
    """One JSON object a line: the normalized event with the untouched record in ``original``."""

    media_type = "application/json"

    def encode(self, event: Outgoing) -> bytes:
        """Return the event: what is stored is spliced in as it is, never encoded again."""
        return _HEAD + body_of(event)[1:]


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a line.

    Fields that are not named are allowed: a release may add some without a new version.
    """
    definitions = _plain(msgspec.json.schema(Event)["$defs"])
    event = definitions.pop("Event")
    fields = event["properties"]
    fields["event_id"] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
    fields["time"] = {"type": "string", "format": "date-time", "pattern": "Z$"}
    fields["original"] = {"description": "The record as it came: an object, or text."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:soteri-forwarder:event:{VERSION}",
        "title": f"An event of soteri-forwarder, version {VERSION}",
        "type": "object",
        "properties": {"version": {"const": VERSION}, **fields},
        # Whatever else was not said is "", null or [].
        "required": ["version", *(name for name in fields if name not in ("context", "chain"))],
        "$defs": definitions,
    }


def _always() -> list[str]:
    """Return the fields that every line has: what was not said is "", null or [] in them."""
    fields = msgspec.structs.fields(Event)
    return [one.encode_name for one in fields if one.default is not msgspec.UNSET]


def _plain(node: Any) -> Any:  # noqa: ANN401  any JSON value
    """Leave out what speaks to those who read the code: docstrings, names and defaults."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    left_out = {"default", "description"} | ({"title"} if "type" in node else set())
    return {name: _plain(value) for name, value in node.items() if name not in left_out}
