"""How a loop fares: what the server and `status` read, and how long to wait after a failure."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import structlog

from forwarder.errors import (
    AccessError,
    ForwarderError,
    PermanentError,
    StoreError,
    TransientError,
)
from forwarder.interfaces import Outbox
from forwarder.options import RetryOptions
from forwarder.telemetry import RETRIES, Outcome
from forwarder.times import utc_now

State = Literal["starting", "running", "retrying", "paused", "waiting"]
HOLD: Final = 3.0
"""Seconds until a loop that holds itself back looks again: what it waits for costs one question
to the outbox."""
AGAIN: Final = 300.0
"""Seconds for which the same failure is not logged again; then one line says how often it was."""
_MOST_SAID: Final = 100
STUCK_AFTER: Final = 900.0
"""Seconds without a move after which a loop that does not wait counts as stuck: half as long again
as a configuration can have it wait for somebody (`options.LONGEST_WAIT`)."""
_NAMES: Final = {
    ("source", "retrying"): "poll.postponed",
    ("sink", "retrying"): "batch.postponed",
    ("source", "paused"): "source.paused",
    ("sink", "paused"): "sink.paused",
}
_STILL: Final = {"source": "poll.still_failing", "sink": "batch.still_failing"}
_HELD: Final = {"source": "poll.held", "sink": "batch.held"}
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class HoldError(ForwarderError):
    """A loop holds itself back: nothing has failed, and it looks again in a few seconds.

    ``waiting`` ends by itself, ``paused`` needs a person.
    """

    def __init__(self, state: Literal["waiting", "paused"], message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.state: Literal["waiting", "paused"] = state


@dataclass(slots=True)
class _Said:
    """A failure that was logged: when first, and when last by our clock."""

    first_at: datetime
    logged: float
    times: int = 0


@dataclass(slots=True)
class Progress:
    """How the loop of one source or sink fares.

    ``retrying``: the last step failed and is tried again; ``paused``: a person is needed,
    everything is kept and it is tried rarely, because access is `refused` or there are too many
    dead letters; ``waiting``: there is no room.
    `next_at` is when the next step is due, None while one is under way or waits for events.
    """

    component: Literal["source", "sink"]
    name: str
    retry: RetryOptions
    state: State = "starting"
    error: str = ""
    remedy: str = ""
    refused: bool = False
    failures: int = 0
    since_at: datetime = field(default_factory=utc_now)
    succeeded_at: datetime | None = None
    next_at: datetime | None = None
    clock: Callable[[], float] = time.monotonic
    _moved: float = field(init=False)
    _idle: bool = field(default=False, init=False)
    _noted: tuple[str, str] = field(default=("", ""), init=False)
    _said: "dict[str, _Said]" = field(default_factory=dict, init=False)
    _trouble_at: datetime | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.moved()

    def moved(self) -> None:
        """The loop did a unit of work, or is about to."""
        self._moved = self.clock()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """The loop waits for a good reason inside: for events, for its interval, to try again."""
        self._idle = True
        try:
            yield
        finally:
            self._idle = False
            self.moved()

    @contextmanager
    def pausing(self, seconds: float) -> Iterator[None]:
        """The loop waits for its next step inside, which is due in `seconds`."""
        self.next_at = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
        with self.idle():
            yield
        self.next_at = None

    @property
    def stuck(self) -> bool:
        """Whether the loop neither waits nor has moved for too long."""
        return not self._idle and self.clock() - self._moved > STUCK_AFTER

    @property
    def troubled(self) -> bool:
        """Whether the last step failed or was held back."""
        return self.state not in ("starting", "running")

    def succeeded(self) -> None:
        """The step worked: whatever was wrong is over."""
        self.succeeded_at = datetime.now(UTC)
        if self.state == "running":
            return
        if self.state != "starting":
            began = self._trouble_at or self.since_at
            log.info(
                "component.recovered",
                component=self.component,
                name=self.name,
                failures=self.failures,
                since_at=began,
                seconds=round((self.succeeded_at - began).total_seconds(), 3),
            )
        self._trouble_at = None
        self._said.clear()
        self._become("running", "", "")
        self.refused = False
        self.failures = 0

    def failed(self, error: Exception) -> float:
        """Take note of a step that raised `error`; return the seconds to wait before the next.

        Raises:
            StoreError: `error` is one. Nothing can be promised without the outbox.
        """
        if isinstance(error, StoreError):
            raise error
        self.refused = isinstance(error, AccessError)
        if isinstance(error, HoldError):
            return self._hold(error)
        self.failures += 1
        RETRIES.labels(self.component, self.name).inc()
        policy = self.retry.policy()
        remedy = str(getattr(error, "remedy", ""))
        if isinstance(error, AccessError):
            self._become("paused", str(error), remedy)
            wait = policy.delay(self.failures, at_least=self.retry.access)
        else:
            known = isinstance(error, TransientError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            self._become("retrying", text, remedy)
            asked = error.retry_after if isinstance(error, TransientError) else 0.0
            wait = policy.delay(self.failures, at_least=asked)
        self._say(error, wait)
        return wait

    def _say(self, error: Exception, wait: float) -> None:
        """Log a failure at once where it is another than before, else now and then."""
        kind = re.sub(r"\d+", "#", f"{self.state} {self.error}")
        if len(self._said) > _MOST_SAID:
            self._said.clear()
        known = self._said.setdefault(kind, _Said(datetime.now(UTC), self.clock()))
        known.times += 1
        name = _NAMES[self.component, self.state]
        facts = {"name": self.name, "error": self.error, "retry_in": round(wait, 3)}
        if known.times == 1:
            if self.state == "retrying" and not isinstance(error, TransientError):
                log.error("step.crashed", component=self.component, name=self.name, exc_info=error)
            log.warning(name, **facts, remedy=self.remedy, failures=self.failures)
        elif self.clock() - known.logged >= AGAIN:
            known.logged = self.clock()
            since = f"{known.first_at:%Y-%m-%dT%H:%M:%SZ}"
            log.warning(
                _STILL[self.component],
                **facts,
                still=f"failing, {known.times} times since {since}",
                times=known.times,
                first_at=known.first_at,
            )
        else:
            log.debug(name, **facts, failures=self.failures)

    def _hold(self, error: HoldError) -> float:
        if (self.state, self.error) != (error.state, str(error)):
            log.warning(
                _HELD[self.component],
                name=self.name,
                state=error.state,
                error=str(error),
                remedy=error.remedy,
            )
        self._become(error.state, str(error), error.remedy)
        return HOLD

    async def note(self, outbox: Outbox) -> None:
        """Keep state and error in the outbox where they have changed, for `status`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        if self._noted == (self.state, self.error):
            return
        try:
            await outbox.note(
                f"{self.component}s.{self.name}",
                state=self.state,
                error=self.error,
                remedy=self.remedy,
            )
        except TransientError as error:
            log.debug("note.postponed", name=self.name, error=str(error))
        else:
            self._noted = (self.state, self.error)

    def _become(self, state: State, error: str, remedy: str) -> None:
        if state != self.state:
            self.since_at = datetime.now(UTC)
        if state != "running":
            self._trouble_at = self._trouble_at or datetime.now(UTC)
        # The name of a file need not be UTF-8, and what tells of it has to be: log, store, status.
        self.error = error.encode(errors="backslashreplace").decode()
        self.state, self.remedy = state, remedy


def outcome(error: Exception) -> Outcome:
    """Return the short word for `error` that metrics carry."""
    if isinstance(error, TransientError):
        return "transient"
    if isinstance(error, AccessError):
        return "access"
    if isinstance(error, HoldError):
        return "held"
    return "permanent" if isinstance(error, PermanentError) else "bug"
