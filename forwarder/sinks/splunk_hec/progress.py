"""What is known of the batch that is under way: pure.

A batch goes out in several requests, and each is acknowledged by itself. So that a failure or a
crash half-way sends nothing again that has arrived, the sink remembers the fate of each event; the
contract says that the same batch, or one that begins at the same event, comes again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any, Literal

import msgspec

from forwarder.errors import Reason
from forwarder.model import Outgoing, Rejection


class Fate(Enum):
    """What became of an event, where that is neither an ack to wait for nor a rejection."""

    UNSENT = "unsent"
    AGAIN = "again"
    """To be sent again; it may have arrived."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Ack:
    """An ack to wait for; it is the only one of its channel that is waited for.

    Ids count up from 0 in each channel, and from 0 again where the indexer restarts. With two of
    one channel, or one and a request whose answer was lost, the ack of the later could then be
    taken for that of the earlier, which the restart lost.
    """

    channel: str
    id: int


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Neighbours with one fate, as the memo keeps them."""

    first: str
    last: str
    count: int
    fate: Literal["unsent", "again", "done"] = "unsent"
    ack: Ack | None = None
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Events `start` to `stop` (exclusive) of the batch, to be sent.

    `is_doubtful` says that they may have arrived already.
    """

    start: int
    stop: int
    is_doubtful: bool


class Progress:
    """The fate of each event of one batch: a Fate, the ack that it waits for, or a Rejection."""

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        self._ids: list[str] = []
        self._fates: list[Fate | Ack | Rejection] = []
        self._recalled = runs

    @classmethod
    def recall(cls, memo: object) -> "Progress":
        """Return the progress that `to_memo` wrote.

        Raises:
            ValueError: it is something else's.
        """
        return cls(msgspec.convert(memo, list[Run]))

    def to_memo(self) -> list[dict[str, Any]]:
        """Return it as JSON values, so that `recall` finds it again in another process."""
        memo: list[dict[str, Any]] = msgspec.to_builtins(self._runs())
        return memo

    def begin(self, events: Sequence[Outgoing]) -> None:
        """Go on with `events`: what they begin with and what is known keeps its fate.

        Where they end or differ in the midst of what has one fate, all from there on may have
        arrived.
        """
        runs = self._runs() or self._recalled
        self._recalled = ()
        self._ids = [event.event_id for event in events]
        self._fates = []
        for run in runs:
            start, stop = len(self._fates), len(self._fates) + run.count
            if self._ids[start : start + 1] + self._ids[stop - 1 : stop] != [run.first, run.last]:
                is_other = not self._ids or runs[0].first != self._ids[0]
                rest = Fate.UNSENT if is_other else Fate.AGAIN
                break
            self._fates += [self._fate(run)] * run.count
        else:
            rest = Fate.UNSENT
        self._fates += [rest] * (len(self._ids) - len(self._fates))

    def forget(self) -> None:
        """Know nothing of any batch."""
        self._ids, self._fates, self._recalled = [], [], ()

    def next_piece(self) -> Piece | None:
        """Return what is to be sent next, or None where nothing is left."""
        start = 0
        for fate, group in groupby(self._fates):
            stop = start + len(list(group))
            if fate is Fate.UNSENT or fate is Fate.AGAIN:
                return Piece(start, stop, is_doubtful=fate is Fate.AGAIN)
            start = stop
        return None

    def mark(self, start: int, stop: int, fate: Fate | Ack | Rejection) -> None:
        """Note the fate of events `start` to `stop` (exclusive)."""
        self._fates[start:stop] = [fate] * (stop - start)

    def pending(self) -> list[Ack]:
        """Return the acks to wait for, in the order of the events."""
        return [fate for fate, _ in groupby(self._fates) if isinstance(fate, Ack)]

    @property
    def unacknowledged(self) -> int:
        """How many events wait for an ack."""
        recalled = sum(run.count for run in self._recalled if run.ack)
        return recalled + sum(isinstance(fate, Ack) for fate in self._fates)

    def acknowledge(self, ack: Ack) -> None:
        """Note that what waited for this is delivered."""
        self._replace({ack}, Fate.DONE)

    def expire(self) -> int:
        """Note that what still waits is to be sent again; return how many events that are."""
        return self._replace(set(self.pending()), Fate.AGAIN)

    def rejections(self) -> tuple[Rejection, ...]:
        """Return what was refused for good."""
        return tuple(fate for fate in self._fates if isinstance(fate, Rejection))

    def _replace(self, acks: set[Ack], by: Fate) -> int:
        count = 0
        for place, fate in enumerate(self._fates):
            if isinstance(fate, Ack) and fate in acks:
                self._fates[place] = by
                count += 1
        return count

    def _runs(self) -> list[Run]:
        runs, start = [], 0
        for fate, group in groupby(self._fates):
            count = len(list(group))
            first, last = self._ids[start], self._ids[start + count - 1]
            start += count
            if isinstance(fate, Rejection):
                run = Run(
                    first=first, last=last, count=count, reason=fate.reason, detail=fate.detail
                )
            elif isinstance(fate, Ack):
                run = Run(first=first, last=last, count=count, ack=fate)
            else:
                run = Run(first=first, last=last, count=count, fate=fate.value)
            runs.append(run)
        return runs

    @staticmethod
    def _fate(run: Run) -> Fate | Ack | Rejection:
        if run.reason is not None:
            return Rejection(run.first, run.reason, run.detail)
        return run.ack or Fate(run.fate)
