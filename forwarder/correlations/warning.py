"""What was blocked is only warned about. Pure but for the look at its evidence.

Told is a change of the hook's mode to warn that comes within a time after a blocked push to any
repository, and a push with a warning that comes within that time after the last word of the hook
on the same repository was to block.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final

import msgspec

from forwarder import times
from forwarder.correlations import WarningConfig, reading
from forwarder.correlations.evidence import Look, Told, written
from forwarder.correlations.gap import anchored
from forwarder.model import Event

KIND: Final = "correlation.block_became_warning"
_PLACES: Final = 1000
"""Repositories on which the hook had its word last."""
_WORDS: Final = 8
"""Of each, the newest by the times at which they happened."""
_MODES: Final = 50


class Word(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The hook's word on a push: blocked, or warned; or, of the mode, that it only warns now."""

    at: int
    event_id: str
    blocked: bool


class _Place(msgspec.Struct, frozen=True, array_like=True):
    instance: str
    repository: str


class _Memory(msgspec.Struct):
    words: list[tuple[_Place, list[Word]]] = []
    modes: list[tuple[str, list[Word]]] = []


Pair = tuple[Word, Word]
"""A block, and what came of it."""


class BlockBecameWarning:
    """Remembers the hook's last words on each repository, and the last changes of the mode."""

    kind = KIND
    kinds: tuple[str, ...] = (reading.HOOK_BLOCKED, reading.HOOK_WARNED, *reading.MODES)

    def __init__(self, options: WarningConfig) -> None:
        self._within = round(options.within * 1000)
        self._words: dict[_Place, list[Word]] = {}
        self._modes: dict[str, list[Word]] = {}

    def take(self, event: Event) -> Sequence[Any]:
        """Remember a word or a mode; return the pairs that it gives rise to."""
        instance = reading.instance(event)
        word = Word(
            times.milliseconds(event.occurred_at),
            event.event_id,
            event.kind == reading.HOOK_BLOCKED,
        )
        if event.kind in reading.MODES:
            pairs = self._eased(instance, word) if reading.eased(event) else iter(())
        else:
            pairs = self._said(_Place(instance, reading.place(event)), word)
        return [partial(self._tell, pair) for pair in pairs]

    def _eased(self, instance: str, change: Word) -> Iterator[Pair]:
        known = self._modes.setdefault(instance, [])
        self._modes[instance] = sorted([*known, change])[-_MODES:]
        blocks = [
            word
            for place, words in self._words.items()
            for word in words
            if place.instance == instance and word.blocked and self._is_near(word, change)
        ]
        if blocks:
            yield max(blocks), change

    def _said(self, place: _Place, word: Word) -> Iterator[Pair]:
        words = sorted([*self._words.pop(place, []), word])[-_WORDS:]
        self._words[place] = words  # behind all others: the hook had its word here last
        if len(self._words) > _PLACES:
            del self._words[next(iter(self._words))]
        for before, after in pairwise(words):
            is_new = word in (before, after)
            if is_new and place.repository and before.blocked and not after.blocked:
                yield from [(before, after)] if self._is_near(before, after) else []
        if word.blocked:  # late: it has been eased meanwhile
            eased = self._modes.get(place.instance, ())
            yield from ((word, change) for change in eased if self._is_near(word, change))

    def _is_near(self, block: Word, after: Word) -> bool:
        return 0 <= after.at - block.at <= self._within

    async def _tell(self, pair: Pair, look: Look) -> Told | None:
        block, after = pair
        blocked = await anchored(look, block.at, block.event_id)
        anchor = await anchored(look, after.at, after.event_id)
        if blocked is None or anchor is None:
            return None
        is_mode = anchor.kind in reading.MODES
        what = "the hook's mode was changed to warn" if is_mode else "a push got a warning only"
        where = reading.place(blocked) or "a repository"
        seconds = (after.at - block.at) / 1000
        return Told(
            kind=KIND,
            anchor=anchor,
            drawn_from=(after.event_id,),
            cited=(block.event_id, after.event_id),
            detail=f"{what} {seconds:.0f} s after a push to {where} was blocked",
            facts={
                "rule": "block_became_warning",
                "blocked": reading.person(blocked),
                "since": written(times.moment(block.at)),
                "seconds": f"{seconds:.0f}",
            },
            objects=anchor.objects or blocked.objects,
        )

    def remembered(self) -> Any:  # noqa: ANN401  JSON
        """Return the words."""
        return msgspec.to_builtins(_Memory([*self._words.items()], [*self._modes.items()]))

    def recall(self, remembered: Any) -> None:  # noqa: ANN401  JSON
        """Go on there."""
        memory = msgspec.convert(remembered or {}, _Memory)
        self._words, self._modes = dict(memory.words), dict(memory.modes)
