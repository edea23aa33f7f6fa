"""Each sink gets what it wants, and is not told what it must not know."""

import json

import msgspec
import pytest
from pydantic import ValidationError

from forwarder.errors import AccessError, PermanentError, TransientError
from forwarder.formats import FORMATS
from forwarder.model import (
    Actor,
    AffectedObject,
    Attribute,
    Checkpoint,
    Event,
    EventFilter,
    Page,
    Unreadable,
)
from forwarder.options import RedactOptions, SinkOptions, SourceOptions
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.store import StoreConfig
from tests.fakes.events import BEGINNING, event, events
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.records import record
from tests.fakes.secrets import SECRETS
from tests.fakes.sink import FakeSink
from tests.fakes.source import FakeSource


def within(project: str, *repository: str) -> dict[str, object]:
    """Return what an event about a project, or about one of its repositories, says of it."""
    objects = [AffectedObject(type="PROJECT", name=project)]
    objects += [AffectedObject(type="REPOSITORY", name=slug) for slug in repository]
    return {"objects": tuple(objects), "attributes": ()}


def target(path: str) -> dict[str, object]:
    return {"objects": (), "attributes": (Attribute(name="target", value=path),)}


SOTERI, ACCESS = "Soteri Security for Bitbucket", "Permissions"
# Kind, severity, category, actor, and whatever it is about: by its objects, by its target, or by
# neither.
MIXED = [
    event(
        number,
        kind=kind,
        severity=severity,
        category=category,
        actor=actor and Actor(name=actor),
        **about,
    )
    for number, (kind, severity, category, actor, about) in enumerate(
        [
            ("scan.started", "info", SOTERI, "alice", within("SEC", "payments")),
            ("hook.skipped", "high", SOTERI, "bob", within("SEC", "web")),
            ("scan.started", "info", SOTERI, None, within("OPS", "payments")),
            ("hook.blocked", "medium", SOTERI, "alan", target("OPS/tools")),
            ("access.granted", "high", ACCESS, "alice", {"objects": (), "attributes": ()}),
            ("scan.files_skipped", "low", SOTERI, "bob", within("SEC")),
        ],
        start=1,
    )
]
ALL = [1, 2, 3, 4, 5, 6]


async def stored(*given: object) -> MemoryOutbox:
    outbox = MemoryOutbox()
    await outbox.register("sink")
    await outbox.append("bitbucket", given, Checkpoint(BEGINNING))
    return outbox


def dispatcher(outbox: MemoryOutbox, sink: object, **written: object) -> Dispatcher:
    return Dispatcher("sink", sink, outbox, SinkOptions.model_validate(written))


def numbers(held: list[Event]) -> list[int]:
    places = {each.event_id: place for place, each in enumerate(MIXED, 1)}
    return [places[each.event_id] for each in held]


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ({}, ALL),
        ({"include": {"kinds": ["hook.blocked"]}}, [4]),
        ({"include": {"kinds": ["HOOK.*"]}}, [2, 4]),
        ({"exclude": {"kinds": ["scan.*"]}}, [2, 4, 5]),
        ({"include": {"severity": "medium"}}, [2, 4, 5]),
        ({"exclude": {"severity": "low"}}, [2, 4, 5]),
        ({"include": {"categories": ["permissions"]}}, [5]),
        ({"exclude": {"categories": ["Soteri*"]}}, [5]),
        ({"include": {"actors": ["ALICE"]}}, [1, 5]),
        ({"exclude": {"actors": ["al*"]}}, [2, 3, 6]),
        ({"include": {"projects": ["sec"]}}, [1, 2, 6]),
        ({"exclude": {"projects": ["OPS"]}}, [1, 2, 5, 6]),
        ({"include": {"repositories": ["Payments"]}}, [1, 3]),
        ({"include": {"repositories": ["SEC/payments", "ops/tools"]}}, [1, 4]),
        ({"exclude": {"repositories": ["payments"]}}, [2, 4, 5, 6]),
        ({"exclude": {"repositories": ["OPS/payments", "SEC/tools"]}}, [1, 2, 4, 5, 6]),
        ({"include": {"kinds": ["hook.*", "access.*"], "severity": "high"}}, [2, 5]),
        ({"exclude": {"kinds": ["scan.*"], "severity": "medium"}}, [2, 5]),
        ({"include": {"projects": ["SEC"]}, "exclude": {"repositories": ["web"]}}, [1, 6]),
        ({"include": {"kinds": ["nothing.*"]}}, []),
        ({"exclude": {"kinds": ["nothing.*"]}}, ALL),
    ],
)
async def test_a_sink_gets_what_it_wants_and_what_is_left_out_is_counted(written, left):
    outbox, sink = await stored(*MIXED), FakeSink()
    await dispatcher(outbox, sink, **written).dispatch_once()
    assert numbers(sink.held) == left
    known = (await outbox.status()).sinks["sink"]
    assert (known.settled, known.filtered) == (len(left), len(MIXED) - len(left))
    assert known.backlog.events == 0


async def test_what_one_sink_does_not_want_is_still_there_for_another():
    outbox, wants_all = await stored(*MIXED), FakeSink()
    await outbox.register("other")
    await dispatcher(outbox, FakeSink(), include={"kinds": ["none.at_all"]}).dispatch_once()
    await Dispatcher("other", wants_all, outbox, SinkOptions()).dispatch_once()
    assert numbers(wants_all.held) == ALL


async def test_after_a_failure_nothing_that_is_wanted_was_passed():
    outbox, sink = await stored(*MIXED), FakeSink(TransientError("not now"))
    loop = dispatcher(outbox, sink, include={"kinds": ["hook.*"]})
    with pytest.raises(TransientError):
        await loop.dispatch_once()
    assert (await outbox.backlog("sink")).events == len(MIXED)
    await loop.dispatch_once()
    known = (await outbox.status()).sinks["sink"]
    assert (known.settled, known.filtered, known.backlog.events) == (2, 4, 0)


async def test_a_dead_letter_keeps_the_event_whole_though_the_sink_was_not_told():
    secret, text = SECRETS["github classic"]
    given = event(attributes=(Attribute(name="details", value=text),))
    outbox, sink = await stored(given), FakeSink(PermanentError("too odd"))
    await dispatcher(outbox, sink).dispatch_once()
    (letter,) = [letter async for letter in outbox.dead_letters()]
    assert secret.encode() in letter.body


@pytest.mark.parametrize("format_", FORMATS)
async def test_no_credential_leaves_through_any_format(format_):
    given = []
    for number, (_, text) in enumerate(SECRETS.values(), 1):
        original = msgspec.Raw(json.dumps({"details": text, "uri": f"https://x/{number}"}).encode())
        attributes = (Attribute(name="details", value=text),)
        given.append(event(number, attributes=attributes, system=text, original=original))
    outbox, sink = await stored(*given), FakeSink()
    await dispatcher(outbox, sink, batch={"events": 1000}).dispatch_once()
    told = sink.held
    assert len(told) == len(SECRETS)
    for each, (secret, _) in zip(told, SECRETS.values(), strict=True):
        line = FORMATS[format_].encode(each)
        for form in (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3]):
            assert form.encode() not in line
        # What sinks take past the format: envelopes, headers, structured data.
        beside = f"{each.system}{each.source}{each.kind}{each.event_id}{each.address}"
        assert secret not in beside


async def test_the_outbox_keeps_the_untouched_event():
    secret, text = SECRETS["aws key id"]
    given = event(attributes=(Attribute(name="details", value=text),))
    outbox, sink = await stored(given), FakeSink()
    await dispatcher(outbox, sink).dispatch_once()
    (kept,) = [each async for _, each in outbox.events(EventFilter())]
    assert secret in kept.attributes[0].value
    assert secret not in sink.held[0].attributes[0].value


async def test_a_sink_may_be_told_everything():
    _, text = SECRETS["aws key id"]
    given = event(attributes=(Attribute(name="details", value=text),))
    outbox, sink = await stored(given), FakeSink()
    await dispatcher(outbox, sink, redact={"credentials": False}).dispatch_once()
    assert sink.held[0].attributes[0].value == text


async def test_a_keyed_digest_stands_for_the_same_name_wherever_it_comes():
    outbox, sink = await stored(*events(2)), FakeSink()
    redact = {"fields": ["actor.name"], "key": "swordfish"}
    await dispatcher(outbox, sink, redact=redact).dispatch_once()
    names = {each.actor.name for each in sink.held}
    assert len(names) == 1
    assert "alice" not in names.pop()


async def test_what_must_not_be_stored_is_not_even_in_the_outbox():
    secret, text = SECRETS["aws key id"]
    given = record(attributes=(Attribute(name="details", value=text),))
    page = Page(
        records=(given,),
        checkpoint=Checkpoint(BEGINNING),
        unreadable=(Unreadable(text.encode(), "no JSON"),),
    )
    outbox = MemoryOutbox()
    redact = RedactOptions().redactor()
    source = FakeSource(page)
    await Poller("bitbucket", source, normalize, outbox, SourceOptions(), redact=redact).poll_once()
    (kept,) = [each async for _, each in outbox.events(EventFilter())]
    (letter,) = [each async for each in outbox.dead_letters()]
    assert kept.event_id == given.event_id
    assert kept.attributes[0].value == text.replace(secret, "[redacted]")
    assert letter.body == text.replace(secret, "[redacted]").encode()


async def test_a_page_waits_for_a_key_that_cannot_be_read(tmp_path):
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("swordfish")
    redact = RedactOptions.model_validate({"key_file": str(key)}).redactor()
    given = record(attributes=(Attribute(name="x", value=SECRETS["npm"][1]),))
    source, outbox = FakeSource(Page((given,), Checkpoint(BEGINNING))), MemoryOutbox()
    poller = Poller("bitbucket", source, normalize, outbox, SourceOptions(), redact=redact)
    key.rename(tmp_path / "aside")
    with pytest.raises(AccessError):
        await poller.poll_once()
    assert not [each async for each in outbox.events(EventFilter())]
    assert not [each async for each in outbox.dead_letters()]
    (tmp_path / "aside").rename(key)
    await poller.poll_once()
    (kept,) = [each async for _, each in outbox.events(EventFilter())]
    assert kept.attributes[0].value.startswith("[redacted:")


def test_by_default_neither_store_nor_sink_is_told_a_credential():
    assert StoreConfig().redact.redactor() is not None
    assert SinkOptions().redact.redactor() is not None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"fields": ["actor.nam"]}, "is no field of an event"),
        ({"patterns": ["("]}, "is no regular expression"),
        ({"patterns": ["a*"]}, "matches even an empty text"),
        ({"key": ""}, "is empty"),
    ],
)
def test_a_mistake_in_what_is_redacted_is_named(written, told):
    with pytest.raises(ValidationError, match=told):
        RedactOptions.model_validate(written)
