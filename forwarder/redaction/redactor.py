"""Goes over an event and its original, and leaves out what they must not tell."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import force_setattr
from msgspec.structs import replace as changed

from forwarder.model import Actor, Context, Event, Outgoing, Stored, body_of
from forwarder.redaction import credentials, glance
from forwarder.redaction.credentials import Replace
from forwarder.redaction.fields import Field

_MASK: Final = "[redacted]"
_CONTAINED: Final = 6
"""Letters from which on a text is found inside words too; a shorter one only as a word."""

_SHORT: Final = 80

_AT_ONCE: Final = 100
"""Events looked at together: some 200 KB, which the processor's caches hold."""

_STRING: Final = re.compile(r'"([^"\\]*+(?:\\.?[^"\\]*+)*+)(?:"(\s*:)?|\Z)', re.DOTALL)
"""A string and whether it is a name; one that breaks off is taken whole, not begun anew inside."""
_Clean = Callable[[str], str]


def mask(_secret: str) -> str:
    """Return the same for every secret."""
    return _MASK


def digest(key: Callable[[], str]) -> Replace:
    """Return a function that gives one secret always the same token, and others other ones.

    The token is the first 64 bits of HMAC-SHA256 (RFC 2104) under what `key` reveals: who does
    not know the key can compare tokens, and cannot find out what they stand for.
    """

    def replace(secret: str) -> str:
        code = hmac.digest(key().encode(), secret.encode(errors="surrogatepass"), hashlib.sha256)
        return f"[redacted:{code.hex()[:16]}]"

    return replace


class Redactor:
    """Returns events without what they must not tell, otherwise as they are.

    What is in a field that was named goes from wherever else in the event it stands too, as a
    user's name does from addresses of pages. Not touched are `event_id`, `source`, `kind`,
    `severity` and the time.
    """

    def __init__(
        self,
        *,
        looks_like_credentials: bool = True,
        fields: Sequence[Field] = (),
        patterns: Iterable[str] = (),
        replace: Replace = mask,
    ) -> None:
        """Compile `patterns` (regular expressions); what they match goes, wherever it stands."""
        self._credentials = looks_like_credentials
        self._fields = tuple(fields)
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        self._replace = replace
        self._has_own = bool(self._fields or self._patterns)

    def all(self, events: Sequence[Outgoing]) -> tuple[Outgoing, ...]:
        """Return what a call for each of `events` returns; quicker, the more there are."""
        if self._has_own:
            return tuple(self._redacted(event.whole()) for event in events)
        if not self._credentials:
            return tuple(events)
        left = list(events)
        unknown = [number for number, event in enumerate(left) if not _is_innocent(event)]
        for start in range(0, len(unknown), _AT_ONCE):
            part = unknown[start : start + _AT_ONCE]
            suspects = _suspects([left[number] for number in part])
            for place, number in enumerate(part):
                event = left[number]
                if place in suspects:
                    left[number] = self._redacted(event.whole())
                elif isinstance(event, Stored):
                    force_setattr(event, "is_innocent", True)  # noqa: FBT003  no keywords there
        return tuple(left)

    def __call__(self, event: Event) -> Event:
        """Return `event` itself where nothing of it must go, else another with the same id."""
        return self.all((event,))[0].whole()

    def _redacted(self, event: Event) -> Event:
        needles = self._needles(event)
        clean = self._cleaning(needles)
        original = self._original(bytes(event.original).decode(), clean, _protected(event))
        left = changed(
            event,
            actor=_actor(event.actor, clean),
            objects=tuple(
                changed(each, name=_maybe(each.name, clean), id=_maybe(each.id, clean))
                for each in event.objects
            ),
            changes=tuple(
                changed(each, from_=_maybe(each.from_, clean), to=_maybe(each.to, clean))
                for each in event.changes
            ),
            attributes=tuple(
                changed(each, value=_maybe(each.value, clean)) for each in event.attributes
            ),
            category=self._shapeless(event.category),
            action=self._shapeless(event.action),
            address=_maybe(event.address, clean),
            node=_maybe(event.node, clean),
            system=_maybe(event.system, clean),
            method=_maybe(event.method, clean),
            context=_context(event.context, clean),
            original=msgspec.Raw(original.encode()),
        )
        # The digest of what is gone would let it be guessed: everything else of it is known.
        return event if left == event else changed(left, chain=msgspec.UNSET)

    def record(self, body: bytes) -> bytes:
        """Return a record that could not be read, without what it must not tell."""
        text = body.decode(errors="surrogateescape")
        redacted = self._original(text, self._shapeless, frozenset())
        redacted = self._shapeless(redacted)
        return redacted.encode(errors="surrogateescape")

    def _needles(self, event: Event) -> dict[str, str]:
        """Return what stands in fields that must go, and what takes its place."""
        found = [text for field in self._fields for text in field(event)]
        if self._credentials:
            found += _telltale(event)
        return {text: self._replace(text) for text in found if text and text.strip()}

    def _cleaning(self, needles: dict[str, str]) -> _Clean:
        if not needles:
            return self._shapeless
        # Inside JSON in a string the same text stands with its quotes and line ends escaped.
        inner = {json.dumps(text, ensure_ascii=False)[1:-1]: to for text, to in needles.items()}
        places = {**inner, **needles}
        longest_first = sorted((text for text in places if len(text) > 2), key=len, reverse=True)
        pattern = re.compile("|".join(map(_contained, longest_first))) if longest_first else None

        def clean(text: str) -> str:
            if text in places:
                return places[text]
            if pattern is not None:
                text = pattern.sub(lambda match: places[match[0]], text)
            return self._shapeless(text)

        return clean

    def _shapeless(self, text: str) -> str:
        """Return `text` without what looks like a credential or fits a pattern of the user's."""
        if self._credentials and _may_hold(text):
            text = credentials.without(text, self._replace)
        for pattern in self._patterns:
            text = pattern.sub(lambda match: self._replace(match[0]) if match[0] else "", text)
        return text

    def _original(self, text: str, clean: _Clean, protected: frozenset[str]) -> str:
        """Return JSON with the strings in it cleaned, and nothing else changed."""
        name = ""

        def string(match: re.Match[str]) -> str:
            nonlocal name
            said = _decoded(match[1])
            is_name = match[2] is not None
            if said is None or (said in protected and not is_name):
                cleaned = said if said is None else self._shapeless(said)
            elif not is_name and self._credentials and name and credentials.is_telltale(name):
                cleaned = self._replace(said) if said else said
            else:
                cleaned = self._shapeless(said) if is_name else clean(said)
            name = said or "" if is_name else ""
            if cleaned == said or cleaned is None:
                return match[0]
            return _encoded(cleaned) + (match[2] or "")

        return _STRING.sub(string, text)


def _is_innocent(event: Outgoing) -> bool:
    return isinstance(event, Stored) and event.is_innocent


@lru_cache(maxsize=8192)
def _is_suspect(text: str) -> bool:
    return glance.may_hold(text)


def _may_hold(text: str) -> bool:
    """As `glance.may_hold`, remembered for what is short: most such texts come again."""
    return _is_suspect(text) if len(text) <= _SHORT else glance.may_hold(text)


def _suspects(events: Sequence[Outgoing]) -> set[int]:
    """Return which of `events` need a closer look; quick, and never wrong about the others."""
    lines = b"\n".join(map(body_of, events))
    found = glance.suspects(lines)
    if found and lines.count(b"\n") != len(events) - 1:  # an original on several lines
        return set(range(len(events)))
    names = {attribute.name for event in events for attribute in event.attributes}
    names.update(change.key for event in events for change in event.changes)
    if not any(name and credentials.is_telltale(name) for name in names):
        return found
    return found | {number for number, event in enumerate(events) if any(_telltale(event.whole()))}


def _telltale(event: Event) -> Iterator[str | None]:
    for attribute in event.attributes:
        if credentials.is_telltale(attribute.name or ""):
            yield attribute.value
    for change in event.changes:
        if credentials.is_telltale(change.key or ""):
            yield change.from_
            yield change.to


def _protected(event: Event) -> frozenset[str]:
    """Return the texts that say what happened: a user's name that is in one is no name there."""
    return frozenset((event.category, event.category_key, event.action, event.action_key))


def _contained(text: str) -> str:
    escaped = re.escape(text)
    return escaped if len(text) >= _CONTAINED else rf"(?<!\w){escaped}(?!\w)"


def _maybe(text: str | None, clean: _Clean) -> str | None:
    return None if text is None else clean(text)


def _context(context: Context | msgspec.UnsetType, clean: _Clean) -> Context | msgspec.UnsetType:
    if context is msgspec.UNSET:
        return context
    return Context(
        actor_name=_maybe(context.actor_name, clean),
        project_name=_maybe(context.project_name, clean),
        repository_name=_maybe(context.repository_name, clean),
        link=_maybe(context.link, clean),
    )


def _actor(actor: Actor | None, clean: _Clean) -> Actor | None:
    if actor is None:
        return None
    return changed(actor, name=_maybe(actor.name, clean), id=_maybe(actor.id, clean))


def _decoded(inside: str) -> str | None:
    if "\\" not in inside:
        return inside
    try:
        decoded: str = json.loads(f'"{inside}"', strict=False)
    except ValueError:
        return None
    return decoded


def _encoded(text: str) -> str:
    """Return a JSON string that is UTF-8 whatever it holds, on one line."""
    encoded = json.dumps(text, ensure_ascii=False)
    try:
        encoded.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return encoded
