"""How the simulated Bitbucket is set up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from forwarder.simulator.faults import FaultName
from forwarder.simulator.generator import Mixture

_KEEP_ROWS: Final = 10_000_000
"""Bitbucket keeps no more rows than this (docs/bitbucket.md section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """Every switch of the simulator. Durations are seconds.

    `context` is the path that Bitbucket is mounted at ("" or "/bitbucket"), `internal_host` what
    `nextPageLink`, `system` and `uri` name, as behind a proxy. `history` events lie within the
    last `span`, unless `events` names a file of captured ones; `rate` is how many happen each
    second from then on, up to `live_count`. `limit_cap` is the largest page: 100,000, or 10,000.
    `retention` removes older rows. `denied_status` is what a caller gets who may not read: 401 on
    older versions, perhaps 403 on newer. `rate_limit` turns the token bucket on, `retry_after`
    says how it tells the wait, `retry_after_seconds` is what the scripted 429s ask for.
    `coverage` overrides levels of areas ("ecosystem": "off" hides Soteri's events), and what is on
    `denylist`, by text or key of the action, is not written. Below `audit_logs` each node keeps
    its own files of what happens, as real ones do.
    """

    seed: int = 1
    context: str = ""
    internal_host: str = "http://bitbucket.internal:7990"
    version: str = "8.19.1"
    token: str = "simulator-admin-token"  # noqa: S105  opens nothing but this simulator
    project_token: str = "simulator-project-token"  # noqa: S105  the same
    project_token_projects: tuple[str, ...] = ("SEC",)
    username: str = "admin"
    password: str = "admin"  # noqa: S105  the same
    events: Path | None = None
    audit_logs: Path | None = None
    history: int = 0
    span: float = 86_400.0
    rate: float = 0.0
    live_count: int | None = None
    mixture: Mixture = field(default_factory=Mixture)
    limit_cap: int = 100_000
    retention: float | None = None
    keep_rows: int = _KEEP_ROWS
    denied_status: Literal[401, 403] = 401
    rate_limit: bool = False
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    retry_after_seconds: float = 1.0
    slow_seconds: float = 1.0
    busy_seconds: float = 0.0
    coverage: Mapping[str, str] = field(default_factory=dict)
    denylist: tuple[str, ...] = ()
    fault_rates: Mapping[FaultName, float] = field(default_factory=dict)
