"""Errors are named by what the daemon does next, not by what went wrong.

    ForwarderError
    ├── ConfigError      refuse to start; one line for each problem; exit 78
    ├── TransientError   try the same call again, after `retry_after` where the server said so
    │   └── LeaseLost    another replica has taken the part over: this one stops it
    ├── PermanentError   never send this again: find the culprit, bury it alone
    ├── AccessError      pause the component, keep everything, alarm, try rarely; exit 77
    └── StoreError       stop the daemon; the supervisor restarts it; exit 74
        └── StoreLocked  another process runs on the same store

What worked in part is returned (`model.Receipt`); only what did not work at all is raised.
"""

from collections.abc import Iterable
from typing import Literal

from forwarder.concealed import without_secrets

Reason = Literal[
    "unreadable",  # a record that no normalizer can read
    "malformed",  # the destination says that it cannot read the event
    "too_large",  # over the destination's size limit for one event
    "too_old",  # older than the destination takes
    "too_new",  # further in the future than the destination takes
    "expired",  # past the destination's retention
    "refused",  # the destination refused it for good, for a reason of its own
    "test",  # nothing is wrong: a test event that is on its way
]
"""Why something was buried: a short closed list, because it is also a metric's label."""


class ForwarderError(Exception):
    """The root; `remedy` says what a person can do about it, or is empty.

    No credential of ours is in the message, though the other side repeats it.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(without_secrets(message))
        self.remedy = remedy


class ConfigError(ForwarderError):
    """The configuration cannot be used. `problems` has one line for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(map(without_secrets, problems))
        super().__init__("\n".join(self.problems))


class TransientError(ForwarderError):
    """The same call may work later. `retry_after` is in seconds; 0 where nobody said."""

    def __init__(self, message: str, *, retry_after: float = 0.0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class LeaseLost(TransientError):  # noqa: N818  a state, not a fault
    """Another replica has taken over the source or sink; nothing was written."""


class PermanentError(ForwarderError):
    """This batch will never be taken as it is; nothing of it was delivered.

    The dispatcher halves the batch until the culprit stands alone, and buries it with `reason`.
    """

    def __init__(self, message: str, *, reason: Reason = "refused", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason: Reason = reason


class AccessError(ForwarderError):
    """The other side does not let us in. Hold everything, say so, try rarely."""


class StoreError(ForwarderError):
    """The outbox cannot be used: without it nothing can be promised, so the daemon stops."""


class StoreLocked(StoreError):  # noqa: N818  a state, not a fault
    """Another process runs on the same store."""
