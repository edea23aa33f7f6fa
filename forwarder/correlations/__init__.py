"""Correlations: what several events mean together, told as one more event. Off by default.

correlator.py   the loop beside the outbox: reads on, asks each rule, stores what is told
reading.py      what an event says to the rules: switched off or on, block or warn, where; pure
evidence.py     a suspicion and the event that tells it; pure
gap.py          protection off, a push, and on again
habit.py        more skips in a day than a person's habit
warning.py      what was blocked is only warned about

How late rows are handled. Each rule is a fold over the stored events of its kinds in the order of
their places, that is, in the order in which they were stored: whatever was read again, however the
daemon crashed and how much was read at once, the same rows give the same events. Within that, rows
are set in the order of the times at which they happened: a row that shows up late takes its place
among those before and after it, and whatever it completes is told then. What was told stays told,
also where a later row would have spoken against it: nothing can be taken back from a SIEM.

Nothing is told twice: the position, all that the rules remember and the events made of it are
stored in one transaction, and an event's id is made of the ids that it is drawn from, which the
outbox takes once.
"""

from pydantic import Field

from forwarder.options import Duration, Options, as_written

PUSHES = (
    "hook.skipped",
    "hook.blocked",
    "hook.warned",
    "bitbucket.push*",
    "bitbucket.git_push*",
    "bitbucket.repository_push*",
    "bitbucket.pull_request_merged",
)
"""Kinds that show that something was pushed: the hook's word on a push, and Bitbucket's own rows
where its audit coverage has them. `kinds` ends in ``*`` where more may follow."""


class GapConfig(Options):
    """``[correlations.protection_gap]``."""

    enabled: bool = Field(
        default=False,
        description="Tell when the hook, its blocking or a rule is switched off, something is"
        " pushed, and it is switched on again.",
    )
    within: Duration = Field(
        default=as_written("30m"), gt=0, description="Between off and on, at most."
    )
    pushes: tuple[str, ...] = Field(
        default=PUSHES,
        min_length=1,
        description="Kinds that show a push, whole or with a trailing *.",
    )


class HabitConfig(Options):
    """``[correlations.skips_above_habit]``."""

    enabled: bool = Field(
        default=False,
        description="Tell when a person skips the hook more often in a day (UTC) than is their"
        " habit: the most skips on any one day of the look-back.",
    )
    look_back: Duration = Field(
        default=as_written("30d"),
        ge=86400,
        description="Days before the day in question that make the habit.",
    )
    factor: float = Field(
        default=2.0, ge=1, description="More than so many times the habit is above it."
    )
    minimum: int = Field(
        default=5, ge=1, description="Fewer skips in a day are never above a habit."
    )
    days: int = Field(
        default=3,
        ge=1,
        description="A person who skipped on fewer days of the look-back has no habit yet, and"
        " nothing is told.",
    )


class WarningConfig(Options):
    """``[correlations.block_became_warning]``."""

    enabled: bool = Field(
        default=False,
        description="Tell when a push was blocked and then the hook's mode is changed to warn, or"
        " the next push to the same repository is only warned about.",
    )
    within: Duration = Field(
        default=as_written("24h"), gt=0, description="Between the two, at most."
    )


class CorrelationsConfig(Options):
    """``[correlations]``: each rule is a table of its own."""

    protection_gap: GapConfig = GapConfig()
    skips_above_habit: HabitConfig = HabitConfig()
    block_became_warning: WarningConfig = WarningConfig()
