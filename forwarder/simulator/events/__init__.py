"""What the events say: shaped like real ones, the texts partly invented (see soteri.py). Pure."""

from forwarder.simulator.events.bitbucket import (
    AUDITING_CATEGORY,
    BITBUCKET,
    SEARCH_PERFORMED,
    search_performed,
)
from forwarder.simulator.events.scene import INVENTED, UNKNOWN_KEY, Json, Scene, Template
from forwarder.simulator.events.soteri import (
    HOOK_SKIPPED,
    SOTERI,
    SOTERI_CATEGORY,
    hook_skipped,
)

__all__ = [
    "AUDITING_CATEGORY",
    "BITBUCKET",
    "HOOK_SKIPPED",
    "INVENTED",
    "SEARCH_PERFORMED",
    "SOTERI",
    "SOTERI_CATEGORY",
    "UNKNOWN_KEY",
    "Json",
    "Scene",
    "Template",
    "hook_skipped",
    "search_performed",
]
