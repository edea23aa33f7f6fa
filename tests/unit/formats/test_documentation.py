"""docs/formats.md says what the code does."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from forwarder import chain
from forwarder.formats.json import VERSION, JsonFormat
from forwarder.formats.raw import RawFormat
from forwarder.model import Actor, AffectedObject, Attribute, Change, Event, Link

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
NESTED = {
    "actor": Actor,
    "objects": AffectedObject,
    "changes": Change,
    "attributes": Attribute,
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


def test_the_example_of_the_raw_format_is_the_original_of_the_first(examples):
    event = msgspec.json.decode(compact(examples[0]), type=Event)
    assert RawFormat().encode(event) == compact(examples[1])
