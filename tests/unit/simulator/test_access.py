"""Who may read what, and how often."""

import base64

import pytest

from forwarder.simulator.access import (
    Caller,
    Credentials,
    Door,
    NotAllowedError,
    NotLoggedInError,
    TokenBucket,
    may_read,
)
from forwarder.simulator.catalogue import invented


def door() -> Door:
    return Door(
        Credentials(
            token="admin-token",
            project_token="project-token",
            projects=("SEC",),
            username="admin",
            password="right",
        )
    )


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()}


def test_a_token_or_a_password_opens():
    assert door().member({"authorization": "Bearer admin-token"}).is_admin
    assert door().member(basic("right")).is_admin
    assert not door().member({"authorization": "Bearer project-token"}).is_admin


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Basic !!", "Basic /w==", "Digest x", "Negotiate"]
)
def test_anything_else_does_not(header):
    with pytest.raises(NotLoggedInError):
        door().caller({"authorization": header})


def test_nobody_is_nobody_but_no_member():
    assert door().caller({}) is None
    with pytest.raises(NotLoggedInError):
        door().member({})


def test_five_wrong_passwords_lock_the_account_even_for_the_right_one():
    locked = door()
    refusals = []
    for _ in range(5):
        with pytest.raises(NotLoggedInError) as refusal:
            locked.caller(basic("wrong"))
        refusals.append(refusal.value.captcha)
    assert refusals == [False, False, False, False, True]
    with pytest.raises(NotLoggedInError):
        locked.caller(basic("right"))
    assert locked.member({"authorization": "Bearer admin-token"}).is_admin


PROJECT_ADMIN = Caller(58, "project.admin", ("SEC",))


@pytest.mark.parametrize(
    "objects",
    [
        {"PROJECT": frozenset({"1"})},
        {"REPOSITORY": frozenset({"1", "2"})},
        {"PROJECT": frozenset({"1"}), "REPOSITORY": frozenset({"1"})},
    ],
)
def test_a_project_admin_reads_what_they_administer(objects):
    may_read(PROJECT_ADMIN, objects, invented())


@pytest.mark.parametrize(
    "objects",
    [
        {},
        {"PROJECT": frozenset({"1", "2"})},
        {"PROJECT": frozenset({"1"}), "REPOSITORY": frozenset({"3"})},
        {"USER": frozenset({"2"})},
    ],
)
def test_a_project_admin_reads_nothing_else(objects):
    with pytest.raises(NotAllowedError):
        may_read(PROJECT_ADMIN, objects, invented())
    may_read(Caller(2, "admin"), objects, invented())


def test_the_bucket_lets_sixty_through_and_then_five_a_second():
    bucket = TokenBucket()
    assert [bucket.wait(0) for _ in range(60)] == [0.0] * 60
    assert bucket.wait(0) == pytest.approx(0.2)
    assert [bucket.wait(1000) > 0 for _ in range(6)] == [False] * 5 + [True]
    assert bucket.wait(1_000_000) == 0.0
