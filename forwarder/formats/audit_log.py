"""`audit_log`: the line that a Bitbucket node writes into its own audit log file.

SigmaHQ's rules for Bitbucket and vendors' parsers are written for that file
(``<local home>/log/audit/*.audit.log``), which names things in another way than REST does.
"""

from typing import Final

import msgspec

from forwarder.model import Actor, Event, Outgoing

_NOBODY: Final = Actor()
_encoder: Final = msgspec.json.Encoder(order="sorted")


class _FileType(msgspec.Struct):
    area: str | None = None
    level: str | None = None


class _FileLine(msgspec.Struct, rename="camel"):
    audit_type: _FileType | None = None


_line: Final = msgspec.json.Decoder(_FileLine)


class AuditLogFormat:
    """One JSON object a line, its keys sorted, as in version 1.0 of the file."""

    media_type = "application/json"

    def encode(self, event: Outgoing) -> bytes:
        """Return the line; `area` and `level` only where the original has them: REST has not."""
        event = event.whole()
        audit_type = {
            "action": event.action,
            "actionI18nKey": event.action_key,
            "category": event.category,
            "categoryI18nKey": event.category_key,
        }
        if b'"auditType"' in (original := bytes(event.original)):
            audit_type.update(_area_and_level(original))
        seconds, microseconds = divmod(_microseconds(event), 1_000_000)
        line: dict[str, object] = {
            "affectedObjects": event.objects,
            "auditType": audit_type,
            "author": event.actor or _NOBODY,
            "changedValues": event.changes,
            "extraAttributes": event.attributes,
            "timestamp": {"epochSecond": seconds, "nano": microseconds * 1000},
            "version": "1.0",
        }
        given = ("method", event.method), ("node", event.node), ("source", event.address)
        line.update((name, text) for name, text in given if text is not None)
        if event.system is not None:
            line["system"] = event.system
        return _encoder.encode(line)


def _microseconds(event: Event) -> int:
    # timestamp() is a float: past the year 2242 it cannot hold the microseconds.
    whole = int(event.occurred_at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + event.occurred_at.microsecond


def _area_and_level(original: bytes) -> dict[str, str]:
    try:
        found = _line.decode(original).audit_type
    except (msgspec.DecodeError, RecursionError):
        return {}
    if found is None:
        return {}
    return {name: text for name, text in (("area", found.area), ("level", found.level)) if text}
