"""A bell wakes everybody who waits for it, again and again."""

import anyio


class Bell:
    """Take `next` first, then look whether there is anything, then wait: no ring is missed."""

    def __init__(self) -> None:
        self.next = anyio.Event()

    def ring(self) -> None:
        """Set `next`, and put another in its place."""
        self.next.set()
        self.next = anyio.Event()
