"""The plan that takes away what was made, and nothing else."""

from collections.abc import Iterator
from functools import partial

from forwarder.provision.cloudwatch import Wanted
from forwarder.provision.cloudwatch.account import Account
from forwarder.provision.cloudwatch.looking import Found, look
from forwarder.provision.cloudwatch.making import done, stale
from forwarder.provision.plan import Step


def plan_removing(account: Account, wanted: Wanted, *, with_events: bool) -> list[Step]:
    """Return the steps that take away what was made for the log group of `wanted`.

    The log group goes too, if it was made here and nothing was ever written to it; `with_events`
    takes it whatever it holds.

    Raises:
        AccessError, TransientError: it cannot be seen what there is.
    """
    found = look(account, wanted)
    return [
        *stale(account, wanted, found, keep=set()),
        *_topic(account, wanted, found),
        *_group(account, wanted, found, with_events=with_events),
    ]


def _topic(account: Account, wanted: Wanted, found: Found) -> Iterator[Step]:
    what = f"topic {wanted.prefix}"
    if found.topic is None:
        return
    if found.topic.foreign:
        yield Step("leave", what, note=found.topic.foreign)
        return
    arn = account.arn("sns", wanted.prefix)
    told = ", ".join(found.subscribers)
    note = f"with its subscriptions: {told}" if told else ""
    act = partial(account.call, "sns", "delete_topic", TopicArn=arn)
    yield Step("remove", what, done(act), note=note)


def _group(account: Account, wanted: Wanted, found: Found, *, with_events: bool) -> Iterator[Step]:
    what = f"log group {wanted.log_group}"
    if found.group is None:
        return
    if found.group.foreign:
        yield Step("leave", what, note=found.group.foreign)
        return
    # By its streams: the sizes that AWS tells are hours old, and a stream is made by who writes.
    streams = account.call("logs", "describe_log_streams", logGroupName=wanted.log_group, limit=1)[
        "logStreams"
    ]
    if streams and not with_events:
        yield Step("leave", what, note="events were written to it; --delete-log-group takes them")
        return
    act = partial(account.call, "logs", "delete_log_group", logGroupName=wanted.log_group)
    note = "with every event in it" if streams else "nothing was ever written to it"
    yield Step("remove", what, done(act), note=note)
