"""`raw`: the record as Bitbucket gave it, and nothing else."""

from forwarder.model import Outgoing


class RawFormat:
    """One JSON value a line: the record's own bytes (without line ends between its tokens)."""

    media_type = "application/json"

    def encode(self, event: Outgoing) -> bytes:
        """Return the original."""
        return bytes(event.whole().original)
