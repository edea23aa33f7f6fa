"""Record -> event: every event gets its name and its severity from the catalogue. Pure."""

from forwarder.model import Event, Record
from forwarder.normalizers import soteri
from forwarder.normalizers.audit import build, unnamed
from forwarder.normalizers.catalogue import LONGEST, Recognised
from forwarder.normalizers.catalogue import Catalogue as Catalogue


class CatalogueNormalizer:
    """Names what its catalogue recognises, and lets the rest pass as what it is: unknown."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        known = catalogue.kinds[soteri.UNKNOWN]
        self._unknown = Recognised(known.kind, known.severity)

    def __call__(self, record: Record, *, source: str) -> Event:
        """Return the event that `record` tells of; `source` is the configured source's name."""
        recognised = self.catalogue.recognise(record)
        if recognised is None:
            is_soteris = soteri.is_soteris(record)
            recognised = self._unknown if is_soteris else unnamed(record.action[:LONGEST])
        return build(record, recognised, source=source)
