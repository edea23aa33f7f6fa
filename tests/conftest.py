"""What holds for every test."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from forwarder import concealed
from tests.receivers.postgres import Postgres, postgres

# No test speaks with anything but loopback, so none needs the system's 140 CAs: to read them
# takes longer than most tests.
os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}

# The same examples in every run, and none refused for the time it takes on a busy machine.
# "deep" is what `make soak` draws, "brief" what other interpreters get.
_STEADY = hypothesis.settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("steady", _STEADY, max_examples=50)
hypothesis.settings.register_profile("brief", _STEADY, max_examples=10)
hypothesis.settings.register_profile("deep", _STEADY, max_examples=2000, derandomize=False)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _logs_as_they_are() -> None:
    """Begin each test with structlog's own settings, whatever an earlier one has made of them.

    And with no credential of an earlier test's, which here may be an ordinary word.
    """
    structlog.reset_defaults()
    concealed._known.clear()


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, as the product does; a test that wants trio says so itself."""
    return "asyncio"


@pytest.fixture(scope="session")
def pg() -> Iterator[Postgres]:
    """Run one PostgreSQL for all tests of this process."""
    with postgres() as server:
        yield server
