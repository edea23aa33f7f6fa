"""Spans around polls, pages and sends: nothing at all unless `forwarder.otlp` takes them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeAlias

Fact: TypeAlias = str | int | float


class Span(Protocol):
    """What takes a while."""

    def say(self, **facts: Fact) -> None:
        """Add what is known by now."""
        ...

    def brings(self, page: str) -> None:
        """Let later spans that name `page` be linked to this one."""
        ...


class Tracer(Protocol):
    """Makes spans, one inside the other as the code is."""

    def span(
        self, name: str, pages: Sequence[str], facts: dict[str, Fact]
    ) -> AbstractContextManager[Span]:
        """Return a span, linked to those that brought `pages`."""
        ...


class _Unseen:
    """A span that nobody looks at."""

    def say(self, **facts: Fact) -> None:
        """Say nothing."""

    def brings(self, page: str) -> None:
        """Bring nothing."""


class _Current:
    tracer: Tracer | None = None


_UNSEEN: Final[AbstractContextManager[Span]] = nullcontext(_Unseen())


def use(tracer: Tracer | None) -> None:
    """Have `tracer` make every span from now on; None makes none."""
    _Current.tracer = tracer


def span(name: str, *, pages: Sequence[str] = (), **facts: Fact) -> AbstractContextManager[Span]:
    """Return a span around what is done inside."""
    tracer = _Current.tracer
    return _UNSEEN if tracer is None else tracer.span(name, pages, facts)
