"""No secret of the corpus reaches any destination over its wire, whatever the format."""

import json
import re
from collections import Counter
from pathlib import Path

import anyio
import pytest

from forwarder.formats import FORMATS
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder
from tests.fakes.secrets import SECRETS, as_gson, nested
from tests.receivers.cloudwatch import REGION, cloudwatch
from tests.receivers.hec import Hec, served
from tests.receivers.rsyslog import rsyslogd

pytestmark = pytest.mark.real

GROUP = "/soteri/audit"
MATCHED = "correct-swordfish-staple"
SOURCE = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
[store]
url = "sqlite:///{folder}/forwarder.db"
redact = {{ credentials = false }}
[server]
listen = ""
[sinks.everything]
type = "file"
path = "{folder}/everything"
redact = {{ credentials = false }}
"""
WIRES = {
    "splunk": 'type = "splunk_hec"\nurl = "{splunk}"\ntoken = "{hec_token}"\nack = false',
    "cloudwatch": 'type = "cloudwatch_logs"\nlog_group = "{group}"\nlog_stream = "{name}"\n'
    'region = "{region}"\nendpoint_url = "{cloudwatch}"',
    "tcp": 'type = "syslog"\naddress = "{tcp}"',
    "relp": 'type = "syslog"\naddress = "{relp}"',
    "file": 'type = "file"\npath = "{folder}/{name}"',
}


def telling(text: str) -> dict[str, object]:
    """Return fields of an event that say `text` wherever Bitbucket lets people write."""
    return {
        "type": {"category": "Soteri Security for Bitbucket", "action": f"Push with {text} warned"},
        "affectedObjects": [{"name": text, "type": "MISC"}],
        "changedValues": [{"key": "Pattern", "from": text, "to": f"{text} and more"}],
        "extraAttributes": [
            {"name": "Commit message", "value": f"Fix it\r\n\r\n{text}"},
            {"name": "details", "value": nested(text)},
            {"name": "more", "value": as_gson(nested(nested(text)))},
        ],
    }


def fragments(secret: str) -> set[str]:
    """Return parts of a secret that look the same however it is escaped."""
    return {
        part
        for part in re.findall(r"[A-Za-z0-9]{8,}", secret)
        if re.search(r"[0-9]", part) or len(part) >= 16
    } or {max(secret.split(), key=len)}


async def test_no_secret_of_the_corpus_leaves_by_any_wire_in_any_format(tmp_path: Path) -> None:
    simulator = Simulator(SimulatorOptions())
    for _, text in SECRETS.values():
        simulator.emit(telling(text))
    simulator.emit({"extraAttributes": [{"name": "Matched text", "value": MATCHED}]})
    count = len(SECRETS) + 1
    hec = Hec(acking=False)
    folders = {via: tmp_path / via for via in ("tcp", "relp")}
    for folder in folders.values():
        folder.mkdir()
    with (
        cloudwatch() as aws,
        rsyslogd(folders["tcp"], properties=["rawmsg"]) as tcp,
        rsyslogd(folders["relp"], via="relp", properties=["rawmsg"]) as relp,
    ):
        async with serve(simulator) as bitbucket, served(hec) as splunk:
            places = {
                "bitbucket": bitbucket,
                "token": simulator.options.token,
                "folder": tmp_path,
                "splunk": splunk,
                "hec_token": hec.token,
                "cloudwatch": aws.url,
                "group": GROUP,
                "region": REGION,
                "tcp": tcp.address,
                "relp": relp.address,
            }
            sinks = [(wire, named) for wire in WIRES for named in FORMATS]
            config = SOURCE.format(**places) + "".join(
                f'[sinks.{wire}-{named.replace("_", "-")}]\nformat = "{named}"\n'
                + WIRES[wire].format(name=f"{wire}-{named}", **places)
                + "\n"
                for wire, named in sinks
            )
            key_id, key = next(iter(aws.keys.items()))
            forwarder = Forwarder(
                tmp_path, config, AWS_ACCESS_KEY_ID=key_id, AWS_SECRET_ACCESS_KEY=key
            )
            done = await forwarder.run("run", "--once")
        assert done.returncode == 0, done.stderr.decode()
        arrived = {
            "splunk": [json.dumps(envelope, ensure_ascii=False) for envelope in hec.indexed],
            "cloudwatch": [
                held.message for named in FORMATS for held in aws.held(GROUP, f"cloudwatch-{named}")
            ],
            "tcp": [message["rawmsg"] for message in tcp.messages()],
            "relp": [message["rawmsg"] for message in relp.messages()],
            "file": [
                line
                for named in FORMATS
                for line in (await anyio.Path(tmp_path / f"file-{named}").read_text()).splitlines()
            ],
        }
        everything = await anyio.Path(tmp_path / "everything").read_text()
    assert {wire: len(told) for wire, told in arrived.items()} == dict.fromkeys(
        WIRES, count * len(FORMATS)
    )
    secrets = {name: fragments(secret) for name, (secret, _) in SECRETS.items()}
    secrets["matched text"] = {MATCHED}
    for name, parts in secrets.items():
        assert all(part in everything for part in parts), name
    leaked = Counter(
        (wire, name)
        for wire, told in arrived.items()
        for text in ["\n".join(told)]
        for name, parts in secrets.items()
        if any(part in text for part in parts)
    )
    assert not leaked
    assert all(text.count("[redacted]") > count for text in map("\n".join, arrived.values()))
