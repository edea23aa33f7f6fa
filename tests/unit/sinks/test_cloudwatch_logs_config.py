import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from forwarder.errors import ConfigError
from forwarder.formats.json import JsonFormat
from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from tests.contract.sinks.cloudwatch_logs import alone
from tests.fakes.memory import FakeMemory


def config(**written: object) -> CloudWatchLogsConfig:
    fields = {"type": "cloudwatch_logs", "log_group": "/soteri/audit", **written}
    return CloudWatchLogsConfig.model_validate(fields)


def test_a_log_group_is_all_that_must_be_written():
    read = config()
    assert (read.log_stream, read.create, read.stale) == ("soteri-forwarder", True, "bury")
    assert read.max_message_bytes == 262_118
    assert read.timeout == 30.0


@pytest.mark.parametrize(
    "written",
    [
        {"log_group": ""},
        {"log_group": "a b"},
        {"log_group": "/soteri/audit\n"},
        {"log_group": "a:b"},
        {"log_group": "x" * 513},
        {"log_group": "aws/mine"},
        {"log_stream": ""},
        {"log_stream": "a:b"},
        {"log_stream": "a*"},
        {"log_stream": "x" * 513},
        {"retention_days": 2},
        {"retention_days": 0},
        {"max_message_bytes": 0},
        {"max_message_bytes": 1_048_551},
        {"stale": "drop"},
        {"endpoint_url": "logs.example.com"},
        {"endpoint_url": "https://logs.example.com/path"},
        {"timeout": "0s"},
        {"region": ""},
        {"access_key": "AKID"},
    ],
    ids=repr,
)
def test_what_aws_would_refuse_is_refused_before_the_start(written):
    with pytest.raises(ValidationError):
        config(**written)


@pytest.mark.parametrize(
    "written",
    [
        {"log_group": "/soteri/audit_1.2-3#4"},
        {"log_stream": "a/b c"},
        {"retention_days": 3653},
        {"max_message_bytes": 1_048_550},
        {"endpoint_url": "https://vpce-1.logs.eu-central-1.vpce.amazonaws.com"},
        {"endpoint_url": "http://127.0.0.1:4566/"},
    ],
    ids=repr,
)
def test_what_aws_takes_is_taken(written):
    config(**written)


def test_boto3_is_not_imported_before_the_sink_is_opened():
    code = (
        "import sys, forwarder.sinks.cloudwatch_logs.sink\n"
        "print([name for name in ('boto3', 'botocore', 's3transfer') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


async def test_a_missing_region_is_named_in_the_users_words(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match=r"^sinks\.cloudwatch\.region: is missing"):
        async with config().open(name="cloudwatch", format=JsonFormat(), memory=FakeMemory()):
            pass


async def test_an_unknown_profile_is_named_in_the_users_words(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    read = config(region="eu-central-1", profile="absent")
    with pytest.raises(ConfigError, match=r"^sinks\.cloudwatch: .*absent"):
        async with read.open(name="cloudwatch", format=JsonFormat(), memory=FakeMemory()):
            pass


async def test_a_region_that_is_none_is_named_in_the_users_words(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    read = config(region="eu central")
    with pytest.raises(ConfigError, match=r"^sinks\.cloudwatch: .*eu central"):
        async with read.open(name="cloudwatch", format=JsonFormat(), memory=FakeMemory()):
            pass


async def test_missing_credentials_do_not_keep_the_daemon_from_starting(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    read = config(region="eu-central-1")
    async with read.open(name="cloudwatch", format=JsonFormat(), memory=FakeMemory()) as sink:
        assert sink


def test_credential_files_are_named_where_nobody_knows_a_home(monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", "~nobody-of-this-name/config")
    assert Path("~nobody-of-this-name/config") in config().credential_files
