"""Events and batches for tests, told apart by a number; and hostile ones, for property tests."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
from hypothesis import strategies as st

from forwarder import chain
from forwarder.model import (
    Actor,
    AffectedObject,
    Attribute,
    Batch,
    Change,
    Event,
    Link,
    Severity,
    Stored,
    body_of,
)
from forwarder.store.transactions.events import stored as as_stored

BEGINNING = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def event(number: int = 1, **changes: object) -> Event:
    """Return event `number`: one second after the one before, with an id that sorts by number.

    Its original has the shape and the size (about 950 bytes) of a real record.
    """
    occurred_at = BEGINNING + timedelta(seconds=number)
    fields: dict[str, object] = {
        "event_id": f"{int(occurred_at.timestamp() * 1000):012x}{number:020x}",
        "source": "bitbucket",
        "kind": "hook.skipped",
        "severity": "high",
        "occurred_at": occurred_at,
        "category": "Soteri Security for Bitbucket",
        "action": "Security hook skipped",
        "actor": Actor(name="alice", type="NORMAL", id="2"),
        "objects": (
            AffectedObject(type="PROJECT", name="SEC", id="2"),
            AffectedObject(type="REPOSITORY", name="payments", id=str(number)),
        ),
        "attributes": (Attribute(name="target", value="SEC/payments"),),
        "address": "10.0.0.1",
        "node": "8767044c-1b98-4d64-82db-ef29af8c3792",
        "system": "https://bitbucket.example.com",
        "method": "Git",
        "original": _original(number, occurred_at),
    }
    return Event(**{**fields, **changes})  # type: ignore[arg-type]


def stored(given: Event) -> Stored:
    """Return the event as the outbox gives it to a sink."""
    return as_stored(1, body_of(given))


def events(count: int, *, first: int = 1) -> list[Event]:
    """Return `count` events, numbered from `first` on."""
    return [event(number) for number in range(first, first + count)]


def batch(*events: Event, first: int = 1) -> Batch:
    """Return `events` as a batch at the places from `first` on."""
    return Batch(events, tuple(range(first, first + len(events))))


def numbered(count: int, *, first: int = 1) -> Batch:
    """Return a batch of `count` events, numbered and placed from `first` on."""
    return batch(*events(count, first=first), first=first)


def ids(sent: Batch) -> list[str]:
    """Return the ids of a batch's events, in its order."""
    return [each.event_id for each in sent.events]


def linked(events: Iterable[Event]) -> list[Event]:
    """Return events as a new outbox keeps them: each with its place in its source's chain."""
    heads: dict[str, Link] = {}
    found = []
    for each in events:
        before = heads.get(each.source, chain.BEGINNING)
        heads[each.source] = chain.link(before, msgspec.json.encode(each))
        found.append(msgspec.structs.replace(each, chain=heads[each.source]))
    return found


def _original(number: int, occurred_at: datetime) -> msgspec.Raw:
    text = """\
{"timestamp":"%s","author":{"name":"alice","type":"NORMAL","id":"2",\
"uri":"https://bitbucket.example.com/users/alice","avatarUri":""},"type":{"categoryI18nKey":\
"soteri.audit.category","category":"Soteri Security for Bitbucket","actionI18nKey":\
"soteri.audit.action.hook.skipped","action":"Security hook skipped"},"affectedObjects":[{"name":\
"SEC","type":"PROJECT","uri":"https://bitbucket.example.com/projects/SEC","id":"2"},{"name":\
"payments","type":"REPOSITORY","uri":"https://bitbucket.example.com/projects/SEC/repos/payments",\
"id":"%d"}],"changedValues":[],"source":"10.0.0.1","system":"https://bitbucket.example.com",\
"node":"8767044c-1b98-4d64-82db-ef29af8c3792","method":"Git","extraAttributes":[{"nameI18nKey":\
"soteri.audit.attribute.commit","name":"commit","value":"%040x"},{"nameI18nKey":\
"bitbucket.audit.attribute.legacy.target","name":"target","value":"SEC/payments"}]}"""
    moment = occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.Raw((text % (moment, number, number)).encode())


# What JSON, syslog, CEF, HEC, terminals and line readers each trip over. No lone surrogates: a
# source never lets one into an event, because no UTF-8 can hold it.
_FRAGMENTS = (
    "\r\n", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1b[2J\x1b[31m", "\x7f", "\x85", "\x9b", "\u2028",
    "\u2029", "\u202e", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\U0001f600", "e\u0301", '"',
    "\\", "\\u0000", "\\n", "'", "|", "=", "]", "<34>1 ", "{", "}", "[", '"}\n{"event":"forged"}',
    "</script>", "%s", "${x}", "*" * 300, " ", "\t", "None", "-",
)  # fmt: skip


def hostile_text() -> st.SearchStrategy[str]:
    """Draw text with whatever breaks a line, a quote, a terminal or a framing."""
    pieces = st.one_of(st.sampled_from(_FRAGMENTS), st.text(max_size=20))
    return st.lists(pieces, max_size=6).map("".join)


def hostile_originals() -> st.SearchStrategy[msgspec.Raw]:
    """Draw what a source may keep: one JSON value on one line, an object or a string."""
    value = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), hostile_text()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(hostile_text(), inner, max_size=3)
        ),
        max_leaves=8,
    )
    spaced = st.builds(
        lambda held, ascii_only, spaces: json.dumps(
            held, ensure_ascii=ascii_only, separators=(" , ", "\t: ") if spaces else (",", ":")
        ),
        st.one_of(st.dictionaries(hostile_text(), value, max_size=4), hostile_text()),
        st.booleans(),
        st.booleans(),
    )
    odd = st.sampled_from(
        [
            '{"a":1,"a":2}',  # a key twice
            '{"n":%s}' % ("9" * 400),
            '{"n":-1.7976931348623157e+308,"m":1E400,"z":-0.0}',
            '{"deep":' + "[" * 100 + "]" * 100 + "}",
            '{"pair":"\\ud83d\\ude00"}',
            json.dumps('{"lone":"\\ud800"}'),  # stands for no character: kept as text
            "{}",
        ]
    )
    return st.one_of(spaced, odd).map(lambda text: msgspec.Raw(text.encode()))


def hostile_events() -> st.SearchStrategy[Event]:
    """Draw events that a source may make of the worst that a Bitbucket may say."""
    text = hostile_text()
    maybe = st.one_of(st.none(), text)
    identity = st.text("0123456789abcdef", min_size=32, max_size=32)
    return st.builds(
        Event,
        event_id=identity,
        source=st.sampled_from(["bitbucket", "b-2"]),
        kind=st.sampled_from(["hook.skipped", "soteri.unknown", "bitbucket.repository_created"]),
        severity=st.sampled_from(get_args(Severity)),
        occurred_at=st.datetimes(timezones=st.just(UTC)),
        category=text,
        category_key=text,
        action=text,
        action_key=text,
        actor=st.one_of(st.none(), st.builds(Actor, name=maybe, type=maybe, id=maybe)),
        objects=_few(st.builds(AffectedObject, type=maybe, name=maybe, id=maybe)),
        changes=_few(st.builds(Change, key=maybe, i18n_key=maybe, from_=maybe, to=maybe)),
        attributes=_few(st.builds(Attribute, name=maybe, name_i18n_key=maybe, value=maybe)),
        address=maybe,
        node=maybe,
        system=maybe,
        method=maybe,
        original=hostile_originals(),
    )


def _few(one: st.SearchStrategy) -> st.SearchStrategy[tuple]:
    return st.lists(one, max_size=3).map(tuple)
