"""A strict reader of CEF, written from ArcSight's "Implementing CEF": it refuses all else."""

import re
from dataclasses import dataclass

# Keys of the extension dictionary are letters and digits; nothing else may stand before "=".
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=")


class CefError(ValueError):
    """The line is not CEF."""


@dataclass(frozen=True)
class Cef:
    vendor: str
    product: str
    version: str
    event_class: str
    name: str
    severity: int
    extension: dict[str, str]


def parse(line: str) -> Cef:
    """Return what the line says, unescaped; raise CefError where the standard is not kept."""
    if "\n" in line or "\r" in line:
        raise CefError("more than one line")
    fields, rest = _header(line)
    if fields[0] != "CEF:0":
        raise CefError(f"no CEF version 0: {fields[0]!r}")
    if not re.fullmatch(r"\d|10", fields[6]):
        raise CefError(f"no severity: {fields[6]!r}")
    return Cef(*fields[1:6], severity=int(fields[6]), extension=_extension(rest))


def _header(line: str) -> tuple[list[str], str]:
    fields, field, place = [], "", 0
    while place < len(line):
        letter = line[place]
        if letter == "\\":
            if line[place + 1 : place + 2] not in ("\\", "|"):
                raise CefError(f"escaped what needs none: {line[place : place + 2]!r}")
            field += line[place + 1]
            place += 2
            continue
        place += 1
        if letter != "|":
            field += letter
            continue
        fields.append(field)
        field = ""
        if len(fields) == 7:
            return fields, line[place:]
    raise CefError(f"only {len(fields)} fields in the header")


def _extension(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    place = 0
    while place < len(text):
        found = _KEY.match(text, place)
        if not found:
            raise CefError(f"no key at {text[place : place + 20]!r}")
        key = found[1]
        if key in pairs:
            raise CefError(f"{key} twice")
        pairs[key], place = _value(text, found.end())
    return pairs


def _value(text: str, place: int) -> tuple[str, int]:
    """Read up to the space before the next key: inside a value "=" is escaped, so it is no key."""
    value = ""
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            escaped = text[place + 1 : place + 2]
            if escaped not in ("\\", "=", "n", "r"):
                raise CefError(f"escaped what needs none: {text[place : place + 2]!r}")
            value += {"n": "\n", "r": "\r"}.get(escaped, escaped)
            place += 2
            continue
        if letter == "=":
            raise CefError("an equals sign that is not escaped")
        if letter == " " and _KEY.match(text, place + 1):
            return value, place + 1
        value += letter
        place += 1
    return value, place
