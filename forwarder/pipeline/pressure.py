"""Room: what happens before the store or its disk is full.

Nothing is read that could not be kept: Bitbucket still holds it. Near the limit, delivered events
are forgotten before their retention is over; where that is not enough, the pollers wait, and go on
by themselves once what was owed is delivered and forgotten, or somebody makes room.
"""

from typing import Final

import structlog

from forwarder.interfaces import Outbox
from forwarder.pipeline.janitor import Janitor
from forwarder.pipeline.progress import HoldError
from forwarder.span import many

NEAR: Final = 0.9
"""Share of the room at which nothing more is read. The rest is for the positions, and the log
that a database writes before it forgets anything."""
_EASED: Final = 0.8
"""Share down to which delivered events are then forgotten, so that it isn't done at each page."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Pressure:
    """What the pollers ask before they store anything. `letters` bounds the unreadable records."""

    def __init__(self, outbox: Outbox, janitor: Janitor, *, letters: int) -> None:
        self._outbox = outbox
        self._janitor = janitor
        self.letters = letters
        self._is_near = False

    async def admit(self) -> None:
        """Return where another page may be stored; room is made for it where that is possible.

        Raises:
            HoldError: there is no room now.
        """
        room = await self._outbox.room()
        if room.share < NEAR:
            if self._is_near:
                self._is_near = False
                log.info("store.eased", bytes=room.used, limit=room.limit)
            return
        if not self._is_near:
            self._is_near = True
            log.warning("store.nearly_full", bytes=room.used, limit=room.limit)
        await self._janitor.make_room(self._is_eased)
        room = await self._outbox.room()
        if room.share < NEAR:
            return
        raise HoldError(
            "waiting",
            "waiting for room: the store is nearly full, and what it holds is not delivered yet or"
            " will be read again",
            remedy="see that every sink takes its events and every source is read, give the store"
            " more room ([store] capacity, or its disk), or shorten rescan_window",
        )

    async def admit_unreadable(self) -> None:
        """Return where another unreadable record may be kept.

        Raises:
            HoldError: there are too many.
        """
        if await letters_of(self._outbox, "") < self.letters:
            return
        raise HoldError(
            "paused",
            f"{many(self.letters, 'record')} could not be read, and no more are kept ([store]"
            " dead_letters)",
            remedy='look at them ("soteri-forwarder dead-letters list --reason unreadable"); an'
            " upgrade may read them (dead-letters replay), or discard them",
        )

    async def _is_eased(self) -> bool:
        return (await self._outbox.room()).share < _EASED


async def letters_of(outbox: Outbox, sink: str) -> int:
    """Return how many dead letters a sink has; "" is for the records that nobody could read."""
    counts = await outbox.count_dead_letters()
    return sum(count for (owner, _), count in counts.items() if owner == sink)
