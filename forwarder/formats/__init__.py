"""One format, one file: event -> bytes. Pure.

meaning.py and gist.py say what an event means in words that every schema has.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forwarder.formats.audit_log import AuditLogFormat
from forwarder.formats.cef import CefFormat
from forwarder.formats.ecs import EcsFormat
from forwarder.formats.json import JsonFormat
from forwarder.formats.leef import LeefFormat
from forwarder.formats.ocsf import OcsfFormat
from forwarder.formats.raw import RawFormat
from forwarder.formats.splunk_cim import SplunkCimFormat
from forwarder.interfaces import Format

FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "json": JsonFormat(),
        "raw": RawFormat(),
        "audit_log": AuditLogFormat(),
        "ecs": EcsFormat(),
        "ocsf": OcsfFormat(),
        "cef": CefFormat(),
        "leef": LeefFormat(),
        "splunk_cim": SplunkCimFormat(),
    }
)
"""Every format by the name that users type."""
