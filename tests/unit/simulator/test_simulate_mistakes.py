"""What the verb `simulate` says to options that it cannot use."""

import pytest
import typer
from typer.testing import CliRunner

from forwarder.cli.simulate import simulate
from forwarder.simulator import FAULTS

app = typer.Typer()
app.command()(simulate)


def said(*arguments: str, code: int = 2) -> str:
    ended = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert ended.exit_code == code, ended.output
    return " ".join(ended.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "http_599"], 'there is no fault "http_599"'),
        (["--fault", "slow=2"], '"2" is not a share'),
        (["--fault", "slow=often"], '"often" is not a share'),
        (["--faults", "0.9", "--fault", "slow=0.9"], "add up to more than 1"),
        (["--span", "5"], "is not a duration"),
        (["--coverage", "ecosystem"], "is not NAME=VALUE"),
        (["--retry-after", "soon"], "soon"),
        (["--denied", "402"], "402"),
        (["--bitbucket-version", "nine"], "nine"),
    ],
)
def test_a_mistake_is_named_with_exit_code_2(arguments, words):
    assert words in said(*arguments)


def test_a_file_that_holds_no_events_is_named_with_its_line(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text("no json\n")
    assert "line 1" in said("--events", str(file), "--port", "0")


def test_the_names_of_all_faults_can_be_asked_for():
    assert said("--fault", "help", code=0).split() == list(FAULTS)


def test_the_help_says_what_is_not_covered_and_gives_examples():
    told = said("--help", code=0)
    assert "Not covered" in told
    assert "soteri-forwarder simulate --faults 0.2" in told
