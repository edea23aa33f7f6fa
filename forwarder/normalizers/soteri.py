"""Soteri Security for Bitbucket: which records are its own."""

from typing import Final

from forwarder.model import Record

CATEGORY: Final = "Soteri Security for Bitbucket"
"""The category's display text, exactly as Soteri documents it ("Viewing audited events")."""
UNKNOWN: Final = "soteri.unknown"
"""The kind of what Soteri says and no rule names: it passes untouched."""

_CATEGORY: Final = CATEGORY.casefold()


def is_soteris(record: Record) -> bool:
    """Return whether Soteri wrote the record, whatever the language of the category's text."""
    if record.category == CATEGORY:
        return True
    return record.category.strip().casefold() == _CATEGORY or (
        "soteri" in record.category_key.casefold()
    )
