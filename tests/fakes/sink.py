"""A sink that does what the test says and remembers what it was given."""

from collections import deque
from collections.abc import Iterable

import anyio
import anyio.lowlevel

from forwarder.errors import ForwarderError
from forwarder.model import Batch, Event, Receipt, Rejection

Outcome = Receipt | ForwarderError | Exception


class FakeSink:
    """Takes every batch, but for the scripted outcomes, which come first and in order.

    An exception in the script is raised and nothing of the batch is held; a receipt is returned
    and all but its rejections are held. Event ids in `refused` are rejected in every receipt.
    `broken`, where set, is raised by every send and probe until it is None again.
    """

    def __init__(self, *outcomes: Outcome, refused: Iterable[str] = ()) -> None:
        self.script = deque(outcomes)
        self.refused = set(refused)
        self.broken: ForwarderError | None = None
        self.held: list[Event] = []
        """Every event taken, in order, doubles included."""
        self.attempts: list[Batch] = []
        """Every batch that came, taken or not."""
        self.gate = anyio.Event()
        """Each send waits for it: `hold()` closes it, `release()` opens it again."""
        self.gate.set()
        self._changed = anyio.Event()

    def hold(self) -> None:
        """Make every later send wait, so that it can be cancelled half-way."""
        self.gate = anyio.Event()

    def release(self) -> None:
        """Let the waiting send and all later ones go on."""
        self.gate.set()

    async def send(self, batch: Batch) -> Receipt:
        self.attempts.append(batch)
        self._announce()
        await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise self.broken
        outcome = self.script.popleft() if self.script else self._receipt(batch)
        if isinstance(outcome, Exception):
            raise outcome
        rejected = {rejection.event_id for rejection in outcome.rejections}
        self.held += [event for event in batch.events if event.event_id not in rejected]
        self._announce()
        return outcome

    async def probe(self) -> str:
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise self.broken
        return "a fake takes everything"

    @property
    def held_ids(self) -> list[str]:
        """The ids of the events taken, in order, doubles included."""
        return [event.event_id for event in self.held]

    async def wait_held(self, count: int) -> None:
        """Return once at least `count` events are held."""
        while len(self.held) < count:
            await self._changed.wait()

    async def wait_attempts(self, count: int) -> None:
        """Return once at least `count` batches have come."""
        while len(self.attempts) < count:
            await self._changed.wait()

    def _receipt(self, batch: Batch) -> Receipt:
        return Receipt(
            rejections=tuple(
                Rejection(event.event_id, "refused", "the test refuses it")
                for event in batch.events
                if event.event_id in self.refused
            )
        )

    def _announce(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
