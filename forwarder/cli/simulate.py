"""`simulate`: a Bitbucket with Soteri for trials and tests."""

import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import anyio
import typer
from anyio.abc import TaskStatus

from forwarder.cli.terminal import out, shown
from forwarder.options import parse_duration

if TYPE_CHECKING:
    from forwarder.simulator import FaultName, Simulator, SimulatorOptions

_BEAT: Final = 0.1
_SNIPPET: Final = """\
[sources.bitbucket]
type = "bitbucket_audit"
url = "{url}"
token = "{token}"
start_at = "beginning"
poll_interval = "5s"
"""
_SERVER: Final = "Server"
_EVENTS: Final = "Events"
_TROUBLE: Final = "Trouble"
_END: Final = "End"


def simulate(
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on.", rich_help_panel=_SERVER)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one.", rich_help_panel=_SERVER)
    ] = 7990,
    context: Annotated[
        str,
        typer.Option(help='Context path, such as "/bitbucket".', rich_help_panel=_SERVER),
    ] = "",
    internal_host: Annotated[
        str,
        typer.Option(
            help="Address that Bitbucket believes to have; nextPageLink names it.",
            rich_help_panel=_SERVER,
        ),
    ] = "http://bitbucket.internal:7990",
    token: Annotated[
        str, typer.Option(help="HTTP access token of an administrator.", rich_help_panel=_SERVER)
    ] = "simulator-admin-token",  # noqa: S107  opens nothing but the simulator
    project_token: Annotated[
        str,
        typer.Option(
            help="HTTP access token of one who administers --project only.",
            rich_help_panel=_SERVER,
        ),
    ] = "simulator-project-token",  # noqa: S107  the same
    project: Annotated[
        list[str] | None,
        typer.Option(
            help="Key of a project of --project-token; may be repeated. [default: SEC]",
            rich_help_panel=_SERVER,
            show_default=False,
        ),
    ] = None,
    username: Annotated[
        str, typer.Option(help="User for Basic authentication.", rich_help_panel=_SERVER)
    ] = "admin",
    password: Annotated[
        str, typer.Option(help="Password for it.", rich_help_panel=_SERVER)
    ] = "admin",  # noqa: S107  the same
    bitbucket_version: Annotated[
        str, typer.Option(help="Version to claim.", rich_help_panel=_SERVER)
    ] = "8.19.1",
    seed: Annotated[
        int, typer.Option(help="Another seed makes other events.", rich_help_panel=_EVENTS)
    ] = 1,
    history: Annotated[
        int, typer.Option(min=0, help="Events before the start.", rich_help_panel=_EVENTS)
    ] = 1000,
    span: Annotated[
        str, typer.Option(help="How far back they go.", rich_help_panel=_EVENTS)
    ] = "24h",
    rate: Annotated[
        float,
        typer.Option(min=0, help="Events a second from then on.", rich_help_panel=_EVENTS),
    ] = 1.0,
    events: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Serve these captured events (JSON lines as REST gives them) and no others.",
            rich_help_panel=_EVENTS,
        ),
    ] = None,
    audit_logs: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            metavar="FOLDER",
            help="Write the nodes' audit log files too, in a folder for each node in this one.",
            rich_help_panel=_EVENTS,
        ),
    ] = None,
    soteri: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of Soteri's events.", rich_help_panel=_EVENTS),
    ] = 0.3,
    bursts: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of events that begin a burst in one millisecond.",
            rich_help_panel=_EVENTS,
        ),
    ] = 0.03,
    twins: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of events written twice, equal in all.",
            rich_help_panel=_EVENTS,
        ),
    ] = 0.01,
    late: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of events that show up after their time.",
            rich_help_panel=_EVENTS,
        ),
    ] = 0.0,
    late_by: Annotated[
        str, typer.Option(help="How late, at most.", rich_help_panel=_EVENTS)
    ] = "30s",
    skew: Annotated[
        str,
        typer.Option(
            help="How far one node's clock is ahead, and another's behind.",
            rich_help_panel=_EVENTS,
        ),
    ] = "0s",
    retention: Annotated[
        str | None,
        typer.Option(help="Forget older rows. [default: never]", rich_help_panel=_EVENTS),
    ] = None,
    coverage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AREA=LEVEL",
            help='Coverage level; "ecosystem=off" hides Soteri\'s events. May be repeated.',
            rich_help_panel=_EVENTS,
        ),
    ] = None,
    exclude_action: Annotated[
        list[str] | None,
        typer.Option(
            help="Action that is not audited: its text or key. May be repeated.",
            rich_help_panel=_EVENTS,
        ),
    ] = None,
    faults: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of requests that fail, by every transient fault alike.",
            rich_help_panel=_TROUBLE,
        ),
    ] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=RATE]",
            help='One fault and its share of requests, 1 if not given; "help" lists the names. '
            "May be repeated, and beats --faults.",
            rich_help_panel=_TROUBLE,
        ),
    ] = None,
    slow: Annotated[
        str, typer.Option(help="How late a slow answer is.", rich_help_panel=_TROUBLE)
    ] = "1s",
    busy: Annotated[
        str,
        typer.Option(
            help="How long a busy search waits before its 500; a real one 30s.",
            rich_help_panel=_TROUBLE,
        ),
    ] = "0s",
    rate_limit: Annotated[
        bool,
        typer.Option(
            "--rate-limit",
            help="Limit each user to 60 requests, and 5 a second.",
            rich_help_panel=_TROUBLE,
        ),
    ] = False,
    retry_after: Annotated[
        Literal["seconds", "date", "none"],
        typer.Option(
            help="How a refused client is told the wait.",
            rich_help_panel=_TROUBLE,
        ),
    ] = "seconds",
    limit_cap: Annotated[
        int,
        typer.Option(
            min=1,
            help="Largest page: 100000, or 10000 as Atlassian's knowledge base has it.",
            rich_help_panel=_TROUBLE,
        ),
    ] = 100_000,
    denied: Annotated[
        Literal["401", "403"],
        typer.Option(
            help="Status for one who may not read; perhaps 403 on newer versions.",
            rich_help_panel=_TROUBLE,
        ),
    ] = "401",
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Make no more live events than this, and end then if there is no --duration.",
            rich_help_panel=_END,
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="End after this.", rich_help_panel=_END)
    ] = None,
) -> None:
    """Play a Bitbucket Data Center with Soteri installed, until stopped.

    Prints its address, its token and a configuration to paste. Below /simulator/ it answers
    what no Bitbucket does: truth (every event in its log), state, emit, faults, clock, forget.

    Not covered: SAML and OAuth, writing to the configuration, everything of Bitbucket that is
    not the audit log and the look-ups for it, the legacy audit API (404, as on 8.0 and later),
    the exact columns of the CSV, the exact texts of most errors. Of Soteri's actions only
    "Security hook skipped" is the real text; the others are invented, and say so by an
    actionI18nKey that begins with "invented.simulator.".

    Examples:

      soteri-forwarder simulate

      soteri-forwarder simulate --port 0 --context /bitbucket --history 200000 --span 30d

      soteri-forwarder simulate --faults 0.2 --late 0.1 --late-by 2m --skew 5s

      soteri-forwarder simulate --fault http_503=0.5 --fault html_login=0.1 --duration 10m

      soteri-forwarder simulate --events captured.jsonl

      soteri-forwarder simulate --audit-logs ./log/audit
    """
    from forwarder.simulator import FAULTS, Mixture, SimulatorOptions

    if fault and "help" in fault:
        out.print("\n".join(FAULTS))
        return
    if not re.fullmatch(r"\d+\.\d+\.\d+", bitbucket_version):
        raise typer.BadParameter(
            f'"{bitbucket_version}" is not a version such as "8.19.1"',
            param_hint="--bitbucket-version",
        )
    options = SimulatorOptions(
        seed=seed,
        context=_path(context),
        internal_host=internal_host.rstrip("/"),
        version=bitbucket_version,
        token=token,
        project_token=project_token,
        project_token_projects=tuple(project or ("SEC",)),
        username=username,
        password=password,
        events=events,
        audit_logs=audit_logs,
        history=history,
        span=_seconds(span, "--span"),
        rate=0.0 if events else rate,
        live_count=count,
        mixture=Mixture(
            soteri=soteri,
            bursts=bursts,
            twins=twins,
            late=late,
            late_seconds=_seconds(late_by, "--late-by"),
            skew_seconds=_seconds(skew, "--skew"),
        ),
        limit_cap=limit_cap,
        retention=_seconds(retention, "--retention") if retention else None,
        denied_status=401 if denied == "401" else 403,
        rate_limit=rate_limit,
        retry_after=retry_after,
        slow_seconds=_seconds(slow, "--slow"),
        busy_seconds=_seconds(busy, "--busy"),
        coverage=dict(_pair(text, "--coverage") for text in coverage or ()),
        denylist=tuple(exclude_action or ()),
        fault_rates=_rates(faults, fault or ()),
    )
    lasting = _seconds(duration, "--duration") if duration else None
    anyio.run(_play, options, host, port, lasting)


async def _play(options: "SimulatorOptions", host: str, port: int, lasting: float | None) -> None:
    from forwarder.simulator import Simulator, serve

    try:
        simulator = Simulator(options)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--events") from error
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--audit-logs") from error
    try:
        async with (
            serve(simulator, host=host, port=port) as url,
            anyio.create_task_group() as tasks,
        ):
            await tasks.start(_until_signal, tasks.cancel_scope)
            _introduce(simulator, url)
            await _live(simulator, lasting)
            tasks.cancel_scope.cancel()
    except OSError as error:
        raise typer.BadParameter(
            f"cannot listen on {host}:{port}: {error.strerror}; --port 0 takes a free port",
            param_hint="--port",
        ) from error
    log = simulator.log
    out.print(
        f"Ended: {len(log.rows)} rows in the log, {simulator.happened} of them live, "
        f"{simulator.searches} searches, {simulator.faults.counts.total()} faults."
    )


async def _live(simulator: "Simulator", lasting: float | None) -> None:
    """Let events happen until the time is up, or, without one, until all are made."""
    count = simulator.options.live_count
    with anyio.move_on_after(lasting):
        while lasting is not None or count is None or simulator.happened < count:
            simulator.advance()
            await anyio.sleep(_BEAT)


async def _until_signal(
    scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


def _introduce(simulator: "Simulator", url: str) -> None:
    options = simulator.options
    out.print(f"A simulated Bitbucket with Soteri listens on [bold]{shown(url)}[/]")
    out.print(f"  token of an administrator: [bold]{shown(options.token)}[/]")
    projects = shown(", ".join(options.project_token_projects))
    out.print(f"  token for {projects} only: [bold]{shown(options.project_token)}[/]")
    out.print(f"  rows in its log: {len(simulator.log.rows)}")
    out.print("\nFor the forwarder's configuration:\n")
    out.print(_SNIPPET.format(url=url, token=options.token), markup=False)


def _seconds(text: str, option: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _path(text: str) -> str:
    """Return a context path with a slash in front and none behind; empty for the root."""
    bare = text.strip("/")
    return f"/{bare}" if bare else ""


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f'"{text}" is not NAME=VALUE', param_hint=option)
    return name, value


def _rates(every: float, each: Iterable[str]) -> "dict[FaultName, float]":
    """Return each fault's share of the requests; they must not add up to more than all."""
    from forwarder.simulator import fault_name, mix

    rates = mix(every) if every else {}
    for text in each:
        name, _, share = text.partition("=")
        try:
            rates[fault_name(name)] = _share(share or "1")
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--fault") from error
    if sum(rates.values()) > 1 + 1e-9:
        raise typer.BadParameter("the rates of all faults add up to more than 1")
    return rates


def _share(text: str) -> float:
    refusal = ValueError(f'"{text}" is not a share between 0 and 1')
    try:
        share = float(text)
    except ValueError:
        raise refusal from None
    if not 0 <= share <= 1:
        raise refusal
    return share
