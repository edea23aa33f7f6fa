"""`provision splunk`: index, HEC token and alerts by e-mail, made at Splunk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from forwarder.cli import completion
from forwarder.cli.provision import (
    DryRun,
    Emails,
    Listed,
    Without,
    Yes,
    addresses,
    chosen,
    settle,
)
from forwarder.cli.terminal import ConfigOption, err, loaded, out, quieten, seconds, shown
from forwarder.errors import ConfigError

if TYPE_CHECKING:
    from forwarder.provision.splunk.access import SplunkAccess
    from forwarder.provision.splunk.wanted import Part

_INDEX: Final = "security"


@dataclass(frozen=True, slots=True)
class _Place:
    """A Splunk, and what the configuration says of it where it is from there."""

    access: SplunkAccess
    index: str | None = None
    sourcetype: str | None = None


def splunk(
    config: ConfigOption = None,
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Splunk's management port; else SPLUNK_URL."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", help="PEM file of the CAs to trust, in place of the system's."),
    ] = None,
    admin_token_file: Annotated[
        Path | None,
        typer.Option(
            "--admin-token-file",
            help="File with an authentication token; else SPLUNK_AUTH_TOKEN.",
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", help="In place of a token; else SPLUNK_USERNAME.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", help="File with its password; else SPLUNK_PASSWORD."),
    ] = None,
    sink: Annotated[
        str | None,
        typer.Option(
            "--sink",
            help="In place of --url: this sink's [management] and index, of the configuration.",
            autocompletion=completion.sinks,
        ),
    ] = None,
    email: Emails = None,
    index: Annotated[
        str | None, typer.Option("--index", help=f'Where events go; by default "{_INDEX}".')
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option("--retention", help='How long the index keeps events, such as "365d".'),
    ] = None,
    token_name: Annotated[
        str, typer.Option("--token-name", help="What the HEC token is called.")
    ] = "soteri-forwarder",  # noqa: S107  a name
    hec_token_file: Annotated[
        Path | None,
        typer.Option("--hec-token-file", help="Where to write the HEC token, with mode 600."),
    ] = None,
    splunk_app: Annotated[
        str, typer.Option("--app", help="The Splunk app that the alerts belong to.")
    ] = "search",
    listed: Listed = None,
    without: Without = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="index, token or alerts; may be repeated."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Undo it; an index with events in it stays.")
    ] = False,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="With --remove: the index with its events too.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    r"""Make at Splunk what it takes to be told: an index, a HEC token, alerts by e-mail.

    Prints a plan, asks, and changes only what differs: run it again after an upgrade, or to set
    right what somebody has changed. Alerts are the detections of deploy/detections, over events in
    the format json; Splunk sends their e-mail by its own mail server.

    Credentials come from files or the environment, never from the command line. Exits 77 where
    Splunk does not let us in, 1 where not all was done.

    Examples:

      soteri-forwarder provision splunk --url https://splunk:8089 --admin-token-file admin-token \
          --hec-token-file hec-token --email security@example.com --dry-run

      soteri-forwarder provision splunk --sink splunk --only alerts --email security@example.com

      soteri-forwarder provision splunk --url https://splunk:8089 --remove
    """
    from forwarder.provision.splunk.access import connected
    from forwarder.provision.splunk.planner import SplunkPlan
    from forwarder.provision.splunk.wanted import Wanted, snippet
    from forwarder.sinks.splunk_hec import SOURCETYPE

    quieten()
    parts = _parts(only)
    if sink and url:
        raise typer.BadParameter("give one of the two", param_hint="--sink, --url")
    if delete_data and not remove:
        raise typer.BadParameter("deletes nothing without --remove", param_hint="--delete-data")
    if "alerts" in parts and not remove and not email:
        raise typer.BadParameter(
            "say whom the alerts tell, or make no alerts (--only)", param_hint="--email"
        )
    recipients, alerting = addresses(email or ()), chosen(listed or (), without or ())
    place = (
        _configured(config, sink)
        if sink
        else _Place(_access(url, ca_file, admin_token_file, username, password_file))
    )
    access = place.access
    if str(access.url).startswith("http:"):
        err.print("[yellow]warning:[/] http: the credential goes there unencrypted")
    wanted = Wanted(
        index=index or place.index or _INDEX,
        token=token_name,
        app=splunk_app,
        parts=parts,
        recipients=recipients,
        detections=alerting,
        retention=seconds(retention, "--retention") if retention else None,
        token_file=hec_token_file.absolute() if hec_token_file else None,
        sourcetype=place.sourcetype or SOURCETYPE,
    )
    plan = SplunkPlan(connected(access, app=splunk_app), wanted, where=access.where)
    steps = plan.removal(with_data=delete_data) if remove else plan.provision()
    done = settle(steps, dry_run=dry_run, yes=yes)
    if done and "token" in parts and not remove:
        out.print("\nThe sink, for the configuration:\n")
        for line in snippet(wanted, plan.collector_url(), sink=sink or "splunk"):
            out.print(shown(line))
        if hec_token_file is None:
            out.print("\nTo have the token written to that file: --hec-token-file FILE")


def _access(
    url: str | None,
    ca_file: Path | None,
    token_file: Path | None,
    username: str | None,
    password_file: Path | None,
) -> SplunkAccess:
    """Return how to get in by options, or by the variables of Splunk's Terraform provider.

    Raises:
        ConfigError: they do not say where or as whom, or name a file that cannot be used.
    """
    from pydantic import ValidationError

    from forwarder.provision.splunk.access import SplunkAccess

    variables = os.environ
    username = username or (variables.get("SPLUNK_USERNAME") if not token_file else None)
    token, password = variables.get("SPLUNK_AUTH_TOKEN"), variables.get("SPLUNK_PASSWORD")
    written = {
        "url": url or variables.get("SPLUNK_URL"),
        "token_file": str(token_file) if token_file else None,
        "token": token if token and not (token_file or username) else None,
        "username": username,
        "password_file": str(password_file) if password_file else None,
        "password": password if username and not password_file else None,
        "tls": {"ca_file": str(ca_file)} if ca_file else {},
    }
    if written["url"] is None:
        raise ConfigError(["no Splunk is named: give --url, SPLUNK_URL or --sink"])
    try:
        given = {name: value for name, value in written.items() if value is not None}
        return SplunkAccess.model_validate(given)
    except ValidationError as error:
        raise ConfigError(_option(each["loc"], each["msg"]) for each in error.errors()) from None


def _option(where: tuple[int | str, ...], said: str) -> str:
    """Return a mistake in the words of the command line."""
    said = said.removeprefix("Value error, ")
    options = {"url": "--url", "token": "--admin-token-file", "password": "--password-file"}
    name = str(where[0]) if where else ""
    if not name:
        return f"{said}: --admin-token-file, or --username and --password-file (or SPLUNK_...)"
    return f"{options.get(name, name)}: {said}"


def _configured(config: Path | None, name: str) -> _Place:
    """Return the Splunk of a configured sink.

    Raises:
        ConfigError: it is none, has no management port, or sends another format.
    """
    from forwarder.provision.splunk.access import SplunkAccess
    from forwarder.sinks.splunk_hec import SplunkHecConfig

    sink = loaded(config).sinks.get(name)
    where = f"sinks.{name}"
    if not isinstance(sink, SplunkHecConfig):
        raise ConfigError([f"{where}: there is no such sink of type splunk_hec"])
    if sink.management.url is None or sink.management.token is None:
        raise ConfigError([f"{where}: set management.url and management.token, or give --url"])
    if sink.format != "json":
        raise ConfigError([f'{where}: alerts look at format "json", and this is "{sink.format}"'])
    kept = {field: getattr(sink.management, field) for field in type(sink.management).model_fields}
    return _Place(SplunkAccess.model_construct(**kept), sink.index, sink.sourcetype)


def _parts(only: Sequence[str] | None) -> frozenset[Part]:
    from forwarder.provision.splunk.wanted import PARTS, Part

    if strange := [part for part in only or () if part not in PARTS]:
        raise typer.BadParameter(
            f'"{strange[0]}" is none of {", ".join(get_args(Part))}', param_hint="--only"
        )
    return frozenset(part for part in PARTS if not only or part in only)
