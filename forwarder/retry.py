"""How long to wait before the next try: arithmetic only, no clock and no sleep."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, without an end.

    Full jitter (a uniform draw between nothing and the exponential bound) spreads many clients
    best: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    Seconds throughout.
    """

    initial: float = 1.0
    maximum: float = 60.0
    draw: Callable[[], float] = random.random

    def delay(self, attempt: int, *, at_least: float = 0.0) -> float:
        """Return the seconds to wait after failed try number `attempt`, counted from 1.

        `at_least` is what the server asked for (Retry-After): it is a floor, never shortened.
        """
        # 2.0**64 would do; the cap on the exponent keeps a daemon that fails for a year finite.
        bound = min(self.maximum, self.initial * 2.0 ** min(max(attempt, 1) - 1, 64))
        return max(at_least, self.draw() * bound)
