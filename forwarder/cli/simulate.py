"""`simulate`: a Bitbucket with Soteri for trials and tests."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import anyio
import typer
from anyio.abc import TaskStatus

from forwarder.cli import simulate_options as options
from forwarder.cli.terminal import out, seconds, shown

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


def simulate(
    *,
    host: options.Host = "127.0.0.1",
    port: options.Port = 7990,
    context: options.Context = "",
    internal_host: options.InternalHost = "http://bitbucket.internal:7990",
    token: options.Token = "simulator-admin-token",  # noqa: S107  opens nothing but the simulator
    project_token: options.ProjectToken = "simulator-project-token",  # noqa: S107  opens nothing but the simulator
    project: options.Project = None,
    username: options.Username = "admin",
    password: options.Password = "admin",  # noqa: S107  opens nothing but the simulator
    bitbucket_version: options.BitbucketVersion = "8.19.1",
    seed: options.Seed = 1,
    history: options.History = 1000,
    span: options.Span = "24h",
    rate: options.Rate = 1.0,
    events: options.Events = None,
    audit_logs: options.AuditLogs = None,
    soteri: options.Soteri = 0.3,
    bursts: options.Bursts = 0.03,
    twins: options.Twins = 0.01,
    late: options.Late = 0.0,
    late_by: options.LateBy = "30s",
    skew: options.Skew = "0s",
    retention: options.Retention = None,
    coverage: options.Coverage = None,
    exclude_action: options.ExcludeAction = None,
    faults: options.Faults = 0.0,
    fault: options.Fault = None,
    slow: options.Slow = "1s",
    busy: options.Busy = "0s",
    rate_limit: options.RateLimit = False,
    retry_after: options.RetryAfter = "seconds",
    limit_cap: options.LimitCap = 100_000,
    denied: options.Denied = "401",
    count: options.Count = None,
    duration: options.Duration = None,
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
    made = SimulatorOptions(
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
        span=seconds(span, "--span"),
        rate=0.0 if events else rate,
        live_count=count,
        mixture=Mixture(
            soteri=soteri,
            bursts=bursts,
            twins=twins,
            late=late,
            late_seconds=seconds(late_by, "--late-by"),
            skew_seconds=seconds(skew, "--skew"),
        ),
        limit_cap=limit_cap,
        retention=seconds(retention, "--retention") if retention else None,
        denied_status=401 if denied == "401" else 403,
        rate_limit=rate_limit,
        retry_after=retry_after,
        slow_seconds=seconds(slow, "--slow"),
        busy_seconds=seconds(busy, "--busy"),
        coverage=dict(_pair(text, "--coverage") for text in coverage or ()),
        denylist=tuple(exclude_action or ()),
        fault_rates=_rates(faults, fault or ()),
    )
    lasting = seconds(duration, "--duration") if duration else None
    anyio.run(_play, made, host, port, lasting)


async def _play(options: SimulatorOptions, host: str, port: int, lasting: float | None) -> None:
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


async def _live(simulator: Simulator, lasting: float | None) -> None:
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


def _introduce(simulator: Simulator, url: str) -> None:
    options = simulator.options
    out.print(f"A simulated Bitbucket with Soteri listens on [bold]{shown(url)}[/]")
    out.print(f"  token of an administrator: [bold]{shown(options.token)}[/]")
    projects = shown(", ".join(options.project_token_projects))
    out.print(f"  token for {projects} only: [bold]{shown(options.project_token)}[/]")
    out.print(f"  rows in its log: {len(simulator.log.rows)}")
    out.print("\nFor the forwarder's configuration:\n")
    out.print(_SNIPPET.format(url=url, token=options.token), markup=False)


def _path(text: str) -> str:
    """Return a context path with a slash in front and none behind; empty for the root."""
    bare = text.strip("/")
    return f"/{bare}" if bare else ""


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f'"{text}" is not NAME=VALUE', param_hint=option)
    return name, value


def _rates(every: float, each: Iterable[str]) -> dict[FaultName, float]:
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
