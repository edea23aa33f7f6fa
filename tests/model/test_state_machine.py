"""Everything that can happen to a forwarder, in any order: see machine.py for what must hold.

`python -m tests.model --minutes 30` goes on looking where these stop.
"""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Forwarder


class DurableForwarder(Forwarder):
    durable = True


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_whatever_happens_in_whatever_order_nothing_is_lost_disordered_or_doubled() -> None:
    run_state_machine_as_test(Forwarder, settings=_settings(40, 40))


def test_the_same_holds_for_the_outbox_on_disk() -> None:
    run_state_machine_as_test(DurableForwarder, settings=_settings(12, 30))
