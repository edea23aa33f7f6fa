"""The plan that makes what is wanted, and changes only what differs."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from forwarder.detections import Detection
from forwarder.errors import AccessError
from forwarder.provision.cloudwatch import Wanted, alerts
from forwarder.provision.cloudwatch.account import Account
from forwarder.provision.cloudwatch.looking import (
    TAG,
    Found,
    Thing,
    look,
    tag_value,
    topic_arn,
)
from forwarder.provision.plan import Step, differences

_UNCONFIRMED: Final = (
    "AWS mails a link to that address: nothing is sent there before somebody follows it, within "
    "two days"
)
_KEY: Final = (
    "the key must be of this region, enabled, symmetric, and its policy must let "
    "logs.REGION.amazonaws.com use it (AWS's guide, Encrypt log data using AWS KMS)"
)
# What PutMetricAlarm takes and DescribeAlarms may answer besides our own: "" in all our alarms.
_EMPTY: Final = ("InsufficientDataActions", "Dimensions", "Unit", "ExtendedStatistic", "Metrics")


def plan_making(account: Account, wanted: Wanted) -> list[Step]:
    """Return the steps to what is wanted, in an order in which each finds what it needs.

    Raises:
        AccessError: it cannot be seen what there is, or a topic of our name is somebody else's.
        TransientError: AWS does not answer.
    """
    found = look(account, wanted)
    wanted_names = {alerts.name(each, wanted.prefix) for each in wanted.detections}
    return [
        _group(account, wanted, found.group),
        *_topic(account, wanted, found),
        *(step for each in wanted.detections for step in _alert(account, wanted, found, each)),
        *stale(account, wanted, found, keep=wanted_names),
    ]


def stale(account: Account, wanted: Wanted, found: Found, *, keep: set[str]) -> Iterator[Step]:
    """Yield the removal of our alarms and filters but for those to `keep`; others' are left.

    Those of another prefix that begins like ours count into a namespace of their own.
    """
    for name, alarm in found.alarms.items():
        if name in keep or alarm.said.get("Namespace") != wanted.prefix:
            continue
        if alarm.foreign:
            yield Step("leave", f"alarm {name}", note=alarm.foreign)
            continue
        act = partial(account.call, "cloudwatch", "delete_alarms", AlarmNames=[name])
        yield Step("remove", f"alarm {name}", done(act))
    for name, each in found.filters.items():
        alarm_of_it = found.alarms.get(name)
        if name in keep or (alarm_of_it and alarm_of_it.foreign):
            continue
        if each.foreign:
            yield Step("leave", f"metric filter {name}", note=each.foreign)
            continue
        act = partial(
            account.call,
            "logs",
            "delete_metric_filter",
            logGroupName=wanted.log_group,
            filterName=name,
        )
        yield Step("remove", f"metric filter {name}", done(act))


def done(act: Callable[[], object]) -> Callable[[], None]:
    """Return `act` as a step's: what AWS answers is of no use."""

    def do() -> None:
        act()

    return do


def _group(account: Account, wanted: Wanted, there: Thing | None) -> Step:
    what = f"log group {wanted.log_group}"
    fields = {
        "retention": f"{wanted.retention_days} days" if wanted.retention_days else "",
        "key": wanted.kms_key or "",
    }
    asked = {name: value for name, value in fields.items() if value}
    if there is None:
        note = "" if wanted.retention_days else "events are kept in it for ever: --retention-days"
        act = partial(_make_group, account, wanted)
        return Step("create", what, act, differences(asked, {}), note)
    if (kind := there.said.get("logGroupClass", "STANDARD")) != "STANDARD":
        raise AccessError(
            f"{what} is of class {kind}, which has no metric filters",
            remedy="use a log group of class STANDARD; the class of one cannot be changed",
        )
    days = there.said.get("retentionInDays")
    has = {
        "retention": f"{days} days" if days else "",
        "key": there.said.get("kmsKeyId", ""),
    }
    differs = differences(asked, has)
    if not differs:
        return Step("leave", what)
    if there.foreign:
        kept = ", ".join(f"{each.field} {each.before or '(nothing)'}" for each in differs)
        return Step("leave", what, note=f"{there.foreign}; it keeps {kept}")
    names = {each.field for each in differs}
    return Step("change", what, partial(_change_group, account, wanted, names), differs)


def _make_group(account: Account, wanted: Wanted) -> None:
    key = {"kmsKeyId": wanted.kms_key} if wanted.kms_key else {}
    account.call(
        "logs",
        "create_log_group",
        remedy=_KEY.replace("REGION", account.region),
        logGroupName=wanted.log_group,
        tags={TAG: tag_value(wanted.log_group)},
        **key,
    )
    if wanted.retention_days:
        _change_group(account, wanted, {"retention"})


def _change_group(account: Account, wanted: Wanted, fields: set[str]) -> None:
    name = wanted.log_group
    if "retention" in fields:
        days = wanted.retention_days
        account.call("logs", "put_retention_policy", logGroupName=name, retentionInDays=days)
    if "key" in fields:
        remedy = _KEY.replace("REGION", account.region)
        key = wanted.kms_key
        account.call("logs", "associate_kms_key", remedy=remedy, logGroupName=name, kmsKeyId=key)


def _topic(account: Account, wanted: Wanted, found: Found) -> Iterator[Step]:
    what = f"topic {wanted.prefix}"
    if wanted.topic_arn:
        if account.ask("sns", "get_topic_attributes", TopicArn=wanted.topic_arn) is None:
            raise AccessError(
                f"there is no topic {wanted.topic_arn}",
                remedy="make it, or leave --topic-arn away: then one is made",
            )
        yield Step("leave", f"topic {wanted.topic_arn}", note="your own: nothing of it is changed")
        if found.topic and found.topic.ours:
            yield Step("leave", what, note="no alarm tells it any more; --remove takes it away")
        return
    if found.topic and found.topic.foreign:
        raise AccessError(
            f"{what}: {found.topic.foreign}",
            remedy="give another --prefix; or --topic-arn, to use that topic as it is",
        )
    note = "" if wanted.emails or found.subscribers else "it tells nobody yet: give --email"
    if found.topic is None:
        tags = [{"Key": TAG, "Value": tag_value(wanted.log_group)}]
        act = partial(account.call, "sns", "create_topic", Name=wanted.prefix, Tags=tags)
        yield Step("create", what, done(act), note=note)
    else:
        yield Step("leave", what, note=note)
    for email in wanted.emails:
        if email not in found.subscribers:
            act = partial(
                account.call,
                "sns",
                "subscribe",
                remedy=f"{email} must be an e-mail address",
                TopicArn=topic_arn(account, wanted),
                Protocol="email",
                Endpoint=email,
            )
            yield Step("create", f"subscription of {email}", done(act), note=_UNCONFIRMED)
    for email, is_confirmed in found.subscribers.items():
        waits = "" if is_confirmed else f"not confirmed: {_UNCONFIRMED}"
        yield Step("leave", f"subscription of {email}", note=waits)


def _alert(account: Account, wanted: Wanted, found: Found, detection: Detection) -> Iterator[Step]:
    if detection.cloudwatch is None:
        query = " ".join((detection.logs_insights or "").split())
        note = f"no metric filter can say it; ask Logs Insights: {query}"
        yield Step("leave", f"detection {detection.name}", note=note)
        return
    name = alerts.name(detection, wanted.prefix)
    filter_there, alarm_there = found.filters.get(name), found.alarms.get(name)
    for each in filter_there, alarm_there:
        if each and each.foreign:
            yield Step("leave", f"detection {detection.name}", note=f"{name} is {each.foreign}")
            return
    members = alerts.metric_filter(detection, wanted.prefix)
    act = partial(
        account.call, "logs", "put_metric_filter", logGroupName=wanted.log_group, **members
    )
    there = _filter_fields(filter_there.said) if filter_there else None
    empty = [each for each in detection.lists if f"%{each}%" in detection.cloudwatch]
    note = "".join(f"nobody is on its list: --list {each}=NAME" for each in empty)
    yield _put(f"metric filter {name}", _filter_fields(members), there, act, note=note)
    members = alerts.alarm(detection, wanted.prefix, topic_arn(account, wanted))
    # Tags are taken only where the alarm is new (PutMetricAlarm, Tags).
    tags = [{"Key": TAG, "Value": tag_value(wanted.log_group)}]
    put = members if alarm_there else {**members, "Tags": tags}
    act = partial(account.call, "cloudwatch", "put_metric_alarm", **put)
    fields = {field: _text(members.get(field)) for field in (*members, *_EMPTY)}
    there = {field: _text(alarm_there.said.get(field)) for field in fields} if alarm_there else None
    yield _put(f"alarm {name}", fields, there, act, note=alerts.condition(detection))


def _put(
    what: str,
    fields: dict[str, str],
    there: dict[str, str] | None,
    act: Callable[[], object],
    *,
    note: str,
) -> Step:
    if there is None:
        return Step("create", what, done(act), note=note)
    differs = differences(fields, there)
    if not differs:
        return Step("leave", what)
    return Step("change", what, done(act), differs, note)


def _filter_fields(said: Mapping[str, Any]) -> dict[str, str]:
    (into,) = said["metricTransformations"]
    fields = {"pattern": said["filterPattern"], "value": into["metricValue"]}
    # What is not ours to say is nothing: a default value would hide that nothing comes.
    rest = {name: into.get(name) for name in ("defaultValue", "dimensions", "unit")}
    return {name: _text(value) for name, value in {**fields, **rest}.items()}


def _text(value: object) -> str:
    """Return `value` so that what is the same reads the same: AWS answers 1.0 for 1."""
    if value in (None, "None", [], {}):  # "None" is what AWS answers for a unit that is not there
        return ""
    match value:
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case list():
            return ", ".join(map(str, value))
    return str(value)
