"""Sigma's conditions as CloudWatch says them: metric filters, and Logs Insights.

A metric filter's pattern has no NOT, so it is taken inwards. It looks at one element of an array
only, ours at the first, and tells upper from lower case. Source of its grammar: "Filter pattern
syntax" in the CloudWatch Logs user guide.
"""

from collections.abc import Iterator
from typing import Any, Final

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
from sigma.rule import SigmaRule
from sigma.types import SigmaNull, SigmaString, SpecialChars

_LISTS: Final = ("objects", "changes", "attributes")
"""Fields of our event that are arrays of objects."""
_ALWAYS: Final = ("kind", "action")
"""Fields that are never absent nor null."""


def kinds_of(rule: SigmaRule) -> Iterator[str]:
    """Yield the kinds that `rule` looks at, with ``*`` at the end of beginnings."""
    for condition in _leaves(_condition(rule)):
        if condition.field == "kind":
            yield _text(condition.value)


def metric_filter(rule: SigmaRule) -> str:
    """Return the pattern of a metric filter."""
    return f"{{ {_pattern(_condition(rule), negated=False)} }}"


def insights(rule: SigmaRule) -> str:
    """Return the condition of a ``filter`` in Logs Insights."""
    return _filter(_condition(rule))


def _condition(rule: SigmaRule) -> Any:  # noqa: ANN401  pySigma's own tree
    (condition,) = rule.detection.parsed_condition
    return condition.parsed


def _leaves(node: Any) -> Iterator[ConditionFieldEqualsValueExpression]:  # noqa: ANN401
    if isinstance(node, ConditionFieldEqualsValueExpression):
        yield node
    for child in getattr(node, "args", ()):
        yield from _leaves(child)


def _pattern(node: Any, *, negated: bool) -> str:  # noqa: ANN401
    if isinstance(node, ConditionNOT):
        return _pattern(node.args[0], negated=not negated)
    if negated and (field := _only_field(node)) and field not in _ALWAYS:
        # Whether a field that is not there differs from a text, AWS does not say.
        selector = _selector(field)
        return f"({selector} NOT EXISTS || {_compared(node, negated=True)})"
    return _compared(node, negated=negated)


def _compared(node: Any, *, negated: bool) -> str:  # noqa: ANN401
    if isinstance(node, ConditionAND | ConditionOR):
        inside = _compared if negated and _only_field(node) else _pattern
        parts = [inside(child, negated=negated) for child in node.args]
        both = isinstance(node, ConditionAND) is not negated
        return f"({(' && ' if both else ' || ').join(parts)})"
    if isinstance(node.value, SigmaNull):
        if negated:
            raise ValueError(f"that {node.field} is there cannot be said in a metric filter")
        return f"{_selector(node.field)} NOT EXISTS"
    operator = "!=" if negated else "="
    return f'{_selector(node.field)} {operator} "{_text(node.value)}"'


def _only_field(node: Any) -> str | None:  # noqa: ANN401
    """Return the field that all of `node` looks at, if it is one."""
    fields = {leaf.field for leaf in _leaves(node)}
    return str(fields.pop()) if len(fields) == 1 else None


def _selector(field: str) -> str:
    first, dot, rest = field.partition(".")
    return f"$.{first}[0]{dot}{rest}" if first in _LISTS else f"$.{field}"


def _filter(node: Any) -> str:  # noqa: ANN401
    if isinstance(node, ConditionNOT):
        return f"not ({_filter(node.args[0])})"
    if isinstance(node, ConditionAND | ConditionOR):
        word = " and " if isinstance(node, ConditionAND) else " or "
        return f"({word.join(_filter(child) for child in node.args)})"
    first, dot, rest = node.field.partition(".")
    field = f"{first}.0{dot}{rest}" if first in _LISTS else node.field
    if isinstance(node.value, SigmaNull):
        return f"not ispresent({field})"
    text = _text(node.value)
    if "*" not in text:
        return f'{field} = "{text}"'
    return f'{field} like "{text.strip("*")}"'


def _text(value: SigmaString) -> str:
    """Return `value` with ``*`` at its ends, where CloudWatch reads it so; quotes escaped."""
    parts = value.s
    plain = "".join("*" if part is SpecialChars.WILDCARD_MULTI else str(part) for part in parts)
    if "*" in plain[1:-1] or '"' in plain or "\\" in plain:
        raise ValueError(f"{plain!r} cannot be said in a metric filter")
    return plain
