"""What an answer of HEC means: a table, and one pure function that reads it.

Codes: Splunk, "Troubleshoot HTTP Event Collector", possible error codes; which events of a refused
batch are indexed was measured on Splunk Enterprise 10.4 and Splunk Cloud 10.5.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import httpx
import msgspec

from forwarder.errors import AccessError, TransientError
from forwarder.http import failure, retry_after

SUCCESS: Final = 0
NEAR_CAPACITY: Final = frozenset({24, 25})
"""Taken, and please slow down: sending it again would double it."""

BUSY: Final = MappingProxyType(
    {
        8: "internal server error",
        9: "server is busy",
        18: "queues are full",
        19: "acknowledgement is unavailable",
        20: "queues are full and acknowledgement is unavailable",
        23: "server is shutting down",
        26: "queues are at capacity",
        27: "acknowledgement is at capacity",
    }
)
REFUSED: Final = frozenset({5, 6, 12, 13, 15})
"""One event is refused; those before it are indexed, those behind it are not."""

_ADDRESS: Final = (
    "set url to the HTTP Event Collector (port 8088, or 443 on Splunk Cloud): "
    "a proxy or a log-in page answers at this one"
)
_WHICH: Final = "set token to an enabled HEC token (Settings > Data inputs > HTTP Event Collector)"
_ACK: Final = "turn indexer acknowledgement on for this token, or set ack = false"
REMEDIES: Final = MappingProxyType(
    {
        1: "enable the token in Splunk (Settings > Data inputs > HTTP Event Collector)",
        2: f"{_WHICH}; if it is set, a proxy may be removing the Authorization header",
        3: _WHICH,
        4: f"{_WHICH}; this Splunk does not know the one that is set",
        7: "create the index, allow it for this token, or set index to one that the token allows",
        10: "this token has indexer acknowledgement turned on: set ack = true",
        11: "check what stands between: the X-Splunk-Request-Channel header arrived changed",
        14: _ACK,
        16: "check what stands between: the token must arrive in the Authorization header",
        21: _WHICH,
        22: "enable the token in Splunk (Settings > Data inputs > HTTP Event Collector)",
        28: "check what stands between: the X-Splunk-Request-Channel header arrived changed",
    }
)
"""Codes that hold everything until a person acts, and what that person does."""

NO_ACK_ID: Final = _ACK
_SLOW_DOWN: Final = 2.0
"""Seconds to pause where Splunk is near capacity and names no time of its own."""


class Answer(msgspec.Struct, frozen=True):
    """HEC's JSON, of which only `code` is always there."""

    code: int
    text: str = ""
    ack_id: int | None = msgspec.field(default=None, name="ackId")
    event_number: int | None = msgspec.field(default=None, name="invalid-event-number")


@dataclass(frozen=True, slots=True)
class Taken:
    """All of it was received. `ack_id` is None where the token acknowledges nothing."""

    ack_id: int | None = None
    slow_down: float = 0.0


@dataclass(frozen=True, slots=True)
class Spoiled:
    """The event at `number` is refused; those before it are indexed, those behind it are not.

    `number` is None where HEC did not say, or said a number that it cannot be.
    """

    number: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Nothing was taken, because it is too much at once."""

    detail: str


Verdict = Taken | Spoiled | TooLarge


def read(body: bytes) -> Answer | None:
    """Return HEC's answer, or None where it is something else's."""
    try:
        return msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, RecursionError):
        return None


def verdict(response: httpx.Response, answer: Answer | None, *, where: str, events: int) -> Verdict:
    """Return what became of a request of `events` events.

    Raises:
        TransientError: busy, or out of order; it may work later.
        AccessError: a person must act; nothing of it was taken.
    """
    status = response.status_code
    if status == 413:
        return TooLarge(f"{where}: HTTP 413, too large")
    if answer is None:
        raise refusal(None, response, where=where)
    said = f"{where}: HTTP {status}, code {answer.code}: {answer.text}"
    if status == 200 and answer.code == SUCCESS:
        return Taken(answer.ack_id)
    if status == 200 and answer.code in NEAR_CAPACITY:
        return Taken(answer.ack_id, max(_SLOW_DOWN, retry_after(response)))
    if status == 400 and answer.code in REFUSED:
        number = answer.event_number
        return Spoiled(number if number is not None and 0 <= number < events else None, said)
    raise refusal(answer, response, where=where)


def refusal(
    answer: Answer | None, response: httpx.Response, *, where: str
) -> AccessError | TransientError:
    """Return the error that an answer other than success stands for.

    None stands for what no HEC says: a proxy's page, or another server's.
    """
    status = response.status_code
    if answer is None:
        kind = response.headers.get("Content-Type", "of no type")
        detail = f"a body that is not HEC's ({kind})"
    else:
        detail = f"code {answer.code}: {answer.text or BUSY.get(answer.code, '')}"
        if answer.code in BUSY:
            return TransientError(
                f"{where}: HTTP {status}, {detail}", retry_after=retry_after(response)
            )
        if answer.code in REMEDIES:
            return AccessError(f"{where}: HTTP {status}, {detail}", remedy=REMEDIES[answer.code])
    if 200 <= status < 300:
        return AccessError(f"{where}: HTTP {status} with {detail}", remedy=_ADDRESS)
    return failure(response, where=where, detail=detail)
