"""What is in config/ works: every sample loads, and the schema is the one that is printed."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from forwarder.config import Config, load, schema
from forwarder.config.problems import keys
from forwarder.config.tables import CATALOGUE, PLAIN

SAMPLES = Path(__file__).parents[2] / "config"
TOML = sorted(SAMPLES.glob("*.toml"))
SCHEMA = SAMPLES / "soteri-forwarder.schema.json"


def with_secrets(text: str, folder: Path) -> str:
    """Return a sample with secret files that exist."""
    for path in set(re.findall(r"/run/secrets/[a-z-]+", text)):
        secret = folder / Path(path).name
        secret.touch(0o400)
        secret.write_text("stand-in")
        text = text.replace(path, str(secret))
    return text


def loaded(text: str, folder: Path) -> Config:
    path = folder / "config.toml"
    path.write_text(with_secrets(text, folder))
    return load(path, {}, default_secrets=folder / "none")


def complaints(text: str) -> list[str]:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    errors = validator.iter_errors(tomllib.loads(text))
    return [said for error in errors for said in of_its_type(error)]


def of_its_type(error: ValidationError) -> list[str]:
    """Return what the table of the type that was written says, where there are several."""
    inside: dict[int, list[ValidationError]] = {}
    for each in error.context or ():
        inside.setdefault(int(each.schema_path[0]), []).append(each)
    for errors in inside.values():
        if error.validator == "oneOf" and not any(e.path and e.path[-1] == "type" for e in errors):
            return [each.message for each in errors]
    return [error.message]


def everything_on(text: str) -> str:
    """Return a sample with every option that stands in a comment switched on."""
    return re.sub(r"(?m)^# ([a-z_]+ = .*)$", r"\1", text)


@pytest.mark.parametrize("sample", TOML, ids=lambda path: path.name)
def test_a_sample_loads_without_a_warning(sample: Path, tmp_path: Path):
    config = loaded(sample.read_text(), tmp_path)
    for source in config.sources.values():
        if source.type != "bitbucket_audit_log":  # files have no credential
            assert source.token.reveal() == "stand-in"
    assert config.warnings == ()


@pytest.mark.parametrize("sample", TOML, ids=lambda path: path.name)
def test_a_sample_is_what_the_schema_says(sample: Path):
    assert sample.read_text().startswith(f"#:schema ./{SCHEMA.name}\n")
    assert complaints(sample.read_text()) == []


def test_the_sample_of_variables_loads_without_any_file(tmp_path: Path):
    text = with_secrets((SAMPLES / "container.env").read_text(), tmp_path)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    environ = dict(line.split("=", 1) for line in lines)
    nowhere = tmp_path / "none"
    config = load(None, environ, default_file=nowhere, default_secrets=nowhere)
    assert config.sinks["splunk"].token.reveal() == "stand-in"
    assert list(config.sources["bitbucket"].categories) == ["Soteri Security for Bitbucket"]


FULL = (SAMPLES / "full.toml").read_text()
# Shown once, as they are the same everywhere:
SHARED = {"batch", "retry", "tls", "include", "exclude", "redact"}
IN_WORDS = {
    ("token",),
    ("username",),
    ("password",),
    ("password_file",),
    ("management", "token"),
    ("redact", "key"),
    ("otlp", "authorization"),
}


def test_the_full_sample_stays_right_with_every_comment_switched_on(tmp_path: Path):
    text = everything_on(FULL)
    assert complaints(text) == []
    config = loaded(text, tmp_path)
    assert {sink.type for sink in config.sinks.values()} == set(CATALOGUE["sinks"])
    assert {source.type for source in config.sources.values()} == set(CATALOGUE["sources"])


def leaves(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)


@pytest.mark.parametrize(("section", "named"), [(s, t) for s in CATALOGUE for t in CATALOGUE[s]])
def test_the_full_sample_has_every_option_of(section: str, named: str):
    tables = tomllib.loads(everything_on(FULL))
    every = [*tables["sources"].values(), *tables["sinks"].values()]
    shown = {key for table in every if table["type"] == named for key in leaves(table)}
    shown |= {key for table in every for key in leaves(table) if key[0] in SHARED}
    every_key = keys([CATALOGUE[section][named]])
    wanted = {key for key in every_key if key[0] in SHARED or SHARED.isdisjoint(key)}
    assert wanted - shown - IN_WORDS == set()


@pytest.mark.parametrize("section", PLAIN)
def test_the_full_sample_has_every_option_of_the_table(section: str):
    shown = set(leaves(tomllib.loads(everything_on(FULL))[section]))
    assert set(keys([PLAIN[section]])) - IN_WORDS == shown


def test_the_committed_schema_is_the_one_that_is_printed():
    regenerate = "python -m forwarder config schema > config/soteri-forwarder.schema.json"
    assert json.loads(SCHEMA.read_text()) == schema(), f"it has changed; run: {regenerate}"


def test_the_schema_is_a_schema_of_draft_2020_12():
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pagesize = 1", "'pagesize' was unexpected"),
        ('token = "t"', "should not be valid under"),
        ('overlap = "5"', "does not match"),
        ("page_size = 0", "less than the minimum of 1"),
        ('tls.verify = "no"', "is not of type 'boolean'"),
    ],
)
def test_the_schema_refuses_what_the_forwarder_refuses(line: str, complaint: str, tmp_path: Path):
    text = (SAMPLES / "minimal.toml").read_text()
    text = text.replace('type = "bitbucket_audit"', f'type = "bitbucket_audit"\n{line}')
    (said,) = complaints(text)
    assert complaint in said


def test_the_command_prints_the_schema_and_nothing_else():
    command = [sys.executable, "-m", "forwarder", "config", "schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout) == schema()
    assert printed.stderr == ""
