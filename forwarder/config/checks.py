"""What no table can see alone: two sinks and one file, a source and the store's retention."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from forwarder.config.kinds import KindConfig, mistakes
from forwarder.config.layers import NAMED, Where, Written
from forwarder.config.problems import did_you_mean_or_known
from forwarder.formats import FORMATS
from forwarder.options import Options, extension, extensions
from forwarder.server import ServerConfig
from forwarder.watches import SOURCE

_NOBODY: Final = object()


class Finding(NamedTuple):
    """What is the matter with the value at `where`; `harmless` is for the log, not a refusal."""

    where: Where
    problem: str
    harmless: bool = False


def findings(
    tables: Mapping[Where, type[Options]], parts: Mapping[Where, Options], written: Written
) -> Iterator[Finding]:
    """Yield what is wrong, or risky, beyond what each table says of itself.

    `parts` are those of `tables` that are well in themselves; of the others, what was written is
    looked at, so that every mistake is named at once.
    """
    seen = _Seen(parts, written)
    yield from _one_path_each(tables, seen)
    yield from _one_identity(tables, seen)
    for where, table in tables.items():
        if where[0] in NAMED:
            yield from _urls(where, table, seen)
        if where[0] == "sinks":
            yield from _format(where, seen)
        if where[0] == "server":
            yield from _server(parts)
        if where[0] == "kinds":
            yield from _kind(where, parts)
        if where == ("sources", SOURCE):
            yield Finding(where, "is what the forwarder's own events come from: rename it")
        if where[0] == "sources":
            yield from _retention(where, parts)
        if seen.value((*where, "tls"), "verify") is False:
            risk = "is false: whoever is in between can read and change everything"
            yield Finding((*where, "tls", "verify"), risk, harmless=True)
        yield from _open_file(where, table, written)


class _Seen:
    """Values as they were validated or, failing that, as they were written."""

    def __init__(self, parts: Mapping[Where, Options], written: Written) -> None:
        self._parts = parts
        self._written = written

    def value(self, where: Where, key: str) -> Any:  # noqa: ANN401  any field's value
        """Return the value of `key` in the table at `where`, or None."""
        part: object = self._parts.get(where[:2] if where[0] in NAMED else where[:1], _NOBODY)
        if part is _NOBODY:
            leaf = self._written.leaves.get((*where, key))
            return leaf.value if leaf else None
        for inner in where[2:]:
            part = getattr(part, inner, None)
        return getattr(part, key, None)


def _one_path_each(tables: Mapping[Where, type[Options]], seen: _Seen) -> Iterator[Finding]:
    owners: dict[Path, Where] = {}
    for where in tables:
        path = seen.value(where, "path")
        if where[0] != "sinks" or not isinstance(path, (str, Path)):
            continue
        owner = owners.setdefault(Path(path).resolve(), where)
        if owner != where:
            problem = f"{'.'.join(owner)} writes this file too: give each sink a path of its own"
            yield Finding((*where, "path"), problem)


class _Road(NamedTuple):
    """One way to a Bitbucket's audit log."""

    where: Where
    type: str
    address: str
    identity: str

    @property
    def named(self) -> str:
        return ".".join(self.where)


def _one_identity(tables: Mapping[Where, type[Options]], seen: _Seen) -> Iterator[Finding]:
    """Two ways to one Bitbucket give an event one id only by one identity."""
    roads = [
        _Road(
            where,
            str(seen.value(where, "type")),
            str(seen.value(where, "url")).rstrip("/").casefold(),
            str(seen.value(where, "identity") or where[1]),
        )
        for where in tables
        if where[0] == "sources"
    ]
    asked = [road for road in roads if road.type == "bitbucket_audit"]
    for number, road in enumerate(asked):
        for other in asked[:number]:
            if road.address == other.address and road.identity != other.identity:
                risk = f"is another than that of {other.named}, which asks the same Bitbucket: what"
                risk += f' both forward comes twice; set identity = "{other.identity}"'
                yield Finding((*road.where, "identity"), risk, harmless=True)
    for road in roads:
        if road.type == "bitbucket_audit_log" and asked:
            yield from _files(road, asked)
        if road.type == "bitbucket_repository_audit":
            for other in asked:
                if road.address == other.address:
                    risk = f"asks the same Bitbucket as {other.named}: what both forward comes"
                    risk += " twice, under ids that cannot be the same; keep one of the two"
                    yield Finding((*road.where, "type"), risk, harmless=True)


def _files(road: _Road, asked: Sequence[_Road]) -> Iterator[Finding]:
    """Files do not say of which Bitbucket they are: they may well be of another one."""
    if road.identity not in (other.identity for other in asked):
        first = asked[0]
        risk = f"is that of no source that asks the API: if {first.named} reads the same"
        risk += f' Bitbucket, every event comes twice; set identity = "{first.identity}"'
        yield Finding((*road.where, "identity"), risk, harmless=True)


def _urls(where: Where, table: type[Options], seen: _Seen) -> Iterator[Finding]:
    for name in table.model_fields:
        value = seen.value(where, name)
        there, text = (*where, name), str(value)
        if value is None or not (name in ("url", "proxy") or name.endswith("_url")):
            continue
        if "://" not in text:
            yield Finding(there, 'has no scheme: begin it with "https://"')
            continue
        try:
            url = urlsplit(text)
        except ValueError:
            yield Finding(there, "is not a URL")
            continue
        if url.username or url.password:
            keys = "set HTTPS_PROXY" if name == "proxy" else "use the keys for token or password"
            yield Finding(there, f"holds a credential: take it out, and {keys} instead")
        secret = any(seen.value(where, key) for key in table.secrets())
        if url.scheme == "http" and secret and not _is_loopback(url.hostname or ""):
            risk = "is plain http: whoever is in between can read the credential; use https"
            yield Finding(there, risk, harmless=True)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _format(where: Where, seen: _Seen) -> Iterator[Finding]:
    named = seen.value(where, "format")
    if isinstance(named, str) and named not in FORMATS and extension("formats", named) is None:
        known = [*FORMATS, *extensions("formats")]
        line = f"unknown format{did_you_mean_or_known(named, known)}"
        yield Finding((*where, "format"), line)


def _server(parts: Mapping[Where, Options]) -> Iterator[Finding]:
    server = parts.get(("server",))
    if isinstance(server, ServerConfig) and server.risk:
        yield Finding(("server", "listen"), server.risk, harmless=True)


def _kind(where: Where, parts: Mapping[Where, Options]) -> Iterator[Finding]:
    part = parts.get(where)
    config = part if isinstance(part, KindConfig) else None
    for key, problem in mistakes(where[1], config):
        yield Finding((*where, key) if key else where, problem)


def _retention(where: Where, parts: Mapping[Where, Options]) -> Iterator[Finding]:
    """A row that is read again must still be known, or it would be delivered again."""
    source, store = parts.get(where), parts.get(("store",))
    kept = getattr(store, "retention", None)
    needed = getattr(source, "rescan_window", 0.0) + getattr(source, "overlap", 0.0)
    if kept is not None and kept < needed:
        problem = (
            f"is shorter than {'.'.join(where)}'s rescan_window and overlap together "
            f"({needed / 3600:.4g}h): events that are read again would be delivered again"
        )
        yield Finding(("store", "retention"), problem)


def _open_file(where: Where, table: type[Options], written: Written) -> Iterator[Finding]:
    for name in table.secrets():
        leaf = written.leaves.get((*where, name))
        if leaf and leaf.layer == "file" and Path(leaf.place).stat().st_mode & stat.S_IRWXO:
            risk = (
                f"stands in a file that everybody can read: use {name}_file, or chmod o= the file"
            )
            yield Finding((*where, name), risk, harmless=True)
