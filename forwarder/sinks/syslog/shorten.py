"""What is larger than a receiver takes, made to fit where everybody can see it. Pure."""

from typing import Any, Final

import msgspec

from forwarder.model import Event

_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_DEEPEST: Final = 12
_KEPT: Final = ("version", "event_id", "source", "kind", "severity", "time")


def shorten(body: bytes, *, event: Event, media_type: str, room: int) -> bytes | None:
    """Return `body` in at most `room` bytes, marked, with the event's id; None where none fits.

    JSON stays one valid JSON object that says ``"shortened":true``. It gives up, in this order and
    only as far as needed: ``original``; then long texts, which end in an ellipsis, long lists and
    what is nested deeper than 12; then all but what the event is and when it happened. Other text
    is cut between two characters and ends in ``shortened=true event_id=...``.
    """
    if media_type == "application/json":
        return _shorten_json(body, event, room)
    return _shorten_text(body, event, room)


def _shorten_json(body: bytes, event: Event, room: int) -> bytes | None:
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:  # JSON, but no object
        fields = {"value": msgspec.Raw(body)}
    except (msgspec.DecodeError, RecursionError):
        fields = {}
    fields.pop("original", None)
    mark = {"event_id": event.event_id, "shortened": True}
    shorter = msgspec.json.encode({**fields, **mark})
    if len(shorter) <= room:
        return shorter
    try:
        values = {name: msgspec.json.decode(value) for name, value in fields.items()}
    except (msgspec.DecodeError, RecursionError):
        values = {}
    for width in (1024, 256, 64, 16):
        kept = {name: values[name] for name in _KEPT if name in values}
        trimmed = _trim(values, width, 0)
        shorter = msgspec.json.encode({**trimmed, **kept, **mark})
        if len(shorter) <= room:
            return shorter
    least = {"kind": event.kind, "severity": event.severity, "time": event.occurred_at}
    shorter = msgspec.json.encode({**least, **mark})
    return shorter if len(shorter) <= room else None


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


def _shorten_text(body: bytes, event: Event, room: int) -> bytes | None:
    # CEF and LEEF end in key=value pairs, so the mark is one more pair of theirs. A backslash
    # at the cut would escape what comes after it.
    between = "\t" if b"\t" in body else " "
    mark = f"{_ELLIPSIS}{between}shortened=true{between}event_id={event.event_id}".encode()
    if len(mark) > room:
        return None
    kept = body[: room - len(mark)].decode("utf-8", "ignore").rstrip("\\")
    return kept.encode() + mark
