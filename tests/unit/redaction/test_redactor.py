"""Nothing that looks like a credential, or that a user names, is left in an event."""

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forwarder.model import (
    Actor,
    AffectedObject,
    Attribute,
    Change,
    Context,
    Event,
    Stored,
    body_of,
    packed,
)
from forwarder.redaction import Redactor, digest, field, mask
from forwarder.redaction.credentials import SHAPES, WORDS
from tests.fakes.events import event, hostile_events, hostile_text, linked, stored
from tests.fakes.secrets import INNOCENT, SECRETS, as_gson, forms, nested


def with_original(given_event: Event, **record: object) -> Event:
    return replace(given_event, original=msgspec.Raw(json.dumps(record).encode()))


def everything(given_event: Event) -> str:
    """All that the event says, with one layer of JSON's escapes taken off."""
    said = json.loads(msgspec.json.encode(given_event))
    return "\n".join(_texts(said))


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [str(value)]


PLACES = {
    "attribute": lambda text: event(attributes=(Attribute(name="details", value=text),)),
    "changed from": lambda text: event(changes=(Change(key="Rule", from_=text),)),
    "changed to": lambda text: event(changes=(Change(key="Rule", to=text),)),
    "object": lambda text: event(objects=(AffectedObject(type="MISC", name=text),)),
    "actor": lambda text: event(actor=Actor(name=text)),
    "action": lambda text: event(action=text),
    "looked up": lambda text: event(context=Context(repository_name=text)),
    "JSON in a string": lambda text: event(
        attributes=(Attribute(name="details", value=nested(text)),)
    ),
    "JSON as Gson writes it": lambda text: event(
        attributes=(Attribute(name="details", value=as_gson(nested(text))),)
    ),
    "original alone": lambda text: with_original(event(), strange=[{"deep": text}]),
    "original as text": lambda text: replace(
        event(), original=msgspec.Raw(json.dumps(text).encode())
    ),
    "escaped original": lambda text: replace(
        event(),
        original=msgspec.Raw(
            ('{"x":"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"}').encode()
        ),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_credential_is_left_wherever_it_stood(place):
    given = {name: PLACES[place](text) for name, (_, text) in SECRETS.items()}
    redacted = dict(zip(given, Redactor().all(list(given.values())), strict=True))
    for name, (secret, _) in SECRETS.items():
        assert any(form in everything(given[name]) for form in forms(secret)), name
        assert not any(form in everything(redacted[name]) for form in forms(secret)), name
        assert "[redacted]" in everything(redacted[name]), name
        assert redacted[name].event_id == given[name].event_id


def test_among_many_events_only_those_that_hold_a_credential_are_changed():
    secret, text = SECRETS["github classic"]
    telling = {17, 99, 100, 101, 250}
    given_events = [
        PLACES["original alone"](
            f"\u00e9\u20ac\U0001f600 {text}" if n in telling else f"task-{n} \u00e9"
        )
        for n in range(300)
    ]
    redacted = Redactor().all(given_events)
    assert {n for n, event in enumerate(redacted) if event is not given_events[n]} == telling
    assert not any(secret in everything(event) for event in redacted)


def test_an_original_on_several_lines_hides_nothing():
    secret, text = SECRETS["github classic"]
    lines = msgspec.Raw(json.dumps({"a": "x", "b": text}, indent=2).encode())
    several = [event(1), replace(event(2), original=lines), event(3)]
    assert not any(secret in everything(each) for each in Redactor().all(several))


# Whoever has a pattern of their own has every event looked at closely.
CLOSELY = Redactor(patterns=[r"(?!)"])


def test_what_looks_like_the_beginning_of_a_credential_hides_none_that_follows():
    hints = [hint for shape in (*SHAPES, *WORDS) for hint in shape.hints]
    glued = [
        hint + text[shared:]
        for _, text in SECRETS.values()
        for hint in hints
        for shared in range(1, len(hint))
        if hint.endswith(text[:shared])
    ]
    assert len(glued) > 50
    given_events = [event(attributes=(Attribute(name="x", value=text),)) for text in glued]
    assert Redactor().all(given_events) == CLOSELY.all(given_events)


@given(
    st.lists(st.tuples(hostile_text(), st.sampled_from(list(SECRETS)), hostile_text()), max_size=4)
)
def test_a_glance_misses_nothing_that_a_closer_look_finds(drawn):
    texts = ["".join((before, SECRETS[name][1], after)) for before, name, after in drawn]
    values = [form for text in texts for form in (text, nested(text), as_gson(nested(text)))]
    given_events = [event(attributes=(Attribute(name="x", value=value),)) for value in values]
    assert Redactor().all(given_events) == CLOSELY.all(given_events)


def test_an_event_as_it_is_stored_is_redacted_alike():
    given_events = [place(text) for place in PLACES.values() for _, text in SECRETS.values()] + [
        event(attributes=(Attribute(name="Matched text", value="hunter2"),)),
        event(changes=(Change(key="password", from_="hunter2", to="hunter3"),)),
        event(),
    ]
    *redacted, innocent = Redactor().all([stored(each) for each in given_events])
    assert [each.whole() for each in redacted] == [Redactor()(each) for each in given_events[:-1]]
    assert isinstance(innocent, Stored)


# What begins like a credential again and again, and is none.
ENDLESS = ("token ", "token", "token.", "eyJ-", "secret key ", "PRIVATE KEY ", "bearer\\n\\n")


@pytest.mark.parametrize("part", [*ENDLESS, " ", "\\n", "\\"])
def test_a_long_text_takes_no_longer_than_it_is_long(part):
    length = 100_000
    text = f"token{part * (length // len(part))}\\u00e9"
    given_event = PLACES["attribute"](text)
    began = time.thread_time()
    Redactor()(given_event)
    Redactor().record(json.dumps({"details": nested(text)}).encode())
    assert time.thread_time() - began < 5.0


def test_a_record_that_breaks_off_inside_of_a_string_takes_no_longer_than_it_is_long():
    inner = json.dumps({str(n): "value" for n in range(3000)})
    whole = json.dumps({"secret": "hunter2hunter2", "details": inner}).encode()
    for torn in (whole[:-3], whole[:-3] + b"\\"):
        began = time.thread_time()
        redacted = Redactor().record(torn)
        assert time.thread_time() - began < 5.0
        assert redacted == torn.replace(b"hunter2hunter2", b"[redacted]")


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_credential_stays(text):
    given_event = replace(PLACES["attribute"](text), original=event().original)
    assert Redactor()(given_event) == given_event
    kept = with_original(event(), commit=text)
    assert Redactor()(kept) == kept


def test_an_event_without_credentials_is_passed_on_itself():
    given_event = event()
    assert Redactor()(given_event) is given_event


@pytest.mark.parametrize(
    "name", ["Matched text", "matchedText", "Secret", "False positive", "Password", "API key"]
)
def test_the_text_that_a_finding_matched_goes_whatever_it_looks_like(name):
    attributes = (
        Attribute(name=name, value="swordfish"),
        Attribute(name="details", value='{"text":"swordfish","line":3}'),
    )
    details = [{"name": each.name, "value": each.value} for each in attributes]
    given_event = with_original(event(attributes=attributes), extraAttributes=details)
    redacted = Redactor()(given_event)
    assert "swordfish" not in everything(redacted)
    assert json.loads(redacted.attributes[1].value) == {"text": "[redacted]", "line": 3}


def test_what_one_redactor_passed_another_with_rules_of_its_own_redacts_all_the_same():
    (passed,) = Redactor().all([packed(event())])
    (redacted,) = Redactor(fields=[field("actor.name")]).all([passed])
    assert b"alice" in body_of(passed)
    assert b"alice" not in body_of(redacted)


def test_a_named_field_goes_from_wherever_its_text_stands():
    original = {"author": {"name": "alice", "uri": "https://x/users/alice"}, "action": "Malice"}
    given_event = with_original(event(), **original)
    redacted = Redactor(fields=[field("actor.name")])(given_event)
    assert redacted.actor == Actor(name="[redacted]", type="NORMAL", id="2")
    assert json.loads(bytes(redacted.original)) == {
        "author": {"name": "[redacted]", "uri": "https://x/users/[redacted]"},
        "action": "Malice",
    }


def test_a_users_name_that_is_in_the_actions_text_leaves_it_alone():
    given_event = event(actor=Actor(name="hook"))
    redacted = Redactor(fields=[field("actor.name")])(given_event)
    assert (redacted.action, redacted.kind) == ("Security hook skipped", "hook.skipped")
    assert b'"action":"Security hook skipped"' in bytes(redacted.original)


@pytest.mark.parametrize(
    ("named", "gone"),
    [
        ("address", "10.0.0.1"),
        ("Actor.Name", "alice"),
        ("attributes.commit message", "two\r\nlines"),
        ("attributes.commit*", "two\r\nlines"),
        ("changes.hook mode", "loud"),
        ("objects.name", "payments"),
        ("system", "https://bitbucket.example.com"),
    ],
)
def test_every_field_can_be_named(named, gone):
    given_event = event(
        attributes=(Attribute(name="Commit message", value="two\r\nlines"),),
        changes=(Change(key="Hook mode", from_="loud", to="quiet"),),
    )
    given_event = with_original(given_event, values=[gone])
    redacted = Redactor(looks_like_credentials=False, fields=[field(named)])(given_event)
    assert gone not in everything(redacted)
    assert gone in everything(given_event)


@pytest.mark.parametrize("named", ["kind", "event_id", "attributes", "attributes.", "actor", ""])
def test_a_field_that_no_event_has_is_refused(named):
    with pytest.raises(ValueError, match="is no field of an event"):
        field(named)


def test_a_pattern_of_the_users_goes_from_everywhere():
    given_event = with_original(
        event(attributes=(Attribute(name="x", value="PAY-1412"),)), a="PAY-7"
    )
    redacted = Redactor(patterns=[r"\bPAY-\d+"])(given_event)
    assert redacted.attributes[0].value == "[redacted]"
    assert bytes(redacted.original) == b'{"a": "[redacted]"}'


def test_one_secret_has_one_token_and_others_have_others():
    replace_by = digest(lambda: "key")
    assert replace_by("alice") == replace_by("alice") != replace_by("bob")
    assert replace_by("alice") != digest(lambda: "other key")("alice")
    assert "alice" not in replace_by("alice")
    assert mask("alice") == mask("bob")


def test_what_is_redacted_stays_redacted_as_it_is():
    redactor = Redactor(replace=digest(lambda: "key"))
    for _, text in SECRETS.values():
        once = redactor(PLACES["attribute"](text))
        assert redactor(once) == once


def test_only_the_secret_goes_and_the_rest_of_the_original_stays_byte_for_byte():
    text = '{ "n":1E400,"a":1,"a":2, "password" : "hunter22x" ,"z":-0.0,"deep":[[]] }'
    given_event = replace(event(), original=msgspec.Raw(text.encode()))
    expected = text.replace("hunter22x", "[redacted]")
    assert bytes(Redactor()(given_event).original) == expected.encode()


@pytest.mark.parametrize("name", SECRETS)
def test_a_record_that_cannot_be_read_is_redacted_too(name):
    secret, text = SECRETS[name]
    for body in (json.dumps({"x": text}).encode(), text.encode() + b"\xff\xfe{"):
        redacted = Redactor().record(body)
        assert secret.encode() not in redacted
        assert json.dumps(secret)[1:-1].encode() not in redacted


@given(given_event=hostile_events(), needle=hostile_text())
def test_whatever_is_redacted_is_still_an_event_with_one_line_of_json(given_event, needle):
    given_event = replace(given_event, actor=Actor(name=needle))
    fields = [field(name) for name in ("actor.name", "attributes.*", "address")]
    redacted = Redactor(fields=fields, patterns=["[a-c]+"])(given_event)
    original = bytes(redacted.original)
    assert b"\n" not in original
    assert b"\r" not in original
    msgspec.json.decode(msgspec.json.encode(redacted), type=Event)
    json.loads(original)
    assert redacted.event_id == given_event.event_id


@given(hostile_events(), st.sampled_from(list(SECRETS)))
def test_no_credential_is_left_in_a_hostile_event(given_event, name):
    secret, text = SECRETS[name]
    attributes = (*given_event.attributes, Attribute(name="x", value=text))
    redacted = Redactor()(replace(given_event, attributes=attributes))
    assert secret not in everything(redacted)


def test_who_and_what_is_left_out_goes_from_what_was_looked_up_too():
    looked_up = Context(
        actor_name="Alice Archer",
        project_name="Secret plans",
        repository_name="Payments service",
        link="https://bitbucket.example.com/projects/~alice/repos/payments",
    )
    given_event = event(
        actor=Actor(name="alice"),
        objects=(AffectedObject(type="REPOSITORY", name="payments"),),
        context=looked_up,
    )
    said = everything(Redactor(fields=[field("actor.name"), field("objects.name")])(given_event))
    for text in ("Alice Archer", "alice", "Secret plans", "Payments service", "payments"):
        assert text not in said


def test_what_was_redacted_has_no_chain_and_what_was_not_keeps_it():
    (kept,) = linked([event(1)])
    redact = Redactor(patterns=["alice"])
    assert redact(kept).chain is msgspec.UNSET
    assert Redactor(patterns=["nobody at all"])(kept) == kept
