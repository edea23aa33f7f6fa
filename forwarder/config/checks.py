"""What no table can see alone: two sinks and one file, a source and the store's retention."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from forwarder.config.layers import Where
from forwarder.config.problems import Reporter, did_you_mean_or_known
from forwarder.formats import FORMATS
from forwarder.options import Options, TlsOptions, extension, extensions


class Finding(NamedTuple):
    """One line; `harmless` is for the log, not a reason to refuse."""

    line: str
    harmless: bool = False


def findings(parts: Mapping[Where, Options], reporter: Reporter) -> Iterator[Finding]:
    """Yield what is wrong, or risky, among tables that are each well in themselves."""
    yield from _one_path_each(parts, reporter)
    for where, part in parts.items():
        yield from _urls(where, part, reporter)
        yield from _format(where, part, reporter)
        yield from _retention(where, part, parts.get(("store",)), reporter)
        if _inner(part, TlsOptions, "verify") is False:
            line = reporter.say(
                (*where, "tls", "verify"), "is false: whoever is in between can read and change all"
            )
            yield Finding(line, harmless=True)


def _one_path_each(parts: Mapping[Where, Options], reporter: Reporter) -> Iterator[Finding]:
    owners: dict[Path, Where] = {}
    for where, part in parts.items():
        path = getattr(part, "path", None)
        if where[0] != "sinks" or not isinstance(path, Path):
            continue
        owner = owners.setdefault(path.resolve(), where)
        if owner != where:
            problem = f"{'.'.join(owner)} writes this file too: give each sink a path of its own"
            yield Finding(reporter.say((*where, "path"), problem))


def _urls(where: Where, part: Options, reporter: Reporter) -> Iterator[Finding]:
    if where[0] not in ("sources", "sinks"):
        return
    for name in type(part).model_fields:
        value: Any = getattr(part, name)
        if value is None or not (name == "url" or name.endswith("_url")):
            continue
        there = (*where, name)
        text = str(value)
        if "://" not in text:
            yield Finding(reporter.say(there, 'has no scheme: begin it with "https://"'))
            continue
        url = urlsplit(text)
        if url.username or url.password:
            remedy = "holds a credential: take it out, and use the keys for token or password"
            yield Finding(reporter.say(there, remedy))
        secret = any(getattr(part, key) for key in type(part).secrets())
        if url.scheme == "http" and secret and not _is_loopback(url.hostname or ""):
            risk = "is plain http: whoever is in between can read the credential; use https"
            yield Finding(reporter.say(there, risk), harmless=True)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _format(where: Where, part: Options, reporter: Reporter) -> Iterator[Finding]:
    named = getattr(part, "format", None)
    if where[0] != "sinks" or not isinstance(named, str) or named in FORMATS:
        return
    if extension("formats", named) is None:
        known = [*FORMATS, *extensions("formats")]
        line = f"unknown format{did_you_mean_or_known(named, known)}"
        yield Finding(reporter.say((*where, "format"), line))


def _retention(
    where: Where, part: Options, store: Options | None, reporter: Reporter
) -> Iterator[Finding]:
    """A row that is read again must still be known, or it would be delivered again."""
    kept = getattr(store, "retention", None)
    needed = getattr(part, "rescan_window", 0.0) + getattr(part, "overlap", 0.0)
    if where[0] == "sources" and kept is not None and kept < needed:
        problem = (
            f"is shorter than {'.'.join(where)}'s rescan_window and overlap together "
            f"({needed:g}s): events that are read again would be delivered again"
        )
        yield Finding(reporter.say(("store", "retention"), problem))


def _inner(part: Options, kind: type[Options], name: str) -> object:
    for field in type(part).model_fields:
        inner = getattr(part, field)
        if isinstance(inner, kind):
            return getattr(inner, name)
    return None
