"""Faults: a script first, then rates, both reproducible."""

import pytest

from forwarder.simulator.faults import FAULTS, TRANSIENT, Faults, fault_name, mix


def drawn(faults: Faults, times: int, *, of_events: bool = True):
    return [faults.draw(of_events=of_events) for _ in range(times)]


def test_a_script_is_followed_entry_by_entry_and_none_lets_pass():
    faults = Faults({"http_502": 1.0}, seed=1)
    faults.next = ["http_503", None, "truncated"]
    assert drawn(faults, 4) == ["http_503", None, "truncated", "http_502"]


def test_other_requests_have_a_script_of_their_own():
    faults = Faults({}, seed=1)
    faults.next = ["http_503"]
    faults.next_other = ["http_504"]
    assert drawn(faults, 2, of_events=False) == ["http_504", None]
    assert drawn(faults, 1) == ["http_503"]


def test_rates_hold_and_the_same_seed_draws_the_same():
    first = drawn(Faults({"http_503": 0.2, "slow": 0.1}, seed=7), 5000)
    assert first == drawn(Faults({"http_503": 0.2, "slow": 0.1}, seed=7), 5000)
    assert first.count("http_503") / 5000 == pytest.approx(0.2, abs=0.02)
    assert first.count("slow") / 5000 == pytest.approx(0.1, abs=0.02)


def test_the_mix_has_every_transient_fault_and_fails_that_share_of_requests():
    found = drawn(Faults(mix(0.2), seed=1), 5000)
    assert {name for name in found if name} == set(TRANSIENT)
    assert 1 - found.count(None) / 5000 == pytest.approx(0.2, abs=0.02)


def test_what_happened_is_counted():
    faults = Faults({}, seed=1)
    faults.next = ["gzip", None, "gzip"]
    drawn(faults, 3)
    assert faults.counts == {"gzip": 2}


def test_an_unknown_name_is_refused_with_the_list_of_all():
    assert fault_name("gzip") == "gzip"
    with pytest.raises(ValueError, match="stuck_cursor") as error:
        fault_name("http_599")
    assert all(name in str(error.value) for name in FAULTS)
