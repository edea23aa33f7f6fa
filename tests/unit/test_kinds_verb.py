"""The catalogue as it is printed, and the page that is made from it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from forwarder.cli import app
from forwarder.normalizers.catalogue import shipped

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["kinds", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_page_about_events_is_the_one_that_is_printed():
    regenerate = "python -m forwarder kinds --markdown > docs/events.md"
    assert PAGE.read_text() == printed("--markdown"), f"it has changed; run: {regenerate}"


def test_machines_get_every_kind_with_all_that_is_said_of_it():
    listed = json.loads(printed("--json"))
    assert {each["kind"] for each in listed} == set(shipped())
    (skipped,) = [each for each in listed if each["kind"] == "hook.skipped"]
    assert skipped["severity"] == "high"
    assert skipped["since"] == "3.20.0"
    assert skipped["techniques"] == ["T1685"]


def test_kinds_of_ones_own_are_among_them(tmp_path):
    file = tmp_path / "config.toml"
    file.touch(0o600)
    file.write_text(
        '[sources.b]\ntype = "bitbucket_audit"\nurl = "https://b.example.com"\ntoken = "t"\n'
        '[sinks.f]\ntype = "file"\npath = "/var/log/f.jsonl"\n'
        '[kinds."acme.quarantined"]\nactions = ["Push quarantined"]\nseverity = "critical"\n'
    )
    listed = json.loads(printed("--json", "--config", str(file)))
    assert ("acme.quarantined", "critical") in {(x["kind"], x["severity"]) for x in listed}
