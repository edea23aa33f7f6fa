"""Says at a glance which of many texts may hold a credential."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from forwarder.redaction.credentials import SHAPES, WORDS, Shape, has_url


class _Search:
    """Finds, in one pass, every place in a text where a shape may begin.

    Aho and Corasick, "Efficient String Matching", CACM 1975. For 64 hints at most, and if it may
    skip those that overlap the one before, the library compares 16 letters at once, which is ten
    times as fast. What is skipped begins in the middle of a word: there no token can, and a name
    is part of the one before.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._shapes = [shape for shape in shapes for _ in shape.hints]
        hints = [hint.encode() for shape in shapes for hint in shape.hints]
        self._automaton = BytesAhoCorasick(hints, matchkind=MatchKind.LeftmostFirst)

    def __call__(self, text: bytes) -> list[tuple[Shape, int]]:
        found = self._automaton.find_matches_as_indexes(text)
        return [(self._shapes[hint], start) for hint, start, _ in found]


_shapes: Final = _Search(SHAPES)
_words: Final = _Search(WORDS)

_escapes: Final = BytesAhoCorasick([rb"\u00", rb"\/"], matchkind=MatchKind.LeftmostFirst)
_LOOKS: Final = 100
"""Places looked at in one line: with more it is suspect, for each costs what the line is long."""
_ESCAPE: Final = re.compile(rb"(?<!\\)\\++u00([2-7][0-9a-fA-F])")


def may_hold(text: str) -> bool:
    """Return whether `text` may hold a credential; never wrong where it says no."""
    encoded = text.encode(errors="surrogatepass")
    return bool("@" in text or "\\u00" in text or _shapes(encoded) or _words(encoded.lower()))


def suspects(lines: bytes) -> set[int]:
    """Return which lines, each a JSON value, may hold a credential; the first is 0.

    It is never wrong about the others. Many lines at once cost least.
    """
    if _escapes.find_matches_as_indexes(lines):
        lines = _unescaped(lines)
    places = _shapes(lines) + _words(lines.lower())
    if not places and b"@" not in lines:
        return set()
    texts = lines.split(b"\n")
    found = {n for n, text in enumerate(texts) if b"@" in text and has_url(text.decode())}
    ends = list(accumulate(len(text) + 1 for text in texts))
    looked_at: Counter[int] = Counter()
    for shape, place in places:
        number = bisect_right(ends, place)
        if number in found:
            continue
        looked_at[number] += 1
        text = texts[number]
        if looked_at[number] > _LOOKS or _begins(text, shape, place - ends[number] + 1):
            found.add(number)
    return found


def _begins(text: bytes, shape: Shape, place: int) -> bool:
    """Return whether `shape` does begin at a place, which is counted from the end of `text`."""
    at = len(text) + place
    return shape.pattern.match(text.decode(), len(text[:at].decode())) is not None


def _unescaped(text: bytes) -> bytes:
    plain = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), text)
    return plain.replace(rb"\/", b"/")
