"""What is in the account, and what of it was made here: that has a tag.

The tag's value is the log group, so that two forwarders in one account cannot take each other's
alarms for their own. Metric filters can have no tags: one was made here if it counts into our
namespace under our name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from forwarder.provision.cloudwatch import Wanted
from forwarder.provision.cloudwatch.account import Account

TAG: Final = "soteri-forwarder"
PENDING: Final = "PendingConfirmation"
"""What SNS says in place of the ARN of a subscription that nobody has confirmed."""
_DELETED: Final = "Deleted"


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that is there: what AWS says of it, and whether it was made here for this group.

    `maker` is the log group that it was made here for, "" where it was not made here.
    """

    said: Mapping[str, Any]
    maker: str
    ours: bool

    @property
    def foreign(self) -> str:
        """Why it is left alone; "" where it is ours."""
        if self.ours:
            return ""
        if self.maker:
            return f"made for the log group {self.maker}: give another --prefix"
        return "there already, and not made by this command"


@dataclass(frozen=True, slots=True)
class Found:
    """What is there of what `Wanted` names; alarms and filters by their names.

    `subscribers` are the e-mail addresses of the topic, with whether they are confirmed.
    """

    group: Thing | None
    filters: Mapping[str, Thing]
    alarms: Mapping[str, Thing]
    topic: Thing | None
    subscribers: Mapping[str, bool]


def tag_value(log_group: str) -> str:
    """Return the tag's value for `log_group`: tags know no ``#`` (AWS's tagging rules)."""
    return log_group.replace("#", "_")


def group_arn(account: Account, log_group: str) -> str:
    """Return the ARN that tags of a log group go by."""
    return account.arn("logs", f"log-group:{log_group}")


def topic_arn(account: Account, wanted: Wanted) -> str:
    """Return the ARN of the topic that alarms tell."""
    return wanted.topic_arn or account.arn("sns", wanted.prefix)


def look(account: Account, wanted: Wanted) -> Found:
    """Return what is there. Nothing is changed.

    Raises:
        AccessError, TransientError: it cannot be seen.
    """
    topic = _topic(account, wanted)
    return Found(
        group=_group(account, wanted),
        filters=_filters(account, wanted),
        alarms=_alarms(account, wanted),
        topic=topic,
        subscribers=_subscribers(account, wanted) if topic else {},
    )


def _thing(said: Mapping[str, Any], maker: str, wanted: Wanted) -> Thing:
    return Thing(said, maker, ours=maker == tag_value(wanted.log_group))


def _group(account: Account, wanted: Wanted) -> Thing | None:
    name = wanted.log_group
    pages = account.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=name)
    said = next((each for each in pages if each["logGroupName"] == name), None)
    if said is None:
        return None
    answer = account.call("logs", "list_tags_for_resource", resourceArn=group_arn(account, name))
    return _thing(said, answer.get("tags", {}).get(TAG, ""), wanted)


def _filters(account: Account, wanted: Wanted) -> dict[str, Thing]:
    pages = account.pages(
        "logs",
        "describe_metric_filters",
        "metricFilters",
        logGroupName=wanted.log_group,
        filterNamePrefix=f"{wanted.prefix}-",
    )
    return {
        each["filterName"]: Thing(each, "", ours=_counts_for_us(each, wanted)) for each in pages
    }


def _counts_for_us(said: Mapping[str, Any], wanted: Wanted) -> bool:
    (into,) = said["metricTransformations"]
    counted = f"{wanted.prefix}-{into['metricName'].replace('_', '-')}"
    return bool(into["metricNamespace"] == wanted.prefix and said["filterName"] == counted)


def _alarms(account: Account, wanted: Wanted) -> dict[str, Thing]:
    prefix = f"{wanted.prefix}-"
    found = {}
    pages = account.pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=prefix)
    for each in list(pages):
        arn = each["AlarmArn"]
        answer = account.call("cloudwatch", "list_tags_for_resource", ResourceARN=arn)
        found[each["AlarmName"]] = _thing(each, _listed(answer), wanted)
    return found


def _topic(account: Account, wanted: Wanted) -> Thing | None:
    arn = account.arn("sns", wanted.prefix)
    said = account.ask("sns", "get_topic_attributes", TopicArn=arn)
    if said is None:
        return None
    answer = account.call("sns", "list_tags_for_resource", ResourceArn=arn)
    return _thing(said, _listed(answer), wanted)


def _subscribers(account: Account, wanted: Wanted) -> dict[str, bool]:
    arn = account.arn("sns", wanted.prefix)
    pages = account.pages("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=arn)
    return {
        each["Endpoint"]: each["SubscriptionArn"] != PENDING
        for each in pages
        if each["SubscriptionArn"] != _DELETED and each["Protocol"] == "email"
    }


def _listed(answer: Mapping[str, Any]) -> str:
    return next((str(tag["Value"]) for tag in answer.get("Tags", ()) if tag["Key"] == TAG), "")
