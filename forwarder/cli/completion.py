"""What a shell completes besides options: names out of the configuration, and kinds.

Quick, because somebody waits with a finger on the key: the file is read as TOML, not checked.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import typer

_FILE = Path("/etc/soteri-forwarder/config.toml")
_CATALOGUE = Path(__file__).parent.parent / "normalizers" / "catalogue.toml"


def sinks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the configured sinks that begin so."""
    return _beginning(_configured(ctx).get("sinks", {}), incomplete)


def sources(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the configured sources that begin so."""
    return _beginning(_configured(ctx).get("sources", {}), incomplete)


def kinds(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the kinds that begin so, those of the configuration included."""
    shipped = [each["kind"] for each in _read(_CATALOGUE).get("kinds", [])]
    return _beginning([*_configured(ctx).get("kinds", {}), *shipped], incomplete)


def _configured(ctx: typer.Context) -> dict[str, Any]:
    return _read(Path(ctx.params.get("config") or os.environ.get("FORWARDER_CONFIG") or _FILE))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # not there, not ours to read, or half written: nothing to offer
        return {}


def _beginning(names: Any, incomplete: str) -> list[str]:  # noqa: ANN401  what a file holds
    if not isinstance(names, dict | list):
        return []
    return sorted({str(name) for name in names if str(name).startswith(incomplete)})
