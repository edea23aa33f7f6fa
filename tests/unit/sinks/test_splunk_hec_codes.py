import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.errors import AccessError, ForwarderError, TransientError
from forwarder.sinks.splunk_hec.codes import (
    Answer,
    Spoiled,
    Taken,
    TooLarge,
    Verdict,
    read,
    verdict,
)
from tests.receivers.hec import TEXTS


def judged(
    status: int, body: object, *, events: int = 10, headers: dict[str, str] | None = None
) -> Verdict | ForwarderError:
    said = body if isinstance(body, bytes) else msgspec.json.encode(body)
    response = httpx.Response(status, headers=headers)
    try:
        return verdict(response, read(said), where="splunk", events=events)
    except ForwarderError as error:
        return error


def of(code: int, **more: object) -> dict[str, object]:
    return {"text": TEXTS[code][1], "code": code, **more}


def test_code_0_is_taken():
    assert judged(200, of(0)) == Taken()


def test_the_ack_id_is_found_also_where_it_is_0():
    assert judged(200, of(0, ackId=0)) == Taken(ack_id=0)


@pytest.mark.parametrize("code", [24, 25])
def test_near_capacity_is_taken_and_slows_down(code):
    taken = judged(200, of(code, ackId=7))
    assert isinstance(taken, Taken)
    assert taken.ack_id == 7
    assert taken.slow_down > 0


def test_near_capacity_pauses_as_long_as_splunk_asks():
    assert judged(200, of(24), headers={"Retry-After": "17"}) == Taken(slow_down=17.0)


@pytest.mark.parametrize("code", [8, 9, 18, 19, 20, 23, 26, 27])
def test_a_busy_splunk_is_tried_again_when_it_says(code):
    error = judged(TEXTS[code][0], of(code), headers={"Retry-After": "9"})
    assert isinstance(error, TransientError)
    assert error.retry_after == 9.0


@pytest.mark.parametrize(
    "when",
    [
        "soon",
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 01 Jan 2035 00:00:00 +99999999999999999999",
    ],
)
def test_a_wait_that_is_no_time_is_none(when):
    assert judged(503, of(9), headers={"Retry-After": when}).retry_after == 0.0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_broken_road_is_tried_again(status):
    error = judged(status, b"<html>", headers={"Retry-After": "9"})
    assert isinstance(error, TransientError)
    assert error.retry_after == 9.0


@pytest.mark.parametrize("code", [1, 2, 3, 4, 7, 10, 11, 14, 16, 28])
def test_what_a_person_must_mend_holds_everything_and_says_how(code):
    error = judged(TEXTS[code][0], of(code))
    assert isinstance(error, AccessError)
    assert error.remedy
    assert TEXTS[code][1] in str(error)


def test_code_14_is_mended_at_the_token_or_here():
    error = judged(400, of(14))
    assert isinstance(error, AccessError)
    assert error.remedy == ("turn indexer acknowledgement on for this token, or set ack = false")


def test_the_number_of_code_7_is_never_sliced_by():
    assert isinstance(judged(400, of(7, **{"invalid-event-number": 1})), AccessError)


@pytest.mark.parametrize("code", [5, 6, 12, 13, 15])
def test_a_refused_event_is_named_by_its_place(code):
    spoiled = judged(400, of(code, **{"invalid-event-number": 3}))
    assert isinstance(spoiled, Spoiled)
    assert spoiled.number == 3
    assert TEXTS[code][1] in spoiled.detail


@pytest.mark.parametrize("number", [-1, 10, 4_000_000_000, None])
def test_a_place_that_was_not_sent_names_nobody(number):
    spoiled = judged(400, of(6, **{"invalid-event-number": number}), events=10)
    assert isinstance(spoiled, Spoiled)
    assert spoiled.number is None


def test_http_413_is_too_much_at_once_whoever_says_it():
    assert isinstance(judged(413, b"<html>"), TooLarge)
    assert isinstance(judged(413, of(6)), TooLarge)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Please log in</html>",
        b"{}",
        b"[]",
        b"null",
        b'{"code":"0"}',
        b'{"code":true}',
        b'{"code":0.0}x',
        b'{"code":0',
        b'{"text":"Success"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_200_that_is_not_hecs_holds_everything(body):
    error = judged(200, body)
    assert isinstance(error, AccessError)
    assert "url" in error.remedy


def test_a_200_with_a_code_that_nobody_knows_holds_everything():
    assert isinstance(judged(200, {"text": "?", "code": 99}), AccessError)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418])
def test_any_other_refusal_holds_everything(status):
    error = judged(status, b"<html>")
    assert isinstance(error, AccessError)
    assert error.remedy


def test_a_redirect_holds_everything_and_is_not_followed():
    error = judged(302, b"", headers={"Location": "https://login.example.com"})
    assert isinstance(error, AccessError)
    assert "https://login.example.com" in str(error)


@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda code, number, ack: msgspec.json.encode(
                {"code": code, "invalid-event-number": number, "ackId": ack}
            ),
            st.integers(-5, 40),
            st.integers(-5, 20),
            st.one_of(st.none(), st.integers(0, 5)),
        ),
    ),
    st.integers(1, 10),
)
def test_nothing_but_a_200_in_hecs_own_words_is_taken(status, body, events):
    result = judged(status, body, events=events)
    assert isinstance(result, Taken | Spoiled | TooLarge | TransientError | AccessError)
    if isinstance(result, Taken):
        answer = read(body)
        assert isinstance(answer, Answer)
        assert status == 200
        assert answer.code in (0, 24, 25)
    if isinstance(result, Spoiled) and result.number is not None:
        assert 0 <= result.number < events
