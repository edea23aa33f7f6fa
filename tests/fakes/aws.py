"""What moto does not play of AWS, put between a boto3 session and moto; and what was called.

moto confirms an e-mail subscription by itself, and knows neither AssociateKmsKey nor a log group's
class. Source of each answer:
botocore's models, and AWS's API reference of the operation.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from boto3.session import Session
from botocore.awsrequest import AWSResponse

PENDING = "PendingConfirmation"


@dataclass
class Aws:
    """Hooks into `session`; addresses in `confirmed` have followed the link in their mail."""

    session: Session
    confirmed: set[str] = field(default_factory=set)
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    group_class: str = "STANDARD"

    def __post_init__(self) -> None:
        events = self.session.events
        events.register("provide-client-params", self._recorded)
        events.register("before-call.cloudwatch-logs.AssociateKmsKey", self._associate)
        events.register("after-call.cloudwatch-logs.DescribeLogGroups", self._as_it_is)
        events.register("after-call.sns.ListSubscriptionsByTopic", self._as_confirmed)

    def made(self) -> set[str]:
        """Return the actions that changed something."""
        reads = ("Describe", "List", "Get")
        return {
            f"{service}:{name}" for service, name, _ in self.calls if not name.startswith(reads)
        }

    def _recorded(self, params: dict[str, Any], model: Any, **_: object) -> None:
        service = model.service_model.signing_name.replace("monitoring", "cloudwatch")
        self.calls.append((service, model.name, params))

    def _associate(self, params: dict[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:
        asked = json.loads(params["body"])
        self.keys[asked["logGroupName"]] = asked["kmsKeyId"]
        return AWSResponse(params["url"], 200, {}, None), {}

    def _as_it_is(self, parsed: dict[str, Any], **_: object) -> None:
        for group in parsed.get("logGroups", ()):
            group["logGroupClass"] = self.group_class
            if key := self.keys.get(group["logGroupName"]):
                group["kmsKeyId"] = key

    def _as_confirmed(self, parsed: dict[str, Any], **_: object) -> None:
        for each in parsed.get("Subscriptions", ()):
            if each["Endpoint"] not in self.confirmed:
                each["SubscriptionArn"] = PENDING
