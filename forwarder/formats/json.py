"""`json`: our own event, whole and versioned; docs/formats.md describes every field."""

from typing import Final

import msgspec

from forwarder.model import Event

VERSION: Final = 1
"""Of the shape: raised when a field changes its meaning or goes, not when one is added."""

_encoder = msgspec.json.Encoder()


class JsonFormat:
    """One JSON object a line: the normalized event with the untouched record in ``original``."""

    media_type = "application/json"

    def encode(self, event: Event) -> bytes:
        """Return the event; its `original` is spliced in as it came, never encoded again."""
        return b'{"version":%d,%b' % (VERSION, _encoder.encode(event)[1:])
