"""A strict reader of LEEF 2.0, written from IBM's "LEEF event components"."""

import re
from dataclasses import dataclass


class LeefError(ValueError):
    """The line is not LEEF."""


@dataclass(frozen=True)
class Leef:
    vendor: str
    product: str
    version: str
    event_id: str
    attributes: dict[str, str]


def parse(line: str) -> Leef:
    """Return what the line says; raise LeefError where the format is not kept."""
    if "\n" in line or "\r" in line:
        raise LeefError("more than one line")
    parts = line.split("|", 6)
    if len(parts) != 7 or parts[0] != "LEEF:2.0":
        raise LeefError(f"no LEEF 2.0 header: {line[:80]!r}")
    if any(not part for part in parts[:5]):
        raise LeefError("an empty field in the header")
    found = re.fullmatch(r"0?x([0-9A-Fa-f]{2,4})|(.)", parts[5])
    if not found:
        raise LeefError(f"no delimiter: {parts[5]!r}")
    delimiter = chr(int(found[1], 16)) if found[1] else found[2]
    attributes: dict[str, str] = {}
    for pair in parts[6].split(delimiter):
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
            raise LeefError(f"no key: {pair[:80]!r}")
        if key in attributes:
            raise LeefError(f"{key} twice")
        attributes[key] = value
    return Leef(*parts[1:5], attributes=attributes)
