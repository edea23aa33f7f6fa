"""Texts and i18n keys made comparable: what case, punctuation and spaces say is nothing."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, NamedTuple

_SHORT: Final = 4
"""Letters that a word must have to be looked for inside a key, where nothing parts the words."""


_PIECE: Final = re.compile(r"\S{1,256}")
"""What is normalized at once: the time that takes can grow with the square of its length."""


class Wanted(NamedTuple):
    """One thing that a rule asks for; `in_key` is None where it is too short to be found there."""

    in_text: re.Pattern[str]
    in_key: re.Pattern[str] | None


def plain(text: str) -> str:
    """Return the words of `text`, folded, with one space between them."""
    folded = _PIECE.sub(_normalized, text).casefold()
    return " ".join(re.findall(r"\w+", folded.replace("_", " ")))


def _normalized(piece: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", piece[0])


def squeezed(key: str) -> str:
    """Return the letters and digits of an i18n key's tail, folded.

    The tail is what follows ``.action.`` or, in a key without it, the last part but one and the
    last: what is before names the program, not what happened.
    """
    folded = key.casefold()
    _, found, tail = folded.rpartition(".action.")
    if not found:
        tail = ".".join(folded.split(".")[-2:])
    return "".join(re.findall(r"[^\W_]+", tail))


def wanted(words: Iterable[str]) -> tuple[Wanted, ...]:
    """Return what `words` ask for: each is one thing, ``a|b`` either, ``a*`` any ending."""
    return tuple(_wanted(word) for word in words)


@cache
def _wanted(word: str) -> Wanted:
    choices = word.split("|")
    in_text = "|".join(rf"\b{_escaped(choice)}\b" for choice in choices)
    long = [bare for choice in choices if len(bare := re.sub(r"[\W_]", "", choice)) >= _SHORT]
    in_key = re.compile("|".join(re.escape(bare.casefold()) for bare in long)) if long else None
    return Wanted(re.compile(in_text), in_key)


def _escaped(choice: str) -> str:
    """Return a word, or several in this order, as a regular expression."""
    words = choice.casefold().split()
    return r"\W+".join(re.escape(word).replace(r"\*", r"\w*") for word in words)


def pattern(choices: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern for whole texts, with ``*`` for any part, or None without any choice."""
    if not choices:
        return None
    parts = (re.escape(choice.strip()).replace(r"\*", ".*") for choice in choices)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE | re.DOTALL)
