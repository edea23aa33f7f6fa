"""`leef`: IBM QRadar's Log Event Extended Format 2.0 (IBM, "LEEF event components").

Header: ``LEEF:2.0|Vendor|Product|Version|Event ID|Delimiter|``; then ``key=value`` pairs parted by
the delimiter, a tab here. Nothing can be escaped: what would end a field or a line becomes a space.
"""

from typing import Final

import msgspec

from forwarder.formats.gist import addresses, context_of, detail, gist, host_of, product
from forwarder.formats.meaning import meaning
from forwarder.model import Event, Outgoing, Severity

VERSION: Final = "1"
"""Of the mapping: raised when a key changes its meaning or goes."""

# 1 to 10, 10 the gravest.
_SEVERITIES: Final[dict[Severity, int]] = {
    "info": 1,
    "low": 3,
    "medium": 5,
    "high": 8,
    "critical": 10,
}
# Java's SimpleDateFormat, whose Z is an offset such as +0000.
_TIME_FORMAT: Final = "yyyy-MM-dd'T'HH:mm:ss.SSSZ"
_encode: Final = msgspec.json.Encoder().encode


class LeefFormat:
    """One LEEF line, its values parted by tabs; the largest come last."""

    media_type = "text/plain"

    def encode(self, event: Outgoing) -> bytes:
        """Return the line; what the event does not say is left out."""
        event = event.whole()
        maker = product(event)
        kind = _value(event.kind).replace("|", " ")
        pairs = "\t".join(f"{key}={_value(value)}" for key, value in _attributes(event) if value)
        return f"LEEF:2.0|{maker.vendor}|{maker.name}|{VERSION}|{kind}|x09|{pairs}".encode()


def _value(text: str) -> str:
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ").replace("\0", " ")


def _attributes(event: Event) -> list[tuple[str, str | None]]:
    about = gist(event)
    actor, what, looked_up = event.actor, meaning(event.kind), context_of(event)
    found = addresses(event.address)
    time = event.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "+0000")
    pairs: list[tuple[str, str | None]] = [
        ("devTime", time),
        ("devTimeFormat", _TIME_FORMAT),
        # QRadar maps Event ID and cat together, and wants both untranslated.
        ("cat", what.area),
        ("sev", str(_SEVERITIES[event.severity])),
        ("eventUuid", event.event_id),
        ("usrName", actor.name if actor else None),
        ("userId", actor.id if actor else None),
        ("userFullName", looked_up.actor_name),
        ("src", found[0] if found else None),
        ("identHostName", host_of(event.system)),
        ("accountName", about.user.name if about.user else None),
        ("groupName", about.group.name if about.group else None),
        ("resource", about.place),
        ("url", looked_up.link),
        ("policy", detail(event, "rule")),
        ("action", event.action),
        ("category", event.category),
        ("method", event.method),
        ("node", event.node),
        ("source", event.source),
        ("msg", about.message),
    ]
    if what.area == "authentication":
        pairs.append(("isLogoutEvent" if what.verb == "ended" else "isLoginEvent", "true"))
    for name, values in (
        ("objects", event.objects),
        ("changes", event.changes),
        ("attributes", event.attributes),
    ):
        if values:
            pairs.append((name, _encode(values).decode()))
    return pairs
