"""`provision cloudwatch` against a real moto, and tests/fakes/aws.py where moto has no word.

moto keeps what is put and gives it back. It does not look at what AWS would refuse (a pattern's
grammar, an alarm's periods, names, a key's policy), counts nothing by a metric filter, and never
turns an alarm on: that a pattern finds its events is shown where detections are tested.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from forwarder.detections import Detection, detections
from forwarder.errors import AccessError
from forwarder.provision.cloudwatch import Wanted
from forwarder.provision.cloudwatch.account import Account
from forwarder.provision.cloudwatch.making import plan_making
from forwarder.provision.cloudwatch.removing import plan_removing
from forwarder.provision.plan import Step, carry_out, pending
from tests.contract.sinks.cloudwatch_logs import alone
from tests.fakes.aws import Aws
from tests.fakes.command_line import typed
from tests.receivers.cloudwatch import REGION, empty_moto

pytestmark = pytest.mark.real

GROUP = "/soteri/audit"
EMAIL = "security@example.com"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:soteri-forwarder"
KEY = f"arn:aws:kms:{REGION}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
POLICY = Path(__file__).parents[2] / "deploy/cloudwatch/iam-policy-provision.json"
COMMAND = ("provision", "cloudwatch", "--log-group", GROUP, "--region", REGION, "--email", EMAIL)
NAMES = (
    *("resourceArn", "ResourceARN", "ResourceArn", "TopicArn"),
    *("logGroupName", "AlarmName", "AlarmNames", "Name"),
)
"""Members that say what a call is about."""
COUNTED = tuple(each for each in detections() if each.cloudwatch)
SOME = COUNTED[:2]
SILENT = next(each for each in COUNTED if each.absence)
BUT_ONE = [word for each in COUNTED if each is not SILENT for word in ("--without", each.name)]
"""Options that leave but one detection, to be quick."""


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    alone(monkeypatch, tmp_path)
    url = empty_moto()
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
    return url


@pytest.fixture
def logs(moto: str) -> Any:
    return boto3.client("logs", region_name=REGION)


@pytest.fixture
def cloudwatch(moto: str) -> Any:
    return boto3.client("cloudwatch", region_name=REGION)


@pytest.fixture
def sns(moto: str) -> Any:
    return boto3.client("sns", region_name=REGION)


@pytest.fixture
def aws(moto: str) -> Aws:
    return Aws(boto3.session.Session(region_name=REGION))


def wanted(**changed: Any) -> Wanted:
    given = {"log_group": GROUP, "detections": SOME, "emails": (EMAIL,), **changed}
    return Wanted(**given)


def made(aws: Aws, **changed: Any) -> list[Step]:
    """Carry a plan out and return it."""
    steps = plan_making(Account(aws.session), wanted(**changed))
    carry_out(steps, done=lambda step: None)
    return steps


def name(detection: Detection) -> str:
    return f"soteri-forwarder-{detection.name.replace('_', '-')}"


def alarms(cloudwatch: Any) -> dict[str, dict[str, Any]]:
    return {each["AlarmName"]: each for each in cloudwatch.describe_alarms()["MetricAlarms"]}


def filters(logs: Any) -> dict[str, dict[str, Any]]:
    found = logs.describe_metric_filters(logGroupName=GROUP)["metricFilters"]
    return {each["filterName"]: each for each in found}


def tags(sns: Any) -> dict[str, str]:
    found = sns.list_tags_for_resource(ResourceArn=TOPIC)["Tags"]
    return {each["Key"]: each["Value"] for each in found}


async def test_from_nothing_to_an_alarm_for_each_detection_that_tells_the_address(
    logs: Any, cloudwatch: Any, sns: Any
) -> None:
    said = await typed(*COMMAND, "--retention-days", 365, "--yes")
    assert (said.code, said.stderr.count("created")) == (0, 3 + 2 * len(COUNTED))

    (group,) = logs.describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (GROUP, 365)
    assert tags(sns) == {"soteri-forwarder": GROUP}
    (subscription,) = sns.list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", EMAIL)

    counting, telling = filters(logs), alarms(cloudwatch)
    assert counting.keys() == telling.keys() == {name(each) for each in COUNTED}
    for detection in COUNTED:
        counted, alarm = counting[name(detection)], telling[name(detection)]
        assert counted["filterPattern"] == detection.cloudwatch
        (into,) = counted["metricTransformations"]
        assert into["metricValue"] == "1"
        metric = (into["metricNamespace"], into["metricName"])
        assert metric == (alarm["Namespace"], alarm["MetricName"])
        assert alarm["Statistic"] == "Sum"
        assert alarm["Threshold"] == detection.threshold
        assert alarm["AlarmActions"] == [TOPIC]
        assert alarm["ActionsEnabled"]
        assert detection.title in alarm["AlarmDescription"]
        if detection.absence:
            assert alarm["ComparisonOperator"] == "LessThanThreshold"
            assert alarm["TreatMissingData"] == "breaching"
            assert alarm["Period"] * alarm["EvaluationPeriods"] == detection.window
            assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]
        else:
            assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
            assert alarm["TreatMissingData"] == "notBreaching"
            assert (alarm["Period"], alarm["DatapointsToAlarm"]) == (detection.window, 1)
    for name_of_a_list in {each for detection in COUNTED for each in detection.lists}:
        assert f"nobody is on its list: --list {name_of_a_list}=NAME" in said.stdout
    for detection in detections():
        if not detection.cloudwatch:
            assert f"leave  detection {detection.name}\n" in said.stdout
            assert " ".join((detection.logs_insights or "").split()) in said.stdout


async def test_a_dry_run_and_a_question_nobody_answers_change_nothing(
    logs: Any, cloudwatch: Any, sns: Any
) -> None:
    said = await typed(*COMMAND, *BUT_ONE, "--dry-run")
    assert said.code == 0
    assert "AWS account 123456789012, region eu-central-1" in said.stdout
    assert "5 to create" in said.stdout
    said = await typed(*COMMAND, *BUT_ONE)
    assert (said.code, "--yes" in said.stderr) == (2, True)
    assert logs.describe_log_groups()["logGroups"] == []
    assert alarms(cloudwatch) == {}
    assert sns.list_topics()["Topics"] == []


def test_a_second_time_there_is_nothing_to_do_but_to_say_who_has_not_confirmed(aws: Aws) -> None:
    made(aws, retention_days=365, kms_key=KEY)
    aws.keys[GROUP] = KEY
    aws.calls.clear()
    steps = made(aws, retention_days=365, kms_key=KEY)
    assert pending(steps) == ()
    assert aws.made() == set()
    (waiting,) = [step for step in steps if step.what == f"subscription of {EMAIL}"]
    assert "not confirmed" in waiting.note
    aws.confirmed.add(EMAIL)
    (there,) = [step for step in made(aws) if step.what == f"subscription of {EMAIL}"]
    assert there.note == ""


def test_what_was_changed_by_hand_is_named_and_set_right(
    aws: Aws, logs: Any, cloudwatch: Any
) -> None:
    made(aws, retention_days=365)
    detection, other = SOME
    alarm = alarms(cloudwatch)[name(detection)]
    names = ("Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods")
    kept = {field: alarm[field] for field in (*names, "ComparisonOperator", "AlarmDescription")}
    cloudwatch.put_metric_alarm(AlarmName=name(detection), Threshold=1_000_001, **kept)
    counted = filters(logs)[name(other)]
    logs.put_metric_filter(
        logGroupName=GROUP,
        filterName=name(other),
        filterPattern='{ $.kind = "nothing" }',
        metricTransformations=[
            {**counted["metricTransformations"][0], "dimensions": {"who": "$.actor.name"}}
        ],
    )
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=1)

    steps = made(aws, retention_days=365, kms_key=KEY)
    changes = {
        step.what: {one.field: (one.before, one.after) for one in step.differences}
        for step in pending(steps)
    }
    threshold = f"{detection.threshold}"
    assert changes == {
        f"log group {GROUP}": {"retention": ("1 days", "365 days"), "key": ("", KEY)},
        f"alarm {name(detection)}": {
            "AlarmActions": ("", TOPIC),
            "DatapointsToAlarm": ("", "1"),
            "Threshold": ("1000001", threshold),
            "TreatMissingData": ("", "notBreaching"),
        },
        f"metric filter {name(other)}": {
            "pattern": ('{ $.kind = "nothing" }', other.cloudwatch),
            "dimensions": ("{'who': '$.actor.name'}", ""),
        },
    }  # fmt: skip
    assert aws.keys == {GROUP: KEY}
    assert alarms(cloudwatch)[name(detection)]["AlarmActions"] == [TOPIC]
    assert pending(made(aws, retention_days=365, kms_key=KEY)) == ()


def test_alarms_of_detections_that_are_wanted_no_more_go(aws: Aws, cloudwatch: Any) -> None:
    made(aws)
    steps = made(aws, detections=SOME[:1])
    assert {step.verb for step in pending(steps)} == {"remove"}
    assert alarms(cloudwatch).keys() == {name(COUNTED[0])}


def test_what_was_not_made_here_is_left_alone_and_said(
    aws: Aws, logs: Any, cloudwatch: Any, sns: Any
) -> None:
    theirs = COUNTED[0]
    logs.create_log_group(logGroupName=GROUP)
    cloudwatch.put_metric_alarm(
        AlarmName=name(theirs),
        Namespace="theirs",
        MetricName="theirs",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=7,
        ComparisonOperator="GreaterThanThreshold",
    )
    before = alarms(cloudwatch)[name(theirs)]
    steps = {step.what: step for step in made(aws, retention_days=30, detections=COUNTED)}
    assert "it keeps retention (nothing)" in steps[f"log group {GROUP}"].note
    assert "not made by this command" in steps[f"detection {theirs.name}"].note
    assert "retentionInDays" not in logs.describe_log_groups()["logGroups"][0]

    steps = {
        step.what: step for step in plan_removing(Account(aws.session), wanted(), with_events=True)
    }
    carry_out(steps.values(), done=lambda step: None)
    assert steps[f"log group {GROUP}"].verb == "leave"
    assert alarms(cloudwatch) == {name(theirs): before}
    assert filters(logs) == {}
    assert logs.describe_log_groups()["logGroups"]

    sns.create_topic(Name="soteri-forwarder")
    with pytest.raises(AccessError, match="not made by this command") as raised:
        plan_making(Account(aws.session), wanted())
    assert "--topic-arn" in raised.value.remedy
    steps_of_theirs = plan_making(Account(aws.session), wanted(emails=(), topic_arn=TOPIC))
    assert "topic" not in {step.what.split()[0] for step in pending(steps_of_theirs)}


def test_a_log_group_that_can_have_no_metric_filters_is_refused(aws: Aws, logs: Any) -> None:
    logs.create_log_group(logGroupName=GROUP)
    aws.group_class = "INFREQUENT_ACCESS"
    with pytest.raises(AccessError, match="INFREQUENT_ACCESS"):
        plan_making(Account(aws.session), wanted())


def test_two_log_groups_of_one_account_do_not_take_each_others_alarms(aws: Aws) -> None:
    made(aws)
    with pytest.raises(AccessError, match=f"made for the log group {GROUP}") as raised:
        plan_making(Account(aws.session), wanted(log_group="/other"))
    assert "--prefix" in raised.value.remedy
    assert made(aws, log_group="/other", prefix="other")[0].verb == "create"
    made(aws, prefix="soteri-forwarder-test")
    assert pending(made(aws)) == ()


async def test_remove_undoes_all_but_a_log_group_that_was_written_to(
    logs: Any, cloudwatch: Any, sns: Any
) -> None:
    await typed(*COMMAND, *BUT_ONE, "--yes")
    logs.create_log_stream(logGroupName=GROUP, logStreamName="soteri-forwarder")
    said = await typed(*COMMAND, "--remove", "--yes")
    assert said.code == 0
    assert "--delete-log-group" in said.stdout
    assert alarms(cloudwatch) == filters(logs) == {}
    assert sns.list_topics()["Topics"] == sns.list_subscriptions()["Subscriptions"] == []
    assert len(logs.describe_log_groups()["logGroups"]) == 1

    said = await typed(*COMMAND, "--remove", "--delete-log-group", "--yes")
    assert "with every event in it" in said.stdout
    assert logs.describe_log_groups()["logGroups"] == []
    said = await typed(*COMMAND, "--remove", "--yes")
    assert (said.code, "0 to remove" in said.stdout) == (0, True)


async def test_a_configuration_says_where_and_how_often_the_heart_beats(
    moto: str, cloudwatch: Any, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    text = f"""
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
token = "a token"
[store]
url = "sqlite:///{tmp_path}/forwarder.db"
[heartbeat]
interval = "2h"
[sinks.aws]
type = "cloudwatch_logs"
log_group = "{GROUP}"
region = "{REGION}"
retention_days = 90
"""
    config.write_text(text)
    words = ("provision", "cloudwatch", "--config", config, *BUT_ONE)
    said = await typed(*words, "--yes")
    assert (said.code, "retention: 90 days" in said.stdout) == (0, True)
    silent = alarms(cloudwatch)[name(SILENT)]
    assert silent["Period"] * silent["EvaluationPeriods"] == 6 * 3600

    config.write_text(text.replace('"2h"', '"0s"'))
    said = await typed(*words, "--dry-run")
    assert "remove alarm soteri-forwarder-forwarder-silent" in said.stdout
    assert "[heartbeat] interval is 0s" in said.stderr
    config.write_text(f'{text}include = {{ kinds = ["hook.*"] }}\n')
    said = await typed(*words, "--dry-run")
    assert "remove alarm soteri-forwarder-forwarder-silent" in said.stdout
    assert "sinks.aws.include.kinds keeps heartbeats from being sent" in said.stderr
    config.write_text(f'{text}format = "cef"\n')
    said = await typed(*words, "--dry-run")
    assert (said.code, 'sinks.aws.format: is "cef"' in said.stderr) == (78, True)


async def test_what_keeps_it_from_working_is_said_with_a_remedy(
    moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("provision", "cloudwatch", "--log-group", GROUP)
    said = await typed(*words, "--dry-run")
    assert (said.code, "region: is missing" in said.stderr) == (78, True)
    said = await typed(*words, "--region", REGION, "--profile", "nobody")
    assert (said.code, "nobody" in said.stderr) == (78, True)
    for given, option in (
        (("--email", "nobody"), "--email"),
        (("--retention-days", "31"), "--retention-days"),
        (("--kms-key", "alias/soteri"), "--kms-key"),
        (("--topic-arn", "alerts"), "--topic-arn"),
        (("--without", "nothing"), "--without"),
        (("--prefix", "a:b"), "--prefix"),
        (("--delete-log-group",), "--delete-log-group"),
    ):
        said = await typed(*words, "--region", REGION, *given)
        assert (said.code, option in said.stderr) == (2, True), given
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    said = await typed(*words, "--region", REGION)
    assert (said.code, "remedy: check region, endpoint_url, the proxy" in said.stderr) == (1, True)
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    said = await typed(*words, "--region", REGION)
    assert (said.code, "remedy: check the credentials that boto3 finds" in said.stderr) == (
        77,
        True,
    )


@pytest.fixture
def guarded(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Have moto obey IAM, and yield a function that takes on a user with the given policy.

    moto looks at actions alone: to it every resource is ``*``. It takes a service's signing name
    for its prefix, and denies in XML whatever is spoken, so that no client reads CloudWatch's.
    """
    iam = boto3.client("iam", region_name=REGION)

    def take_on(policy: dict[str, Any]) -> None:
        for statement in policy["Statement"]:
            statement["Resource"] = "*"
            named = statement["Action"]
            statement["Action"] = [each.replace("cloudwatch:", "monitoring:") for each in named]
        # AWS asks for no permission here (STS API reference, GetCallerIdentity); moto does.
        known = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
        policy["Statement"].append(known)
        iam.create_user(UserName="provisioner")
        document = json.dumps(policy)
        iam.put_user_policy(UserName="provisioner", PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName="provisioner")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        enforced("0")

    def enforced(after: str) -> None:
        httpx.post(f"{moto}/moto-api/reset-auth", content=after, trust_env=False, verify=False)

    yield take_on
    enforced("inf")


def policy() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(POLICY.read_text())
    return found


async def test_an_action_that_is_not_allowed_is_named_with_the_policy_that_allows_it(
    guarded: Any,
) -> None:
    lacking = policy()
    for statement in lacking["Statement"]:
        if "sns:CreateTopic" in statement["Action"]:
            statement["Action"].remove("sns:CreateTopic")
    guarded(lacking)
    said = await typed(*COMMAND, "--yes")
    assert said.code == 77
    assert "remedy: allow sns:CreateTopic in the role's policy" in said.stderr
    assert "iam-policy-provision.json" in said.stderr
    assert f"1 of {3 + 2 * len(COUNTED)} done" in said.stdout


def test_the_policy_allows_every_call_that_is_made_and_no_other(guarded: Any) -> None:
    guarded(policy())
    aws = Aws(boto3.session.Session(region_name=REGION))
    made(aws, retention_days=30)
    made(aws, retention_days=60, kms_key=KEY, detections=SOME[1:])
    steps = plan_removing(Account(aws.session), wanted(), with_events=False)
    carry_out(steps, done=lambda step: None)

    called = {
        (action, arn)
        for service, operation, members in aws.calls
        for action, arn in needed(service, operation, members)
    }
    statements = policy()["Statement"]
    assert {action for action, _ in called} == {
        action for statement in statements for action in statement["Action"]
    }
    for action, arn in called:
        assert any(
            action in statement["Action"] and covers(statement["Resource"], arn)
            for statement in statements
        ), f"{action} on {arn}"


def needed(service: str, operation: str, members: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the actions that a call needs, each with its resource.

    By the Service Authorization Reference; what makes something with tags needs the right to tag.
    """
    if service == "sts":
        return
    if operation in ("DescribeLogGroups", "DescribeAlarms"):
        yield f"{service}:{operation}", "*"
        return
    arns = {
        "logs": f"arn:aws:logs:{REGION}:123456789012:log-group:",
        "cloudwatch": f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:",
        "sns": f"arn:aws:sns:{REGION}:123456789012:",
    }
    named = [members[each] for each in NAMES if each in members]
    arn = named[0] if isinstance(named[0], str) else named[0][0]
    if not arn.startswith("arn:"):
        arn = f"{arns[service]}{arn}" + (":*" if service == "logs" else "")
    yield f"{service}:{operation}", arn
    if "Tags" in members or "tags" in members:
        yield f"{service}:TagResource", arn.removesuffix(":*")


def covers(resource: str | list[str], arn: str) -> bool:
    patterns = [resource] if isinstance(resource, str) else resource
    return any(fnmatchcase(arn, pattern) for pattern in patterns)
