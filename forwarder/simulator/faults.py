"""All that goes wrong with an answer (docs/bitbucket.md section 1): scripted or by rate."""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Final, Literal, get_args

FaultName = Literal[
    "invalid_query",  # 400 with a validation key
    "unauthorized",  # 401
    "forbidden",  # 403, as perhaps on newer versions
    "filters_refused_400",  # no Data Center licence; only a request with filters is refused
    "filters_refused_500",
    "slots_busy",  # 500 text/plain, after `busy_seconds`
    "http_429",  # no Retry-After
    "http_429_seconds",
    "http_429_date",
    "http_502",
    "http_503",
    "http_504",
    "redirect_login",  # 302 to a log-in page
    "html_login",  # 200 with a log-in page
    "no_entities",  # 200 with JSON that is no page
    "truncated",  # 200 with JSON cut short
    "malformed",  # 200 with what is no JSON
    "drop_before",  # the connection is lost before an answer
    "drop_in_body",  # the connection is lost in the middle of it
    "slow",  # a good answer, after `slow_seconds`
    "stuck_cursor",  # a page that points at itself
    "gzip",  # a good answer, compressed; no fault to a client that asked for it
]
FAULTS: Final[tuple[FaultName, ...]] = get_args(FaultName)

TRANSIENT: Final[tuple[FaultName, ...]] = (
    "slots_busy",
    "http_429",
    "http_429_seconds",
    "http_429_date",
    "http_502",
    "http_503",
    "http_504",
    "truncated",
    "malformed",
    "drop_before",
    "drop_in_body",
    "slow",
    "gzip",
)
"""What the same request sent again gets over: the mix of `--faults RATE`."""

CONTENT: Final[frozenset[FaultName]] = frozenset(
    ("truncated", "malformed", "drop_in_body", "slow", "stuck_cursor", "gzip")
)
"""What befalls an answer that Bitbucket did give: the search was made and audited."""


class Faults:
    """Decides for each request below ``/rest/`` whether, and how, it fails.

    `next` is a script for requests of audit events, `next_other` one for all others: each request
    takes the first entry, and None lets it pass whatever the rates say. Where its script is used
    up, a request fails by `rates` (share of 1 for each name, together at most 1). `counts` is how
    many of each happened.
    """

    def __init__(self, rates: Mapping[FaultName, float], *, seed: int) -> None:
        self.rates: dict[FaultName, float] = dict(rates)
        self.next: list[FaultName | None] = []
        self.next_other: list[FaultName | None] = []
        self.counts: Counter[FaultName] = Counter()
        self.random = Random(f"{seed}/faults")  # noqa: S311  dice, not keys

    def draw(self, *, of_events: bool) -> FaultName | None:
        """Return what happens to this request."""
        script = self.next if of_events else self.next_other
        fault = script.pop(0) if script else self._by_rate()
        if fault:
            self.counts[fault] += 1
        return fault

    def _by_rate(self) -> FaultName | None:
        if not self.rates:
            return None
        dice = self.random.random()
        for name, rate in self.rates.items():
            dice -= rate
            if dice < 0:
                return name
        return None


def fault_name(text: str) -> FaultName:
    """Return `text` as a fault's name.

    Raises:
        ValueError: there is no such fault; the message lists them all.
    """
    for name in FAULTS:
        if name == text:
            return name
    raise ValueError(f'there is no fault "{text}"; there are: {", ".join(FAULTS)}')


def mix(rate: float) -> dict[FaultName, float]:
    """Return every transient fault, equally likely, together `rate` of the requests."""
    return {name: rate / len(TRANSIENT) for name in TRANSIENT}
