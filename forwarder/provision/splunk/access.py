"""How Splunk's management port lets us in, and what it means where it does not."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from pydantic import Field, model_validator

from forwarder import network
from forwarder.errors import AccessError, ForwarderError, PermanentError, TransientError
from forwarder.secret import Secret
from forwarder.sinks.splunk_hec.management import ManagementOptions, service

_CREDENTIALS: Final = (
    "check the credentials: a token or a user with password of this Splunk, one that is not "
    "expired (Settings > Tokens) and may use the REST API"
)
_CAPABILITY: Final = re.compile(r"requires capability: ([^)]+)\)")


class SplunkAccess(ManagementOptions):
    """Splunk's management port, and who asks there: a token, or a user with a password."""

    username: str | None = Field(default=None, description="In place of a token.")
    password: Secret | None = Field(default=None, description="Of that user.")

    @model_validator(mode="after")
    def _knows_somebody(self) -> "SplunkAccess":
        if (self.username is None) != (self.password is None):
            raise ValueError("a user needs a password, and a password a user")
        if (self.token is None) == (self.username is None):
            raise ValueError("needs a token, or a user with password, and not both")
        return self

    @property
    def where(self) -> str:
        """What is spoken to, for messages."""
        return f"Splunk's management port {self.url}"


def connected(access: SplunkAccess, *, app: str) -> Any:  # noqa: ANN401  the SDK is untyped
    """Return splunk-sdk's service, logged in, that sees and makes what everybody in `app` sees.

    Raises:
        AccessError, TransientError: it does not let us in, or cannot be reached.
    """
    user = {}
    if access.username is not None and access.password is not None:
        user = {"username": access.username, "password": access.password.reveal()}
    with translated(access.where, "log in"):
        opened = service(access, owner="nobody", app=app, sharing="app", **user)
        opened.login()
    return opened


@contextmanager
def translated(where: str, doing: str) -> Iterator[None]:
    """Raise what splunk-sdk raises inside as our errors; `doing` says what was tried.

    Raises:
        AccessError: refused, or something else than Splunk answers.
        TransientError: cannot be reached, or is out of order.
        PermanentError: Splunk takes the request for wrong.
    """
    from splunklib.binding import HTTPError

    try:
        yield
    except HTTPError as error:
        raise _refusal(where, doing, error.status, error.body) from None
    except (OSError, HTTPException) as error:
        found = network.cause(error)
        said = found.said if found else str(error) or type(error).__name__
        remedy = found.remedy if found else "check --url, and that the management port is open"
        remedy = remedy.partition(", or set tls.server_name")[0]
        remedy = remedy.replace("set tls.ca_file to", "give --ca-file")
        raise TransientError(f"{where}: cannot {doing}: {said}", remedy=remedy) from error
    except (ParseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AccessError(
            f"{where}: cannot {doing}: the answer is not Splunk's ({type(error).__name__})",
            remedy="check --url: something else answers there (the management port is 8089)",
        ) from error


def _refusal(where: str, doing: str, status: int, body: bytes) -> ForwarderError:
    told = _told(body)
    said = f"{where}: cannot {doing}: HTTP {status}" + (f": {told}" if told else "")
    if status == 401:
        return AccessError(said, remedy=_CREDENTIALS)
    if status == 403:
        found = _CAPABILITY.search(told)
        right = f"the capability {found[1]}" if found else "the right to write there"
        return AccessError(said, remedy=f"give {right} to a role of the user (Settings > Roles)")
    if status == 404:
        return PermanentError(said, remedy="check --app, and that --url is the management port's")
    if status in (408, 429) or status >= 500:
        return TransientError(said, remedy="try again; what is done stays done")
    return PermanentError(said, remedy="see what Splunk says of it, and run the plan again")


def _told(body: bytes) -> str:
    """Return the messages of Splunk's XML, or nothing where it is something else's."""
    from xml.etree.ElementTree import XML

    try:
        found = XML(body).iterfind("./messages/msg")
        return " ".join(" ".join((each.text or "").split()) for each in found)
    except ParseError:
        return ""
