"""What was made of short texts is kept, for the same come again and again."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

T = TypeVar("T", str, bytes)
R = TypeVar("R")

SHORT: Final = 512
"""Characters or bytes of a text that is remembered, at most: strangers choose how long one is."""


def remembered(function: Callable[[T], R], *, most: int = 1024) -> Callable[[T], R]:
    """Return `function`, which remembers what it has returned for the `most` last short texts."""
    known = lru_cache(most)(function)
    return lambda text: known(text) if len(text) <= SHORT else function(text)
