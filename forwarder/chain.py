"""The chain: what makes it show when a stored event is changed, moved, doubled or taken away. Pure.

For each source, the digest of an event takes in the digest of the one before, so nobody can
change the past without changing every digest since. A line of the `json` format can be checked
without the forwarder; docs/formats.md says how.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec

from forwarder.model import Link, is_test

BEGINNING: Final = Link(sequence=0, digest="0" * 64)
"""What comes before the first event of a source."""

_NO_TEST: Final = "has the id of a test event, and does not say that it is one"
_CHANGED: Final = "is not what its digest says: it was changed"
_RANGES: Final = 10_000
"""Of missing sequence numbers, kept to tell what is out of order from what is there twice."""
_LINK: Final = re.compile(rb',"chain":\{"sequence":(\d{1,18}),"digest":"([0-9a-f]{64})"\}\}\Z')
_VERSION: Final = re.compile(rb'\{"version":(\d{1,9}),(?=")')


def link(before: Link, content: bytes) -> Link:
    """Return the link of an event that says `content`, behind the link `before`.

    The digest is SHA-256 (FIPS 180-4), in hexadecimal, of: the digest before, a space, the
    sequence number in decimal, a space, the content.
    """
    sequence = before.sequence + 1
    hashed = sha256(f"{before.digest} {sequence} ".encode())
    hashed.update(content)
    return Link(sequence=sequence, digest=hashed.hexdigest())


def linked(content: bytes, its: Link) -> bytes:
    """Return `content`, a JSON object, with the link as its last field.

    These are the bytes that msgspec gives for the event with that link; a test holds it.
    """
    chain = f',"chain":{{"sequence":{its.sequence},"digest":"{its.digest}"}}}}'
    return content[:-1] + chain.encode()


def taken_apart(line: bytes) -> tuple[int, bytes, Link | None]:
    """Return the version, the content and the link that a line of the `json` format holds.

    The content is the line without ``"version":N,`` at its beginning and ``,"chain":{...}`` at
    its end: to the byte what the digest was made of. The link is None where the line has none.

    Raises:
        ValueError: it is no such line.
    """
    head = _VERSION.match(line)
    if head is None or not line.endswith(b"}"):
        raise ValueError("no line of the json format")
    tail = _LINK.search(line, max(len(line) - 160, 0))
    end = tail.start() if tail else len(line) - 1
    content = b"{" + line[head.end() : end] + b"}"
    its = Link(sequence=int(tail[1]), digest=tail[2].decode()) if tail else None
    return int(head[1]), content, its


class _Named(msgspec.Struct):
    source: str
    event_id: str


_decode: Final = msgspec.json.Decoder(_Named).decode


@dataclass(slots=True)
class Checked:
    """What was found of one source: `first` and `last` are links, `missing` ranges of sequences."""

    lines: int = 0
    unlinked: int = 0
    first: Link | None = None
    last: Link | None = None
    last_at: str = ""
    missing: list[tuple[int, int]] = field(default_factory=list)


class Check:
    """Follows the chain of every source through lines given one by one, in bounded memory.

    `versions` are those of the `json` format that are understood. `heads` are links that are known
    from elsewhere, by source: each must be found among the lines. `tests` counts the test events
    that were among them: they are in no chain.
    """

    def __init__(self, *, versions: Collection[int], heads: Mapping[str, Link]) -> None:
        self.sources: dict[str, Checked] = {}
        self.tests = 0
        self._versions = versions
        self._heads = dict(heads)

    def add(self, line: bytes, where: str) -> str:
        """Take the next line, without its end, and return what is wrong with it, or ``""``.

        `where` is its file and line, for what is said of later ones.
        """
        try:
            version, content, its = taken_apart(line)
            if version not in self._versions:
                return f"is of version {version}, which this release does not know"
            named = _decode(content)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return "is no line of the json format"
        if its is None and is_test(named.event_id):
            self.tests += 1
            return "" if b'{"name":"test","value":"true"}' in content else _NO_TEST
        source = named.source
        known = self.sources.setdefault(source, Checked())
        known.lines += 1
        if its is None:
            known.unlinked += 1
            return "has no chain, but lines before it have" if known.last else ""
        said = self._follow(known, content, its, where)
        if (head := self._heads.get(source)) and head.sequence == its.sequence:
            del self._heads[source]
            if head != its:
                return said or f"has another digest than the one given for {source}"
        return said

    def end(self) -> Iterator[str]:
        """Yield what is wrong once every line was given: heads that were never found."""
        for source, head in self._heads.items():
            found = self.sources.get(source)
            last = found.last.sequence if found and found.last else 0
            yield (
                f"{source}: the line of sequence {head.sequence} with the digest given is not there"
                f"; the last one is {last}"
            )

    def _follow(self, known: Checked, content: bytes, its: Link, where: str) -> str:
        last = known.last
        if last is None:
            known.first = its
            wrong = its.sequence == 1 and link(BEGINNING, content) != its
            said = _CHANGED if wrong else ""
        elif its.sequence == last.sequence + 1:
            wrong = link(last, content) != its
            said = f"{_CHANGED}, or the line before it was, {known.last_at}" if wrong else ""
        elif its.sequence > last.sequence:
            missing = last.sequence + 1, its.sequence - 1
            known.missing = [*known.missing[-_RANGES:], missing]
            said = f"{_events(*missing)} missing before it, after {known.last_at}"
        elif its.sequence == 1 and its != known.first and link(BEGINNING, content) == its:
            known.first, known.missing = its, []
            said = f"begins a new chain; the one before ended with {last.sequence}, {known.last_at}"
        elif _taken(known.missing, its.sequence):
            return f"is out of order: {its.sequence} comes after {last.sequence}"
        else:
            return f"is there twice: {its.sequence} was there before"
        known.last, known.last_at = its, where
        return said


def _events(first: int, last: int) -> str:
    if first == last:
        return f"1 event ({first}) is"
    return f"{last - first + 1:,} events ({first} to {last}) are"


def _taken(ranges: list[tuple[int, int]], sequence: int) -> bool:
    """Take `sequence` out of `ranges`; return whether it was in one."""
    for index, (first, last) in enumerate(ranges):
        if first <= sequence <= last:
            left = ((first, sequence - 1), (sequence + 1, last))
            ranges[index : index + 1] = [each for each in left if each[0] <= each[1]]
            return True
    return False
