"""The searches that users get are those that the Sigma rules say."""

import pytest

from deploy.detections import generate
from forwarder.detections import LONGEST_FILTER, Detection, detections, filled


def test_the_data_file_says_what_the_rules_say() -> None:
    assert generate.DATA.read_bytes() == generate.data(), (
        "run: python -m deploy.detections.generate"
    )


@pytest.mark.parametrize("name", generate.CONVERTED)
def test_the_converted_rules_are_those_that_there_are(name: str) -> None:
    assert (generate.HERE / "converted" / name).read_text("utf-8") == generate.converted(name)


def test_names_and_ids_are_unique_and_names_are_those_of_the_files() -> None:
    found = detections()
    files = {path.stem for path in generate.HERE.glob("*.yml")}
    files |= {path.stem for path in generate.NATIVE.glob("*.yaml")}
    assert {each.name for each in found} == files
    assert len({each.id for each in found}) == len(found)


def listed(**changes: object) -> Detection:
    not_them = '($.actor.name NOT EXISTS || $.actor.name != "%people%")'
    fields = {
        "name": "skipped",
        "id": "1",
        "title": "t",
        "description": "d",
        "level": "high",
        "false_positives": (),
        "kinds": ("hook.skipped",),
        "window": 300.0,
        "splunk": 'kind="hook.skipped" NOT actor.name="%people%"',
        "cloudwatch": f'{{ ($.kind = "a" && {not_them}) }}',
        "lists": ("people",),
    }
    return Detection(**{**fields, **changes})  # type: ignore[arg-type]


def test_an_empty_list_leaves_the_searches_as_they_are() -> None:
    assert filled(listed(), {"people": []}) == filled(listed(), {}) == listed()


def test_a_list_is_filled_into_every_search_once_and_quoted() -> None:
    found = filled(listed(), {"people": ["alice", 'b"ob', "alice"], "others": ["x"]})
    assert found.splunk == r'kind="hook.skipped" NOT actor.name IN ("alice", "b\"ob")'
    assert found.cloudwatch == (
        '{ ($.kind = "a" && ($.actor.name NOT EXISTS'
        r' || ($.actor.name != "alice" && $.actor.name != "b\"ob"))) }'
    )


def test_a_list_that_is_too_long_for_cloudwatch_is_refused_by_name() -> None:
    people = [f"person{n:04}" for n in range(LONGEST_FILTER // 10)]
    with pytest.raises(ValueError, match=r"skipped: with so many in people .* 1024"):
        filled(listed(), {"people": people})
