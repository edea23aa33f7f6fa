"""A source that plays a script: an upstream log of pages, with errors in between."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from forwarder.model import Checkpoint, Page, Record, Unreadable

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def make_record(number: int, **fields: Any) -> Record:
    """Return the record that happened `number` seconds after EPOCH, with an id of its own."""
    at = EPOCH + timedelta(seconds=number)
    given = {
        "event_id": f"{int(at.timestamp() * 1000):012x}{number:020x}",
        "occurred_at": at,
        "category": "Soteri Security for Bitbucket",
        "action": "Security hook skipped",
        "original": msgspec.Raw(b'{"number":%d}' % number),
    }
    return Record(**(given | fields))


def make_page(
    *numbers: int, mark: int | None = None, unreadable: tuple[Unreadable, ...] = (), **extra: Any
) -> Page:
    """Return a page of records; its mark is `mark` or the last number, seconds after EPOCH."""
    at = mark if mark is not None else max(numbers, default=0)
    return Page(
        tuple(make_record(number) for number in sorted(numbers)),
        Checkpoint(EPOCH + timedelta(seconds=at), extra),
        unreadable,
    )


class FakeSource:
    """Yields the script's pages that lie after the checkpoint given; an error is raised once.

    `script` may grow while it plays. `asked` holds the checkpoint of every poll.
    """

    def __init__(self, *script: Page | Exception) -> None:
        self.script: list[Page | Exception] = list(script)
        self.asked: list[Checkpoint | None] = []

    async def poll(self, after: Checkpoint | None) -> AsyncGenerator[Page, None]:
        self.asked.append(after)
        place = 0
        for index, step in enumerate(self.script):
            if isinstance(step, Page) and step.checkpoint == after:
                place = index + 1
        while place < len(self.script):
            step = self.script[place]
            if isinstance(step, Exception):
                del self.script[place]
                raise step
            yield step
            place += 1

    async def probe(self) -> str:
        """Raise what the script would raise next, else say how long it is."""
        if self.script and isinstance(self.script[0], Exception):
            raise self.script.pop(0)
        return f"a script of {len(self.script)} pages"
