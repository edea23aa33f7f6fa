"""What users may write for a syslog sink, and what they are told otherwise."""

import pytest
from pydantic import ValidationError

from forwarder.errors import ConfigError
from forwarder.formats import FORMATS
from forwarder.sinks.syslog import SyslogConfig
from forwarder.sinks.syslog.address import parse_address
from tests.fakes.memory import FakeMemory


def config(**fields: object) -> SyslogConfig:
    return SyslogConfig.model_validate(
        {"type": "syslog", "address": "tcp://siem.example.com:601", **fields}
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("udp://siem.example.com", "udp://siem.example.com:514"),
        ("tcp://10.0.0.1:601", "tcp://10.0.0.1:601"),
        ("tls://siem.example.com", "tls://siem.example.com:6514"),
        ("tls://[2001:db8::1]:7000", "tls://[2001:db8::1]:7000"),
        ("tcp://siem.example.com/", "tcp://siem.example.com:514"),
        ("relp://siem.example.com", "relp://siem.example.com:2514"),
        ("relp+tls://siem.example.com:20514", "relp+tls://siem.example.com:20514"),
    ],
)
def test_an_address_is_read_and_its_port_filled_in(typed, meant):
    assert str(parse_address(typed)) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "siem.example.com:514",
        "http://siem.example.com",
        "tcp://",
        "tcp://:514",
        "tcp://host:0",
        "tcp://host:port",
        "tcp://host:99999",
        "tcp://host:514/path",
        "tcp://user@host:514",
        "tcp://host:514?x=1",
        "tcp://[::1",
        "",
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(typed):
    with pytest.raises(ValidationError, match="write udp://host:514"):
        config(address=typed)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"address": "udp://h", "framing": "lf"}, "framing is for tcp:// and tls://"),
        ({"address": "relp://h", "framing": "lf"}, "framing is for tcp:// and tls://"),
        ({"tls": {"ca_file": "/ca.pem"}}, "tls is for tls:// and relp"),
        ({"address": "relp://h", "tls": {"ca_file": "/ca.pem"}}, "would not be encrypted"),
        ({"window": 64}, "window is for relp://"),
        ({"address": "relp://h", "window": 5000}, "1024"),
        ({"rate": 5}, "rate is for udp://"),
        ({"framing": "netstring"}, "octet-counting"),
        ({"facility": "local9"}, "local0"),
        ({"structured_data": "soteri"}, "pattern"),
        ({"structured_data": 'a"b@1'}, "pattern"),
        ({"structured_data": "a" * 40 + "@1"}, "at most 32"),
        ({"app_name": "two words"}, "pattern"),
        ({"hostname": "h\n"}, "pattern"),
        ({"max_message_bytes": 100}, "480"),
        ({"checkpoint": 5}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        config(**fields)


def test_defaults_are_what_receivers_take():
    written = config()
    assert (written.protocol, written.framing, written.max_message_bytes) == (
        "rfc5424",
        "octet-counting",
        8096,
    )
    assert not written.bom


async def test_a_missing_certificate_is_told_when_the_sink_is_opened(tmp_path):
    written = config(address="tls://h", tls={"ca_file": str(tmp_path / "none.pem")})
    with pytest.raises(ConfigError, match=r"none\.pem"):
        async with written.open(name="siem", format=FORMATS["json"], memory=FakeMemory()):
            pass
