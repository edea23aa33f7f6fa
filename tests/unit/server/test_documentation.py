"""docs/status-api.md says every field that is answered, and no other."""

import re
from pathlib import Path

import msgspec
import pytest

from forwarder import model
from forwarder.server import answers

TEXT = (Path(__file__).parents[3] / "docs/status-api.md").read_text("utf-8")
ANSWERS = (
    model.Status,
    model.SourceStatus,
    model.Link,
    model.AuditSettings,
    model.SinkStatus,
    model.LossHorizon,
    model.Condition,
    answers.History,
    answers.PartHistory,
    answers.Events,
    answers.Found,
    answers.Letters,
    answers.Letter,
    answers.LetterCount,
    answers.Original,
    answers.Done,
)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_the_table_of_an_answer_has_its_fields(answer: type[msgspec.Struct]) -> None:
    section = re.split(rf"(?m)^##+ {answer.__name__}$", TEXT)[1].split("\n#")[0]
    first_cells = re.findall(r"(?m)^\| (`.*?`) \|", section)
    documented = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(answer.__struct_fields__)
