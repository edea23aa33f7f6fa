"""A search's parameters, read and refused as Bitbucket reads and refuses them. Pure."""

import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from forwarder.simulator.clock import to_ms
from forwarder.simulator.log import Query

# ISO-8601 as Java's Instant reads it: the zone is a Z, never an offset.
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
_DEFAULT_LIMIT: Final = 200


class InvalidQueryError(Exception):
    """A parameter is refused. `key` is the validation key of the answer's `errors`.

    Only `validation.error.from.invalid` is documented; the other keys are made like it.
    """

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.key = f"validation.error.{parameter}.invalid"


def read_query(parameters: Mapping[str, str], *, now_ms: int, limit_cap: int) -> Query:
    """Return the search that `parameters` ask for; without `to`, up to `now_ms`.

    `pageCursor` is left out where `outputFormat` is csv, as Bitbucket does.

    Raises:
        InvalidQueryError: a parameter cannot be read, or `limit` is over `limit_cap`.
    """
    limit = _number(parameters, "limit", default=_DEFAULT_LIMIT, least=1)
    if limit > limit_cap:
        raise InvalidQueryError("limit", f"The limit must not be greater than {limit_cap}.")
    to_ms_ = _instant(parameters, "to")
    csv = wants_csv(parameters)
    return Query(
        from_ms=_instant(parameters, "from"),
        to_ms=now_ms if to_ms_ is None else to_ms_,
        cursor=None if csv else _cursor(parameters),
        offset=_number(parameters, "offset", default=0, least=0),
        limit=limit,
        categories=_names(parameters, "categories"),
        actions=_names(parameters, "actions"),
        objects=_objects(parameters),
        user_ids=_names(parameters, "userIds"),
        terms=tuple(term.encode() for term in parameters.get("search", "").lower().split()),
        scan_limit=_number(parameters, "scanLimit", default=0, least=0) or None,
    )


def wants_csv(parameters: Mapping[str, str]) -> bool:
    """Whether the answer is to be CSV.

    Raises:
        InvalidQueryError: `outputFormat` is neither json nor csv.
    """
    wanted = parameters.get("outputFormat", "json").lower()
    if wanted not in ("json", "csv"):
        raise InvalidQueryError("outputFormat", f"Unknown output format '{wanted}'.")
    return wanted == "csv"


def read_paging(parameters: Mapping[str, str]) -> tuple[int, int]:
    """Return `start` and `limit` of Bitbucket's ordinary paging; 25 and 1,000 are its defaults.

    Raises:
        InvalidQueryError: one is no number.
    """
    start = _number(parameters, "start", default=0, least=0)
    return start, min(_number(parameters, "limit", default=25, least=1), 1000)


def _instant(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name, "")
    if not text:
        return None
    refusal = InvalidQueryError(name, f"'{text}' is not a valid ISO-8601 instant for '{name}'.")
    if not _INSTANT.fullmatch(text):
        raise refusal
    try:
        return to_ms(datetime.fromisoformat(text))
    except ValueError as error:  # the 31st of February
        raise refusal from error


def _number(parameters: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise InvalidQueryError(name, f"'{text}' is not a valid '{name}'.")
    return int(text)


def _cursor(parameters: Mapping[str, str]) -> tuple[int, int] | None:
    text = parameters.get("pageCursor", "")
    if not text:
        return None
    if not (match := re.fullmatch(r"(-?\d+),(\d+)", text, re.ASCII)):
        raise InvalidQueryError("pageCursor", f"'{text}' is not a valid page cursor.")
    return int(match[1]), int(match[2])


def _names(parameters: Mapping[str, str], name: str) -> frozenset[str]:
    """Return a comma list's parts, exactly as written: a name with a comma cannot be asked for."""
    return frozenset(part for part in parameters.get(name, "").split(",") if part)


def _objects(parameters: Mapping[str, str]) -> dict[str, frozenset[str]]:
    by_type: defaultdict[str, set[str]] = defaultdict(set)
    for part in filter(None, parameters.get("affectedObject", "").split(";")):
        kind, comma, id_ = part.partition(",")
        if not (kind and comma and id_):
            raise InvalidQueryError("affectedObject", f"'{part}' is not TYPE,id.")
        by_type[kind].add(id_)
    return {kind: frozenset(ids) for kind, ids in by_type.items()}
