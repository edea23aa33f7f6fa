"""What an event says to the rules. Pure.

Soteri's wording is not public (docs/bitbucket.md), so values and texts are read tolerantly, and
what cannot be told plainly is told by nobody: None.
"""

import re
from typing import Final

from forwarder.formats.gist import detail, gist
from forwarder.model import Event

HOOK_SKIPPED: Final = "hook.skipped"
HOOK_BLOCKED: Final = "hook.blocked"
HOOK_WARNED: Final = "hook.warned"
MODES: Final = ("hook.mode_changed", "hook.settings_changed")
SWITCHES: Final = (
    "hook.status_changed",
    "hook.settings_changed",
    "hook.mode_changed",
    "rule.builtin_toggled",
    "rule.custom_toggled",
    "bitbucket.hook_disabled",
    "bitbucket.hook_enabled",
)
"""Kinds that can say that the hook or a rule was switched."""

_WORDS: Final = {
    **dict.fromkeys(("true", "on", "yes", "1", "enabled", "active", "activated"), True),
    **dict.fromkeys(("false", "off", "no", "0", "disabled", "inactive", "deactivated"), False),
}
_STATUS: Final = re.compile(r"status|state|enabled|active", re.IGNORECASE)
_MODE: Final = re.compile(r"mode", re.IGNORECASE)
_EITHER: Final = re.compile(r"\b(?:on (?:or|and|/) ?off|enabled? (?:or|and) disabled?)\b")
_ON: Final = re.compile(r"\b(?:enabled|activated|(?:switched|turned|toggled) on)\b")
_OFF: Final = re.compile(r"\b(?:disabled|deactivated|(?:switched|turned|toggled) off)\b")
_THINGS: Final = {"PROJECT", "REPOSITORY", "USER", "GROUP"}


def person(event: Event) -> str:
    """Return the name of who did it, or ""."""
    return (event.actor and event.actor.name) or ""


def instance(event: Event) -> str:
    """Return whose log it is from: the same people and repositories elsewhere are others."""
    return event.system or event.source


def place(event: Event) -> str:
    """Return ``KEY/slug``, ``KEY``, or "" for everywhere, in lower case."""
    return (gist(event).place or detail(event, "target") or "").casefold()


def is_within(there: str, scope: str) -> bool:
    """Return whether what happened at the place `there` falls under `scope`."""
    return not scope or there == scope or there.startswith(f"{scope}/")


def switched(event: Event) -> bool | None:
    """Return whether the hook or a rule was switched on (True) or off, or None: not said."""
    if event.kind.startswith("bitbucket."):
        return event.kind == "bitbucket.hook_enabled"
    if event.kind == "hook.mode_changed":
        return _blocks(event)
    changes = event.changes
    if event.kind == "hook.settings_changed":  # the mode can have changed in the same record
        changes = tuple(one for one in changes if _STATUS.search(one.key or ""))
    said = {_WORDS.get((one.to or "").strip().casefold()) for one in changes}
    said |= {
        _WORDS.get((one.value or "").strip().casefold())
        for one in event.attributes
        if _STATUS.search(one.name or "")
    }
    said.discard(None)
    if not said:
        said = _in_words(event.action.casefold())
    return said.pop() if len(said) == 1 else None


def _blocks(event: Event) -> bool | None:
    """Return whether the hook was set to block (True) or only to warn."""
    to = " ".join(one.to or "" for one in event.changes).casefold()
    blocks, warns = "block" in to, "warn" in to
    return blocks if blocks != warns else None


def _in_words(action: str) -> set[bool | None]:
    if _EITHER.search(action):
        return set()
    return {on for on, words in ((True, _ON), (False, _OFF)) if words.search(action)}


def subject(event: Event) -> str:
    """Return what was switched, the same text for off and on."""
    if event.kind == "hook.mode_changed":
        return "blocking by the global hook"
    if event.kind.startswith("hook."):
        return "the global hook"
    named = detail(event, "rule") or detail(event, "rule name") or detail(event, "hook")
    others = (one.name for one in event.objects if one.name and one.type not in _THINGS)
    name = named or next(others, "")
    what = "hook" if event.kind.startswith("bitbucket.") else "rule"
    return f"{what} {name}".strip()


def scope(event: Event) -> str:
    """Return where that holds: the global hook and the rules hold everywhere."""
    return place(event) if event.kind.startswith("bitbucket.") else ""


def eased(event: Event) -> bool:
    """Return whether the hook's mode was changed to warning."""
    changes = event.changes
    if event.kind == "hook.settings_changed":
        changes = tuple(one for one in changes if _MODE.search(one.key or ""))
    if said := [one for one in changes if one.to]:
        return any(
            "warn" in (one.to or "").casefold() and "warn" not in (one.from_ or "").casefold()
            for one in said
        )
    action = event.action.casefold()
    return "to warn" in action
