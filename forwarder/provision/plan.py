"""What is to be made, changed or removed at a destination: shown before, done in order. Pure.

Who plans compares what is there with what there should be, and hands each difference an act. A
second plan after the first was carried out has nothing to do.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Verb = Literal["create", "change", "remove", "leave"]

_SIGNS: Final[dict[Verb, str]] = {"create": "+", "change": "~", "remove": "-", "leave": " "}
_WIDTH: Final = 300
"""Characters of a value that are shown: searches are longer than anybody reads in a plan."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not as it should be; "" stands for nothing. No value is a secret."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing at the destination, named in the user's words, and what becomes of it.

    `act` does it, and is None exactly where the verb is "leave". `note` says why, or what follows.
    """

    verb: Verb
    what: str
    act: Callable[[], None] | None = None
    differences: tuple[Difference, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if (self.verb == "leave") != (self.act is None):
            raise ValueError(f"{self.what}: a step acts unless it leaves what is there")


def differences(wanted: dict[str, str], found: dict[str, str]) -> tuple[Difference, ...]:
    """Return the fields of `wanted` that `found` has otherwise; what only `found` has is let be."""
    return tuple(
        Difference(name, found.get(name, ""), value)
        for name, value in wanted.items()
        if found.get(name, "") != value
    )


def pending(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that do something."""
    return tuple(step for step in steps if step.act is not None)


def lines(steps: Iterable[Step]) -> Iterator[str]:
    """Yield the plan as text: a line a step with its sign, below it what differs and why."""
    for step in steps:
        yield f"{_SIGNS[step.verb]} {step.verb:6} {step.what}"
        for each in step.differences:
            if step.verb == "create":
                yield f"           {each.field}: {_short(each.after)}"
            else:
                yield f"           {each.field}: {_short(each.before)} -> {_short(each.after)}"
        if step.note:
            yield f"           {step.note}"


def summary(steps: Iterable[Step]) -> str:
    """Return how many things of each kind there are, in words."""
    counts = Counter(step.verb for step in steps)
    return (
        f"{counts['create']} to create, {counts['change']} to change, "
        f"{counts['remove']} to remove, {counts['leave']} to leave as they are"
    )


def carry_out(steps: Iterable[Step], *, done: Callable[[Step], None]) -> None:
    """Do each step, telling `done` after each; what fails stops it, and what is done stays done.

    Raises:
        ForwarderError: of the step that failed; the same command goes on from there.
    """
    for step in pending(steps):
        if step.act is not None:
            step.act()
        done(step)


def _short(value: str) -> str:
    if not value:
        return "(nothing)"
    text = " ".join(value.split())
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}… ({len(text)} characters)"
