"""From the configuration to the parts that it asks for."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

from forwarder.app.parts import Forgetful, Part
from forwarder.app.watching import watched
from forwarder.config import Config, format_named
from forwarder.interfaces import Outbox
from forwarder.normalizers import CatalogueNormalizer
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.pressure import Pressure
from forwarder.sinks import SinkConfig
from forwarder.sources import SourceConfig


def parts_of(config: Config, pressure: Pressure, *, once: bool = False) -> Iterator[Part]:
    """Yield every source and sink that is configured, ready to be opened."""
    yield from _sources(config, pressure, once=once)
    yield from sinks_of(config)


def _sources(config: Config, pressure: Pressure, *, once: bool) -> Iterator[Part]:
    catalogue = config.catalogue
    normalize = CatalogueNormalizer(catalogue)
    redact = config.store.redact.redactor()

    @asynccontextmanager
    async def opened(name: str, options: SourceConfig, outbox: Outbox) -> AsyncIterator[Poller]:
        async with options.open(name=name) as source:
            poller = Poller(name, source, normalize, outbox, options, pressure, redact)
            if once:
                yield poller
                return
            async with watched(poller, source, outbox, config):
                yield poller

    for name, options in config.sources.items():
        settings = (options, config.kinds, config.store.redact, config.watch)
        rehearse = partial(options.open, name=name)
        yield Part(("source", name), settings, partial(opened, name, options), rehearse)


def sinks_of(config: Config) -> Iterator[Part]:
    """Yield every sink that is configured, ready to be opened."""
    letters = config.store.dead_letters

    @asynccontextmanager
    async def opened(name: str, options: SinkConfig, outbox: Outbox) -> AsyncIterator[Dispatcher]:
        await outbox.register(name)
        memory = outbox.memory(name)
        format_ = format_named(options.format)
        async with options.open(name=name, format=format_, memory=memory) as sink:
            yield Dispatcher(name, sink, outbox, options, letters=letters)

    for name, options in config.sinks.items():
        format_ = format_named(options.format)
        rehearse = partial(options.open, name=name, format=format_, memory=Forgetful())
        settings = (options, letters)
        yield Part(("sink", name), settings, partial(opened, name, options), rehearse)
