"""What holds for every test."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, as the product does; a test that wants trio says so itself."""
    return "asyncio"
