"""The detections as they are printed, and the page that is made from them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forwarder.cli import app
from forwarder.detections import detections

PAGE = Path(__file__).parents[2] / "docs" / "detections.md"


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["detections", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_page_about_detections_is_the_one_that_is_printed() -> None:
    # Made again by: python -m forwarder detections --markdown > docs/detections.md
    assert PAGE.read_text() == printed("--markdown")


def test_machines_get_every_detection_with_its_searches() -> None:
    listed = json.loads(printed("--json"))
    assert {each["name"] for each in listed} == {each.name for each in detections()}
    assert all(each["splunk"] for each in listed)


def test_a_search_is_printed_alone_so_that_it_can_be_put_into_a_siem() -> None:
    assert printed("hook_skipped", "--for", "splunk") == 'kind="hook.skipped"\n'
    assert printed("hook_skipped", "--for", "cloudwatch") == '{ $.kind = "hook.skipped" }\n'


def test_one_detection_is_printed_whole() -> None:
    said = printed("many_findings_reviewed")
    assert "at 20 events of one actor.name within 60 min" in said
    assert "harmless: The first clean-up" in said
    assert all(f"\n{siem}:\n" in said for siem in ("splunk", "cloudwatch", "logs-insights"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("dog_barked",), "there is no detection 'dog_barked'; see `detections`"),
        (("hook_skiped",), 'did you mean "hook_skipped"?'),
        (("--for", "splunk"), "--for takes the name of one detection"),
        (("block_lifted_by_allowlist", "--for", "cloudwatch"), "cloudwatch has no words for it"),
        (("hook_skipped", "--for", "qradar"), "'qradar' is not one of"),
    ],
)
def test_what_there_is_not_is_refused_with_its_reason(arguments: tuple[str], reason: str) -> None:
    result = CliRunner().invoke(app, ["detections", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert reason in result.output
