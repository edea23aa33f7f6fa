"""What fires a detection and what does not: tests/data/detections/NAME.yml, made into events.

Each case is a list of events. One of Bitbucket's says how it differs from `_BASE`, which has the
shape that Bitbucket's REST API gives (docs/bitbucket.md section 2): `action`, `category`, `by`,
`change` (key, from, to), `attributes`, `objects`. One of the forwarder's own says `told`, its kind.
Both say `after`, seconds since the first. They become events by the code that runs in the daemon.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

from forwarder.model import Event, Record
from forwarder.normalizers import Catalogue, CatalogueNormalizer
from forwarder.sources.bitbucket_audit import wire
from forwarder.watches.findings import Found
from forwarder.watches.telling import Teller
from tests.fakes.normalized import normalize

HERE: Final = Path(__file__).parent.parent / "data" / "detections"
START: Final = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
_SOTERI: Final = "Soteri Security for Bitbucket"
_TARGET: Final = {
    "nameI18nKey": "bitbucket.audit.attribute.legacy.target",
    "name": "target",
    "value": "SEC/payments",
}
_BASE: Final[dict[str, Any]] = {
    "author": {"name": "mira.holm", "type": "NORMAL", "id": "52", "avatarUri": ""},
    "affectedObjects": [
        {"name": "SEC", "type": "PROJECT", "id": "1"},
        {"name": "payments", "type": "REPOSITORY", "id": "1"},
    ],
    "changedValues": [],
    "source": "10.50.73.5",
    "system": "https://bitbucket.example.com",
    "node": "8767044c-1b98-4d64-82db-ef29af8c3792",
    "method": "Browser",
}
_KEYS: Final = {"action", "category", "by", "changes", "attributes", "objects", "after", "told"}


@cache
def _told() -> dict[str, Any]:
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in HERE.glob("*.yml")}


def names() -> set[str]:
    """Return the detections that have cases."""
    return set(_told())


def cases(name: str, which: Literal["fires", "silent"]) -> list[list[Event]]:
    """Return the cases of a detection, each with its events in the order of time."""
    return [list(_events(case)) for case in _told()[name][which]]


def _events(case: list[dict[str, Any]]) -> Iterator[Event]:
    for told in case:
        assert told.keys() <= _KEYS | {"times"}, told
        for n in range(told.get("times", 1)):
            at = START + timedelta(seconds=told.get("after", 0) + n)
            yield _of_ours(told, at) if "told" in told else _of_bitbuckets(told, at)


def _of_bitbuckets(told: dict[str, Any], at: datetime) -> Event:
    entity = {
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.087Z",
        **_BASE,
        "type": {"category": told.get("category", _SOTERI), "action": told["action"]},
        "changedValues": told.get("changes", []),
        "extraAttributes": [*told.get("attributes", []), _TARGET],
    }
    if "by" in told:
        entity["author"] = {"name": told["by"], "type": "NORMAL", "id": "53"}
    if "objects" in told:
        entity["affectedObjects"] = told["objects"]
    record = wire.record(msgspec.Raw(json.dumps(entity).encode()), namespace="bitbucket")
    assert isinstance(record, Record), record
    return normalize(record, source="bitbucket")


def _of_ours(told: dict[str, Any], at: datetime) -> Event:
    teller = Teller(CatalogueNormalizer(Catalogue()), "host-1")
    found = Found(kind=told["told"], subject="ecosystem", detail="as told")
    return teller.event(found, part="sources.bitbucket", at=at, since_at=at, facts={})
