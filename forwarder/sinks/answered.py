"""What a destination has answered for while a batch is under way. Pure."""

from forwarder.model import Batch, Receipt, Rejection


class Answered:
    """A batch that failed half-way comes again: what was answered for then is not sent again."""

    def __init__(self) -> None:
        self._first = ""
        self._fates: dict[str, Rejection | None] = {}

    def begin(self, batch: Batch) -> None:
        """Go on with `batch` where it comes again, else forget what was known of another."""
        first = batch.events[0].event_id
        if first != self._first:
            self._first, self._fates = first, {}

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._fates

    def note(self, event_id: str, refused: Rejection | None = None) -> None:
        """Take note that the event is delivered, or `refused` for good."""
        self._fates[event_id] = refused

    def end(self, batch: Batch) -> Receipt:
        """Return what came of `batch`, all of which is delivered or refused, and forget it.

        Were it known any longer, an event could not be replayed.
        """
        known = [self._fates.get(event.event_id) for event in batch.events]
        self._first, self._fates = "", {}
        return Receipt(tuple(rejection for rejection in known if rejection))
