"""Looks on, for as long as it is told to, for an order of things that breaks the promise.

python -m tests.model --minutes 30 [--durable] [--steps 100]
"""

import argparse
import time

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Forwarder
from tests.model.test_state_machine import DurableForwarder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=100, help="of one history")
    parser.add_argument("--durable", action="store_true", help="with the outbox on SQLite")
    chosen = parser.parse_args()
    machine = DurableForwarder if chosen.durable else Forwarder
    began, histories = time.monotonic(), 0
    while time.monotonic() - began < 60 * chosen.minutes:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=50,
                stateful_step_count=chosen.steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        histories += 50
        seconds = time.monotonic() - began
        print(
            f"{histories} histories of up to {chosen.steps} steps in {seconds:.0f} s: all hold",
            flush=True,
        )


if __name__ == "__main__":
    main()
