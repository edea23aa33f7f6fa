"""One family of events, one file: record -> event. Pure."""

from forwarder.model import Event, Record
from forwarder.normalizers import audit, soteri


def normalize(record: Record, *, source: str) -> Event:
    """Return the event that `record` tells of; `source` is the configured source's name."""
    if record.category == soteri.CATEGORY:
        return soteri.normalize(record, source=source)
    return audit.normalize(record, source=source)
