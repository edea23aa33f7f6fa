from hypothesis import given
from hypothesis import strategies as st

from forwarder.retry import RetryPolicy


@given(
    attempt=st.integers(min_value=0, max_value=10**9),
    draw=st.floats(min_value=0, max_value=1),
    asked=st.floats(min_value=0, max_value=86400),
)
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_the_maximum_or_what_was_asked(
    attempt: int, draw: float, asked: float
) -> None:
    policy = RetryPolicy(initial=1.0, maximum=60.0, draw=lambda: draw)
    assert asked <= policy.delay(attempt, at_least=asked) <= max(60.0, asked)


def test_the_bound_doubles_with_each_try_up_to_the_maximum() -> None:
    policy = RetryPolicy(initial=0.5, maximum=10.0, draw=lambda: 1.0)
    waits = [policy.delay(attempt) for attempt in (1, 2, 3, 4, 5, 6, 7)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_jitter_draws_from_nothing_to_the_bound() -> None:
    policy = RetryPolicy(initial=8.0, maximum=60.0, draw=lambda: 0.25)
    assert policy.delay(1) == 2.0
