"""What users write is checked in their words."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from forwarder.sources.bitbucket_audit import BitbucketAuditConfig

WRITTEN: dict[str, Any] = {
    "type": "bitbucket_audit",
    "url": "https://bitbucket.example.com/bitbucket/",
    "token": "t",
}


def config(**fields: Any) -> BitbucketAuditConfig:
    return BitbucketAuditConfig.model_validate(WRITTEN | fields)


def test_url_and_token_are_enough() -> None:
    made = config()
    assert made.url == "https://bitbucket.example.com/bitbucket"
    assert made.categories == ("Soteri Security for Bitbucket",)
    assert made.start_at == "now"
    assert (made.overlap, made.rescan_interval, made.rescan_window) == (300, 3600, 86400)
    assert (made.page_size, made.timeout) == (1000, 60)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"token": None}, "token"),
        ({"username": "u", "password": "p"}, "token"),
        ({"username": "u"}, "token"),
        ({"token": None, "username": "u"}, "password"),
        ({"token": None, "password": "p"}, "username"),
        ({"start_at": "yesterday"}, "beginning"),
        ({"start_at": "2024-01-01T00:00:00"}, "zone"),
        ({"start_at": 5}, "beginning"),
        ({"timeout": "30s"}, "timeout"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 10_001}, "page_size"),
        ({"repositories": ["SEC"]}, "KEY/slug"),
        ({"repositories": ["SEC/a/b"]}, "KEY/slug"),
        ({"projects": [""]}, "projects"),
        ({"url": "ftp://bitbucket.example.com"}, "https"),
        ({"url": "https://bitbucket.example.com?x=1"}, "query"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        config(**fields)


def test_a_start_is_a_time_as_text_or_as_toml_gives_it() -> None:
    at = datetime(2024, 1, 31, tzinfo=UTC)
    assert config(start_at="2024-01-31T00:00:00Z").start_at == at
    assert config(start_at=at).start_at == at


def test_the_credential_is_never_shown() -> None:
    shown = config(token=None, username="u", password="hunter2")
    assert "hunter2" not in f"{shown!r}{shown}{shown.model_dump()}{shown.model_dump_json()}"


def test_the_janitor_learns_how_far_back_a_poll_may_read() -> None:
    assert config().rereads == 90_000
    assert config(overlap="3d").rereads == 259_200


def test_the_rows_that_polling_writes_are_told() -> None:
    assert config().audit_rows_a_day == 2880 + 24
    assert config(poll_interval="1m", rescan_interval="1d").audit_rows_a_day == 1441
    both = config(projects=["A"], repositories=["B/c"])
    assert both.audit_rows_a_day == 2 * (2880 + 24)
