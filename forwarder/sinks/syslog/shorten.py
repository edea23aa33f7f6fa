"""What is larger than a receiver takes, made to fit where everybody can see it. Pure."""

import re
from typing import Any, Final, NamedTuple

import msgspec

from forwarder.model import Outgoing

_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_DEEPEST: Final = 12
_KEPT: Final = ("version", "event_id", "source", "kind", "severity", "time", "@timestamp", "ecs")
# No narrower: ids of 32 digits, and the words that schemas prescribe, stay what they are.
_WIDTHS: Final = (1024, 256, 64, 32)
_NARROWEST: Final = 16


class _Pairs(NamedTuple):
    """A text whose header fields end in pipes and are followed by ``key=value`` pairs.

    `essential` are the keys whose values stay whole.
    """

    opening: str
    fields: int
    field: re.Pattern[str]
    apart: re.Pattern[str]
    between: str
    essential: frozenset[str]


# A pipe in a CEF header, and an equals sign in a CEF value, have a backslash before them; in LEEF
# neither a pipe in the header nor a tab in a value can be written at all.
_SHAPES: Final = (
    _Pairs(
        opening="CEF:",
        fields=7,
        field=re.compile(r"((?:[^\\|]|\\.)*)\|", re.DOTALL),
        apart=re.compile(r" (?=[A-Za-z][A-Za-z0-9_]*=)"),
        between=" ",
        essential=frozenset({"rt", "externalId", "event_id"}),
    ),
    _Pairs(
        opening="LEEF:2.0|",
        fields=6,
        field=re.compile(r"([^|]*)\|"),
        apart=re.compile(r"\t"),
        between="\t",
        essential=frozenset({"devTime", "devTimeFormat", "cat", "sev", "eventUuid", "event_id"}),
    ),
)
_ORIGINALS: Final = frozenset({"original", "rawEvent", "raw_data"})


def shorten(body: bytes, *, event: Outgoing, media_type: str, room: int) -> bytes | None:
    """Return `body` in at most `room` bytes, marked, with the event's id; None where none fits.

    JSON stays one valid JSON object that says ``"shortened":true``. It gives up, in this order and
    only as far as needed: the original; then long texts, which end in an ellipsis, long lists and
    what is nested deeper than 12; then all but what the event is and when it happened. CEF and
    LEEF stay what they are in the same way, with ``shortened=true`` and ``event_id=...`` as their
    last pairs. Other text is cut between two characters and ends in these.
    """
    if media_type == "application/json":
        return _shorten_json(body, event, room)
    return _shorten_text(body, event, room)


def _shorten_json(body: bytes, event: Outgoing, room: int) -> bytes | None:
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:  # JSON, but no object
        fields = {"value": msgspec.Raw(body)}
    except (msgspec.DecodeError, RecursionError):
        fields = {}
    fields = _without_originals(fields)
    mark = {"event_id": event.event_id, "shortened": True}
    shorter = msgspec.json.encode({**fields, **mark})
    if len(shorter) <= room:
        return shorter
    try:
        values = {name: msgspec.json.decode(value) for name, value in fields.items()}
    except (msgspec.DecodeError, RecursionError):
        values = {}
    for width in _WIDTHS:
        kept = {name: values[name] for name in _KEPT if name in values}
        trimmed = _trim(values, width, 0)
        shorter = msgspec.json.encode({**trimmed, **kept, **mark})
        if len(shorter) <= room:
            return shorter
    least = {"kind": event.kind, "severity": event.severity, "time": event.occurred_at}
    shorter = msgspec.json.encode({**least, **mark})
    return shorter if len(shorter) <= room else None


def _without_originals(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    kept = {name: value for name, value in fields.items() if name not in _ORIGINALS}
    try:  # in ECS it is event.original
        inner = msgspec.json.decode(kept.get("event", b"0"), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return kept
    if inner.pop("original", None) is not None:
        kept["event"] = msgspec.Raw(msgspec.json.encode(inner))
    return kept


def _trim(value: Any, width: int, depth: int) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(value, str):
        return value if len(value) <= width else value[:width] + _ELLIPSIS
    if isinstance(value, dict | list) and depth > _DEEPEST:
        return _ELLIPSIS
    if isinstance(value, list):
        return [_trim(one, width, depth + 1) for one in value[:width]]
    if isinstance(value, dict):
        return {
            _trim(name, width, depth): _trim(value[name], width, depth + 1)
            for name in list(value)[:width]
        }
    return value


def _shorten_text(body: bytes, event: Outgoing, room: int) -> bytes | None:
    text = body.decode("utf-8", "replace")
    for shape in _SHAPES:
        if text.startswith(shape.opening) and (taken := _take_apart(shape, text)):
            return _shorten_pairs(shape, *taken, event, room)
    between = "\t" if b"\t" in body else " "
    mark = f"{_ELLIPSIS}{between}shortened=true{between}event_id={event.event_id}".encode()
    if len(mark) > room:
        return None
    kept = body[: room - len(mark)].decode("utf-8", "ignore").rstrip("\\")
    return kept.encode() + mark


def _take_apart(shape: _Pairs, text: str) -> tuple[list[str], list[tuple[str, str]]] | None:
    fields: list[str] = []
    place = 0
    while len(fields) < shape.fields:
        found = shape.field.match(text, place)
        if not found:
            return None
        fields.append(found[1])
        place = found.end()
    pairs = (pair.partition("=") for pair in shape.apart.split(text[place:]))
    return fields, [(key, value) for key, _, value in pairs if value and key not in _ORIGINALS]


def _shorten_pairs(
    shape: _Pairs, fields: list[str], pairs: list[tuple[str, str]], event: Outgoing, room: int
) -> bytes | None:
    least = [(key, value) for key, value in pairs if key in shape.essential]
    mark = ("shortened", "true"), ("event_id", event.event_id)
    for width, kept in (*((width, pairs) for width in (room, *_WIDTHS)), (_NARROWEST, least)):
        header = "".join(f"{_cut(field, width)}|" for field in fields)
        shorter = header + shape.between.join(
            f"{key}={value if key in shape.essential else _cut(value, width)}"
            for key, value in (*kept, *mark)
        )
        if len(encoded := shorter.encode()) <= room:
            return encoded
    return None


def _cut(text: str, width: int) -> str:
    # A backslash at the cut would escape what comes after it.
    return text if len(text) <= width else text[:width].rstrip("\\") + _ELLIPSIS
