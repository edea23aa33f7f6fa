"""A record for tests of normalizers."""

from datetime import UTC, datetime

import msgspec

from forwarder.model import Actor, AffectedObject, Attribute, Change, Record


def record(**changes: object) -> Record:
    """Return a record of Soteri's skipped hook, with `changes`."""
    fields: dict[str, object] = {
        "event_id": "019b7caee7de00000000000000000001",
        "occurred_at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        "category": "Soteri Security for Bitbucket",
        "category_key": "category.key",
        "action": "Security hook skipped",
        "action_key": "action.key",
        "actor": Actor(name="alice", type="NORMAL", id="2"),
        "objects": (AffectedObject(type="PROJECT", name="SEC", id="2"),),
        "changes": (Change(key="Hook", i18n_key="hook.key", from_="on", to="off"),),
        "attributes": (Attribute(name="target", name_i18n_key="target.key", value="SEC/x"),),
        "address": "10.0.0.1",
        "node": "8767044c",
        "system": "https://bitbucket.example.com",
        "method": "Git",
        "original": msgspec.Raw(b'{"timestamp":"2026-01-02T03:04:05.678Z"}'),
    }
    return Record(**{**fields, **changes})  # type: ignore[arg-type]
