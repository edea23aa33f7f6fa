"""The strict check itself: what AWS refuses is refused here, asked by plain boto3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.contract.sinks.cloudwatch_logs import alone
from tests.receivers.cloudwatch import DAY, HOUR, REGION, CloudWatch, cloudwatch

pytestmark = pytest.mark.real


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CloudWatch]:
    alone(monkeypatch, tmp_path)
    with cloudwatch() as opened:
        yield opened


@pytest.fixture
def client(receiver: CloudWatch) -> Iterator[Any]:
    made = Session("AKIDFORWARDER", "the secret", region_name=REGION).client(
        "logs",
        endpoint_url=receiver.url,
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    made.create_log_group(logGroupName="group")
    made.create_log_stream(logGroupName="group", logStreamName="stream")
    yield made
    made.close()


def refusal(client: Any, operation: str, **members: object) -> str:
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**members)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterException"
    return caught.value.response["Error"]["Message"]


def put_refusal(client: Any, events: list[dict[str, object]]) -> str:
    place = {"logGroupName": "group", "logStreamName": "stream"}
    return refusal(client, "put_log_events", **place, logEvents=events)


def test_counts_sizes_order_span_and_members_are_checked(receiver, client):
    now = receiver.now
    one = {"timestamp": now, "message": "x"}
    assert "10000" in put_refusal(client, [one] * 10_001)
    assert "10000" in put_refusal(client, [])
    assert "exceeds limit of 262144" in put_refusal(client, [{**one, "message": "x" * 262_119}])
    assert "Upload too large" in put_refusal(client, [{**one, "message": "\u00fc" * 131_000}] * 5)
    assert "chronological" in put_refusal(client, [one, {**one, "timestamp": now - 1}])
    assert "24 hours" in put_refusal(client, [{**one, "timestamp": now - DAY - 1}, one])
    assert "length 1" in put_refusal(client, [{**one, "message": ""}])
    assert "0 or more" in put_refusal(client, [{**one, "timestamp": -1}])


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 513])
def test_names_of_groups_are_checked(client, name):
    assert "logGroupName" in refusal(client, "create_log_group", logGroupName=name)


@pytest.mark.parametrize("name", ["", "a:b", "a*", "x" * 513])
def test_names_of_streams_are_checked(client, name):
    said = refusal(client, "create_log_stream", logGroupName="group", logStreamName=name)
    assert "logStreamName" in said


def test_values_of_the_retention_are_checked(client):
    said = refusal(client, "put_retention_policy", logGroupName="group", retentionInDays=2)
    assert "retentionInDays" in said


def test_the_rejected_indexes_are_right_where_motos_are_not(receiver, client):
    now = receiver.now
    client.put_retention_policy(logGroupName="group", retentionInDays=3)
    late = 3 * DAY - HOUR
    ages = [20 * DAY, 15 * DAY, 3 * DAY + HOUR, late, late - 1, late - 2, -3 * HOUR, -4 * HOUR]
    answer = client.put_log_events(
        logGroupName="group",
        logStreamName="stream",
        logEvents=[{"timestamp": now - age, "message": str(age)} for age in ages],
    )
    assert answer["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 2,
        "expiredLogEventEndIndex": 3,
        "tooNewLogEventStartIndex": 6,
    }
    there = receiver.held("group", "stream")
    assert [each.message for each in there] == [str(age) for age in ages[3:6]]


def test_a_wrong_signature_and_an_unknown_key_are_refused(receiver, client):
    receiver.keys = {"AKIDFORWARDER": "another secret"}
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        client.create_log_group(logGroupName="other")
    receiver.keys = {}
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        client.create_log_group(logGroupName="other")
