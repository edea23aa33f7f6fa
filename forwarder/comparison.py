"""What one side holds, against what it should hold. Pure."""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Literal

import msgspec


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for the store or for one sink; `missing`, `extra` and `doubled` are event ids.

    Where it could not be asked, `unasked` says why, and nothing is known of what it holds. What is
    `waiting` to be sent, `buried` as a dead letter, `unwanted` by the sink's own filter, or
    `forgotten` by the store (past its retention) does not count as missing. `repaired` says how
    many of the missing were stored or are on their way, `unrepaired` why others are not.
    """

    name: str
    kind: Literal["store", "sink"]
    unasked: str = ""
    expected: int = 0
    held: int = 0
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    buried: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    forgotten: int = 0
    repaired: int = 0
    unrepaired: str = ""


def compare(
    side: Side, held: Iterable[str], *, expected: AbstractSet[str], known: AbstractSet[str]
) -> Side:
    """Return `side` with what its `held` ids say; what is `known` anywhere is not extra."""
    counts = Counter(held)
    return msgspec.structs.replace(
        side,
        expected=len(expected),
        held=len(counts),
        missing=tuple(sorted(expected - counts.keys())),
        extra=tuple(sorted(counts.keys() - known)),
        doubled=tuple(sorted(each for each, count in counts.items() if count > 1)),
    )
