"""The add-on finds in every format what Splunk's data models ask for, and each detection."""

import csv
import io
import json
import re
from collections.abc import Iterator
from configparser import RawConfigParser
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given

from deploy.splunk.generate import ADD_ON, EVENTS, JSON_FORMATS, files
from forwarder import __version__
from forwarder.detections import detections
from forwarder.formats import FORMATS
from forwarder.model import Event
from forwarder.provision.splunk.alerts import name_of
from tests.fakes import cases
from tests.fakes.events import event, hostile_events
from tests.fakes.kinds import KINDS, event_of, every_event
from tests.receivers import cef, leef

CHANGE = {
    "action", "change_type", "command", "dest", "dvc", "object", "object_attrs", "object_category",
    "object_id", "object_path", "result", "src", "status", "user", "vendor_product",
}  # fmt: skip
"""Fields of the model Change that an audit log can know (CIM 6.0)."""
AUTHENTICATION = {"action", "app", "dest", "src", "user", "signature"}
SPLUNKS_OWN = {"_raw", "kind", "severity", "event_id"}


@cache
def conf(name: str) -> dict[str, dict[str, str]]:
    parser = RawConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ADD_ON / "default" / f"{name}.conf", "utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}


def sourcetype(name: str) -> dict[str, str]:
    return conf("props")["soteri:bitbucket:audit" + ("" if name == "json" else f":{name}")]


def made(stanza: dict[str, str]) -> set[str]:
    """Return the fields that a stanza of props.conf gives."""
    found = {key.removeprefix("EVAL-") for key in stanza if key.startswith("EVAL-")}
    for key, value in stanza.items():
        if key.startswith("LOOKUP-"):
            found |= set(value.partition(" OUTPUT ")[2].split())
    return found


def flat(value: Any, path: str = "") -> Iterator[str]:
    """Yield the names that Splunk gives to the fields of a JSON event."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from flat(inner, f"{path}{{}}")
    else:
        yield path


def read_from(stanza: dict[str, str]) -> set[str]:
    """Return the fields that the expressions of a stanza of props.conf read."""
    found = set()
    for key, value in stanza.items():
        if key.startswith("EVAL-"):
            without_text = re.sub(r'"(?:[^"\\]|\\.)*"', "", value)
            found |= set(re.findall(r"'([^']+)'", without_text))
            bare = re.sub(r"'[^']+'", "", without_text)
            found |= set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\()", bare))
    return found


def extracted(text: str, transforms: list[str]) -> dict[str, str]:
    """Return what Splunk extracts by transforms.conf: in order, each as often as it fits."""
    fields = {"_raw": text}
    for name in transforms:
        stanza = conf("transforms")[name]
        for match in re.finditer(stanza["REGEX"], fields.get(stanza.get("SOURCE_KEY", "_raw"), "")):
            for pair in stanza["FORMAT"].split(" "):
                key, _, value = pair.partition("::")
                key = re.sub(r"\$(\d)", lambda n: match[int(n[1])], key)  # noqa: B023
                fields.setdefault(key, match[int(value.removeprefix("$"))])
    return fields


def test_what_is_generated_is_current() -> None:
    for name, text in files().items():
        said = f"{name} is old: make generated"
        assert (ADD_ON / name).read_text("utf-8") == text, said
    assert conf("app")["launcher"]["version"] == __version__


def test_each_detection_is_an_alert_that_is_off_and_searches_what_was_converted() -> None:
    stanzas = conf("savedsearches")
    assert stanzas.keys() == {name_of(each) for each in detections()}
    for detection in detections():
        stanza = stanzas[name_of(detection)]
        searched = " ".join(stanza["search"].split())
        assert searched.startswith(EVENTS)
        which, *commands = detection.splunk.split("\n|")
        assert f"({' '.join(which.split())})" in searched
        for command in commands:
            assert f"| {' '.join(command.split())}" in searched
        assert (stanza["disabled"], stanza["enableSched"]) == ("1", "1")
        assert "actions" not in stanza
    assert EVENTS.strip("`") in conf("macros")


def test_no_detection_searches_a_field_that_the_add_on_gives_another_value() -> None:
    stanza = sourcetype("json")
    sent = set(flat(json.loads(FORMATS["json"].encode(event_of("hook.skipped")))))
    for name in made(stanza) & sent:
        given = stanza[f"EVAL-{name}"]
        assert given.startswith((f"mvindex({name},", f"mvappend({name},")), name
        assert f" {name} " not in stanza["LOOKUP-soteri_forwarder_kinds"].partition("OUTPUT")[2]


def test_the_action_of_each_kind_is_the_lookups_in_the_format_json_too() -> None:
    given = sourcetype("json")["EVAL-action"]
    for row in csv.DictReader(io.StringIO(files()["lookups/soteri_forwarder_kinds.csv"])):
        if "*" in row["kind"]:
            like = row["kind"].replace("*", "%")
            assert f'like(mvindex(kind, 0), "{like}"), "{row["action"]}"' in given
        else:
            (found,) = re.findall(rf'in\([^)]*\), [^)]*"{row["kind"]}"[^)]*\), "(\w+)"', given)
            assert found == row["action"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_fields_of_the_models(name: str) -> None:
    stanza = sourcetype(name)
    given = made(stanza)
    if name == "splunk_cim":
        events = [event_of(kind, about="repository") for kind in KINDS]
        events.append(event_of("bitbucket.user_login_failed"))
        given |= {key for each in events for key in json.loads(FORMATS[name].encode(each))}
    if report := stanza.get(f"REPORT-soteri_forwarder_{name}"):
        line = FORMATS[name].encode(event_of("hook.skipped")).decode()
        given |= extracted(line, report.split(", ")).keys()
    assert given >= CHANGE | AUTHENTICATION | {"cim_model"}


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_what_an_expression_reads_is_in_the_events(name: str) -> None:
    there = SPLUNKS_OWN.copy()
    told = [each for rule in cases.names() for case in cases.cases(rule, "fires") for each in case]
    for each in (*told, *every_event()):
        there |= set(flat(json.loads(FORMATS[name].encode(each))))
    assert read_from(sourcetype(name)) <= there


def taken_apart(name: str, one: Event) -> dict[str, str]:
    """Return what Splunk extracts of an event in a format that is text."""
    report = sourcetype(name)[f"REPORT-soteri_forwarder_{name}"]
    return extracted(FORMATS[name].encode(one).decode(), report.split(", "))


def plain(escaped: re.Match[str]) -> str:
    return {"\\n": "\n", "\\r": "\r"}.get(escaped[0], escaped[0][1])


def check_cef(one: Event) -> None:
    found, parsed = taken_apart("cef", one), cef.parse(FORMATS["cef"].encode(one).decode())
    assert re.sub(r"\\([\\|])", r"\1", found["cef_class"]) == parsed.event_class
    for key, value in parsed.extension.items():
        assert re.sub(r"\\[\\=nr]", plain, found[key]) == value, key


def check_leef(one: Event) -> None:
    found, parsed = taken_apart("leef", one), leef.parse(FORMATS["leef"].encode(one).decode())
    assert found["leef_event"] == parsed.event_id
    for key, value in parsed.attributes.items():
        assert key == "source" or found[key] == value


@given(drawn=hostile_events())
@example(drawn=event(action=r"a=b c\d=e | f=g ] "))
def test_hostile_text_is_taken_apart_as_it_was_put_together(drawn: Event) -> None:
    check_cef(drawn)
    check_leef(drawn)


def test_every_kind_is_taken_apart_and_its_fields_are_those_that_are_read() -> None:
    seen = {"cef": SPLUNKS_OWN.copy(), "leef": SPLUNKS_OWN.copy()}
    from_ipv6 = event(address="2001:db8::1"), event(address="a.host")
    for each in (*every_event(), *from_ipv6):
        check_cef(each)
        check_leef(each)
        for name, fields in seen.items():
            fields.update(taken_apart(name, each))
    for name, fields in seen.items():
        assert read_from(sourcetype(name)) <= fields


def test_every_kind_has_a_meaning_and_every_meaning_its_tags() -> None:
    rows = list(csv.DictReader(io.StringIO(files()["lookups/soteri_forwarder_kinds.csv"])))
    assert [row["kind"] for row in rows][: len(KINDS)] == list(KINDS)
    assert rows[-1]["kind"] == "*"
    types = conf("eventtypes")
    models = {row["cim_model"] for row in rows} - {""}
    assert models == {"change", "authentication", "alert"}
    tagged = {section.removeprefix("eventtype=") for section in conf("tags")}
    assert tagged <= types.keys()
    for model in models:
        assert any(f"cim_model={model}" in types[name]["search"] for name in tagged)
    assert conf("tags")["eventtype=soteri_forwarder_change"] == {
        "audit": "enabled",
        "change": "enabled",
    }
    assert "authentication" in conf("tags")["eventtype=soteri_forwarder_authentication"]


def test_the_dashboard_asks_for_fields_that_are_there() -> None:
    view = ET.parse(ADD_ON / "default/data/ui/views/soteri_audit.xml")
    queries = [each.text or "" for each in view.iter("query")]
    assert len(queries) > 5
    for query in queries:
        assert ("`soteri_forwarder_events`" in query) or "base" not in query
    for kind in re.findall(r'kind="([^"]+)"', " ".join(queries)):
        assert kind in KINDS
