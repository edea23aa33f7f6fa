"""What a checkpoint keeps is found again; what it lacks is made up safely."""

from forwarder import times
from forwarder.model import Checkpoint
from forwarder.sources.bitbucket_audit.position import Position


def test_a_position_survives_its_checkpoint() -> None:
    for position in (
        Position(mark=5, resume=3, rescanned=1, floor=2),
        Position(mark=5, resume=3, rescanned=-1),
    ):
        assert Position.of(position.checkpoint(), overlap=9) == position


def test_a_bare_mark_is_enough_to_go_on_from() -> None:
    checkpoint = Checkpoint(times.moment(1000))
    assert Position.of(checkpoint, overlap=300) == Position(mark=1000, resume=700, rescanned=1000)
