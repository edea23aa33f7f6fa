"""CloudWatch metric filters for JSON log events, as strictly as AWS describes them.

Source: "Filter pattern syntax for metric filters, subscription filters, filter log events, and
Live Tail" in the CloudWatch Logs user guide. A selector is ``$.`` and names of letters, digits,
``-`` and ``_``, with ``[number]`` behind a name for an array. Texts that are not only letters and
digits stand in double quotes; a ``*`` at either end stands for any text, elsewhere for itself.
Upper and lower case differ. ``()`` go before ``&&``, ``&&`` before ``||``. Where a selector leads
to nothing, null, an array or an object, no comparison matches, ``!=`` neither: for what is not
there AWS says nothing of ``!=``, so no pattern may hang on it.
"""

import re
from collections.abc import Callable
from typing import Any, Final

LONGEST: Final = 1024
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<selector>\$(?:\.[A-Za-z0-9_-]+(?:\[\d+\])*)+)"
    r'|(?P<text>"(?:[^"\\]|\\.)*"|[A-Za-z0-9]+)'
    r"|(?P<sign>&&|\|\||!=|=|\(|\)|\{|\}))"
)
_NOTHING: Final = object()
Test = Callable[[Any], bool]


class PatternError(ValueError):
    """CloudWatch would refuse the pattern."""


def compiled(pattern: str) -> Test:
    """Return a test of log events, which are JSON values already decoded."""
    if len(pattern) > LONGEST:
        raise PatternError(f"{len(pattern)} characters are more than {LONGEST}")
    return _Reader(pattern).read()


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        pattern = pattern.strip()
        while at < len(pattern):
            match = _TOKEN.match(pattern, at)
            if not match:
                raise PatternError(f"cannot be read from here: {pattern[at:]!r}")
            self._tokens.append((str(match.lastgroup), match[match.lastgroup or 0]))
            at = match.end()
        self._tokens.reverse()

    def read(self) -> Test:
        self._take("sign", "{")
        test = self._any_of()
        self._take("sign", "}")
        if self._tokens:
            raise PatternError("something follows the closing brace")
        return test

    def _take(self, group: str, *wanted: str) -> str:
        found = self._tokens.pop() if self._tokens else ("end", "")
        if found[0] != group or (wanted and found[1] not in wanted):
            raise PatternError(f"{found[1]!r} where {wanted or group} should be")
        return found[1]

    def _next_is(self, sign: str) -> bool:
        if self._tokens and self._tokens[-1] == ("sign", sign):
            self._tokens.pop()
            return True
        return False

    def _any_of(self) -> Test:
        tests = [self._all_of()]
        while self._next_is("||"):
            tests.append(self._all_of())
        return lambda event: any(test(event) for test in tests)

    def _all_of(self) -> Test:
        tests = [self._one()]
        while self._next_is("&&"):
            tests.append(self._one())
        return lambda event: all(test(event) for test in tests)

    def _one(self) -> Test:
        if self._next_is("("):
            test = self._any_of()
            self._take("sign", ")")
            return test
        selector = self._take("selector")
        if self._tokens and self._tokens[-1] == ("text", "NOT"):
            self._tokens.pop()
            self._take("text", "EXISTS")
            return lambda event: _value(event, selector) is _NOTHING
        operator = self._take("sign", "=", "!=")
        text = self._take("text")
        wanted = _wanted(text)
        return lambda event: _compares(_value(event, selector), operator, wanted)


def _compares(value: object, operator: str, wanted: re.Pattern[str]) -> bool:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return False
    return bool(wanted.fullmatch(str(value))) is (operator == "=")


def _wanted(text: str) -> re.Pattern[str]:
    plain = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
    before = ".*" if plain.startswith("*") else ""
    after = ".*" if plain.endswith("*") and len(plain) > 1 else ""
    middle = plain[bool(before) : len(plain) - bool(after)]
    return re.compile(before + re.escape(middle) + after, re.DOTALL)


def _value(event: object, selector: str) -> object:
    value = event
    for name, index in re.findall(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]", selector):
        if name:
            value = value.get(name, _NOTHING) if isinstance(value, dict) else _NOTHING
        else:
            is_there = isinstance(value, list) and int(index) < len(value)
            value = value[int(index)] if is_there else _NOTHING  # type: ignore[index]
    return value
