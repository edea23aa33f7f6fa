"""A Memory that forgets with the test."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


class FakeMemory:
    """What the outbox remembers for one sink, in a dict; `saved` has every memo ever kept."""

    def __init__(self, memo: Mapping[str, Any] | None = None) -> None:
        self.saved: list[Mapping[str, Any]] = [memo] if memo else []

    async def load(self) -> Mapping[str, Any]:
        return deepcopy(self.saved[-1]) if self.saved else {}

    async def save(self, memo: Mapping[str, Any]) -> None:
        self.saved.append(deepcopy(memo))
