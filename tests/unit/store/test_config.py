"""What users may write under ``[store]``."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from forwarder.store import StoreConfig


def test_the_url_names_an_absolute_file() -> None:
    assert StoreConfig().path == Path("/var/lib/soteri-forwarder/forwarder.db")
    assert StoreConfig(url="sqlite:////srv/a b/x.db").path == Path("/srv/a b/x.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///:memory:",
        "sqlite:///var/lib/soteri-forwarder/forwarder.db",
        "/var/lib/forwarder.db",
        "mysql://host/db",
        "SQLITE:////srv/x.db",
    ],
)
def test_a_url_that_is_no_store_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValidationError, match=r"such as \"sqlite:////var/lib/"):
        StoreConfig(url=url)
