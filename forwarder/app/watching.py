"""The watches of a running daemon: one beside each source, and the heart beside them all.

And the correlations, beside the outbox.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from forwarder.config import Config
from forwarder.correlations.correlator import Correlator, rules_of
from forwarder.interfaces import Outbox, Source
from forwarder.model import Status, StoreStatus
from forwarder.normalizers import CatalogueNormalizer
from forwarder.pipeline.poller import Poller
from forwarder.watches.heart import Heart
from forwarder.watches.memory import Memory, place, recalled
from forwarder.watches.telling import Teller
from forwarder.watches.watch import Watch


def teller(config: Config) -> Teller:
    """Return what makes the events of every watch."""
    normalize = CatalogueNormalizer(config.catalogue)
    return Teller(normalize, os.uname().nodename, config.store.redact.redactor())


@asynccontextmanager
async def watched(
    poller: Poller, source: Source, outbox: Outbox, config: Config
) -> AsyncIterator[None]:
    """Have the source of `poller` watched inside, if watches are wanted."""
    if not config.watch.enabled:
        yield
        return
    watch = Watch(
        poller.name,
        source,
        outbox,
        config.watch,
        teller(config),
        progress=poller.progress,
        system=getattr(config.sources[poller.name], "url", None),
    )
    poller.heard = watch.sightings.heard
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        yield
        group.cancel_scope.cancel()


def correlator(config: Config, outbox: Outbox) -> Correlator | None:
    """Return the loop of the correlations that are switched on, None where none is."""
    rules = tuple(rules_of(config.correlations))
    return Correlator(rules, outbox, teller(config)) if rules else None


def heart(config: Config, outbox: Outbox, status: Callable[[], Awaitable[Status]]) -> Heart:
    """Return the loop that beats, and looks at what is about to be lost."""
    return Heart(outbox, status, config.watch, config.heartbeat, teller(config))


def memories(config: Config, stored: StoreStatus) -> dict[str, Memory]:
    """Return what the watch of each source remembers, and the heart under ``""``.

    Where no watch looks any more, what it found may be over: then only when the heart beat last.
    """
    found = {}
    for name in ("", *config.sources):
        known = stored.sources.get(place(name))
        if known and (memory := recalled(known.checkpoint)):
            beaten = Memory(began_at=memory.began_at, beat_at=memory.beat_at)
            found[name] = memory if config.watch.enabled else beaten
    return found
