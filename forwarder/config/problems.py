"""From what pydantic says to what a user understands: where it is written, what to do.

No message holds a value that was written: it may be a secret in the wrong place.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from forwarder.config.layers import FILE_VARIABLE, PREFIX, SECRETS_VARIABLE, Where, Written
from forwarder.options import Options, members

_CREDENTIAL: Final = re.compile(r"://[^/\s]*@")
_SAID: Final[Mapping[str, str]] = {
    "string_type": "must be text in quotes",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": 'must be a list, such as ["one", "two"]',
    "tuple_type": 'must be a list, such as ["one", "two"]',
    "set_type": 'must be a list, such as ["one", "two"]',
    "frozen_set_type": 'must be a list, such as ["one", "two"]',
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be a path in quotes",
}
"""Our words for pydantic's commonest complaints; the others keep its words."""


def variable(where: Where) -> str:
    """Return the name of the variable that sets the value at `where`."""
    return PREFIX + "__".join(where).upper().replace("-", "_")


def did_you_mean(wrong: str, right: Iterable[str], *, quote: str = '"') -> str:
    """Return ``; did you mean "right"?``, or nothing where nothing is near."""
    near = difflib.get_close_matches(wrong, list(right), n=1, cutoff=0.6)
    return f"; did you mean {quote}{near[0]}{quote}?" if near else ""


def did_you_mean_or_known(wrong: str, right: Iterable[str]) -> str:
    """Return ``; did you mean "right"?``, or all that would be right."""
    known = list(right)
    return did_you_mean(wrong, known) or f"; known are {', '.join(known)}"


def models(annotation: Any) -> Iterator[type[Options]]:  # noqa: ANN401  any annotation at all
    """Yield the tables that an annotation admits, those in lists and tables of tables too."""
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, Options):
            yield member
        elif get_origin(member) is not Literal:
            for part in get_args(member):
                yield from models(part)


def fields_at(tables: Iterable[type[Options]], where: Iterable[str]) -> dict[str, FieldInfo]:
    """Return the fields of the tables at `where` below `tables`."""
    found = list(tables)
    for key in where:
        inner = [t.model_fields[key] for t in found if key in t.model_fields]
        if inner:  # else a name, or a union's tag
            found = [table for field in inner for table in models(field.annotation)]
    return {name: field for table in found for name, field in table.model_fields.items()}


def keys(tables: Iterable[type[Options]]) -> Iterator[Where]:
    """Yield every key that may be written in `tables`, those of inner tables too."""
    for table in tables:
        for name, field in table.model_fields.items():
            inner = list(models(field.annotation))
            if inner:
                yield from ((name, *below) for below in keys(inner))
            else:
                yield (name,)
        yield from ((f"{name}_file",) for name in table.secrets())


class Reporter:
    """Says where in what was written a mistake stands."""

    def __init__(self, written: Written) -> None:
        self._written = written
        self._beginning = f"{written.file}: " if written.file else ""

    def say(self, where: Where, problem: str) -> str:
        """Return one line that begins with the variable, or the file and the key."""
        return f"{self._place(where)}: {problem}"

    def about_table(self, where: Where, problem: str) -> str:
        """Return one line about a table that stands, or should stand, at `where`."""
        return f"{self._beginning}{'.'.join(where)}: {problem}"

    def about_all(self, problem: str) -> str:
        """Return one line about the configuration as a whole."""
        return f"{self._beginning}{problem}"

    def refusals(self, table: type[Options], where: Where, error: ValidationError) -> Iterator[str]:
        """Yield one line for each mistake in the table at `where`, which is a `table`."""
        for mistake in error.errors(include_url=False, include_input=False):
            inner = tuple(str(key) for key in mistake["loc"])
            yield self._refusal(table, where, inner, mistake)

    def _place(self, where: Where) -> str:
        leaf = self._written.leaf(where)
        if leaf is None or leaf.layer == "file":
            return f"{self._beginning}{'.'.join(where)}"
        return leaf.place

    def _refusal(
        self, table: type[Options], where: Where, inner: Where, mistake: ErrorDetails
    ) -> str:
        full = (*where, *inner)
        if inner and full not in self._written.leaves:
            beside = (*where, *inner[:-1], f"{inner[-1]}_file")
            full = beside if beside in self._written.leaves else full
        match mistake["type"]:
            case "extra_forbidden":
                return self._unknown(table, where, inner)
            case "missing":
                secret = inner[-1] in _secrets_at(table, inner[:-1])
                return self.about_table(full, _missing(full, secret=secret))
            case "literal_error" | "enum":
                leaf = self._written.leaf(full)
                choices = _choices(fields_at([table], inner[:-1])[inner[-1]])
                near = did_you_mean(str(leaf.value) if leaf else "", choices)
                return self.say(full, f"must be {_listed(choices)}{near}")
            case "value_error":
                said = str(mistake["ctx"]["error"])
                return self.say(full, _CREDENTIAL.sub("://***@", said))
            case kind if kind in _SAID:
                return self.say(full, _SAID[kind])
        return self.say(full, mistake["msg"].replace("Input should", "must", 1))

    def _unknown(self, table: type[Options], where: Where, inner: Where) -> str:
        full = (*where, *inner)
        path, leaf = next(
            (path, leaf) for path, leaf in self._written.leaves.items() if _begins(path, full)
        )
        every = list(keys([table]))
        known = sorted(
            {key[len(inner) - 1] for key in every if key[: len(inner) - 1] == inner[:-1]}
        )
        if leaf.layer != "variable":
            return self.say(full, f"unknown key{did_you_mean_or_known(inner[-1], known)}")
        for right in every:  # FORWARDER_SINKS__SPLUNK__BATCH_EVENTS
            if "_".join(right) == "_".join(path[len(where) :]):
                return _misspelt(leaf.place, (*where, *right))
        near = difflib.get_close_matches(inner[-1], known, n=1)
        if near:
            return _misspelt(leaf.place, (*full[:-1], near[0], *path[len(full) :]))
        return f"{leaf.place}: unknown variable; known here are {', '.join(known)}"


def strange_variables(names: Iterable[str], tables: Mapping[Where, type[Options]]) -> Iterator[str]:
    """Yield one line for each variable that belongs nowhere; `tables` are those that stand."""
    candidates = [name.removeprefix(PREFIX) for name in (FILE_VARIABLE, SECRETS_VARIABLE)]
    for where, table in tables.items():
        every = (variable((*where, *below)) for below in keys([table]))
        candidates += (name.removeprefix(PREFIX) for name in every)
    for name in names:
        bare = name.upper().removeprefix(PREFIX)
        near = difflib.get_close_matches(bare, candidates, n=1)
        if bare in near:
            yield f"{name}: a variable with a shorter name hides it: unset that one"
        elif near:
            yield f"{name}: unknown variable; did you mean {PREFIX}{near[0]}?"
        else:
            yield f"{name}: unknown variable; no value has such a name: unset it"


def _misspelt(wrong: str, right: Where) -> str:
    return f"{wrong}: unknown variable; did you mean {variable(right)}?"


def _begins(path: Where, beginning: Where) -> bool:
    return path[: len(beginning)] == beginning


def _secrets_at(table: type[Options], inner: Where) -> set[str]:
    found = fields_at([table], inner)
    return {name for name in found if f"{name}_file" in {key[-1] for key in keys([table])}}


def _missing(full: Where, *, secret: bool) -> str:
    name, key = variable(full), full[-1]
    if secret:
        return f"is missing: write {key} or {key}_file, or set {name} or {name}_FILE"
    return f"is missing: write it, or set {name}"


def _choices(field: FieldInfo) -> list[str]:
    literals = [m for m in members(field.annotation) if get_origin(m) is Literal]
    return [str(choice) for literal in literals for choice in get_args(literal)]


def _listed(choices: list[str]) -> str:
    quoted = [f'"{choice}"' for choice in choices]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)
