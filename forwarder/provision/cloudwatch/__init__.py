"""From the detections to an e-mail, in CloudWatch: filters count events, alarms tell a topic.

alerts.py     a detection as a metric filter and an alarm, in AWS's own words; pure
account.py    the account that is asked and changed, and what its errors mean
looking.py    what is there, and what of it was made here
making.py     the plan that makes what is wanted
removing.py   the plan that takes away what was made
"""

from dataclasses import dataclass
from typing import Final

from forwarder.detections import Detection

PREFIX: Final = "soteri-forwarder"
"""Begins the name of everything that is made, and is its metrics' namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What there is to be.

    `topic_arn` names a topic of the user's own; then there are no `emails`, and none is made.
    Without `retention_days` and `kms_key` a log group keeps what it has.
    """

    log_group: str
    detections: tuple[Detection, ...] = ()
    prefix: str = PREFIX
    retention_days: int | None = None
    kms_key: str | None = None
    emails: tuple[str, ...] = ()
    topic_arn: str | None = None
