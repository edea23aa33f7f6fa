"""A small strict parser of RFC 5424 section 6, written from its ABNF and from nothing of ours."""

import re
from dataclasses import dataclass
from datetime import datetime

_HEADER = re.compile(
    rb"<(0|[1-9][0-9]{0,2})>1"
    rb" (-|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    rb"(?:Z|[+-][0-9]{2}:[0-9]{2}))"
    rb" ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
)
_SD_NAME = re.compile(rb"[!#-<>-\\^-~]{1,32}")
_SD_VALUE = re.compile(rb'"((?:[^"\\\]]|\\.)*)"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A message, taken apart; nil is None."""

    facility: int
    severity: int
    time: datetime | None
    hostname: str | None
    app_name: str | None
    procid: str | None
    msgid: str | None
    structured_data: dict[str, dict[str, str]]
    message: bytes


def parse(text: bytes) -> Parsed:
    """Return the message; raise ValueError where the RFC's grammar does not allow it."""
    found = _HEADER.match(text)
    if not found:
        raise ValueError(f"no header: {text[:200]!r}")
    priority = int(found[1])
    if priority > 191:
        raise ValueError(f"no such priority: {priority}")
    data, position = _structured_data(text, found.end())
    rest = text[position:]
    if rest and not rest.startswith(b" "):
        raise ValueError(f"something after the structured data: {rest[:50]!r}")
    fields = [None if part == b"-" else part.decode("ascii") for part in found.groups()[1:]]
    return Parsed(
        facility=priority // 8,
        severity=priority % 8,
        time=datetime.fromisoformat(fields[0]) if fields[0] else None,
        hostname=fields[1],
        app_name=fields[2],
        procid=fields[3],
        msgid=fields[4],
        structured_data=data,
        message=rest[1:],
    )


def _structured_data(text: bytes, position: int) -> tuple[dict[str, dict[str, str]], int]:
    if text[position : position + 1] == b"-":
        return {}, position + 1
    elements: dict[str, dict[str, str]] = {}
    while text[position : position + 1] == b"[":
        name, position = _name(text, position + 1)
        if name in elements:
            raise ValueError(f"SD-ID twice: {name}")
        parameters: dict[str, str] = {}
        while text[position : position + 1] == b" ":
            key, position = _name(text, position + 1)
            if text[position : position + 1] != b"=":
                raise ValueError(f"no = after {key}")
            value = _SD_VALUE.match(text, position + 1)
            if not value:
                raise ValueError(f"no value for {key}")
            plain = re.sub(rb'\\(["\\\]])', rb"\1", value[1])
            parameters[key] = plain.decode("utf-8", "strict")
            position = value.end()
        if text[position : position + 1] != b"]":
            raise ValueError(f"no end of {name}")
        position += 1
        elements[name] = parameters
    if not elements:
        raise ValueError("neither - nor an element")
    return elements, position


def _name(text: bytes, position: int) -> tuple[str, int]:
    found = _SD_NAME.match(text, position)
    if not found:
        raise ValueError(f"no SD name: {text[position : position + 50]!r}")
    return found[0].decode("ascii"), found.end()


def unframe(stream: bytes) -> list[bytes]:
    """Return the messages of an octet-counted stream: RFC 6587 section 3.4.1."""
    messages: list[bytes] = []
    while stream:
        found = re.match(rb"([1-9][0-9]*) ", stream)
        if not found:
            raise ValueError(f"no octet count: {stream[:50]!r}")
        start, size = found.end(), int(found[1])
        if len(stream) < start + size:
            raise ValueError("the last message is cut")
        messages.append(stream[start : start + size])
        stream = stream[start + size :]
    return messages
