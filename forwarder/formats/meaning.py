"""What a kind means in words that every schema has: what it was done to, and what was done. Pure.

The schemas that formats speak know neither Soteri nor Bitbucket. So that a kind which the catalogue
gains, or a user adds, lands in the right class of each of them, it is read here once, word by word.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

Area = Literal[
    "hook",  # the security hook judged, or did not judge, a push
    "rule",  # a scanning rule
    "finding",  # one match of a rule
    "allowlist",  # what is never a finding
    "config",  # settings
    "scan",  # a scan of what is already there
    "permission",  # who may do what
    "authentication",  # logging in and out
    "user",
    "group",
    "credential",  # tokens and keys
    "app",  # an app of Bitbucket, as a whole
    "audit",  # the audit log itself
    "content",  # projects, repositories, branches
    "correlation",  # what several events mean together
    "forwarder",  # the forwarder itself, and what its watches tell beside all that
    "other",
]
"""What an event is about."""

Verb = Literal[
    "failed", "requested", "skipped", "blocked", "warned", "unreviewed", "reviewed", "granted",
    "revoked", "installed", "uninstalled", "enabled", "disabled", "started", "finished",
    "succeeded", "ended", "exported", "searched", "added", "removed", "created", "deleted",
    "changed", "read", "done",
]  # fmt: skip
"""What was done; "done" where the words do not say."""


class Meaning(NamedTuple):
    """What a kind is about and what was done."""

    area: Area
    verb: Verb


# A kind's first part says the area for Soteri's own events.
_FAMILIES: dict[str, Area] = {
    "hook": "hook",
    "rule": "rule",
    "finding": "finding",
    "allowlist": "allowlist",
    "config": "config",
    "scan": "scan",
    "access": "permission",
    "app": "app",
    "audit": "audit",
}

# For Bitbucket's own, the first of these whose words are among the kind's. "User added to user
# group" is about a group, "Repository accessed by user" about a repository.
_AREAS: tuple[tuple[Area, frozenset[str]], ...] = (
    ("audit", frozenset({"audit", "auditing"})),
    ("permission", frozenset({"permission", "permissions"})),
    ("authentication", frozenset({"login", "logout", "logged", "authentication", "captcha"})),
    ("credential", frozenset({"token", "tokens", "key", "keys", "password"})),
    ("group", frozenset({"group", "groups"})),
    ("app", frozenset({"app", "apps", "plugin", "plugins", "addon", "module", "soteri"})),
    (
        "config",
        frozenset(
            {"setting", "settings", "configuration", "hook", "hooks", "scanning", "license"}
            | {"allowlist", "server", "mail", "exclusions", "coverage", "restriction"}
        ),
    ),
    (
        "content",
        frozenset(
            {"repository", "repositories", "project", "projects", "branch", "fork", "pull", "tag"}
        ),
    ),
    ("user", frozenset({"user", "users", "username"})),
)

# The first of these whose words are among the kind's: that something failed, or was only asked
# for, counts for more than what it would have done.
_VERBS: tuple[tuple[Verb, frozenset[str]], ...] = (
    ("failed", frozenset({"failed", "failure", "denied", "unauthorized", "unauthorised"})),
    ("requested", frozenset({"requested", "request"})),
    ("skipped", frozenset({"skipped", "bypassed"})),
    ("blocked", frozenset({"blocked", "rejected"})),
    ("warned", frozenset({"warned", "warning"})),
    ("unreviewed", frozenset({"unreviewed"})),
    ("reviewed", frozenset({"reviewed"})),
    ("granted", frozenset({"granted"})),
    ("revoked", frozenset({"revoked"})),
    ("installed", frozenset({"installed"})),
    ("uninstalled", frozenset({"uninstalled"})),
    ("enabled", frozenset({"enabled"})),
    ("disabled", frozenset({"disabled", "lowered", "off"})),
    ("started", frozenset({"started", "triggered"})),
    ("finished", frozenset({"finished", "completed"})),
    ("ended", frozenset({"logout", "out", "ended", "stopped", "cancelled"})),
    ("exported", frozenset({"exported", "export"})),
    ("searched", frozenset({"search", "searched"})),
    ("added", frozenset({"added"})),
    ("removed", frozenset({"removed"})),
    ("created", frozenset({"created", "creation", "uploaded", "forked", "imported"})),
    ("deleted", frozenset({"deleted", "deletion", "cleared", "purged"})),
    (
        "changed",
        frozenset(
            {"changed", "change", "updated", "toggled", "renamed", "moved", "modified", "edited"}
            | {"raised", "raise", "archived", "unarchived", "upgraded"}
        ),
    ),
    ("read", frozenset({"accessed", "viewed", "read", "downloaded", "cloned", "fetched", "used"})),
    ("succeeded", frozenset({"succeeded", "successful", "login", "logged"})),
)


# What the watches tell, by the kind's last word, where a condition begins and ends.
_TOLD: dict[str, Verb] = {
    "lowered": "disabled",
    "restored": "enabled",
    "excluded": "disabled",
    "included": "enabled",
    "began": "started",
    "skewed": "started",
    "corrected": "ended",
    "expiring": "started",
    "renewed": "ended",
    "near": "started",
    "averted": "ended",
    "seen": "added",
    "heartbeat": "succeeded",
}


@lru_cache(maxsize=4096)
def meaning(kind: str) -> Meaning:
    """Return what `kind` is about and what was done; area "other", verb "done" where unclear."""
    family, _, rest = kind.partition(".")
    if family == "correlation":
        return Meaning("correlation", "started")
    words = frozenset(rest.replace(".", "_").split("_"))
    verb: Verb = next((verb for verb, known in _VERBS if known & words), "done")
    area: Area = next((area for area, known in _AREAS if known & words), "other")
    area = _FAMILIES.get(family, area)
    if family == "forwarder":
        verb = _TOLD.get(rest.rpartition("_")[2], verb)
        area = "forwarder" if area == "other" else area
    if area == "hook" and verb not in {"skipped", "blocked", "warned"}:
        area = "config"  # the hook's settings, not its word on a push
    return Meaning(area, verb)
