"""docs/formats.md says what the code does."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from forwarder import chain
from forwarder.formats import FORMATS
from forwarder.formats.json import VERSION, JsonFormat, schema
from forwarder.formats.raw import RawFormat
from forwarder.model import Actor, AffectedObject, Attribute, Change, Context, Event, Link
from tests.receivers import cef

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
NESTED = {
    "actor": Actor,
    "objects": AffectedObject,
    "changes": Change,
    "attributes": Attribute,
    "context": Context,
    "chain": Link,
}


@pytest.fixture
def examples() -> list[dict]:
    return [json.loads(found) for found in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def fields() -> Iterator[str]:
    yield "version"
    for field in msgspec.structs.fields(Event):
        yield field.encode_name
        for inner in (
            msgspec.structs.fields(NESTED[field.encode_name]) if field.encode_name in NESTED else ()
        ):
            yield f"{field.encode_name}.{inner.encode_name}"


def test_every_field_is_described_in_the_order_in_which_it_comes():
    assert re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE) == list(fields())


def test_the_example_is_what_the_json_format_gives(examples):
    example = examples[0]
    assert example["version"] == VERSION
    event = msgspec.json.decode(compact(example), type=Event)
    assert JsonFormat().encode(event) == compact(example)


def test_the_example_has_its_time_in_its_id(examples):
    event = msgspec.json.decode(compact(examples[0]), type=Event)
    assert int(event.event_id[:12], 16) == event.occurred_at.timestamp() * 1000


def test_the_example_leaves_no_field_out(examples):
    example = examples[0]
    for field in fields():
        name, _, inner = field.partition(".")
        value = example[name][0] if isinstance(example[name], list) else example[name]
        assert value[inner] if inner else value, field


def test_the_example_begins_a_chain_with_its_true_digest(examples):
    _, content, link = chain.taken_apart(compact(examples[0]))
    assert link == chain.link(chain.BEGINNING, content)


def test_the_shell_command_checks_the_example(examples, tmp_path):
    commands = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "audit.jsonl").write_bytes(compact(examples[0]) + b"\n")
    done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode().split()[0] == examples[0]["chain"]["digest"]


def section(name: str) -> str:
    found = re.search(rf"^## `{name}`(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section"
    return found[1]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_section_with_what_it_makes_of_the_first_example(name, examples):
    event = msgspec.json.decode(compact(examples[0]), type=Event)
    line = FORMATS[name].encode(event)
    language, example = re.findall(r"```(json|text)\n(.*?)\n```", section(name), re.DOTALL)[0]
    if language == "json":
        assert compact(json.loads(example)) == line
    else:
        assert example.encode() == line


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_in_the_overview(name):
    assert re.search(rf"^\| {name} \| .* \| (yes|no) \|$", PAGE, re.MULTILINE)


def test_the_overview_is_right_about_the_event_id(examples):
    event = msgspec.json.decode(compact(examples[0]), type=Event)
    for name, said in re.findall(r"^\| (\w+) \| .* \| (yes|no) \|$", PAGE, re.MULTILINE):
        assert (event.event_id.encode() in FORMATS[name].encode(event)) == (said == "yes"), name


def test_every_key_of_cef_is_described(examples):
    event = msgspec.json.decode(compact(examples[0]), type=Event)
    written = cef.parse(FORMATS["cef"].encode(event).decode())
    named = re.findall(r"^\| ([\w, ]+?) \| ", section("cef"), re.MULTILINE)
    described = {key for row in named for key in re.split(r", | or ", row)}
    assert not {key for key in written.extension if not key.endswith("Label")} - described


def test_the_schema_beside_the_page_is_the_one_that_the_command_prints():
    committed = (Path(__file__).parents[3] / "docs" / "event.schema.json").read_text("utf-8")
    assert json.loads(committed) == schema()


def test_the_example_of_the_raw_format_is_the_original_of_the_first(examples):
    event = msgspec.json.decode(compact(examples[0]), type=Event)
    assert RawFormat().encode(event) == compact(examples[1])
