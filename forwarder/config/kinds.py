"""`[kinds]`: what users add to the catalogue of events, or change in it."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace
from pydantic import Field

from forwarder.model import Severity
from forwarder.normalizers.catalogue import Catalogue, Kind, Rule, shipped
from forwarder.options import Options

NAME: Final = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+"
"""Names of kinds: a family and what happened, such as ``hook.skipped``."""

_RULE: Final = Rule.__struct_fields__


class KindConfig(Options):
    """``[kinds."family.happened"]``: a kind of your own, or what you want otherwise in one of ours.

    What is not written stays as the catalogue has it. A rule that is written (any of words,
    without, changes, mentions, actions, keys) takes the place of all the catalogue's rules for
    that kind, and decides before those of every other kind.
    """

    title: str | None = Field(default=None, description="What happened, in a few words.")
    why: str | None = Field(default=None, description="Why it matters.")
    severity: Severity | None = Field(default=None, description="How grave it is.")
    techniques: tuple[str, ...] | None = Field(
        default=None, description="MITRE ATT&CK techniques, such as T1685."
    )
    category: str | None = Field(
        default=None,
        min_length=1,
        description="Category by its display text, * for any part; by default Soteri's.",
    )
    actions: tuple[str, ...] = Field(
        default=(), description="Whole action texts, without regard to case and punctuation."
    )
    keys: tuple[str, ...] = Field(
        default=(), description="Whole i18n keys of actions, * for any part."
    )
    words: tuple[str, ...] = Field(
        default=(),
        description='Words that the action must have, in any order: "hook", "skip*|bypass*".',
    )
    without: tuple[str, ...] = Field(default=(), description="Words that it must not have.")
    changes: tuple[str, ...] = Field(
        default=(), description="Words that names of changed values must have too."
    )
    mentions: tuple[str, ...] = Field(
        default=(), description="Words that objects and attributes must have too."
    )

    @property
    def has_rule(self) -> bool:
        """Whether it says how events are recognised."""
        return bool(self.actions or self.keys or self.words)

    def over(self, kind: Kind) -> Kind:
        """Return `kind` with what is written here in place of what it says."""
        said = {name: getattr(self, name) for name in ("title", "why", "severity", "techniques")}
        said["category"] = self.category
        if self.has_rule:
            said["rules"] = (Rule(**{name: getattr(self, name) for name in _RULE}),)
        return replace(kind, **{name: value for name, value in said.items() if value is not None})


def catalogue(written: Mapping[str, KindConfig]) -> Catalogue:
    """Return the catalogue with what users wrote over it."""
    known = shipped()
    return Catalogue(
        config.over(known.get(name, Kind(kind=name))) for name, config in written.items()
    )


def mistakes(name: str, config: KindConfig | None) -> Iterator[tuple[str, str]]:
    """Yield key ("" for the table itself) and problem for what is wrong with a kind."""
    if not re.fullmatch(NAME, name) or len(name) > 80:
        yield "", 'a kind is called like "hook.skipped": lower-case words, dots between them'
    if config is None:
        return
    if not config.has_rule:
        if name not in shipped():
            yield "", "nothing says how it is recognised: write actions, keys or words"
        for key in ("without", "changes", "mentions"):
            if getattr(config, key):
                yield key, "is only read beside actions, keys or words"
    elif config.without and not config.words:
        yield "without", "is only read beside words"
    for key in _RULE:
        if any(not re.search(r"[^\W_]", text) for text in getattr(config, key)):
            yield key, "an entry must have a letter or a digit"
