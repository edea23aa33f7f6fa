"""File, environment and secret files -> one frozen, typed configuration, or every mistake at once.

Nothing else reads the environment. `layers` finds what was written, `tables` gives it its shape,
`problems` says what is wrong with it in the user's own words, `checks` looks at what no table can
see alone, and `schema` describes the file to editors.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forwarder.config import checks, kinds, layers, problems, tables
from forwarder.config.kinds import KindConfig
from forwarder.config.layers import DEFAULT_FILE, DEFAULT_SECRETS, Where, Written
from forwarder.config.schema import schema as schema
from forwarder.config.tables import format_named as format_named
from forwarder.correlations import CorrelationsConfig
from forwarder.errors import ConfigError
from forwarder.logs import LogConfig
from forwarder.normalizers import Catalogue
from forwarder.options import Options
from forwarder.otlp import TelemetryConfig
from forwarder.server import ServerConfig
from forwarder.sinks import SinkConfig
from forwarder.sources import SourceConfig
from forwarder.store import StoreConfig
from forwarder.watches import HeartbeatConfig, WatchConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was configured; `warnings` are lines for the log, not reasons to refuse."""

    sources: dict[str, SourceConfig]
    sinks: dict[str, SinkConfig]
    store: StoreConfig
    server: ServerConfig
    log: LogConfig
    watch: WatchConfig
    heartbeat: HeartbeatConfig
    correlations: CorrelationsConfig
    telemetry: TelemetryConfig
    kinds: dict[str, KindConfig] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def catalogue(self) -> Catalogue:
        """Every kind of event: ours, with what was configured over it."""
        return kinds.catalogue(self.kinds)


def load(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    default_file: Path = DEFAULT_FILE,
    default_secrets: Path = DEFAULT_SECRETS,
) -> Config:
    """Return the configuration: environment over secrets directories over the TOML file.

    The file is `path`, or FORWARDER_CONFIG's, or `default_file` if that exists; without any, all
    must come from the environment. `environ` is the process's own if not given. Values of type
    `Secret` that were given as files are read now, to be sure, and again whenever they change.

    Raises:
        ConfigError: with one line for each mistake, all of them, and no secret in any.
    """
    written = layers.read(
        path,
        os.environ if environ is None else environ,
        default_file=default_file,
        default_secrets=default_secrets,
    )
    loading = _Loading(written)
    parts = loading.parts()
    warnings = loading.check(parts)
    if loading.problems:
        raise ConfigError(loading.problems)
    sections: dict[str, Any] = {section: {} for section in (*layers.NAMED, "kinds")}
    for where, part in parts.items():
        if len(where) == 1:
            sections[where[0]] = part
        else:
            sections[where[0]][where[1]] = part
    return Config(**sections, warnings=tuple(warnings))


class _Loading:
    """One pass over what was written; `problems` grows, and nothing stops at the first."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self.reporter = problems.Reporter(written)
        self.problems: list[str] = []
        self.classes: dict[Where, type[Options]] = {}
        self.strange = list(written.strange)

    def parts(self) -> dict[Where, Options]:
        """Return the tables that are well in themselves, by where they stand."""
        self._sections()
        for section in layers.NAMED:
            self._named(section)
        self._kinds()
        self.classes |= {(section,): table for section, table in tables.PLAIN.items()}
        parts = {}
        for where, table in self.classes.items():
            try:
                parts[where] = table.model_validate(tables.typed(table, self.written, where))
            except ValidationError as error:
                self.problems += self.reporter.refusals(table, where, error)
        self.problems += problems.strange_variables(self.strange, self.classes)
        return parts

    def check(self, parts: Mapping[Where, Options]) -> list[str]:
        """Look at `parts` together; return what is only a warning."""
        warnings: list[str] = []
        for finding in checks.findings(self.classes, parts, self.written):
            line = self.reporter.say(finding.where, finding.problem)
            place = line.removesuffix(finding.problem)
            if finding.harmless:
                warnings.append(line)
            elif not any(known.startswith(place) for known in self.problems):
                self.problems.append(line)
        return warnings

    def _sections(self) -> None:
        for where in self.written.leaves:
            if where[0] not in layers.SECTIONS:
                near = problems.did_you_mean(where[0], layers.SECTIONS, quote="")
                line = self.reporter.about_table(where[:1], f"unknown table{near}")
            elif len(where) == 1 and self.written.leaves[where].value != {}:
                line = self.reporter.say(where, f"must be a table: [{_header(where[0])}]")
            else:
                continue
            if line not in self.problems:
                self.problems.append(line)

    def _named(self, section: str) -> None:
        names = self.written.names(section)
        if not names:
            example = "bitbucket_audit" if section == "sources" else "file"
            noun = section.removesuffix("s")
            remedy = f'add a table [{section}.NAME] with type = "{example}"'
            self.problems.append(self.reporter.about_all(f"there is no {noun}: {remedy}"))
        seen: dict[str, str] = {}
        for name in names:
            where = (section, name)
            if not re.fullmatch(layers.NAME, name):
                rule = "a name is lower-case letters, digits and -, and single _ between them"
                self.problems.append(self.reporter.about_table(where, rule))
            twin = seen.setdefault(layers.folded(name), name)
            if twin != name:
                clash = f"cannot be told from {section}.{twin} in the environment: rename one"
                self.problems.append(self.reporter.about_table(where, clash))
            if table := self._table(where, names):
                self.classes[where] = table

    def _kinds(self) -> None:
        for name in self.written.names("kinds"):
            where = ("kinds", name)
            bare = self.written.leaves.get(where)
            if bare and bare.value != {}:
                line = f'must be a table: [kinds."{name}"]'
                self.problems.append(self.reporter.say(where, line))
            else:
                self.classes[where] = KindConfig

    def _table(self, where: Where, names: list[str]) -> type[Options] | None:
        section, _ = where
        bare = self.written.leaves.get(where)
        if bare and bare.layer == "variable":
            self.strange.append(bare.place)  # FORWARDER_SINKS__SPLUNK_TOKEN
            return None
        if bare and bare.value != {}:
            self.problems.append(self.reporter.say(where, f"must be a table: [{'.'.join(where)}]"))
            return None
        known = tables.known_types(section)
        leaf = self.written.leaves.get((*where, "type"))
        if leaf is None:
            self.problems.append(self._typeless(where, names, known))
            return None
        named = tables.text_of(leaf.value)
        if not isinstance(named, str):
            self.problems.append(self.reporter.say((*where, "type"), "must be text in quotes"))
            return None
        table = tables.table_of(section, named)
        if table is None:
            near = problems.did_you_mean(named, known)
            line = (
                f"unknown type{near or '; known are'} {'' if near else ', '.join(known)}".rstrip()
            )
            self.problems.append(self.reporter.say((*where, "type"), line))
        return table

    def _typeless(self, where: Where, names: list[str], known: list[str]) -> str:
        """A table without a type is most often a variable with a misspelt name in it."""
        section, name = where
        leaves = self.written.leaves.items()
        inside = [(path, leaf) for path, leaf in leaves if path[:2] == where]
        others = [other for other in names if other != name]
        if all(leaf.layer != "file" for _, leaf in inside):
            path, leaf = inside[0]
            right = [problems.variable((section, other, *path[2:])) for other in others]
            near = problems.did_you_mean(problems.variable(path), right, quote="")
            noun = section.removesuffix("s")
            own = problems.variable((*where, "type"))
            return (
                f'{leaf.place}: there is no {noun} "{name}"{near} '
                f"(a new one needs {own}: {', '.join(known)})"
            )
        return self.reporter.about_table((*where, "type"), f"is missing: one of {', '.join(known)}")


def _header(section: str) -> str:
    return f"{section}.NAME" if section in layers.NAMED else section
