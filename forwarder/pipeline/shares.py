"""Which replica is to run which part: every replica decides alike, out of the same table. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from forwarder.model import Replica


def assignment(replicas: Sequence[Replica], holders: Mapping[str, str]) -> dict[str, str]:
    """Return the replica that is to run each part that any of `replicas` can run.

    As few parts change hands as even shares allow: of each kind (``sources.*``, ``sinks.*``) no
    replica has over one more than another that could take it, and of two replicas with as many of
    a kind the one with less in all is next. `replicas` come longest-lived first, which breaks ties,
    so one that joins takes no more than its share.
    """
    plan = _Plan()
    parts = sorted(set().union(*(replica.parts for replica in replicas)))
    able = {name: [each.name for each in replicas if name in each.parts] for name in parts}
    for name in parts:
        if holders.get(name) in able[name]:
            plan.give(name, holders[name])
    for name in parts:
        if name not in plan.owners:
            plan.give(name, plan.least(able[name], name))
    moved = True
    while moved:
        moved = False
        for name in reversed(parts):
            to = plan.least(able[name], name)
            if plan.count(plan.owners[name], name) - plan.count(to, name) > 1:
                plan.give(name, to)
                moved = True
    return plan.owners


class _Plan:
    """Who is to run what, and how many of each kind that are."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._totals: Counter[str] = Counter()

    def give(self, name: str, replica: str) -> None:
        if (before := self.owners.get(name)) is not None:
            self._counts[before, _kind(name)] -= 1
            self._totals[before] -= 1
        self.owners[name] = replica
        self._counts[replica, _kind(name)] += 1
        self._totals[replica] += 1

    def count(self, replica: str, name: str) -> int:
        """Return how many parts of the kind of `name` the replica has."""
        return self._counts[replica, _kind(name)]

    def least(self, replicas: Sequence[str], name: str) -> str:
        """Return the replica that is next to take `name`."""
        return min(replicas, key=lambda each: (self.count(each, name), self._totals[each]))


def _kind(name: str) -> str:
    return name.partition(".")[0]
