"""One format, one file: event -> bytes. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forwarder.formats.json import JsonFormat
from forwarder.formats.raw import RawFormat
from forwarder.interfaces import Format

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({"json": JsonFormat(), "raw": RawFormat()})
"""Every format by the name that users type."""
