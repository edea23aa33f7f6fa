"""What a look says, as conditions that hold, and things that happened once. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from forwarder.model import AffectedObject, AuditSettings, Change, LossHorizon, Record
from forwarder.normalizers import Catalogue
from forwarder.normalizers.soteri import CATEGORY
from forwarder.telemetry import LEVELS
from forwarder.watches import WatchConfig
from forwarder.watches.memory import Memory

COVERAGE: Final = "forwarder.audit_coverage_lowered"
EXCLUDED: Final = "forwarder.audit_action_excluded"
DISABLED: Final = "forwarder.app_disabled"
UNINSTALLED: Final = "forwarder.app_uninstalled"
SILENT: Final = "forwarder.silence_began"
SKEWED: Final = "forwarder.clock_skewed"
EXPIRING: Final = "forwarder.token_expiring"
LOSS_NEAR: Final = "forwarder.loss_near"
UPGRADED: Final = "forwarder.app_upgraded"
NEW_KIND: Final = "forwarder.kind_first_seen"
HEARTBEAT: Final = "forwarder.heartbeat"

ENDS: Final = {
    COVERAGE: "forwarder.audit_coverage_restored",
    EXCLUDED: "forwarder.audit_action_included",
    DISABLED: "forwarder.app_enabled",
    UNINSTALLED: "forwarder.app_installed",
    SILENT: "forwarder.silence_ended",
    SKEWED: "forwarder.clock_corrected",
    EXPIRING: "forwarder.token_renewed",
    LOSS_NEAR: "forwarder.loss_averted",
}
"""The kind that ends each condition; the others happen once."""

_ABOUT: Final = {
    COVERAGE: "AUDIT_AREA",
    EXCLUDED: "AUDIT_ACTION",
    DISABLED: "APP",
    UNINSTALLED: "APP",
    UPGRADED: "APP",
    NEW_KIND: "KIND",
}
_ABOUT.update({ENDS[kind]: type_ for kind, type_ in _ABOUT.items() if kind in ENDS})

SOTERIS_AREA: Final = "ecosystem"
"""The area of the audit log that Soteri's events belong to (inferred; docs/bitbucket.md)."""
_EASED: Final = 0.5
"""What was too much must fall to this share of the limit, or it would begin and end all day."""
_MOST_KINDS: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Something that holds now, or happened."""

    kind: str
    subject: str = ""
    detail: str
    changes: tuple[Change, ...] = ()

    @property
    def about(self) -> AffectedObject | None:
        """What it is about, beside the part."""
        type_ = _ABOUT.get(self.kind)
        name = CATEGORY if type_ == "APP" else self.subject
        return AffectedObject(type=type_, name=name) if type_ else None


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found: what holds, what happened once, and the kinds that it can judge.

    A condition of another kind goes on as it was: nobody could say.
    """

    holds: tuple[Found, ...]
    once: tuple[Found, ...]
    judged: Collection[str]


class Judge:
    """Says what `settings` mean for who wants events of `categories`; none asks for all."""

    def __init__(
        self, options: WatchConfig, catalogue: Catalogue, categories: Sequence[str]
    ) -> None:
        self._options = options
        self._levels = options.levels
        self._catalogue = catalogue
        self._only_soteris = set(categories) == {CATEGORY}
        self._wants_soteris = not categories or any(map(_names_soteri, categories))

    def settings(self, seen: AuditSettings, memory: Memory, now: datetime) -> Looked:
        """Return what the settings say; `memory` is what was known before."""
        holds: list[Found] = []
        once: list[Found] = []
        judged: set[str] = set()
        if seen.coverage is not None:
            judged.add(COVERAGE)
            holds += self._coverage(seen.coverage, memory)
        if seen.excluded_actions is not None:
            judged.add(EXCLUDED)
            holds += self._excluded(seen.excluded_actions)
        if seen.app_installed is not None:
            judged |= {DISABLED, UNINSTALLED} if seen.app_installed else {UNINSTALLED}
            holds += _app(seen, memory)
            once += _upgrade(seen, memory)
        if seen.clock_ahead_seconds is not None:
            judged.add(SKEWED)
            holds += self._clock(seen.clock_ahead_seconds, memory)
        if "token" not in seen.not_allowed:
            judged.add(EXPIRING)
            holds += self._token(seen.token_expires_at, now)
        return Looked(tuple(holds), tuple(once), judged)

    def _coverage(self, coverage: dict[str, str], memory: Memory) -> Iterator[Found]:
        for area, level in coverage.items():
            if self._only_soteris and area != SOTERIS_AREA:
                continue
            enough = self._levels.get(area) or memory.levels.get(area, level)
            if area == SOTERIS_AREA and area not in self._levels and enough == "off":
                enough = "base"
            if LEVELS.get(level, len(LEVELS)) < LEVELS.get(enough, 0):
                yield Found(
                    kind=COVERAGE,
                    subject=area,
                    detail=f"the audit coverage of {area} is {level}, not {enough}",
                    changes=(Change(key=area, from_=enough, to=level),),
                )

    def _excluded(self, actions: Sequence[str]) -> Iterator[Found]:
        for action in actions:
            if not self._only_soteris or self._is_soteris(action):
                yield Found(
                    kind=EXCLUDED,
                    subject=action,
                    detail=f"the action {action} is excluded from the audit log",
                )

    def _is_soteris(self, action: str) -> bool:
        """Return whether `action`, a display text or a key, is one of Soteri's, if it can be told.

        Where its words fit one of Bitbucket's own kinds as well, it is taken for that.
        """
        if _names_soteri(action):
            return True
        kind, other = (
            self._catalogue.recognise(_record(category, action)) for category in (CATEGORY, "")
        )
        return kind is not None and other is None

    def _clock(self, ahead: float, memory: Memory) -> Iterator[Found]:
        limit = self._options.clock_skew * (_EASED if _is_open(memory, SKEWED) else 1)
        if abs(ahead) > limit:
            way = "ahead of" if ahead > 0 else "behind"
            yield Found(kind=SKEWED, detail=f"its clock is {abs(ahead):.0f} s {way} ours")

    def _token(self, expires_at: datetime | None, now: datetime) -> Iterator[Found]:
        if expires_at and (expires_at - now).total_seconds() < self._options.token_expiry:
            said = "expires" if expires_at > now else "expired"
            yield Found(kind=EXPIRING, detail=f"the token {said} at {expires_at:%Y-%m-%d %H:%M}Z")

    def kinds(self, seen: Collection[str], memory: Memory, now: datetime) -> tuple[Found, ...]:
        """Return the kinds that were never seen before, once it is known which are usual."""
        is_learning = (now - memory.began_at).total_seconds() < self._options.learn
        if is_learning or len(memory.kinds) >= _MOST_KINDS:
            return ()
        return tuple(
            Found(
                kind=NEW_KIND,
                subject=kind,
                detail=f"an event of the kind {kind} came for the first time",
            )
            for kind in sorted(set(seen) - set(memory.kinds))
        )

    def is_quiet(self, memory: Memory, now: datetime) -> bool:
        """Return whether Soteri, if it is listened to, has said nothing for longer than usual."""
        if not self._wants_soteris:
            return False
        since = memory.silence.spoke_at or memory.began_at
        usual = max(self._options.silence, 2 * memory.silence.longest)
        return (now - since).total_seconds() > usual

    def silence(self, memory: Memory) -> Found:
        """Return that condition."""
        since = memory.silence.spoke_at
        when = f"since {since:%Y-%m-%d %H:%M}Z" if since else "since we look"
        return Found(
            kind=SILENT, detail=f"nothing came from Soteri {when}, while the audit log goes on"
        )


def known_kinds(memory: Memory, seen: Collection[str]) -> tuple[str, ...]:
    """Return the kinds to remember."""
    return tuple(sorted({*memory.kinds, *seen})[:_MOST_KINDS])


def losses(
    horizons: Sequence[LossHorizon], options: WatchConfig, memory: Memory
) -> Iterator[tuple[str, Found]]:
    """Yield part and condition for what is lost soon."""
    open_ = {(each.part, each.subject) for each in memory.conditions if each.kind == LOSS_NEAR}
    for each in horizons:
        eased = (each.part, each.cause) in open_
        if each.seconds < options.loss_horizon / (_EASED if eased else 1):
            hours = each.seconds / 3600
            left = f"in {hours:.1f} h" if hours > 0 else "perhaps already"
            yield (
                each.part,
                Found(
                    kind=LOSS_NEAR,
                    subject=each.cause,
                    detail=f"{each.part}: events are lost {left}, if nothing moves ({each.cause})",
                ),
            )


def _app(seen: AuditSettings, memory: Memory) -> Iterator[Found]:
    if not seen.app_installed:
        if memory.app_version is not None:
            detail = f"{CATEGORY} is no longer installed"
            yield Found(kind=UNINSTALLED, detail=detail)
    elif seen.app_enabled is False:
        yield Found(kind=DISABLED, detail=f"{CATEGORY} is disabled")


def _upgrade(seen: AuditSettings, memory: Memory) -> Iterator[Found]:
    before, now = memory.app_version, seen.app_version
    if before and now and before != now:
        yield Found(
            kind=UPGRADED,
            subject=now,
            detail=f"{CATEGORY} is {now} now, and was {before}",
            changes=(Change(key="version", from_=before, to=now),),
        )


def _names_soteri(text: str) -> bool:
    return "soteri" in text.casefold()


def _is_open(memory: Memory, kind: str) -> bool:
    return any(each.kind == kind for each in memory.conditions)


def _record(category: str, action: str) -> Record:
    return Record(
        event_id="",
        occurred_at=datetime.min.replace(tzinfo=UTC),
        category=category,
        action=action,
        action_key=action,
        original=msgspec.Raw(b"{}"),
    )
