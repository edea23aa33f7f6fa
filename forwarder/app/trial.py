"""A test event, by the real way to one sink, so that somebody can watch the alert arrive.

It goes through the outbox as a dead letter that is asked for, and through the sink's dispatcher:
so it reaches that sink alone, is in no chain, moves no position and no checkpoint, and is nothing
that `reconcile` or `verify` would miss or wonder about.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import anyio
import msgspec

from forwarder.app.building import sinks_of
from forwarder.app.replicas import alone, ungrouped
from forwarder.config import Config
from forwarder.errors import ForwarderError
from forwarder.interfaces import Outbox
from forwarder.model import Actor, AffectedObject, Attribute, Change, Event, Record, new_test_id
from forwarder.normalizers.audit import build
from forwarder.normalizers.catalogue import Kind, Recognised
from forwarder.normalizers.soteri import CATEGORY
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.watches import SOURCE, telling

MARK: Final = "TEST of soteri-forwarder"
"""Begins the action's text, which every format shows."""
_ACTOR: Final = Actor(name="soteri-forwarder test", type="SERVICE")
_OBJECTS: Final = (
    AffectedObject(type="PROJECT", name="TEST"),
    AffectedObject(type="REPOSITORY", name="test"),
)
_SAID: Final = "a test by soteri-forwarder test-alert: nothing has happened"
_OFF: Final = Change(key="Status", from_="enabled", to="disabled")
_CHANGES: Final = {
    "hook.status_changed": _OFF,
    "hook.settings_changed": _OFF,
    "hook.mode_changed": Change(key="Mode", from_="block", to="warn"),
    "rule.builtin_toggled": _OFF,
    "rule.custom_toggled": _OFF,
    "config.repository_settings_toggled": Change(key="Status", from_="disabled", to="enabled"),
    "config.repository_changed": Change(
        key="soteri-security.yml", from_="enabled: true\n", to="enabled: false\n"
    ),
}
"""The graver way of kinds that have two, so that a detection that tells them apart fires."""
_LOOK: Final = 0.1
_PATIENCE: Final = 3.0
"""Seconds after which a daemon that has just begun has tried a sink that was paused before."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a test event; where it was not delivered, `because` says why."""

    event_id: str
    kind: str
    sink: str
    delivered: bool
    because: str = ""
    remedy: str = ""


def synthetic(kind: Kind, at: datetime) -> Event:
    """Return an event of `kind` that says in several places that it is a test."""
    is_others = kind.kind.startswith(("bitbucket.", "forwarder.", "correlation."))
    record = Record(
        event_id=new_test_id(at, secrets.randbits(32)),
        occurred_at=at.replace(microsecond=at.microsecond // 1000 * 1000),
        category=telling.CATEGORY if is_others else CATEGORY,
        action=f"{MARK}: {kind.title or kind.kind}",
        action_key=f"test.{kind.kind}",
        actor=_ACTOR,
        objects=_OBJECTS,
        changes=(_CHANGES[kind.kind],) if kind.kind in _CHANGES else (),
        attributes=(
            Attribute(name="test", value="true"),
            Attribute(name="detail", value=_SAID),
        ),
        original=msgspec.Raw(b"{}"),
    )
    record = msgspec.structs.replace(record, original=telling.original_of(record))
    return build(record, Recognised(kind.kind, kind.severity), source=SOURCE)


async def deliver(config: Config, sink: str, event: Event, *, within: float) -> Outcome:
    """Send `event` to `sink`; return once it is delivered, refused, or `within` seconds are over.

    Where a daemon runs on the store it sends it, in its own time; else it is sent here. What could
    not be delivered is taken back: it does not come later.

    Raises:
        ConfigError, StoreError: the sink or the store cannot be opened.
    """
    if await config.store.in_use():
        async with config.store.open(lock=False, write=True) as outbox:
            return await _asked(outbox, sink, event, within, None)
    with ungrouped():
        async with config.store.open() as outbox, _dispatcher(config, outbox, sink) as dispatcher:
            return await _asked(outbox, sink, event, within, dispatcher)


async def _asked(
    outbox: Outbox, sink: str, event: Event, within: float, dispatcher: Dispatcher | None
) -> Outcome:
    letter = await outbox.ask_test(sink, event)
    because, remedy = "", ""
    try:
        with anyio.move_on_after(within):
            if dispatcher:
                because, remedy = await _sent(dispatcher)
            if not because:
                because, remedy = await _settled(outbox, letter, sink)
            if not because:
                return _outcome(event, sink)
        if not because and dispatcher is None:
            because, remedy = await _in_the_way(outbox, sink)
    finally:
        with anyio.CancelScope(shield=True):
            was_there = await outbox.discard_letters([letter])
    if not was_there and not because:
        return _outcome(event, sink)
    if not because and dispatcher:
        because = f"the destination has not taken it within {within:g} s"
        remedy = 'see what "soteri-forwarder check" says of it, or wait longer (--wait)'
    late = f"no daemon has sent it within {within:g} s: does one run, with this configuration?"
    return _outcome(event, sink, because=because or late, remedy=remedy)


async def _sent(dispatcher: Dispatcher) -> tuple[str, str]:
    """Send what is to be sent again; return what is in the way of it, and the remedy."""
    try:
        while await dispatcher.resend_letters():
            pass
    except ForwarderError as error:
        return str(error), error.remedy
    return "", ""


async def _settled(outbox: Outbox, letter: int, sink: str) -> tuple[str, str]:
    """Wait until the letter is gone, refused, or up to a person; return why, and the remedy."""
    patience = anyio.current_time() + _PATIENCE
    while True:
        found = [each async for each in outbox.dead_letters(ids=[letter])]
        if not found:
            return "", ""
        if found[0].asked_at is None:
            return f"the destination refuses it ({found[0].reason}): {found[0].detail}", ""
        if anyio.current_time() > patience:
            because, remedy = await _in_the_way(outbox, sink, states=("paused",))
            if because:
                return because, remedy
        await anyio.sleep(_LOOK)


async def _in_the_way(
    outbox: Outbox, sink: str, *, states: Sequence[str] = ("paused", "retrying", "waiting")
) -> tuple[str, str]:
    """Return what the daemon says of the sink, where that is why nothing was sent."""
    stored = await outbox.status()
    known = stored.sinks.get(sink)
    if known is None:
        return "the daemon that runs does not have this sink", "reload it (SIGHUP), or restart it"
    if known.note and known.note.state in states:
        return f"the sink is {known.note.state}: {known.note.error}", known.note.remedy
    return "", ""


def _outcome(event: Event, sink: str, *, because: str = "", remedy: str = "") -> Outcome:
    return Outcome(
        event_id=event.event_id,
        kind=event.kind,
        sink=sink,
        delivered=not because,
        because=because,
        remedy=remedy,
    )


@asynccontextmanager
async def _dispatcher(config: Config, outbox: Outbox, sink: str) -> AsyncIterator[Dispatcher]:
    """Open the one sink as the daemon would."""
    (part,) = (each for each in sinks_of(config) if each.key == ("sink", sink))
    async with anyio.create_task_group() as group:
        outboxes = await group.start(alone, outbox, [part.name])
        async with part.open(outboxes[part.name]) as loop:
            assert isinstance(loop, Dispatcher)  # noqa: S101  a sink's loop is one
            yield loop
        group.cancel_scope.cancel()
