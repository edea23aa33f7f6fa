"""Where the source stands, and how the outbox keeps it. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from forwarder import times
from forwarder.model import Checkpoint
from forwarder.sources.bitbucket_audit import instants


@dataclass(frozen=True, slots=True)
class Position:
    """Milliseconds throughout.

    `mark` is the high-water mark. `resume` is where the next poll begins: what lies before was
    read when it was at least `overlap` old, so a poll that is cut short does not repeat the
    whole overlap. `rescanned` is the mark that the last complete deep re-read began from.
    Nothing before `floor` is ever wanted. `ids` are those of the projects and repositories asked
    for, by the names that the configuration gives them; `left_out` is the mark from which on one
    of them could not be asked for.
    """

    mark: int
    resume: int
    rescanned: int
    floor: int = instants.EARLIEST
    ids: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Checkpoint, *, overlap: int) -> "Position":
        """Return what `checkpoint` says; what an older one does not say is made up safely."""
        mark = times.milliseconds(checkpoint.mark)

        def kept(name: str, default: int) -> int:
            text = checkpoint.extra.get(name)
            return times.milliseconds(instants.parse(text)) if isinstance(text, str) else default

        return cls(
            mark=mark,
            resume=kept("resume_at", mark - overlap),
            rescanned=kept("rescanned_at", mark),
            floor=kept("start_at", instants.EARLIEST),
            ids=checkpoint.extra.get("ids", {}),
            left_out={
                name: times.milliseconds(instants.parse(text))
                for name, text in checkpoint.extra.get("left_out", {}).items()
            },
        )

    def checkpoint(self) -> Checkpoint:
        """Return the form that is stored."""
        extra: dict[str, Any] = {
            "resume_at": instants.written(self.resume),
            "rescanned_at": instants.written(self.rescanned),
        }
        if self.floor > instants.EARLIEST:
            extra["start_at"] = instants.written(self.floor)
        if self.ids:
            extra["ids"] = dict(self.ids)
        if self.left_out:
            extra["left_out"] = {n: instants.written(ms) for n, ms in self.left_out.items()}
        return Checkpoint(self.at, extra)

    def floored(self, ms: int) -> "Position":
        """Return the same with a floor at `ms` or lower: a floor in the future hides events."""
        return replace(self, floor=min(self.floor, ms))

    def asking(self, ids: Mapping[str, str], *, but: Collection[str]) -> "Position":
        """Return the same for a poll that asks for `ids`, `but` for some of these names.

        The deep re-read that is due next goes back to where one began to be left out that is asked
        for again.
        """
        again = [ms for name, ms in self.left_out.items() if name in ids and name not in but]
        return replace(
            self,
            ids=ids,
            left_out={name: self.left_out.get(name, self.mark) for name in but},
            rescanned=min([self.rescanned, *again]),
        )

    @property
    def at(self) -> datetime:
        """The mark as a time."""
        return times.moment(self.mark)
