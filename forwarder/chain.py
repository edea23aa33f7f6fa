"""The chain: what makes it show when a stored event is changed, moved, doubled or taken away. Pure.

For each source, the digest of an event takes in the digest of the one before, so nobody can
change the past without changing every digest since. A line of the `json` format can be checked
without the forwarder; docs/formats.md says how.
"""

import re
from hashlib import sha256
from typing import Final

from forwarder.model import Link

BEGINNING: Final = Link(sequence=0, digest="0" * 64)
"""What comes before the first event of a source."""

_LINK: Final = re.compile(rb',"chain":\{"sequence":(\d{1,18}),"digest":"([0-9a-f]{64})"\}\}\Z')
_VERSION: Final = re.compile(rb'\{"version":(\d{1,9}),(?=")')


def link(before: Link, content: bytes) -> Link:
    """Return the link of an event that says `content`, behind the link `before`.

    The digest is SHA-256 (FIPS 180-4), in hexadecimal, of: the digest before, a space, the
    sequence number in decimal, a space, the content.
    """
    sequence = before.sequence + 1
    digest = sha256(f"{before.digest} {sequence} ".encode() + content).hexdigest()
    return Link(sequence=sequence, digest=digest)


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
