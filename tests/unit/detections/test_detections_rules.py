"""The rules are good Sigma, say what the catalogue says, and can be converted for other SIEMs."""

import json
import re
from functools import cache

import pytest
from sigma.backends.elasticsearch import EqlBackend, ESQLBackend, LuceneBackend
from sigma.backends.opensearch import OpensearchLuceneBackend
from sigma.backends.splunk import SplunkBackend
from sigma.collection import SigmaCollection
from sigma.rule import SigmaRule
from sigma.validation import SigmaValidator
from sigma.validators.core import validators
from sigma.validators.core.tags import ATTACKTagValidator, D3FENDTagValidator

from deploy.detections import generate
from forwarder.detections import Detection, detections
from forwarder.normalizers.catalogue import shipped

NEED_THE_NETWORK = {ATTACKTagValidator, D3FENDTagValidator}
"""They fetch MITRE's lists; the catalogue's own techniques are compared instead."""
TACTICS = {
    "attack.t1685": {"attack.defense-impairment"},
    "attack.t1098": {"attack.persistence", "attack.privilege-escalation"},
}
"""MITRE ATT&CK, enterprise, 2026."""


def every_rule() -> SigmaCollection:
    """Return all as ``sigma convert deploy/detections`` reads them, worst order of files first."""
    return SigmaCollection.load_ruleset(sorted(generate.HERE.glob("*.yml"), reverse=True))


def test_pysigmas_own_validators_find_nothing() -> None:
    chosen = set(validators.values()) - NEED_THE_NETWORK
    assert len(chosen) > 20
    loaded = every_rule()
    assert not loaded.errors
    assert [str(issue) for issue in SigmaValidator(chosen).validate_rules(iter(loaded.rules))] == []


def test_every_rule_is_whole_and_the_last_of_a_file_is_named_as_it() -> None:
    loaded = every_rule().rules
    assert len({rule.id for rule in loaded}) == len({rule.name for rule in loaded}) == len(loaded)
    for rule in loaded:
        if isinstance(rule, SigmaRule):
            source = rule.logsource
            assert (source.product, source.service) == ("soteri-forwarder", "events")
    for name in generate.names():
        rule = generate.collection(name).rules[-1]
        assert rule.name == name
        assert rule.description
        assert rule.references
        assert rule.falsepositives
        assert rule.level


def test_the_same_thing_is_said_in_the_same_words() -> None:
    said = {str(rule.name): rule.to_dict() for rule in every_rule().rules}
    for one, other in (
        ("protection_off", "protection_off_before_push"),
        ("protection_on", "protection_on_after_push"),
    ):
        assert said[one]["detection"] == said[other]["detection"]


@pytest.mark.parametrize("detection", detections(), ids=lambda each: each.name)
def test_a_detection_looks_at_kinds_that_there_are_and_claims_their_techniques(
    detection: Detection,
) -> None:
    catalogue = shipped()
    fixed = [kind for kind in detection.kinds if not kind.endswith("*")]
    unlisted = {kind for kind in fixed if kind not in catalogue}
    # Bitbucket's own word for a merge, which needs no entry in the catalogue.
    assert unlisted <= {"bitbucket.pull_request_merged"}
    known = {
        f"attack.{technique.lower()}"
        for kind in fixed
        if kind in catalogue
        for technique in catalogue[kind].techniques
    }
    claimed = {tag for tag in detection.tags if re.match(r"attack\.t\d", tag)}
    assert claimed <= known
    tactics = {tag for tag in detection.tags if tag not in claimed}
    assert tactics == {tactic for tag in claimed for tactic in TACTICS[tag]}


# What each of pySigma's backends can say, and with which of our pipelines. What it cannot, it says.
ORDERED = {"block_lifted_by_allowlist", "protection_off_and_on_again", "protection_off_around_push"}
COUNTED = {"many_findings_reviewed"}
BACKENDS = {
    "splunk": (SplunkBackend, ["splunk_json"], ORDERED),
    "eql": (EqlBackend, ["ecs", "eql"], set()),
    "esql": (ESQLBackend, ["ecs"], ORDERED),
    "lucene": (LuceneBackend, ["ecs"], ORDERED | COUNTED),
    "opensearch": (OpensearchLuceneBackend, ["ecs"], ORDERED | COUNTED),
}
OURS = {"actor.name", "objects.name", "changes.to", "attributes.value"}


@cache
def converted(backend: str, name: str) -> str:
    made, pipelines, _ = BACKENDS[backend]
    whole = sum(map(generate.pipeline, pipelines), generate.pipeline("lists"))
    (query,) = made(whole).convert(generate.collection(name))
    return str(query)


def test_the_whole_folder_is_converted_at_once() -> None:
    whole = sum(map(generate.pipeline, ["ecs", "eql"]), generate.pipeline("lists"))
    assert len(EqlBackend(whole).convert(every_rule())) == len(generate.names())


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_rule_is_converted_for_every_backend_that_can_say_it(backend: str) -> None:
    _, pipelines, unsaid = BACKENDS[backend]
    for name in generate.names():
        if name in unsaid:
            with pytest.raises(NotImplementedError):
                converted(backend, name)
            continue
        query = converted(backend, name)
        (detection,) = (each for each in detections() if each.name == name)
        assert all(kind.rstrip("*") in query for kind in detection.kinds), query
        if "ecs" in pipelines:
            assert not re.search(r"(?<![\w.])kind\b", query), query
            assert not any(re.search(rf"(?<![\w.]){field}\b", query) for field in OURS), query
        assert query.count("(") == query.count(")")


def test_an_ordered_correlation_is_an_eql_sequence_of_its_steps() -> None:
    query = " ".join(converted("eql", "block_lifted_by_allowlist").split())
    assert query == (
        'sequence by user.name with maxspan=1h [any where event.action:"hook.blocked"]'
        ' [any where event.action:"allowlist.added"]'
    )
    query = converted("eql", "protection_off_around_push")
    assert query.count("[any where") == 3
    assert query.rstrip().endswith("]")


def test_the_searches_for_splunk_begin_with_the_backends_own() -> None:
    for detection in detections():
        if detection.name in generate.names() and not detection.group_by:
            assert detection.splunk == converted("splunk", detection.name)
        if detection.name in COUNTED:
            theirs = converted("splunk", detection.name)
            assert detection.splunk.splitlines()[0] == theirs.splitlines()[0]


def test_a_search_for_splunk_is_whole() -> None:
    for detection in detections():
        plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', detection.splunk)
        assert plain.count("(") == plain.count(")"), detection.name
        assert not plain.count('"') % 2
        first, *rest = detection.splunk.split("\n")
        assert "|" not in re.sub(r'"(?:[^"\\]|\\.)*"', "", first)
        assert all(line.startswith("| ") for line in rest)
        assert json.loads(json.dumps(detection.splunk)) == detection.splunk
