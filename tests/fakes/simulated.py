"""Events as the forwarder really makes them: the simulator's records, read and named."""

from functools import cache

import msgspec

from forwarder.model import Event, Record
from forwarder.simulator.catalogue import invented
from forwarder.simulator.generator import Generator, Mixture
from forwarder.sources.bitbucket_audit import wire
from tests.fakes.normalized import normalize

_START_MS = 1_767_225_600_000


@cache
def simulated(count: int = 500) -> tuple[Event, ...]:
    """Return events of all sorts, Soteri's and Bitbucket's, the same ones every time."""
    generator = Generator(
        7,
        catalogue=invented(),
        mixture=Mixture(),
        host="https://bitbucket.example.com",
        purpose="formats",
    )
    arrivals = generator.history(count, start_ms=_START_MS, end_ms=_START_MS + 3_600_000)
    records = [wire.record(msgspec.Raw(one.body), namespace="bitbucket") for one in arrivals]
    assert all(isinstance(one, Record) for one in records)
    return tuple(normalize(one, source="bitbucket") for one in records)
