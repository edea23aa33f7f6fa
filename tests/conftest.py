"""What holds for every test."""

import hypothesis
import pytest
import structlog

# The same examples in every run, and none refused for the time it takes on a busy machine.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _logs_as_they_are() -> None:
    """Begin each test with structlog's own settings, whatever an earlier one has made of them."""
    structlog.reset_defaults()


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, as the product does; a test that wants trio says so itself."""
    return "asyncio"
