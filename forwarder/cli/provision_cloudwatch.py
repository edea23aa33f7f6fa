"""`provision cloudwatch`: log group, metric filters, alarms, topic and e-mail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from forwarder.cli import completion
from forwarder.cli.provision import DryRun, Emails, Listed, Without, Yes, addresses, chosen, settle
from forwarder.cli.terminal import ConfigOption, err, loaded, out, quieten, shown

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import Event
    from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig

_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What SNS allows in the name of a topic; it is the narrowest."""
_KEY: Final = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
_TOPIC: Final = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")


def cloudwatch(
    config: ConfigOption = None,
    *,
    sink: Annotated[
        str | None,
        typer.Option(
            "--sink",
            help="The sink's name in the configuration, where it has more than one of them.",
            autocompletion=completion.sinks,
        ),
    ] = None,
    log_group: Annotated[
        str | None,
        typer.Option("--log-group", help="This log group, without any configuration."),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", help="AWS region; by default the sink's, AWS_REGION.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Profile in AWS's own configuration files.")
    ] = None,
    email: Emails = None,
    topic_arn: Annotated[
        str | None,
        typer.Option("--topic-arn", help="A topic of your own to tell, in place of a new one."),
    ] = None,
    retention_days: Annotated[
        int | None,
        typer.Option("--retention-days", help="Of the log group; by default the sink's."),
    ] = None,
    kms_key: Annotated[
        str | None, typer.Option("--kms-key", help="ARN of the key that encrypts the log group.")
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Begins the name of all that is made.")
    ] = "soteri-forwarder",
    listed: Listed = None,
    without: Without = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take away what was made, and nothing else.")
    ] = False,
    delete_log_group: Annotated[
        bool,
        typer.Option("--delete-log-group", help="With --remove: the log group too, with events."),
    ] = False,
) -> None:
    r"""Make what alerts people in CloudWatch, or set it right.

    A log group, a metric filter and an alarm for each detection, a topic, and subscriptions of it.
    The plan is shown first, and only what differs is changed; again, there is nothing to do. What
    was not made by this command (tag "soteri-forwarder") is left alone. Credentials are found as
    every AWS tool finds them; deploy/cloudwatch/iam-policy-provision.json is all that they need.

    Examples:

      soteri-forwarder provision cloudwatch --email security@example.com --dry-run

      soteri-forwarder provision cloudwatch --log-group /soteri/audit --region eu-central-1 \
          --email security@example.com

      soteri-forwarder provision cloudwatch --remove
    """
    from forwarder.provision.cloudwatch import Wanted
    from forwarder.provision.cloudwatch.account import Account, open_session
    from forwarder.provision.cloudwatch.alerts import awaited
    from forwarder.provision.cloudwatch.making import plan_making
    from forwarder.provision.cloudwatch.removing import plan_removing

    quieten()
    emails, alerting = addresses(email or ()), chosen(listed or (), without or ())
    _refuse(emails, topic_arn, kms_key, prefix)
    if delete_log_group and not remove:
        raise typer.BadParameter("goes with --remove", param_hint="--delete-log-group")
    given = {"region": region, "profile": profile, "retention_days": retention_days}
    place, heartbeat = _place(config, sink, log_group, given)
    wanted = Wanted(
        log_group=place.log_group,
        detections=awaited(alerting, heartbeat),
        prefix=prefix,
        retention_days=place.retention_days,
        kms_key=kms_key,
        emails=emails,
        topic_arn=topic_arn,
    )
    session = open_session(place)
    account = Account(session, endpoint_url=place.endpoint_url, timeout=place.timeout)
    out.print(shown(str(account)))
    if remove:
        steps = plan_removing(account, wanted, with_events=delete_log_group)
    else:
        steps = plan_making(account, wanted)
    settle(steps, dry_run=dry_run, yes=yes)


def _refuse(emails: Sequence[str], topic_arn: str | None, kms_key: str | None, prefix: str) -> None:
    """Refuse what AWS would, before anything is made."""
    if emails and topic_arn:
        said = "subscribe to your own topic yourself: --email is for the one that is made"
        raise typer.BadParameter(said, param_hint="--email")
    for given, pattern, option, example in (
        (topic_arn, _TOPIC, "--topic-arn", "arn:aws:sns:eu-central-1:123456789012:alerts"),
        (kms_key, _KEY, "--kms-key", "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-..."),
        (prefix, _PREFIX, "--prefix", "soteri-forwarder"),
    ):
        if given is not None and not pattern.fullmatch(given):
            raise typer.BadParameter(f'"{given}" is none: write "{example}"', param_hint=option)


def _place(
    path: Path | None, sink: str | None, log_group: str | None, given: Mapping[str, object]
) -> tuple[CloudWatchLogsConfig, float | None]:
    """Return where it is all made, and the seconds between two heartbeats, None if unknown.

    What is `given` counts more than what the configuration says.

    Raises:
        ConfigError: there is no such sink, or metric filters cannot read what it sends.
        typer.BadParameter: AWS would not take what is given.
    """
    from pydantic import ValidationError

    from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig

    found, heartbeat = None, None
    if log_group is None:
        found, heartbeat = _configured(path, sink)
        log_group = found.log_group
    elif sink:
        said = "is one of the configuration: leave --log-group away"
        raise typer.BadParameter(said, param_hint="--sink")
    written = {name: value for name, value in given.items() if value is not None}
    try:
        place = CloudWatchLogsConfig.model_validate(
            {"type": "cloudwatch_logs", "log_group": log_group, **written}
        )
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False)
        option = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise typer.BadParameter(first["msg"], param_hint=option) from None
    if found:
        place = found.model_copy(update={name: getattr(place, name) for name in written})
    return place, heartbeat


def _configured(path: Path | None, sink: str | None) -> tuple[CloudWatchLogsConfig, float]:
    """Return the sink, and the seconds between two heartbeats that come there, 0 if none does."""
    from forwarder.errors import ConfigError
    from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig

    config = loaded(path)
    sinks = {
        name: each for name, each in config.sinks.items() if isinstance(each, CloudWatchLogsConfig)
    }
    name = sink or next(iter(sinks), "")
    if name not in sinks or (sink is None and len(sinks) > 1):
        there = ", ".join(sinks) or "none; --log-group NAME takes a log group without one"
        said = f"say which sink of type cloudwatch_logs; there are {there}"
        raise typer.BadParameter(said, param_hint="--sink")
    found = sinks[name]
    if found.format != "json":
        said = f'sinks.{name}.format: is "{found.format}": metric filters look into "json"'
        raise ConfigError([said])
    why = "[heartbeat] interval is 0s"
    if rule := found.refusing(_heartbeat(config)):
        why = f"sinks.{name}.{rule} keeps heartbeats from being sent"
    elif config.heartbeat.interval:
        return found, config.heartbeat.interval
    err.print(f"[yellow]warning:[/] {shown(why)}: no alarm can tell that the forwarder is silent")
    return found, 0.0


def _heartbeat(config: Config) -> Event:
    from datetime import UTC, datetime

    from forwarder.normalizers import CatalogueNormalizer
    from forwarder.watches.telling import Teller

    return Teller(CatalogueNormalizer(config.catalogue), node="").heartbeat({}, datetime.now(UTC))
