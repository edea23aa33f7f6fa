"""`explain`: the way of one event, from the page that brought it to each sink."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
import typer

from forwarder.cli.terminal import (
    INCOMPLETE,
    ConfigOption,
    err,
    loaded,
    out,
    say_json,
    show,
    shown,
    table,
)
from forwarder.span import many

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.explanation import Delivery, Explanation, Identity
    from forwarder.model import StoredPage

_SHOWN_AT_MOST: Final = 10
_COLOURS: Final = {
    "delivered": "green",
    "waiting": "yellow",
    "filtered": "dim",
    "buried": "red",
    "discarded": "red",
    "passed": "green",
}


def explain(
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="An event's id, or how it begins.")
    ],
    config: ConfigOption = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Explain one event: what brought it, what it is known by, and what each sink made of it.

    Which page and window it came with, what its id was made of, its place in the outbox and in
    the chain; when each sink took it and after how many attempts, or that it waits, was filtered
    (by which rule), buried (why) or discarded. Exits 1 where nothing is known of it.

    Examples:

      soteri-forwarder explain 019ab3f0c2d1

      soteri-forwarder explain 019ab3f0c2d1 --json | jq '.deliveries[] | {sink, fate, at}'
    """
    prefix = event_id.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        raise typer.BadParameter(
            f'"{event_id}" is no event id: give 4 to 32 of its hexadecimal digits, '
            'as "soteri-forwarder events -o json" shows them',
            param_hint="EVENT_ID",
        )
    found = anyio.run(_explained, loaded(config), prefix)
    if isinstance(found, list):
        _say_which(prefix, found)
        sys.exit(INCOMPLETE)
    if json:
        say_json(found)
    else:
        _show(found)


async def _explained(config: Config, prefix: str) -> Explanation | list[str]:
    """Return the way of the event, or all ids that begin so where that is not one."""
    from forwarder.explanation import explain

    async with config.store.open(lock=False) as outbox:
        ids = list(await outbox.ids(prefix, limit=_SHOWN_AT_MOST + 1))
        found = await explain(config, outbox, ids[0]) if len(ids) == 1 else None
    return found or ids


def _say_which(prefix: str, ids: list[str]) -> None:
    if not ids:
        err.print(f"no event {prefix}… is stored: it never came, or its retention is over")
        err.print(
            '  [bold]remedy:[/] "soteri-forwarder reconcile --since 24h" asks Bitbucket for it'
        )
        return
    more = "at least " if len(ids) > _SHOWN_AT_MOST else ""
    err.print(f"{more}{min(len(ids), _SHOWN_AT_MOST)} events begin so: give more of the id")
    for event_id in ids[:_SHOWN_AT_MOST]:
        out.print(event_id)


def _show(found: Explanation) -> None:
    event = found.event
    show(f"[bold]{event.event_id}[/]  {shown(event.kind)}  {event.severity}")
    show(f"{event.occurred_at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"Z  {shown(event.action)}\n")
    facts = table()
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in (
        *_came_by(found.page, event.source),
        *_known_by(found.identity),
        *_lies_at(found),
    ):
        facts.add_row(name, shown(value))
    show(facts)
    out.print()
    sinks = table()
    for column in ("bold", None, None):
        sinks.add_column(style=column, overflow="fold")
    for delivery in found.deliveries:
        for number, line in enumerate(_lines(delivery)):
            name, fate = (shown(delivery.sink), _fate(delivery)) if not number else ("", "")
            sinks.add_row(name, fate, shown(line))
    show(sinks)


def _came_by(page: StoredPage | None, source: str) -> list[tuple[str, str]]:
    if page is None:
        return [("came by", f"{source}, before pages were remembered or too long ago")]
    count = page.last - page.first + 1
    lines = [
        ("came by", f"{page.source}, stored {page.stored_at:%Y-%m-%d %H:%M:%S}Z"),
        ("page", f"{many(page.records, 'record')}, {count:,} of them new"),
    ]
    if page.window:
        since, until = (f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z" for at in page.window)
        lines.append(("window", f"{since} to {until}"))
    return lines


def _known_by(identity: Identity) -> list[tuple[str, str]]:
    if identity.unknown:
        return [("id made of", f"cannot be made again: {identity.unknown}")]
    lines = [("id made of", f"namespace {identity.namespace}")]
    lines += [
        ("", f"{name}: {msgspec.json.encode(value).decode()}")
        for name, value in identity.parts.items()
        if value not in (None, ())
    ]
    number = identity.occurrence
    which = "the first" if number == 1 else f"number {number}"
    lines.append(("", f"{which} among equal records; without {', '.join(identity.left_out)}"))
    return lines


def _lies_at(found: Explanation) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if found.place is None:
        lines.append(("place", "its retention is over; only a dead letter is left"))
    else:
        lines.append(("place", f"{found.place:,} in the outbox"))
    if chain := found.event.chain:
        lines.append(("chain", f"sequence {chain.sequence:,} of {found.event.source}"))
        lines.append(("", f"digest {chain.digest}"))
    if found.redacted_in_store:
        lines.append(("redacted", "before it was stored ([store] redact)"))
    return lines


def _fate(delivery: Delivery) -> str:
    return f"[{_COLOURS[delivery.fate]}]{delivery.fate}[/]"


def _lines(delivery: Delivery) -> list[str]:
    """Return what there is to say of one sink, the most important first."""
    when = f"{delivery.at:%Y-%m-%d %H:%M:%S}Z" if delivery.at else ""
    tries = f"attempt {delivery.attempts}" if delivery.attempts else ""
    if delivery.fate == "waiting":
        when = f"behind {delivery.ahead:,} others" if delivery.ahead else "it is next"
    if delivery.fate == "passed":
        when = "taken before receipts were remembered"
    lines = [", ".join(filter(None, (when, tries, delivery.because)))]
    if delivery.rule:
        will = "its turn will come, and then " if delivery.fate == "waiting" else ""
        lines.append(f"{will}not wanted by {delivery.rule}")
    if delivery.remedy:
        lines.append(f"remedy: {delivery.remedy}")
    lines += [f"sent again {at:%Y-%m-%d %H:%M:%S}Z" for at in delivery.sent_again_at]
    if delivery.redacted:
        lines.append(f"told without: {', '.join(delivery.redacted)}")
    return lines
