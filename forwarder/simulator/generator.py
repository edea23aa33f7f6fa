"""When events happen and which ones: seeded, so that the same options give the same log. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import msgspec

from forwarder.simulator.catalogue import Catalogue
from forwarder.simulator.clock import from_ms
from forwarder.simulator.events import BITBUCKET, SOTERI, Json, Scene, Template

_BURST: Final = (2, 5)
"""Five events in one millisecond were seen on a real server (docs/bitbucket.md section 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What is generated. Rates are shares of 1; `late_seconds` and `skew_seconds` are at most.

    `bursts` is the share of events that begin a burst within one millisecond, `twins` the share
    that is written a second time, equal in every field; `late` the share that shows up after its
    timestamp; `skew_seconds` how far the last node's clock is ahead and the one before it behind.
    """

    soteri: float = 0.3
    bursts: float = 0.03
    twins: float = 0.01
    late: float = 0.0
    late_seconds: float = 30.0
    skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event: its JSON, its own time, and the true time at which it can first be read."""

    body: bytes
    at_ms: int
    visible_at_ms: int


class Generator:
    """Makes events out of one seed. Two with equal arguments make equal events."""

    def __init__(
        self, seed: int, *, catalogue: Catalogue, mixture: Mixture, host: str, purpose: str
    ) -> None:
        # A string seed is hashed by SHA-512, so it is the same on every Python.
        self._random = Random(f"{seed}/{purpose}")  # noqa: S311  dice, not keys
        self._catalogue = catalogue
        self._mixture = mixture
        self._host = host
        self._soteri = _weighted(SOTERI)
        self._bitbucket = _weighted(BITBUCKET)
        self._skew = _skews(catalogue.nodes, mixture.skew_seconds)
        self._due_ms = -1.0

    def event(self, template: Template | None = None) -> Json:
        """Return one event without its timestamp, of `template` or of any."""
        random = self._random
        if template is None:
            soteri = random.random() < self._mixture.soteri
            templates, weights = self._soteri if soteri else self._bitbucket
            template = random.choices(templates, cum_weights=weights)[0]
        return template(Scene(random, self._catalogue, self._host))

    def history(self, count: int, *, start_ms: int, end_ms: int) -> Iterator[Arrival]:
        """Yield exactly `count` events between two times (both inclusive), by their true time."""
        instants = sorted(self._random.randint(start_ms, end_ms) for _ in range(count))
        made = 0
        for instant in instants:
            for arrival in self._at(instant):
                if made == count:
                    return
                made += 1
                yield arrival

    def live(
        self, *, after_ms: int, until_ms: int, rate: float, offset_ms: int = 0
    ) -> Iterator[Arrival]:
        """Yield what happens in a stretch of true time at `rate` events a second on average.

        Called with stretches that follow each other, the events do not depend on where they meet.
        `offset_ms` is how far the server's clock is from the true time.
        """
        # A burst or a twin makes more than one event of an instant; the mean stays `rate`.
        mean = 1 + self._mixture.bursts * (sum(_BURST) / 2 - 1) + self._mixture.twins
        pace = rate / mean / 1000
        if self._due_ms < after_ms:
            self._due_ms = after_ms + self._random.expovariate(pace)
        while self._due_ms <= until_ms:
            yield from self._at(int(self._due_ms), offset_ms)
            self._due_ms += self._random.expovariate(pace)

    def _at(self, instant: int, offset_ms: int = 0) -> Iterator[Arrival]:
        """Yield the one event, or the burst, or the twins, of one instant."""
        random, mixture = self._random, self._mixture
        size = random.randint(*_BURST) if random.random() < mixture.bursts else 1
        for _ in range(size):
            event = self.event()
            at_ms = instant + offset_ms + self._skew.get(event["node"], 0)
            visible = instant
            if mixture.late and random.random() < mixture.late:
                visible += int(random.uniform(0, mixture.late_seconds) * 1000)
            body = stamped(event, at_ms)
            copies = 2 if random.random() < mixture.twins else 1
            for _ in range(copies):
                yield Arrival(body, at_ms, visible)


def stamped(event: Json, at_ms: int) -> bytes:
    """Return the event's JSON with its timestamp in front."""
    return encoded({"timestamp": timestamp(at_ms), **event})


def encoded(value: Any) -> bytes:  # noqa: ANN401  JSON of any shape
    """Return JSON as Jackson writes it: no blanks, and nothing but quotes and controls escaped."""
    return msgspec.json.encode(value)


def timestamp(ms: int) -> str:
    """Return an instant as Java prints it: three digits of fraction, or none where it is zero."""
    text = from_ms(ms).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.removesuffix("+00:00") + "Z"


def _weighted(
    templates: tuple[tuple[Template, int], ...],
) -> tuple[list[Template], list[int]]:
    total, sums = 0, []
    for _, weight in templates:
        total += weight
        sums.append(total)
    return [template for template, _ in templates], sums


def _skews(nodes: tuple[str, ...], seconds: float) -> dict[str, int]:
    """Return each node's error in milliseconds: the last one ahead, the one before it behind."""
    ms = round(seconds * 1000)
    return dict(zip(reversed(nodes), (ms, -ms), strict=False))
