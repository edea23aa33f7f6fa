"""The newest events that have what somebody looks for."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from anyio import to_thread

from forwarder.interfaces import Outbox
from forwarder.model import Event, Severity
from forwarder.redaction import Redactor
from forwarder.selection import Choice, Predicate, selector
from forwarder.server.answers import Events, Found

SHOWN: Final = 25
"""Events in one answer."""
SEARCHED: Final = 5000
"""Events looked at for one answer: some 50 ms. The answer says where to go on."""
_AT_ONCE: Final = 500
_REDACT: Final = Redactor()


async def newest(
    outbox: Outbox,
    *,
    kind: str = "",
    severity: Severity | None = None,
    text: str = "",
    before: int | None = None,
) -> Events:
    """Return the newest stored events that match, all without regard to case.

    `kind` is a whole kind or, with a trailing ``*``, a beginning; `severity` means this or a graver
    one; `text` stands in any field. `before` is a place, from an earlier answer.
    """
    choice = Choice(kinds=(kind,) if kind else (), severity=severity)
    wanted = selector(choice, Choice())
    sift = partial(_sifted, wanted=wanted, text=text.casefold())
    found: list[Found] = []
    searched = 0
    while len(found) < SHOWN and searched < SEARCHED:
        some = await outbox.newest(before=before, limit=_AT_ONCE if wanted or text else SHOWN)
        if not some:
            return Events(events=tuple(found), searched=searched, before=None)
        fit = await to_thread.run_sync(sift, some)
        more = fit[: SHOWN - len(found)]
        found += more
        # Where not all that fit are shown, the next answer begins after the last that is.
        before = more[-1].place if len(more) < len(fit) else some[-1][0]
        searched += sum(place >= before for place, _ in some)
    return Events(events=tuple(found), searched=searched, before=before)


def _sifted(
    some: Sequence[tuple[int, Event]], *, wanted: Predicate | None, text: str
) -> list[Found]:
    """Return those that fit. What looks like a credential is neither shown nor found."""
    chosen = [pair for pair in some if wanted is None or wanted(pair[1])]
    shown = [each.whole() for each in _REDACT.all([event for _, event in chosen])]
    return [
        _found(place, event)
        for (place, _), event in zip(chosen, shown, strict=True)
        if not text or any(text in each.casefold() for each in _texts(event))
    ]


def _texts(event: Event) -> Iterator[str]:
    yield from (event.event_id, event.source, event.kind, event.category, event.action)
    yield from filter(None, (event.address, event.node, event.method, event.system))
    if event.actor:
        yield from filter(None, (event.actor.name, event.actor.id))
    for thing in event.objects:
        yield from filter(None, (thing.type, thing.name, thing.id))
    for attribute in event.attributes:
        yield from filter(None, (attribute.name, attribute.value))
    for change in event.changes:
        yield from filter(None, (change.key, change.from_, change.to))


def _found(place: int, event: Event) -> Found:
    return Found(
        place=place,
        event_id=event.event_id,
        time=event.occurred_at.isoformat(timespec="milliseconds"),
        source=event.source,
        kind=event.kind,
        severity=event.severity,
        action=event.action,
        actor=(event.actor and (event.actor.name or event.actor.id)) or "",
        objects=tuple(f"{x.type or ''} {x.name or x.id or ''}".strip() for x in event.objects),
        detail=(
            *(f"{x.name or '?'}: {x.value or ''}" for x in event.attributes),
            *(f"{x.key or '?'}: {x.from_ or ''} → {x.to or ''}" for x in event.changes),
        ),
    )
