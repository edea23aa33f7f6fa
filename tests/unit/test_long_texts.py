"""What strangers write long is neither kept beside the event nor looked at for long."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from forwarder.formats.gist import addresses
from forwarder.model import Actor, Event, EventFilter
from forwarder.normalizers import Catalogue, CatalogueNormalizer
from forwarder.selection import matcher
from tests.fakes.events import event
from tests.fakes.records import record

normalize = CatalogueNormalizer(Catalogue())
is_alices = matcher(EventFilter(actors=("alice",)))


def named(text: str) -> Event:
    return normalize(record(category="Other", action=text), source="b")


READERS: list[Callable[[str], Any]] = [
    addresses,
    named,
    lambda text: is_alices(event(actor=Actor(name=text))),
]


@pytest.mark.parametrize("read", READERS)
def test_long_texts_are_not_remembered(read: Callable[[str], Any]) -> None:
    read("warm")
    tracemalloc.start()
    for number in range(100):
        read(f"{number} {'x' * 100_000}")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000_000


@pytest.mark.parametrize("part", ["\ufdfa", "hook ", "x"])
def test_a_long_action_is_named_by_its_beginning(part: str) -> None:
    began = time.thread_time()
    event = named(f"Repository created {part * (1_000_000 // len(part.encode()))}")
    assert event.kind.startswith("bitbucket.repository_created")
    assert time.thread_time() - began < 2.0
