"""The IAM policy that we hand out allows what the sink calls, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from forwarder.sinks.cloudwatch_logs import stream

POLICY = Path(__file__).parents[3] / "deploy/cloudwatch/iam-policy-run.json"


def actions() -> Iterator[str]:
    for statement in json.loads(POLICY.read_text())["Statement"]:
        listed = statement["Action"]
        yield from [listed] if isinstance(listed, str) else listed


def test_the_policy_allows_every_call_of_the_sink_and_no_other() -> None:
    source = Path(stream.__file__).read_text()
    calls = re.findall(r'_call_(?:group|stream)\(\s*"(\w+)"', source)
    assert len(set(calls)) == 5
    named = {"logs:" + call.title().replace("_", "") for call in calls}
    assert set(actions()) == named


def test_the_policy_is_about_one_log_group_and_denies_by_leaving_out() -> None:
    policy = json.loads(POLICY.read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert statement["Resource"].startswith("arn:aws:logs:*:*:log-group:/soteri/audit:")
