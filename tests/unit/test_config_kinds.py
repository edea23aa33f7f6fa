"""Users name events themselves, and say otherwise about ours."""

from pathlib import Path

import pytest

from forwarder.config import Config, load
from forwarder.errors import ConfigError
from forwarder.model import Record
from forwarder.normalizers import CatalogueNormalizer
from tests.fakes.records import record

GOOD = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
token = "swordfish"

[sinks.archive]
type = "file"
path = "/var/log/soteri-forwarder/audit.jsonl"
"""


def configured(folder: Path, kinds: str) -> Config:
    file = folder / "config.toml"
    file.touch(0o600)
    file.write_text(GOOD + kinds)
    nowhere = Path("/nonexistent/soteri-forwarder")
    return load(file, {}, default_file=nowhere / "config.toml", default_secrets=nowhere)


def recognised(folder: Path, kinds: str, given: Record) -> tuple[str, str]:
    event = CatalogueNormalizer(configured(folder, kinds).catalogue)(given, source="bitbucket")
    return event.kind, event.severity


def test_an_action_that_nobody_documented_gets_the_name_that_its_user_gives_it(tmp_path):
    kinds = '[kinds."acme.quarantined"]\nactions = ["Push quarantined"]\nseverity = "critical"\n'
    given = record(action="PUSH quarantined")
    assert recognised(tmp_path, kinds, given) == ("acme.quarantined", "critical")


def test_a_users_rule_decides_before_ours(tmp_path):
    kinds = '[kinds."acme.skip"]\nwords = ["hook", "skip*"]\nseverity = "low"\n'
    assert recognised(tmp_path, kinds, record()) == ("acme.skip", "low")


def test_a_severity_of_ones_own_leaves_the_rules_of_the_kind_as_they_are(tmp_path):
    kinds = '[kinds."hook.skipped"]\nseverity = "critical"\n'
    assert recognised(tmp_path, kinds, record()) == ("hook.skipped", "critical")
    assert configured(tmp_path, kinds).catalogue.kinds["hook.skipped"].title


def test_what_is_unknown_is_as_grave_as_its_user_says(tmp_path):
    kinds = '[kinds."soteri.unknown"]\nseverity = "high"\n'
    given = record(action="Something else")
    assert recognised(tmp_path, kinds, given) == ("soteri.unknown", "high")


def test_a_kind_can_be_about_a_category_of_bitbuckets_own(tmp_path):
    kinds = """
[kinds."acme.repository_gone"]
category = "Repo*"
keys = ["*.repositorydeleted"]
severity = "high"
"""
    given = record(
        category="Repositories",
        category_key="bitbucket.service.audit.category.repositories",
        action="Repository deleted",
        action_key="bitbucket.service.repository.audit.action.repositorydeleted",
    )
    assert recognised(tmp_path, kinds, given) == ("acme.repository_gone", "high")


def test_two_kinds_of_ones_own_that_both_fit_name_nothing(tmp_path):
    kinds = '[kinds."acme.one"]\nwords = ["quarantin*"]\n[kinds."acme.two"]\nwords = ["push*"]\n'
    given = record(action="Push quarantined")
    assert recognised(tmp_path, kinds, given) == ("soteri.unknown", "medium")


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ('[kinds."acme.x"]\nseverty = "high"\nkeys = ["x"]', "did you mean"),
        ('[kinds."acme.x"]\nkeys = ["x"]\nseverity = "grave"', 'must be "info", "low"'),
        ('[kinds."acme.x"]\nseverity = "high"', "write actions, keys or words"),
        ('[kinds."Acme X"]\nkeys = ["x"]', 'a kind is called like "hook.skipped"'),
        ('[kinds."hook.skipped"]\nwithout = ["x"]', "only read beside actions, keys or words"),
        ('[kinds."acme.x"]\nkeys = ["x"]\nwithout = ["y"]', "only read beside words"),
        ('[kinds."acme.x"]\nwords = ["x", "*"]', "must have a letter or a digit"),
        ('[kinds]\nskipped = "high"', 'must be a table: [kinds."skipped"]'),
        ('[kinds."acme.x"]\nwords = "x"', "must be a list"),
    ],
)
def test_a_mistake_in_a_kind_is_named_with_its_place(tmp_path, kinds, told):
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, kinds)
    (line,) = raised.value.problems
    assert told in line
    assert f"{tmp_path}/config.toml: kinds." in line
