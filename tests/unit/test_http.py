"""What an HTTP answer other than success stands for."""

import httpx
import pytest

from forwarder.errors import AccessError
from forwarder.http import failure


@pytest.mark.parametrize("target", ["https://[::1", "http://a:b:c/", "\x7f", f"//{'a' * 70_000}"])
def test_a_redirect_to_what_is_no_address_is_a_redirect(target: str) -> None:
    asked = httpx.Request("GET", "http://bitbucket.test/rest")
    error = failure(httpx.Response(302, headers={"Location": target}, request=asked), where="here")
    assert isinstance(error, AccessError)
    assert str(error).startswith("here: HTTP 302, redirected to ")
    assert error.remedy
