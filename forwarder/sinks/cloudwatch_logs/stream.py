"""One log stream through boto3: blocking calls for a thread. boto3 is imported on first use."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from forwarder import __version__
from forwarder.concealed import conceal
from forwarder.errors import AccessError, ConfigError, TransientError
from forwarder.sinks.cloudwatch_logs.failures import code_of, failure
from forwarder.sinks.cloudwatch_logs.packing import Entry

_MISSING: Final = "ResourceNotFoundException"
_THERE: Final = "ResourceAlreadyExistsException"
MOST_BYTES: Final = 32 << 20
"""Of one answer: FilterLogEvents gives at most 1 MB of events (AWS's quotas), JSON around them."""
_DOUBLE: Final = "DataAlreadyAcceptedException"

# Clients are safe to share between threads, making them is not (boto3's guide, "Clients").
_making: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Place:
    """Where events go, and how it is reached; what is None is left to boto3's chain."""

    log_group: str
    log_stream: str
    create: bool
    retention_days: int | None
    region: str | None
    endpoint_url: str | None
    profile: str | None
    timeout: float


class LogStream:
    """A log stream that takes puts, made where it is missing.

    The client, and with it the credentials, is made anew after every AccessError: botocore never
    looks again for credentials that it did not find, nor reads a changed file again.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client: Any = None
        self._retention_owed = False

    def __str__(self) -> str:
        return f"{self._place.log_group}:{self._place.log_stream}"

    def connect(self, *, name: str) -> None:
        """Make the client; no connection is made. Credentials that are not there yet may come.

        Raises:
            ConfigError: no client can ever be made like this; `name` is the sink's.
        """
        from botocore.exceptions import (
            BotoCoreError,
            ConfigParseError,
            InvalidRegionError,
            NoRegionError,
            ProfileNotFound,
        )

        try:
            self._connected()
        except NoRegionError:
            said = f'sinks.{name}.region: is missing, as is AWS_REGION: region = "eu-central-1"'
            raise ConfigError([said]) from None
        except (ConfigParseError, InvalidRegionError, ProfileNotFound, ValueError) as error:
            raise ConfigError([f"sinks.{name}: {error}"]) from error
        except BotoCoreError:
            return  # the first put says what it is, with a remedy

    def check_region(self) -> None:
        """Return if the region is one that this boto3 knows, or an address of its own was given.

        Raises:
            AccessError: it is none; a misspelt one would be asked for in vain for a long time.
        """
        if self._place.endpoint_url:
            return
        region = self._region()
        known = _regions()
        if region not in known:
            near = get_close_matches(region, known, 1)
            meant = f'; did you mean "{near[0]}"?' if near else ""
            raise AccessError(
                f'{self}: there is no AWS region "{region}"{meant}',
                remedy=f'set region = "{near[0] if near else "eu-central-1"}"; where the region is '
                "newer than this release, set endpoint_url too",
            )

    def close(self) -> None:
        """Let go of the client; a later call makes another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def put(self, entries: Sequence[Entry]) -> Mapping[str, int]:
        """Return what of `entries` (ordered, within the limits) was refused; the rest is taken.

        The answer's ``rejectedLogEventsInfo``, empty where nothing was refused.

        Raises:
            TransientError, AccessError, PermanentError: nothing was taken.
        """
        try:
            return self._put(entries)
        except AccessError:
            self.close()
            raise

    def held(self, start: int, end: int, token: str) -> tuple[list[bytes], str]:
        """Return some messages of the epoch milliseconds from `start` to `end` (inclusive).

        And the token that goes on where they end, which is empty at the last ones; `token` is
        the one of the call before, or empty. A stream that is not there holds nothing.

        Raises:
            TransientError, AccessError, PermanentError: as `put`.
        """
        more = {"nextToken": token} if token else {}
        try:
            answer, code = self._call_group(
                "filter_log_events",
                _MISSING,
                logStreamNames=[self._place.log_stream],
                startTime=start,
                endTime=end,
                **more,
            )
        except AccessError:
            self.close()
            raise
        if not code and "events" not in answer:
            raise AccessError(
                f"{self}: the answer is not CloudWatch Logs'",
                remedy="check endpoint_url and the proxy: something else answers there",
            )
        messages = [each["message"].encode() for each in answer.get("events", ())]
        return messages, answer.get("nextToken", "")

    def _put(self, entries: Sequence[Entry]) -> Mapping[str, int]:
        events = [{"timestamp": entry.timestamp, "message": entry.message} for entry in entries]
        answer, code = self._call_stream("put_log_events", _MISSING, _DOUBLE, logEvents=events)
        if code == _MISSING:
            self._create()
            answer, code = self._call_stream("put_log_events", _MISSING, _DOUBLE, logEvents=events)
            if code == _MISSING:
                raise TransientError(f"{self}: made, and not there yet")
        refused: Mapping[str, int] = answer.get("rejectedLogEventsInfo", {})
        if code or refused or "nextSequenceToken" in answer:
            return refused
        if answer["ResponseMetadata"].get("RequestId"):
            return refused
        # botocore takes any 200 for success, a proxy's log-in page too; AWS names its requests.
        raise AccessError(
            f"{self}: the answer is not CloudWatch Logs'",
            remedy="check endpoint_url and the proxy: something else answers there",
        )

    def _create(self) -> None:
        """Make the stream and, only if it is missing, the group: least rights, least surprise.

        The retention is set on a group that we made, never on one that was there: a shorter one
        would delete what others keep.
        """
        if not self._place.create:
            raise AccessError(
                f"{self}: no such log group or stream in {self._region()}, and create is off",
                remedy=f"create log group {self._place.log_group} and log stream "
                f"{self._place.log_stream} there, set create = true, or set the region that has it",
            )
        if not self._retention_owed:
            _, code = self._call_stream("create_log_stream", _MISSING, _THERE)
            if code != _MISSING:
                return
            _, code = self._call_group("create_log_group", _THERE)
            self._retention_owed = not code and self._place.retention_days is not None
        if self._retention_owed:
            self._call_group("put_retention_policy", retentionInDays=self._place.retention_days)
            self._retention_owed = False
        self._call_stream("create_log_stream", _MISSING, _THERE)

    def _region(self) -> str:
        return str(self._connected().meta.region_name)

    def _call_group(
        self, operation: str, *tolerated: str, **members: object
    ) -> tuple[Mapping[str, Any], str]:
        return self._call(operation, tolerated, {"logGroupName": self._place.log_group, **members})

    def _call_stream(
        self, operation: str, *tolerated: str, **members: object
    ) -> tuple[Mapping[str, Any], str]:
        return self._call_group(
            operation, *tolerated, logStreamName=self._place.log_stream, **members
        )

    def _call(
        self, operation: str, tolerated: Sequence[str], members: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], str]:
        """Return the answer and no code, or no answer and one of the `tolerated` error codes."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            answer: Mapping[str, Any] = getattr(self._connected(), operation)(**members)
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            if code_of(error) in tolerated:
                return {}, code_of(error)
            region = self._place.region or "*"
            arn = f"arn:aws:logs:{region}:*:log-group:{self._place.log_group}:*"
            raise failure(error, resource=arn) from error
        return answer, ""

    def _connected(self) -> Any:  # noqa: ANN401  botocore makes its classes at run time
        from boto3.session import Session
        from botocore.config import Config

        with _making:
            if self._client is None:
                session = Session(profile_name=self._place.profile, region_name=self._place.region)
                self._client = session.client(
                    "logs",
                    endpoint_url=self._place.endpoint_url,
                    config=Config(
                        retries={"mode": "standard", "max_attempts": 2},
                        connect_timeout=5,
                        read_timeout=self._place.timeout,
                        tcp_keepalive=True,
                        user_agent_extra=f"soteri-forwarder/{__version__}",
                        # The config and packing.py have checked everything: a third of the cost.
                        parameter_validation=False,
                    ),
                )
                # botocore reads an answer to its end, however far that is: its session is ours to
                # ask, and what it gives to bound.
                session = self._client._endpoint.http_session  # noqa: SLF001  no other way in
                self._client.meta.events.register("before-send.logs", partial(_asked, session))
            return self._client


def _asked(session: Any, request: Any, **_: object) -> Any:  # noqa: ANN401  botocore's, untyped
    """Return AWS's answer to `request`, of which only so much is read."""
    from botocore.awsrequest import AWSResponse

    # The only credential that is sent: all others only sign.
    token = request.headers.get("X-Amz-Security-Token")
    conceal(token.decode() if isinstance(token, bytes) else token)
    request.stream_output = True
    answer = session.send(request)
    return AWSResponse(answer.url, answer.status_code, answer.headers, _Bounded(answer.raw))


class _Bounded:
    """A body that is read up to MOST_BYTES; beyond them it is an error."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401  urllib3's response
        self._raw = raw

    def stream(self) -> Iterator[bytes]:
        """Yield the body.

        Raises:
            HTTPClientError: it is larger than any that AWS gives.
        """
        from botocore.exceptions import HTTPClientError

        read = 0
        for part in self._raw.stream():
            read += len(part)
            if read > MOST_BYTES:
                self._raw.close()
                raise HTTPClientError(error="the answer does not end")
            yield part


def _regions() -> list[str]:
    from boto3.session import Session

    session = Session()
    return [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("logs", partition)
    ]
