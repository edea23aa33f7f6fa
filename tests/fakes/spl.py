"""Splunk's searches, as far as our detections use them, over the lines that a sink sends.

Strict: a command, or a form of one, that none of ours uses is refused. After the manuals "Search
Manual" (boolean expressions: parentheses, then NOT, then OR, then AND; values compare without
regard to case; ``*`` is any text; NOT is true of a field that is not there) and "Search Reference"
(dedup, eval, sort, stats, streamstats, where). Fields are those that Splunk takes out of JSON by
itself: ``actor.name``, and ``changes{}.to`` with all its values.
"""

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

_TOKEN: Final = re.compile(
    r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<sign>[()=,])|(?P<word>[^\s()=,"]+))'
)
_AGGREGATE: Final = re.compile(
    r"(?P<by>count|dc|min|max|values)(?:\((?P<field>\w+)\))? as (?P<name>\w+) ?"
)
_STEP: Final = re.compile(
    r"streamstats min\(eval\(if\(step=(?P<step>\d+)(?: AND _time>=(?P<after>at\d+))?"
    r", _time, null\(\)\)\)\) as (?P<name>at\d+) by (?P<by>[\w.]+)"
)
_CASE: Final = re.compile(r'searchmatch\("(?P<search>(?:[^"\\]|\\.)*)"\), (?P<step>\d+)(?:, |$)')
Row = dict[str, Any]


class SplError(ValueError):
    """No search of ours says this."""


def found(search: str, lines: Iterable[tuple[float, bytes]]) -> list[Row]:
    """Return the rows that `search` answers over `lines`, each with its time, newest first."""
    which, *commands = search.split("\n| ")
    matches = _search(which)
    rows = [{"_time": at, **dict(_fields(json.loads(line)))} for at, line in lines]
    rows = [row for row in reversed(rows) if matches(row)]
    for command in commands:
        rows = _run(command, rows)
    return rows


def _fields(value: object, name: str = "") -> Iterator[tuple[str, Any]]:
    found: dict[str, list[str]] = {}
    for path, text in _leaves(value, name):
        found.setdefault(path, []).append(text)
    yield from ((path, texts if len(texts) > 1 else texts[0]) for path, texts in found.items())


def _leaves(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _leaves(inside, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for inside in value:
            yield from _leaves(inside, f"{name}{{}}")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


class _search:  # noqa: N801  read as a function: it is called with a row
    def __init__(self, text: str) -> None:
        self._tokens = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if not match:
                raise SplError(f"cannot be read from here: {text[at:]!r}")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._tokens.reverse()
        self._test = self._all_of()
        if self._tokens:
            raise SplError(f"{self._tokens[-1][1]!r} is one too many")

    def __call__(self, row: Row) -> bool:
        return self._test(row)

    def _next_is(self, group: str, text: str) -> bool:
        if self._tokens and self._tokens[-1] == (group, text):
            self._tokens.pop()
            return True
        return False

    def _all_of(self) -> Callable[[Row], bool]:
        tests = [self._any_of()]
        while self._tokens and self._tokens[-1] != ("sign", ")"):
            self._next_is("word", "AND")
            tests.append(self._any_of())
        return lambda row: all(test(row) for test in tests)

    def _any_of(self) -> Callable[[Row], bool]:
        tests = [self._one()]
        while self._next_is("word", "OR"):
            tests.append(self._one())
        return lambda row: any(test(row) for test in tests)

    def _one(self) -> Callable[[Row], bool]:
        if self._next_is("word", "NOT"):
            test = self._one()
            return lambda row: not test(row)
        if self._next_is("sign", "("):
            test = self._all_of()
            self._take(")")
            return test
        field = self._text()
        if self._next_is("word", "IN"):
            self._take("(")
            wanted = [self._text()]
            while self._next_is("sign", ","):
                wanted.append(self._text())
            self._take(")")
        else:
            self._take("=")
            wanted = [self._text()]
        return lambda row: any(_is_like(row.get(field), each) for each in wanted)

    def _take(self, sign: str) -> None:
        if not self._next_is("sign", sign):
            raise SplError(f"{self._tokens[-1:]} where {sign} should be")

    def _text(self) -> str:
        group, text = self._tokens.pop() if self._tokens else ("end", "")
        if group == "quoted":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if group != "word" or text in {"AND", "OR", "NOT", "IN"}:
            raise SplError(f"{text!r} where a field or a value should be")
        return text


def _is_like(value: object, wanted: str) -> bool:
    values = value if isinstance(value, list) else [] if value is None else [value]
    pattern = fnmatch.translate(wanted.casefold().replace("[", "[[]").replace("?", "[?]"))
    return any(re.match(pattern, str(each).casefold()) for each in values)


def _run(command: str, rows: list[Row]) -> list[Row]:
    if command == "dedup event_id":
        return list({row["event_id"]: row for row in reversed(rows)}.values())[::-1]
    if command == "sort 0 _time":
        return sorted(rows, key=lambda row: float(row["_time"]))
    if command.startswith("eval step=case(") and command.endswith(")"):
        return _cases(command.removeprefix("eval step=case(")[:-1], rows)
    if match := _STEP.fullmatch(command):
        return _earliest(match, rows)
    if command.startswith("stats "):
        return _stats(command.removeprefix("stats "), rows)
    if match := re.fullmatch(r"where (\w+)(>=|=)(\d+)", command):
        name, sign, number = match.groups()
        return [
            row for row in rows
            if (row[name] >= int(number) if sign == ">=" else row[name] == int(number))
        ]  # fmt: skip
    if match := re.fullmatch(r"where isnotnull\((\w+)\)", command):
        return [row for row in rows if row.get(match[1]) is not None]
    raise SplError(f"{command!r} is nothing that a search of ours says")


def _cases(text: str, rows: list[Row]) -> list[Row]:
    cases = []
    while text:
        match = _CASE.match(text)
        if not match:
            raise SplError(f"{text!r} is no case")
        cases.append((_search(re.sub(r"\\(.)", r"\1", match["search"])), int(match["step"])))
        text = text[match.end() :]
    return [
        {**row, "step": next((step for test, step in cases if test(row)), None)} for row in rows
    ]


def _earliest(match: re.Match[str], rows: list[Row]) -> list[Row]:
    earliest: dict[object, float] = {}
    made = []
    for row in rows:
        group, after = row.get(match["by"]), match["after"]
        since = row.get(after) if after else float("-inf")
        if row["step"] == int(match["step"]) and since is not None and row["_time"] >= since:
            earliest[group] = min(earliest.get(group, row["_time"]), row["_time"])
        made.append({**row, match["name"]: None if group is None else earliest.get(group)})
    return made


def _stats(text: str, rows: list[Row]) -> list[Row]:
    aggregates, _, by = text.partition(" by ")
    groups: dict[object, list[Row]] = {} if by else {None: rows}
    for row in rows if by else ():
        if row.get(by) is not None:
            groups.setdefault(row[by], []).append(row)
    wanted = []
    while aggregates:
        match = _AGGREGATE.match(aggregates)
        if not match:
            raise SplError(f"{aggregates!r} is nothing that a search of ours counts")
        wanted.append(match)
        aggregates = aggregates[match.end() :]
    return [
        {by: group, **{each["name"]: _counted(each, rows_of) for each in wanted}}
        for group, rows_of in groups.items()
    ]


def _counted(each: re.Match[str], rows: list[Row]) -> Any:
    values = [row[each["field"]] for row in rows if row.get(each["field"]) is not None]
    counts: dict[str, Callable[[], Any]] = {
        "count": lambda: len(rows),
        "dc": lambda: len(set(values)),
        "min": lambda: min(values, default=None),
        "max": lambda: max(values, default=None),
        "values": lambda: sorted(set(values)),
    }
    return counts[each["by"]]()
