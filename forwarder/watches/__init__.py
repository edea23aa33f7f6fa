"""Watches: what is wrong around the log, told in the stream of events itself.

watch.py        the loop beside each source: looks, compares, puts events into the outbox
heart.py        the loop beside all of them: heartbeats, and what is about to be lost
findings.py     what a look says, as conditions; pure
memory.py       what a watch remembers between looks and restarts; pure
sightings.py    what the pages of a source told since the last look
telling.py      conditions as events of the kinds ``forwarder.*``; pure
"""

from pydantic import Field, field_validator

from forwarder.options import Duration, Options, as_written
from forwarder.telemetry import LEVELS

SOURCE = "forwarder"
"""The source of every event that a watch makes: no configured source may be called so."""


class WatchConfig(Options):
    """``[watch]``."""

    enabled: bool = Field(
        default=True, description="Look at what could blind the log, and tell it as events."
    )
    interval: Duration = Field(
        default=as_written("10m"), gt=0, description="Pause between two looks at a source."
    )
    silence: Duration = Field(
        default=as_written("3d"),
        gt=0,
        description="Nothing from Soteri for so long, and for twice as long as ever in the last"
        " 30 days, while the log goes on, is told.",
    )
    clock_skew: Duration = Field(
        default=as_written("1m"),
        gt=0,
        description="By how much the source's clock may differ from ours.",
    )
    loss_horizon: Duration = Field(
        default=as_written("1d"),
        gt=0,
        description="How long before something is lost this is told.",
    )
    token_expiry: Duration = Field(
        default=as_written("14d"),
        gt=0,
        description="How long before the source's token expires this is told.",
    )
    learn: Duration = Field(
        default=as_written("7d"),
        description="For how long kinds that were never seen before are not told yet.",
    )
    coverage: tuple[str, ...] = Field(
        default=(),
        description='Audit coverage that is enough, as "area=level" (off, base, advanced, full);'
        " of other areas, the level that was seen first.",
    )

    @field_validator("coverage")
    @classmethod
    def _are_levels(cls, written: tuple[str, ...]) -> tuple[str, ...]:
        for each in written:
            area, _, level = each.partition("=")
            if not area or level not in LEVELS:
                raise ValueError(
                    f'"{each}" is no level of an area: write "ecosystem=base"; levels are'
                    f" {', '.join(LEVELS)}"
                )
        return written

    @property
    def levels(self) -> dict[str, str]:
        """The level that is enough, by area."""
        return {area: level for area, _, level in (each.partition("=") for each in self.coverage)}


class HeartbeatConfig(Options):
    """``[heartbeat]``."""

    interval: Duration = Field(
        default=as_written("1h"),
        description="Pause between two heartbeats: events that say how the forwarder is, with the"
        " head of each source's chain; 0s sends none.",
    )
