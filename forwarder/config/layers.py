"""What users wrote, leaf by leaf, with the place where each leaf was written.

Three layers, each over the one before: the TOML file, the secrets directories, the environment.
pydantic-settings reads and nests them; here they are laid over one another.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)
from pydantic_settings.sources.utils import parse_env_vars

from forwarder.errors import ConfigError

PREFIX: Final = "FORWARDER_"
DEFAULT_FILE: Final = Path("/etc/soteri-forwarder/config.toml")
DEFAULT_SECRETS: Final = Path("/run/secrets/soteri-forwarder")
FILE_VARIABLE: Final = "FORWARDER_CONFIG"
SECRETS_VARIABLE: Final = "FORWARDER_SECRETS_DIR"
NAMED: Final = ("sources", "sinks")
"""Sections that hold one table for each name; the others are one table each."""
NAME: Final = r"[a-z0-9-]+(?:_[a-z0-9-]+)*"
"""Names of sources and sinks: they are parts of variables' names, and labels of metrics."""

# Kubernetes sets these for a Service whose name begins with "forwarder":
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK: Final = re.compile(
    r"FORWARDER_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST=.*|SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+|PORT=\w+://.*"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?=.*)"
)

Where = tuple[str, ...]
"""Where a value stands: ``("sinks", "splunk", "token")``."""


class Leaf(NamedTuple):
    """A value and where it was written: `place` is a path, or a variable's name."""

    value: Any
    layer: Literal["file", "secret", "variable"]
    place: str


@dataclass(frozen=True, slots=True)
class Written:
    """All that was written: `leaves`, and variables that belong nowhere."""

    leaves: Mapping[Where, Leaf]
    file: Path | None
    strange: tuple[str, ...]

    def table(self, *where: str) -> dict[str, Any]:
        """Return what was written below `where` as nested tables."""
        tree: dict[str, Any] = {}
        for path, leaf in self.leaves.items():
            if path[: len(where)] == where and len(path) > len(where):
                _plant(tree, path[len(where) :], leaf.value)
        return tree

    def names(self, section: str) -> list[str]:
        """Return the names of the tables in `section`, in the order in which they were written."""
        return list(
            dict.fromkeys(path[1] for path in self.leaves if path[0] == section and path[1:])
        )

    def leaf(self, where: Where) -> Leaf | None:
        """Return the leaf at `where`, or the one that holds it."""
        for length in range(len(where), 0, -1):
            if found := self.leaves.get(where[:length]):
                return found
        return None


class _Sections(BaseSettings):
    """The outermost shape, for pydantic-settings; the tables are validated one by one later."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

    sources: dict[str, dict[str, Any]] = {}
    sinks: dict[str, dict[str, Any]] = {}
    store: dict[str, Any] = {}
    server: dict[str, Any] = {}
    log: dict[str, Any] = {}
    watch: dict[str, Any] = {}
    heartbeat: dict[str, Any] = {}
    correlations: dict[str, Any] = {}
    telemetry: dict[str, Any] = {}
    kinds: dict[str, Any] = {}


SECTIONS: Final = tuple(_Sections.model_fields)


class _Environment(EnvSettingsSource):
    """``FORWARDER_*`` of a mapping that is handed in; text stays text."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(_Sections)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(self._environ)

    def decode_complex_value(self, _name: str, _field: Any, value: Any) -> Any:  # noqa: ANN401
        """Return the text: only the field's own type says how to read it."""
        return value


class _SecretFiles(NestedSecretsSettingsSource):
    """Directories with a file for each value; a file stays a file, so that it can change later."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            SecretsSettingsSource(_Sections),
            secrets_dir=directory,
            secrets_dir_missing="error",
            secrets_prefix="",
            secrets_nested_delimiter="__",
        )

    @classmethod
    def load_secrets(cls, path: Path) -> dict[str, Any]:
        """Return the paths by their names, with a variable's prefix or without.

        systemd puts one before each file of a folder (LoadCredential=forwarder:FOLDER). What has
        no ``__`` in its name is somebody else's.
        """
        found = {each.name.lower().removeprefix(PREFIX.lower()): each for each in path.iterdir()}
        return {name: each for name, each in found.items() if "__" in name}

    def decode_complex_value(self, _name: str, _field: Any, value: Any) -> Any:  # noqa: ANN401
        """Return the path."""
        return value


def read(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    default_file: Path = DEFAULT_FILE,
    default_secrets: Path = DEFAULT_SECRETS,
) -> Written:
    """Return everything that was written, wherever it was.

    Raises:
        ConfigError: the file or a secrets directory cannot be read, or nothing was written at all.
    """
    variables = dict(_variables(environ))
    secrets = dict(_secrets(environ, default_secrets))
    file = _find(path, environ, default_file, required=not (variables or secrets))
    leaves = dict(_toml(file)) if file else {}
    for layer in (secrets, variables):
        names = {(w[0], folded(w[1])): w[1] for w in leaves if w[0] in NAMED and w[1:]}
        for where, leaf in layer.items():
            _lay(leaves, _with_name_of(names, where), leaf)
    return Written(leaves=leaves, file=file, strange=tuple(_strange(environ, variables)))


def folded(name: str) -> str:
    """Return the name of a source or sink as variables see it: without case, without dashes."""
    return name.lower().replace("-", "_")


def _find(
    path: Path | None, environ: Mapping[str, str], default: Path, *, required: bool
) -> Path | None:
    if path is not None:
        return path
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    if not _is_missing(default):
        return default
    if not required:
        return None
    problem = (
        f"no configuration: --config was not given, {FILE_VARIABLE} is not set, {default} does "
        f"not exist and no {PREFIX}SOURCES__… variable is set; write one with "
        '"soteri-forwarder config init"'
    )
    raise ConfigError([problem])


def _is_missing(path: Path) -> bool:
    """Whether it is surely not there; what may not be looked at is for those who open it."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _toml(file: Path) -> Iterator[tuple[Where, Leaf]]:
    problem: str
    try:
        with file.open("rb") as opened:
            is_file = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
        tree = TomlConfigSettingsSource(_Sections, toml_file=file).toml_data
    except FileNotFoundError:
        problem = (
            f"{file}: does not exist (looked for: --config, then {FILE_VARIABLE}, then "
            f"{DEFAULT_FILE})"
        )
    except OSError as error:
        problem = f"{file}: cannot be read: {error.strerror}"
        if isinstance(error, PermissionError):
            problem += "; run this as the user that runs the forwarder, or as root (sudo)"
    except UnicodeDecodeError as error:
        problem = f"{file}: is not UTF-8 text (at byte {error.start})"
    except tomllib.TOMLDecodeError as error:
        problem = _syntax(file, str(error))
    else:
        if is_file:
            for where, value in _leaves(tree):
                yield where, Leaf(value, "file", str(file))
            return
        problem = f"{file}: is not a file that can be read twice"
    raise ConfigError([problem])


def _syntax(file: Path, said: str) -> str:
    """Say where in the file, as editors read it."""
    if match := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", said, re.DOTALL):
        return f"{file}:{match[2]}:{match[3]}: not TOML: {match[1]}"
    return f"{file}: not TOML: {said}"


def _secrets(environ: Mapping[str, str], default: Path) -> Iterator[tuple[Where, Leaf]]:
    chosen = environ.get(SECRETS_VARIABLE)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    wanted = {
        SECRETS_VARIABLE: Path(chosen) if chosen else None,
        "secrets directory": None if chosen else default,
        "CREDENTIALS_DIRECTORY": Path(credentials) if credentials else None,
    }
    for name, directory in wanted.items():
        if directory is None or (name != SECRETS_VARIABLE and _is_missing(directory)):
            continue
        try:
            tree = _SecretFiles(directory)()
        except (SettingsError, OSError) as error:
            raise ConfigError([f"{name}: {error}"]) from error
        for where, file in _leaves(tree):
            yield where, Leaf(file, "secret", str(file))


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[Where, Leaf]]:
    spelled = {name.lower(): name for name in environ}
    for where, text in _leaves(_Environment(environ)()):
        yield where, Leaf(text, "variable", spelled[f"{PREFIX}{'__'.join(where)}".lower()])


def _strange(environ: Mapping[str, str], taken: Mapping[Where, Leaf]) -> Iterator[str]:
    known = {FILE_VARIABLE, SECRETS_VARIABLE, *(leaf.place for leaf in taken.values())}
    for name in sorted(environ):
        ours = name.upper().startswith(PREFIX) and name not in known
        if ours and not _SERVICE_LINK.fullmatch(f"{name}={environ[name]}"):
            yield name


def _leaves(tree: Mapping[str, Any], above: Where = ()) -> Iterator[tuple[Where, Any]]:
    """Yield what is not a table, and tables that are empty."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _with_name_of(names: Mapping[tuple[str, str], str], where: Where) -> Where:
    """Return `where` with the name as the file spells it."""
    if len(where) < 2:
        return where
    name = names.get((where[0], folded(where[1])), where[1])
    return (where[0], name, *where[2:])


def _lay(leaves: dict[Where, Leaf], where: Where, leaf: Leaf) -> None:
    """Put a leaf over what lower layers say: over the same key, and over its file or its value."""
    *table, key = where
    rival = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
    for covered in ((*table, rival), where):
        below = leaves.get(covered)
        if below is not None and below.layer != leaf.layer:
            del leaves[covered]
    leaves[where] = leaf


def _plant(tree: dict[str, Any], where: Sequence[str], value: object) -> None:
    *tables, key = where
    for table in tables:
        inner = tree.get(table)
        if not isinstance(inner, dict):
            inner = tree[table] = {}
        tree = inner
    tree[key] = dict(value) if isinstance(value, Mapping) else value
