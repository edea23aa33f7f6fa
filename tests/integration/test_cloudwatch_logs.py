"""The sink against a real moto behind the strict check of AWS's limits."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio import to_thread

from forwarder.errors import AccessError, TransientError
from forwarder.formats.json import JsonFormat
from forwarder.interfaces import Format
from forwarder.model import Event, Receipt
from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from forwarder.sinks.cloudwatch_logs.sink import CloudWatchLogsSink
from tests.contract.sinks.cloudwatch_logs import alone
from tests.fakes.events import batch, event
from tests.fakes.memory import FakeMemory
from tests.receivers.cloudwatch import (
    EXPIRED,
    REGION,
    THROTTLED,
    UNAVAILABLE,
    AwsError,
    CloudWatch,
    Hold,
    Page,
    cloudwatch,
)

pytestmark = pytest.mark.real

GROUP = "/soteri/audit"
KIBIBYTE = 1024


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CloudWatch]:
    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
    with cloudwatch() as opened:
        yield opened


def opened(
    receiver: CloudWatch, *, encoding: Format | None = None, **written: object
) -> AbstractAsyncContextManager[CloudWatchLogsSink]:
    fields = {"log_group": GROUP, "region": REGION, "endpoint_url": receiver.url, **written}
    config = CloudWatchLogsConfig.model_validate({"type": "cloudwatch_logs", **fields})
    return config.open(name="cloudwatch", format=encoding or JsonFormat(), memory=FakeMemory())


def ago(number: int, *, size: int = 0, **distance: float) -> Event:
    """Return event `number`, so long ago, with an original of `size` bytes."""
    original = msgspec.Raw(msgspec.json.encode({"text": "x" * size}))
    at = datetime.now(UTC) - timedelta(**distance)
    return event(number, occurred_at=at, original=original)


def held(receiver: CloudWatch, stream: str = "soteri-forwarder") -> list[str]:
    return [msgspec.json.decode(each.message)["event_id"] for each in receiver.held(GROUP, stream)]


def ids(*events: Event) -> list[str]:
    return [each.event_id for each in events]


async def test_a_message_arrives_byte_for_byte_at_the_events_own_time(receiver):
    sent = event(1, occurred_at=datetime.now(UTC), action="\u00fcber \U0001f600 \u2028")
    async with opened(receiver) as sink:
        await sink.send(batch(sent))
    [there] = receiver.held(GROUP)
    assert there.message.encode() == JsonFormat().encode(sent)
    assert abs(there.timestamp - sent.occurred_at.timestamp() * 1000) <= 1


async def test_late_events_are_put_in_order_of_time(receiver):
    first, second, late = ago(1, minutes=9), ago(2, minutes=1), ago(3, minutes=5)
    async with opened(receiver) as sink:
        receipt = await sink.send(batch(first, second, late))
    assert receipt.rejections == ()
    assert held(receiver) == ids(first, late, second)


async def test_a_batch_that_spans_days_goes_out_in_puts_of_less_than_a_day(receiver):
    sent = [ago(number, hours=8 * (10 - number)) for number in range(10)]
    async with opened(receiver) as sink:
        await sink.send(batch(*sent))
    assert held(receiver) == ids(*sent)
    spans = [
        call.members["logEvents"][-1]["timestamp"] - call.members["logEvents"][0]["timestamp"]
        for call in receiver.calls
        if call.operation == "PutLogEvents"
    ]
    assert max(spans) < 24 * 3_600_000


async def test_a_batch_over_a_mebibyte_goes_out_in_several_puts(receiver):
    sent = [ago(number, size=250 * KIBIBYTE, minutes=10 - number) for number in range(6)]
    async with opened(receiver) as sink:
        receipt = await sink.send(batch(*sent))
    assert receipt.rejections == ()
    assert held(receiver) == ids(*sent)


async def test_an_event_over_the_limit_is_refused_unsent_and_the_others_are_taken(receiver):
    small, huge = ago(1, minutes=2), ago(2, size=256 * KIBIBYTE, minutes=1)
    async with opened(receiver) as sink:
        [rejection] = (await sink.send(batch(small, huge))).rejections
    assert (rejection.event_id, rejection.reason) == (huge.event_id, "too_large")
    assert "max_message_bytes is 262118" in rejection.detail
    assert held(receiver) == ids(small)


async def test_nothing_is_asked_where_every_event_is_over_the_limit(receiver):
    async with opened(receiver, max_message_bytes=10) as sink:
        receipt = await sink.send(batch(ago(1), ago(2)))
    assert len(receipt.rejections) == 2
    assert receiver.calls == []


async def test_the_largest_message_that_aws_takes_goes_alone_and_whole(receiver):
    receiver.largest = 1_048_576
    room = 1_048_550 - len(JsonFormat().encode(ago(2)))
    sent = [ago(1, minutes=3), ago(2, size=room, minutes=2), ago(3, minutes=1)]
    async with opened(receiver, max_message_bytes=1_048_550) as sink:
        receipt = await sink.send(batch(*sent))
    assert receipt.rejections == ()
    assert max(len(each.message) for each in receiver.held(GROUP)) >= 1_048_549
    assert held(receiver) == ids(*sent)


async def test_a_region_with_a_smaller_limit_costs_the_large_event_alone(receiver):
    sent = [ago(number, minutes=9 - number) for number in range(6)]
    sent[3] = ago(3, size=300 * KIBIBYTE, minutes=6)
    async with opened(receiver, max_message_bytes=1_048_550) as sink:
        [rejection] = (await sink.send(batch(*sent))).rejections
    assert (rejection.event_id, rejection.reason) == (sent[3].event_id, "too_large")
    assert held(receiver) == ids(*sent[:3], *sent[4:])


async def test_an_empty_message_is_malformed(receiver):
    class Nothing:
        media_type = "text/plain"

        def encode(self, event: Event) -> bytes:
            return b""

    async with opened(receiver, encoding=Nothing()) as sink:
        [rejection] = (await sink.send(batch(ago(1)))).rejections
    assert rejection.reason == "malformed"
    assert receiver.calls == []


def stale_batch() -> list[Event]:
    return [
        ago(1, days=20),
        ago(2, days=14.01),
        ago(3, days=13.9),
        ago(4, days=1),
        ago(5),
        ago(6, hours=-1.9),
        ago(7, hours=-2.1),
        ago(8, hours=-9),
    ]


async def test_what_a_200_refuses_is_named_with_its_reason_and_the_rest_is_taken(receiver):
    sent = stale_batch()
    async with opened(receiver) as sink:
        receipt = await sink.send(batch(*reversed(sent)))
    assert [(each.event_id, each.reason) for each in receipt.rejections] == [
        (sent[7].event_id, "too_new"),
        (sent[6].event_id, "too_new"),
        (sent[1].event_id, "too_old"),
        (sent[0].event_id, "too_old"),
    ]
    assert held(receiver) == ids(*sent[2:6])


async def test_what_is_past_the_retention_is_expired(receiver):
    sent = [ago(1, days=15), ago(2, days=8), ago(3, days=6), ago(4)]
    async with opened(receiver, retention_days=7) as sink:
        receipt = await sink.send(batch(*sent))
    assert [each.reason for each in receipt.rejections] == ["too_old", "expired"]
    assert held(receiver) == ids(*sent[2:])


async def test_a_put_of_which_all_is_refused_is_no_success(receiver):
    sent = [ago(1, days=20), ago(2, days=19.9)]
    async with opened(receiver) as sink:
        receipt = await sink.send(batch(*sent))
    assert [each.event_id for each in receipt.rejections] == ids(*sent)
    assert held(receiver) == []


async def test_restamp_sends_what_was_refused_again_dated_now_and_otherwise_as_it_was(receiver):
    sent = stale_batch()
    begun = receiver.now
    async with opened(receiver, stale="restamp") as sink:
        receipt = await sink.send(batch(*sent))
    assert receipt.rejections == ()
    assert sorted(held(receiver)) == ids(*sent)
    there = {msgspec.json.decode(each.message)["event_id"]: each for each in receiver.held(GROUP)}
    for each in (sent[0], sent[1], sent[6], sent[7]):
        assert begun <= there[each.event_id].timestamp <= receiver.now
        assert there[each.event_id].message.encode() == JsonFormat().encode(each)


async def test_what_is_refused_even_when_dated_now_is_named(receiver):
    receiver.ahead = timedelta(days=30)
    async with opened(receiver, stale="restamp") as sink:
        receipt = await sink.send(batch(ago(1), ago(2)))
    assert [each.reason for each in receipt.rejections] == ["too_old", "too_old"]


async def test_a_refused_event_in_a_later_put_doubles_nothing_of_the_earlier_ones(receiver):
    sent = [ago(number, days=9 - number) for number in range(8)]
    receiver.refused.add(sent[6].event_id)
    async with opened(receiver) as sink:
        receipt = await sink.send(batch(*sent))
    assert [each.event_id for each in receipt.rejections] == ids(sent[6])
    assert held(receiver) == ids(*sent[:6], sent[7])


async def test_after_a_failure_half_way_only_what_was_not_answered_for_is_sent_again(receiver):
    sent = [ago(0, days=20), *(ago(number, days=9 - number) for number in range(1, 5))]
    async with opened(receiver, stale="restamp") as sink:
        await sink.send(batch(ago(9)))
        for passing in (2, 1):
            receiver.script.extend([None] * passing + [THROTTLED] * 3)
            with pytest.raises(TransientError):
                await sink.send(batch(*sent))
            assert not receiver.script
        assert await sink.send(batch(*sent)) == Receipt()
        assert sorted(held(receiver)) == ids(*sent, event(9))
        await sink.send(batch(*sent))  # a replay is no retry
    assert len(held(receiver)) == 11


async def test_group_and_stream_are_made_on_demand_with_the_retention(receiver):
    async with opened(receiver, retention_days=90, log_stream="mine") as sink:
        await sink.send(batch(ago(1)))
    assert held(receiver, "mine") == ids(event(1))
    [group] = receiver.ask_moto("DescribeLogGroups")["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (GROUP, 90)


async def test_a_group_that_is_there_is_left_as_it_is(receiver):
    receiver.ask_moto("CreateLogGroup", logGroupName=GROUP)
    receiver.denied = {"CreateLogGroup", "PutRetentionPolicy"}  # rights that are not needed
    async with opened(receiver, retention_days=1) as sink:
        await sink.send(batch(ago(1)))
    [group] = receiver.ask_moto("DescribeLogGroups")["logGroups"]
    assert "retentionInDays" not in group
    assert held(receiver) == ids(event(1))


async def test_a_stream_that_is_there_needs_the_right_to_put_alone(receiver):
    receiver.ask_moto("CreateLogGroup", logGroupName=GROUP)
    receiver.ask_moto("CreateLogStream", logGroupName=GROUP, logStreamName="soteri-forwarder")
    receiver.denied = {"CreateLogGroup", "CreateLogStream", "PutRetentionPolicy"}
    async with opened(receiver) as sink:
        await sink.probe()
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))


async def test_a_group_deleted_under_way_is_made_again(receiver):
    async with opened(receiver) as sink:
        await sink.send(batch(ago(1)))
        receiver.ask_moto("DeleteLogGroup", logGroupName=GROUP)
        await sink.send(batch(ago(2)))
    assert held(receiver) == ids(event(2))


async def test_what_another_made_in_the_meantime_is_taken_as_it_is(receiver):
    async with opened(receiver, retention_days=1) as late, opened(receiver) as first:
        await first.send(batch(ago(1)))
        # What `late` had been told just before: no stream to put to, no group to make it in.
        receiver.script.extend([AwsError("ResourceNotFoundException")] * 2)
        await late.send(batch(ago(2)))
    assert not receiver.script
    assert receiver.counted("CreateLogGroup") == 2
    assert receiver.counted("PutRetentionPolicy") == 0
    assert held(receiver) == ids(event(1), event(2))


async def test_without_create_a_missing_group_is_held_for_with_a_remedy(receiver):
    async with opened(receiver, create=False) as sink:
        with pytest.raises(AccessError) as caught:
            await sink.send(batch(ago(1)))
    assert f"create log group {GROUP} and log stream soteri-forwarder" in caught.value.remedy
    assert receiver.counted("CreateLogGroup") == receiver.counted("CreateLogStream") == 0


async def test_what_was_made_and_does_not_show_yet_is_waited_for(receiver):
    async with opened(receiver) as sink:
        await sink.send(batch(ago(1)))
        receiver.script.append(AwsError("ResourceNotFoundException"))  # the put
        receiver.script.append(AwsError("ResourceAlreadyExistsException"))  # the stream
        receiver.script.append(AwsError("ResourceNotFoundException"))  # the put, again
        with pytest.raises(TransientError, match="not there yet"):
            await sink.send(batch(ago(2)))


@pytest.mark.parametrize(
    "operation", ["PutLogEvents", "CreateLogStream", "CreateLogGroup", "PutRetentionPolicy"]
)
async def test_a_missing_right_is_named_held_for_and_needs_no_restart(receiver, operation):
    async with opened(receiver, retention_days=30) as sink:
        receiver.denied = {operation}
        for ask in (sink.probe, lambda: sink.send(batch(ago(1)))):
            with pytest.raises(AccessError) as caught:
                await ask()
            assert f"allow logs:{operation} on arn:aws:logs:{REGION}:*" in caught.value.remedy
        receiver.denied = set()
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))
    [group] = receiver.ask_moto("DescribeLogGroups")["logGroups"]
    assert group["retentionInDays"] == 30


@pytest.mark.parametrize("fault", [THROTTLED, UNAVAILABLE], ids=["throttled", "unavailable"])
async def test_an_overload_is_transient_and_asked_about_three_times_at_most(receiver, fault):
    async with opened(receiver) as sink:
        receiver.script.extend([fault] * 3)
        with pytest.raises(TransientError):
            await sink.send(batch(ago(1)))
        assert not receiver.script
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))


async def test_the_wait_that_the_server_asks_for_is_handed_on(receiver):
    async with opened(receiver) as sink:
        receiver.fault = AwsError("OperationAbortedException", status=400, retry_after="7")
        with pytest.raises(TransientError) as caught:
            await sink.send(batch(ago(1)))
    assert caught.value.retry_after == 7.0


async def test_a_dropped_connection_is_transient(receiver):
    async with opened(receiver) as sink:
        receiver.fault = "drop the request"
        with pytest.raises(TransientError):
            await sink.send(batch(ago(1)))
        receiver.fault = None
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))


async def test_an_answer_without_an_end_is_given_up(receiver):
    async with opened(receiver) as sink:
        receiver.fault = "answer without an end"
        with pytest.raises(TransientError, match="does not end"):
            await sink.send(batch(ago(1)))
        receiver.fault = None
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))


async def test_a_lost_answer_may_double_and_loses_nothing(receiver):
    async with opened(receiver) as sink:
        await sink.send(batch(ago(1)))
        receiver.script.append("drop the answer")
        await sink.send(batch(ago(2)))
    assert held(receiver)[0] == event(1).event_id
    assert set(held(receiver)) == set(ids(event(1), event(2)))


async def test_a_silent_server_is_transient(receiver):
    hold = Hold()
    async with opened(receiver, timeout="100ms") as sink:
        receiver.fault = hold
        with pytest.raises(TransientError, match="ReadTimeoutError"):
            await sink.send(batch(ago(1)))
    hold.release()


async def test_nobody_at_the_address_is_transient_with_a_remedy(receiver):
    with cloudwatch() as gone:
        pass
    async with opened(receiver, endpoint_url=gone.url) as sink:
        with pytest.raises(TransientError) as caught:
            await sink.send(batch(ago(1)))
    assert "endpoint_url" in caught.value.remedy


async def test_a_cancelled_send_ends_at_once_and_its_batch_can_be_sent_again(receiver):
    hold = Hold()
    async with opened(receiver) as sink:
        await sink.probe()
        receiver.script.append(hold)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sink.send, batch(ago(1)))
                await to_thread.run_sync(hold.reached.wait, 10)
                tasks.cancel_scope.cancel()
        await sink.send(batch(ago(1)))
        hold.release()
    assert set(held(receiver)) == set(ids(event(1)))


@pytest.mark.parametrize("status", [200, 302, 403, 404])
async def test_a_page_of_something_in_between_is_no_success(receiver, status):
    async with opened(receiver) as sink:
        receiver.fault = Page(status)
        for ask in (sink.probe, lambda: sink.send(batch(ago(1)))):
            with pytest.raises(AccessError) as caught:
                await ask()
            assert caught.value.remedy


async def test_a_page_that_says_that_it_passes_is_transient(receiver):
    async with opened(receiver) as sink:
        receiver.fault = Page(502)
        with pytest.raises(TransientError):
            await sink.send(batch(ago(1)))


@pytest.mark.parametrize(
    "fault",
    [
        EXPIRED,
        AwsError("UnrecognizedClientException"),
        AwsError("InvalidSignatureException", "x", status=403),
        AwsError("LimitExceededException"),
    ],
    ids=lambda fault: fault.code,
)
async def test_a_refused_credential_is_held_for(receiver, fault):
    async with opened(receiver) as sink:
        receiver.fault = fault
        with pytest.raises(AccessError, match=fault.code) as caught:
            await sink.send(batch(ago(1)))
    assert caught.value.remedy


def write_credentials(folder: Path, *, key: str, secret: str) -> None:
    text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    (folder / "credentials").write_text(text)


async def test_a_rotated_credential_is_found_without_a_restart(receiver, monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path)
    write_credentials(tmp_path, key="AKIDFORWARDER", secret="the secret")
    async with opened(receiver) as sink:
        await sink.send(batch(ago(1)))
        receiver.keys = {"AKIDNEXT": "the next secret"}
        with pytest.raises(AccessError, match="UnrecognizedClient"):
            await sink.send(batch(ago(2)))
        write_credentials(tmp_path, key="AKIDNEXT", secret="the next secret")
        await sink.send(batch(ago(2)))
    assert held(receiver) == ids(event(1), event(2))


async def test_a_wrong_secret_is_held_for_and_never_shown(receiver, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the session token")
    async with opened(receiver) as sink:
        with pytest.raises(AccessError, match="InvalidSignature") as caught:
            await sink.send(batch(ago(1)))
    assert "the session token" not in str(caught.value) + caught.value.remedy


async def test_credentials_that_come_later_are_found_without_a_restart(
    receiver, monkeypatch, tmp_path
):
    alone(monkeypatch, tmp_path)
    async with opened(receiver) as sink:
        with pytest.raises(AccessError, match="NoCredentialsError") as caught:
            await sink.send(batch(ago(1)))
        assert "boto3 finds" in caught.value.remedy
        write_credentials(tmp_path, key="AKIDFORWARDER", secret="the secret")
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))


async def test_a_profile_and_its_region_are_taken_from_awss_own_files(
    receiver, monkeypatch, tmp_path
):
    alone(monkeypatch, tmp_path)
    (tmp_path / "config").write_text(
        f"[profile audit]\nregion = {REGION}\naws_access_key_id = AKIDFORWARDER\n"
        "aws_secret_access_key = the secret\n"
    )
    async with opened(receiver, profile="audit", region=None) as sink:
        await sink.send(batch(ago(1)))
    assert held(receiver) == ids(event(1))


async def test_a_probe_needs_all_that_a_put_needs_and_leaves_no_event(receiver):
    async with opened(receiver) as sink:
        said = await sink.probe()
    assert said == f"{GROUP}:soteri-forwarder takes events"
    assert receiver.counted("PutLogEvents") == 2  # the first found no stream
    assert held(receiver) == []


async def test_the_forwarder_names_itself_to_aws(receiver):
    async with opened(receiver) as sink:
        await sink.send(batch(ago(1)))
    assert all("soteri-forwarder/" in call.agent for call in receiver.calls)
