"""Which events are wanted: what the server leaves out, and what is left out here. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forwarder.model import Record

SEARCH_ACTION: Final = "atlassian.audit.event.action.audit.search"
"""The action key of the row that every page read leaves in the audit log."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Display texts of categories and actions, exactly; none asks for all.

    The server filters where it can: not without a Data Center licence (`licensed`), and not by a
    list with a comma inside a name, because commas part its lists.
    """

    categories: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    licensed: bool = True

    def _asked(self, names: tuple[str, ...]) -> bool:
        return bool(names) and self.licensed and not any("," in name for name in names)

    def _passes(self, names: tuple[str, ...], name: str) -> bool:
        return not names or name in names or self._asked(names)

    def params(self) -> Mapping[str, str]:
        """Return the filters for the server."""
        wanted = {"categories": self.categories, "actions": self.actions}
        return {key: ",".join(names) for key, names in wanted.items() if self._asked(names)}

    def wants(self, record: Record, *, user: str | None) -> bool:
        """Whether a record that the server gave is wanted; the server's own choice is trusted.

        The searches of `user`, which is ourselves, are not: each reading makes a new one.
        """
        if not self._passes(self.categories, record.category):
            return False
        if not self._passes(self.actions, record.action):
            return False
        if record.action_key != SEARCH_ACTION or user is None or record.actor is None:
            return True
        return (record.actor.name or "").casefold() != user.casefold()
