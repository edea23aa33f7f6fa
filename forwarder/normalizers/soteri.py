"""Soteri Security for Bitbucket: what its audit records are called.

Only one action's exact text is public, "Security hook skipped" (Soteri's documentation, "Audit
log"). Everything else the app writes passes through untouched as ``soteri.unknown``.
"""

from typing import Final

from forwarder.model import Event, Record, Severity
from forwarder.normalizers.audit import build

CATEGORY: Final = "Soteri Security for Bitbucket"
"""The category's display text, exactly as Soteri documents it."""

_KINDS: Final[dict[str, tuple[str, Severity]]] = {
    "security hook skipped": ("hook.skipped", "high"),
}


def normalize(record: Record, *, source: str) -> Event:
    """Return the event; an action that nobody has documented keeps all it says."""
    action = " ".join(record.action.split()).lower()
    kind, severity = _KINDS.get(action, ("soteri.unknown", "medium"))
    return build(record, source=source, kind=kind, severity=severity)
