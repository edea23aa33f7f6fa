"""The CloudFormation template and the Terraform module make what the verb makes.

`terraform validate` is not run: it needs the AWS provider out of HashiCorp's registry. The module
is parsed, and its expressions are worked out here as far as it uses any.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import hcl2
import pytest
import yaml

from deploy.cloudwatch import generate
from forwarder.detections import Detection, detections
from forwarder.provision.cloudwatch import PREFIX, alerts

TERRAFORM = generate.LOCALS.parent
TOPIC = "arn:aws:sns:eu-central-1:123456789012:theirs"
GROUP = "/soteri/audit"
COUNTED = tuple(each for each in detections() if each.cloudwatch)


def test_the_generated_files_are_current() -> None:
    remedy = "run python -m deploy.cloudwatch.generate"
    assert generate.TEMPLATE.read_text("utf-8") == generate.template(), remedy
    assert generate.LOCALS.read_text("utf-8") == generate.locals_(), remedy


def worked_out(node: Any, conditions: Mapping[str, bool], given: Mapping[str, Any]) -> Any:
    """Return a part of the template with its functions carried out."""
    match node:
        case {"Ref": name}:
            return given[name]
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], text)
        case {"Fn::If": [condition, then, otherwise]}:
            chosen = then if conditions[condition] else otherwise
            return worked_out(chosen, conditions, given)
        case dict():
            return {name: worked_out(each, conditions, given) for name, each in node.items()}
        case list():
            return [worked_out(each, conditions, given) for each in node]
    return node


@pytest.fixture(scope="module")
def stack() -> list[dict[str, Any]]:
    """Return the resources of a stack with a topic of the user's own and another prefix."""
    template = yaml.safe_load(generate.TEMPLATE.read_text("utf-8"))
    given = {name: each["Default"] for name, each in template["Parameters"].items()}
    given |= {"TopicArn": TOPIC, "Prefix": "mine", "LogGroup": GROUP}
    conditions = {"MakesLogGroup": True, "MakesTopic": False, "HasKey": False, "Subscribes": False}
    resources = template["Resources"].values()
    return [
        {"Type": each["Type"], **worked_out(each["Properties"], conditions, given)}
        for each in resources
        if each.get("Condition") not in ("MakesTopic", "Subscribes")
        and each["Type"] != "AWS::Logs::LogGroup"
    ]


def test_the_stack_holds_exactly_the_alarms_of_the_verb(stack: list[dict[str, Any]]) -> None:
    made = {each["AlarmName"]: each for each in stack if each["Type"] == "AWS::CloudWatch::Alarm"}
    expected = [alerts.alarm(each, "mine", TOPIC) for each in COUNTED]
    assert made == {
        each["AlarmName"]: {"Type": "AWS::CloudWatch::Alarm", **each} for each in expected
    }


def test_the_stack_holds_exactly_the_filters_of_the_verb(stack: list[dict[str, Any]]) -> None:
    made = [each for each in stack if each["Type"] == "AWS::Logs::MetricFilter"]
    found = {each["FilterName"]: filter_of(each) for each in made}
    assert found == expected_filters("mine")
    assert {each["LogGroupName"] for each in made} == {GROUP}
    assert len(stack) == 2 * len(COUNTED)


def filter_of(properties: dict[str, Any]) -> tuple[str, str, str, str]:
    (into,) = properties["MetricTransformations"]
    metric = into["MetricNamespace"], into["MetricName"], into["MetricValue"]
    return (properties["FilterPattern"], *metric)


def expected_filters(prefix: str) -> dict[str, tuple[str, str, str, str]]:
    found = {}
    for detection in COUNTED:
        said = alerts.metric_filter(detection, prefix)
        (into,) = said["metricTransformations"]
        metric = into["metricNamespace"], into["metricName"], into["metricValue"]
        found[said["filterName"]] = (said["filterPattern"], *metric)
    return found


def module() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the resources of main.tf by type and name, as python-hcl2 reads them."""
    with (TERRAFORM / "main.tf").open(encoding="utf-8") as file:
        parsed = hcl2.load(file)
    return {
        (unquoted(kind), unquoted(name)): body
        for each in parsed["resource"]
        for kind, named in each.items()
        for name, body in named.items()
    }


def unquoted(text: str) -> str:
    return text.removeprefix('"').removesuffix('"')


def evaluated(node: Any, key: str, values: Mapping[str, Any]) -> Any:
    """Return what an argument of main.tf is for one detection; it uses no more than this."""
    if isinstance(node, list):
        return [evaluated(each, key, values) for each in node]
    if isinstance(node, dict):
        return {
            name: evaluated(each, key, values)
            for name, each in node.items()
            if name != "__is_block__"
        }
    if not isinstance(node, str):
        return node
    known = {
        "var.prefix": "mine",
        "var.tags": {},
        "local.topic_arn": TOPIC,
        "local.log_group": GROUP,
        "each.key": key,
        **{f"each.value.{name}": value for name, value in values.items()},
    }
    if whole := re.fullmatch(r"\$\{([\w.]+)\}", node):
        return known[whole[1]]
    if choice := re.fullmatch(r"\$\{([\w.]+) \? \[local.topic_arn\] : \[\]\}", node):
        return [TOPIC] if known[choice[1]] else []
    return re.sub(r"\$\{([\w.]+)\}", lambda found: known[found[1]], unquoted(node))


def of_terraform(member: str) -> str:
    """Return the name that Terraform has for a member of PutMetricAlarm."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member.replace("OK", "Ok")).lower()


def shipped() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(generate.LOCALS.read_text("utf-8"))
    return found["locals"]["shipped"]


def test_the_module_holds_exactly_the_alarms_of_the_verb() -> None:
    body = module()["aws_cloudwatch_metric_alarm", "detection"]
    assert body.pop("for_each") == "${local.detections}"
    found = {key: evaluated(body, key, values) for key, values in shipped().items()}
    assert {key: as_text(each) for key, each in found.items()} == {
        each.name: as_text({"tags": {}, **in_terraform(each)}) for each in COUNTED
    }


def in_terraform(detection: Detection) -> dict[str, Any]:
    said = alerts.alarm(detection, "mine", TOPIC)
    return {of_terraform(member): value for member, value in said.items()}


def as_text(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return `arguments` with what Terraform writes as a template escaped back."""
    return {
        name: value.replace("$${", "${").replace("%%{", "%{") if isinstance(value, str) else value
        for name, value in arguments.items()
    }


def test_the_module_holds_exactly_the_filters_of_the_verb() -> None:
    body = module()["aws_cloudwatch_log_metric_filter", "detection"]
    assert body.pop("for_each") == "${local.detections}"
    found = {}
    for key, values in shipped().items():
        made = as_text(evaluated(body, key, values))
        (into,) = made["metric_transformation"]
        metric = into["namespace"], into["name"], into["value"]
        found[made["name"]] = (made["pattern"], *metric)
        assert made["log_group_name"] == GROUP
    assert found == expected_filters("mine")


def test_the_module_makes_nothing_else_than_the_stack() -> None:
    template = yaml.safe_load(generate.TEMPLATE.read_text("utf-8"))
    kinds = {each["Type"] for each in template["Resources"].values()}
    theirs = {
        "aws_cloudwatch_log_group": "AWS::Logs::LogGroup",
        "aws_sns_topic": "AWS::SNS::Topic",
        "aws_sns_topic_subscription": "AWS::SNS::Subscription",
        "aws_cloudwatch_log_metric_filter": "AWS::Logs::MetricFilter",
        "aws_cloudwatch_metric_alarm": "AWS::CloudWatch::Alarm",
    }
    assert {theirs[kind] for kind, _ in module()} == kinds


def test_every_variable_of_the_module_is_declared_and_used() -> None:
    used, declared = set(), set()
    for path in TERRAFORM.glob("*.tf"):
        text = path.read_text("utf-8")
        with path.open(encoding="utf-8") as file:
            hcl2.load(file)
        used |= set(re.findall(r"\bvar\.(\w+)", text))
        declared |= set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    assert used == declared
    defaults = yaml.safe_load(generate.TEMPLATE.read_text("utf-8"))["Parameters"]
    assert defaults["Prefix"]["Default"] == PREFIX
