"""The main promise, end to end: faults on both sides, the installed command, four destinations."""

import json
from collections import Counter
from pathlib import Path

import pytest

from forwarder.normalizers.soteri import CATEGORY
from forwarder.simulator import Simulator, SimulatorOptions, mix, serve
from tests.acceptance.command import Forwarder, archived
from tests.receivers.cloudwatch import cloudwatch
from tests.receivers.hec import Fault, Hec, served
from tests.receivers.rsyslog import rsyslogd

pytestmark = pytest.mark.real

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
page_size = 50
retry = {{ initial = "50ms", maximum = "200ms" }}
[store]
url = "sqlite:///{folder}/forwarder.db"
redact = {{ credentials = false }}
[server]
listen = ""
[sinks.splunk]
type = "splunk_hec"
url = "{splunk}"
token = "{hec_token}"
ack = true
batch = {{ events = 100 }}
retry = {{ initial = "50ms", maximum = "200ms" }}
[sinks.cloudwatch]
type = "cloudwatch_logs"
log_group = "/soteri/audit"
log_stream = "forwarder"
region = "eu-central-1"
endpoint_url = "{cloudwatch}"
batch = {{ events = 100 }}
retry = {{ initial = "50ms", maximum = "200ms" }}
[sinks.siem]
type = "syslog"
address = "{syslog}"
batch = {{ events = 100 }}
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
redact = {{ credentials = false }}
"""


def multiset(records: list[object]) -> Counter[str]:
    """Return the records as comparable text, with their number: twins count twice."""
    return Counter(json.dumps(record, sort_keys=True) for record in records)


@pytest.mark.timeout(300)
async def test_with_a_fifth_of_all_requests_failing_every_sink_gets_exactly_what_bitbucket_holds(
    tmp_path: Path,
) -> None:
    simulator = Simulator(
        SimulatorOptions(
            history=3000,
            span=3 * 86400,
            context="/bitbucket",
            fault_rates=mix(0.2),
            slow_seconds=0.1,
        )
    )
    simulator.emit(copies=5)
    hec = Hec(acking=True)
    hec.faults = [Fault(code=9), None, None, Fault(status=502, body=b"proxy"), None, Fault(code=8)]
    with cloudwatch() as aws, rsyslogd(tmp_path) as syslog:
        async with serve(simulator) as bitbucket, served(hec) as splunk:
            config = CONFIG.format(
                bitbucket=bitbucket,
                token=simulator.options.token,
                folder=tmp_path,
                splunk=splunk,
                hec_token=hec.token,
                cloudwatch=aws.url,
                syslog=syslog.address,
            )
            key_id, key = next(iter(aws.keys.items()))
            forwarder = Forwarder(
                tmp_path, config, AWS_ACCESS_KEY_ID=key_id, AWS_SECRET_ACCESS_KEY=key
            )
            done = await forwarder.run("run", "--once", fail_after=240)
        truth = simulator.truth(categories=[CATEGORY])
        on_syslog = [json.loads(message["msg"]) for message in syslog.messages()]
        in_cloudwatch = [
            json.loads(held.message) for held in aws.held("/soteri/audit", "forwarder")
        ]
    in_splunk = [envelope["event"] for envelope in hec.indexed]
    in_file = archived(tmp_path)

    assert done.returncode == 0, done.stderr.decode()
    assert simulator.faults.counts, "no fault was played"
    assert multiset([event["original"] for event in in_file]) == multiset(list(truth))
    ids = [event["event_id"] for event in in_file]
    times = [event["time"] for event in in_file]
    assert len(set(ids)) == len(ids)
    assert times == sorted(times)
    for held in (in_splunk, in_cloudwatch, on_syslog):
        assert {event["event_id"] for event in held} == set(ids)
