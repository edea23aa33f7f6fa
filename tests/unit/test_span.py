"""Numbers stand with the right word beside them."""

import pytest

from forwarder.span import many


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (12_345, "12,345 events")]
)
def test_one_is_said_in_the_singular_and_all_else_in_the_plural(count: int, said: str) -> None:
    assert many(count, "event") == said


def test_a_verb_follows_the_number_too() -> None:
    assert many(1, "letter is", "letters are") == "1 letter is"
    assert many(3, "letter is", "letters are") == "3 letters are"
