"""How the process deals with memory: what many small objects and a few threads need."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_ARENA_MAX: Final = -8
"""``M_ARENA_MAX`` of glibc's malloc.h."""


def share_heap() -> None:
    """Have all threads use one heap: each would keep for itself what it has freed.

    Where the C library is not glibc, nothing changes (glibc's manual, "Malloc Tunable Parameters").
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def collect_less() -> None:
    """Look for cyclic garbage less often: what was built stays, and what flows has no cycles.

    What little is garbage by now stays too (0.3 MiB): to look for it is a twentieth of the start.
    """
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)
