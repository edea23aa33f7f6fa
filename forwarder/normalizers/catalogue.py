"""The catalogue: which kinds there are, and which of them a record is.

catalogue.toml, beside this file, holds the kinds and says how their rules are read; users add to
it and change it in their configuration. What is here makes rules quick: whatever hangs on the
action alone is worked out once for each action.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from forwarder.model import Record, Severity
from forwarder.normalizers import soteri
from forwarder.normalizers.wording import Wanted, pattern, plain, squeezed, wanted

_REMEMBERED: Final = 4096
"""Actions whose kind is kept in memory: a Bitbucket has some hundred of them."""
LONGEST: Final = 1000
"""Characters of an action, its category and their keys that are looked at, each."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a kind is recognised; catalogue.toml says what each field means."""

    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry. `category` is whose events its rules look at, with ``*`` for any part of a text.

    Without it a kind whose name begins with ``bitbucket.`` looks at all but Soteri's events, and
    any other kind at Soteri's. `since` is the first version of Soteri that writes the event.
    """

    kind: str
    title: str = ""
    why: str = ""
    severity: Severity = "medium"
    since: str | None = None
    techniques: tuple[str, ...] = ()
    category: str = ""
    rules: tuple[Rule, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kinds: tuple[Kind, ...]
    never: tuple[str, ...]


@cache
def _shipped() -> _File:
    text = files(__package__).joinpath("catalogue.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _File)


def shipped() -> Mapping[str, Kind]:
    """Return the kinds that come with the forwarder, by their names."""
    return MappingProxyType({kind.kind: kind for kind in _shipped().kinds})


class Recognised(NamedTuple):
    """What an event is called, and how grave it is."""

    kind: str
    severity: Severity


class _Rule:
    """A rule made ready."""

    def __init__(self, kind: Kind, rule: Rule, never: Sequence[str]) -> None:
        self.named = Recognised(kind.kind, kind.severity)
        self.words = wanted(rule.words)
        self.without = wanted((*rule.without, *never))
        self.changes = wanted(rule.changes)
        self.mentions = wanted(rule.mentions)
        self.is_conditional = bool(rule.changes or rule.mentions)
        self._actions = frozenset(plain(text) for text in rule.actions)
        self._keys = pattern(rule.keys)
        self._category = pattern((kind.category,)) if kind.category else None
        self._is_bitbuckets = kind.kind.startswith("bitbucket.")

    def is_about(self, record: Record) -> bool:
        if self._category is not None:
            return bool(self._category.fullmatch(record.category.strip()))
        return soteri.is_soteris(record) != self._is_bitbuckets

    def is_certain(self, record: Record) -> bool:
        return plain(record.action) in self._actions or bool(
            self._keys and self._keys.fullmatch(record.action_key.strip())
        )

    def is_met(self, record: Record) -> bool:
        """Whether what the rule asks beyond the action is there."""
        if self.changes:
            names = plain(" ".join(change.key or "" for change in record.changes))
            keys = " ".join(squeezed(change.i18n_key or "") for change in record.changes)
            if not (_all_in(self.changes, names) or _all_in_key(self.changes, keys)):
                return False
        if self.mentions:
            said = [thing.name or "" for thing in record.objects]
            said += [attribute.value or "" for attribute in record.attributes]
            return _all_in(self.mentions, plain(" ".join(said)))
        return True


class _Open(NamedTuple):
    """An action whose kind hangs on more than the action."""

    conditional: tuple[_Rule, ...]
    otherwise: Recognised | None


class Catalogue:
    """Every kind, by name, and which of them a record is."""

    def __init__(self, own: Iterable[Kind] = ()) -> None:
        """Take the kinds that come with the forwarder, and `own` over those of the same name."""
        given = {kind.kind: kind for kind in own}
        self.kinds: Mapping[str, Kind] = MappingProxyType({**shipped(), **given})
        known = shipped()
        # What a user writes decides before what comes with us.
        mine = [k for k in given.values() if k.kind not in known or k.rules != known[k.kind].rules]
        names = {kind.kind for kind in mine}
        ours = [kind for kind in self.kinds.values() if kind.kind not in names]
        self._tiers = (_ready(mine, ()), _ready(ours, _shipped().never))
        self._remembered: dict[tuple[str, str, str, str], Recognised | _Open | None] = {}

    def recognise(self, record: Record) -> Recognised | None:
        """Return what `record` is, or None where no rule fits or the rules of several kinds do."""
        key = record.category, record.category_key, record.action, record.action_key
        try:
            found = self._remembered[key]
        except KeyError:
            if max(map(len, key)) > LONGEST:
                return self.recognise(_begun(record))
            found = self._look_up(record)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        if type(found) is _Open:
            return _only(rule for rule in found.conditional if rule.is_met(record)) or (
                found.otherwise
            )
        return found  # type: ignore[return-value]  # NamedTuples are told apart by `type`

    def _look_up(self, record: Record) -> Recognised | _Open | None:
        for tier in self._tiers:
            rules = [rule for rule in tier if rule.is_about(record)]
            certain = [rule for rule in rules if rule.is_certain(record)]
            fitting = certain or _fitting(rules, record)
            if fitting:
                otherwise = _only(rule for rule in fitting if not rule.is_conditional)
                conditional = tuple(rule for rule in fitting if rule.is_conditional)
                return _Open(conditional, otherwise) if conditional else otherwise
        return None


def _begun(record: Record) -> Record:
    """Return the record with the beginnings of the texts that it is recognised by."""
    return msgspec.structs.replace(
        record,
        category=record.category[:LONGEST],
        category_key=record.category_key[:LONGEST],
        action=record.action[:LONGEST],
        action_key=record.action_key[:LONGEST],
    )


def _ready(kinds: Iterable[Kind], never: Sequence[str]) -> tuple[_Rule, ...]:
    return tuple(_Rule(kind, rule, never) for kind in kinds for rule in kind.rules)


def _only(rules: Iterable[_Rule]) -> Recognised | None:
    """Return what the rules agree on; to guess would be to mis-name."""
    named = {rule.named for rule in rules}
    return named.pop() if len(named) == 1 else None


def _fitting(rules: Iterable[_Rule], record: Record) -> list[_Rule]:
    """Return the rules that fit the action's text or its key, and contradict neither."""
    text, key = plain(record.action), squeezed(record.action_key)
    asking = [rule for rule in rules if rule.words]
    by_text = [rule for rule in asking if _all_in(rule.words, text)]
    refused = {rule.named for rule in by_text if _any_in(rule.without, text)}
    by_text = [rule for rule in by_text if not _any_in(rule.without, text)]
    refused -= {rule.named for rule in by_text}
    by_key = [
        rule
        for rule in asking
        if rule.named not in refused
        and _all_in_key(rule.words, key)
        and not _any_in_key(rule.without, key)
    ]
    if not (by_text and by_key):
        return by_text or by_key
    both = {rule.named for rule in by_text} & {rule.named for rule in by_key}
    return [rule for rule in (*by_text, *by_key) if rule.named in both]


def _all_in(words: Sequence[Wanted], text: str) -> bool:
    return all(each.in_text.search(text) for each in words)


def _any_in(words: Sequence[Wanted], text: str) -> bool:
    return any(each.in_text.search(text) for each in words)


def _all_in_key(words: Sequence[Wanted], key: str) -> bool:
    return all(each.in_key is not None and each.in_key.search(key) for each in words)


def _any_in_key(words: Sequence[Wanted], key: str) -> bool:
    return any(each.in_key is not None and each.in_key.search(key) for each in words)
