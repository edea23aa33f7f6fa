"""CloudWatch Logs as AWS documents it: a strict check of its limits in front of a real moto.

moto keeps the groups, streams and events. It knows nothing of AWS's sizes, counts, spans, names,
retention values or signatures, and both of its rejected indexes are wrong, so all that is decided
here: what is bad is answered here, what is good is handed on. Sources: AWS's API reference of the
four operations (as in botocore's `logs/2014-03-28`), and error texts as users report them.
"""

import hmac
import json
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.receivers.process import free_port

REGION = "eu-central-1"
RETENTIONS = {
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557),
    *(2922, 3288, 3653),
}
HOUR = 3_600_000
DAY = 24 * HOUR


class AwsError(Exception):
    """What AWS answers in place of a result."""

    def __init__(
        self, code: str, message: str = "", *, status: int = 400, retry_after: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.retry_after = code, message, status, retry_after


THROTTLED = AwsError("ThrottlingException", "Rate exceeded")
UNAVAILABLE = AwsError("ServiceUnavailableException", "try later", status=503)
EXPIRED = AwsError("ExpiredTokenException", "The security token included in the request is expired")


@dataclass
class Hold:
    """Do not answer before `release` is called; `reached` is set once a request waits."""

    reached: threading.Event = field(default_factory=threading.Event)
    _open: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        self._open.set()

    def wait(self) -> None:
        self.reached.set()
        self._open.wait(60)


@dataclass(frozen=True)
class Page:
    """Answer with this page, as a proxy in between does."""

    status: int
    text: str = "<html><body>Please log in</body></html>"


Fault = (
    AwsError | Hold | Page | Literal["drop the request", "drop the answer", "answer without an end"]
)


@dataclass(frozen=True)
class Call:
    """One request that came: `agent` is its User-Agent, `key` its access key id."""

    operation: str
    key: str
    agent: str
    members: dict[str, Any]


@dataclass(frozen=True)
class Held:
    """One event that is there."""

    timestamp: int
    message: str


def check_group(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[.\-_/#A-Za-z0-9]{1,512}", name):
        raise invalid("logGroupName", name, r"Member must satisfy regex: [\.\-_/#A-Za-z0-9]+")


def check_stream(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[^:*]{1,512}", name):
        raise invalid("logStreamName", name, "Member must satisfy regex: [^:*]*")


def invalid(member: str, value: object, constraint: str) -> AwsError:
    return AwsError(
        "InvalidParameterException",
        f"1 validation error detected: Value '{str(value)[:80]}' at '{member}' failed to satisfy "
        f"constraint: {constraint}",
    )


def check_events(events: object, *, largest: int, now: int) -> None:
    """Raise what AWS says of these log events; `largest` is the limit of one, overhead included."""
    if not isinstance(events, list) or not 1 <= len(events) <= 10_000:
        raise invalid("logEvents", "[...]", "Member must have length from 1 to 10000")
    total = 0
    for number, event in enumerate(events, 1):
        where = f"logEvents.{number}.member"
        if not isinstance(event, dict) or set(event) != {"timestamp", "message"}:
            raise invalid(where, event, "Member must have timestamp and message")
        timestamp, message = event["timestamp"], event["message"]
        if type(timestamp) is not int or timestamp < 0:
            raise invalid(f"{where}.timestamp", timestamp, "Member must be 0 or more")
        if not isinstance(message, str) or not message:
            raise invalid(f"{where}.message", message, "Member must have length 1 or more")
        size = len(message.encode()) + 26
        if size > largest:
            said = f"Log event too large: {size} bytes exceeds limit of {largest}"
            raise AwsError("InvalidParameterException", said)
        total += size
    if total > 1_048_576:
        said = f"Upload too large: {total} bytes exceeds limit of 1048576"
        raise AwsError("InvalidParameterException", said)
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        said = "Log events in a single PutLogEvents request must be in chronological order."
        raise AwsError("InvalidParameterException", said)
    valid = [at for at in times if now - 14 * DAY <= at <= now + 2 * HOUR]
    if valid and valid[-1] - valid[0] > DAY:
        said = "The batch of log events in a single PutLogEvents request cannot span more than 24 "
        raise AwsError("InvalidParameterException", f"{said}hours.")


def rejected_info(times: Sequence[int], *, now: int, retention_days: int | None) -> dict[str, int]:
    """Return AWS's ``rejectedLogEventsInfo`` for ordered times, by the meaning in its reference."""
    info = {}
    if old := sum(at < now - 14 * DAY for at in times):
        info["tooOldLogEventEndIndex"] = old
    kept_days = min(retention_days or 14, 14)
    if kept_days < 14 and (expired := sum(at < now - kept_days * DAY for at in times)):
        info["expiredLogEventEndIndex"] = expired
    if new := sum(at > now + 2 * HOUR for at in times):
        info["tooNewLogEventStartIndex"] = len(times) - new
    return info


class CloudWatch:
    """The strict check, on `url`; change the fields to play a part.

    `keys` are the known credentials (id: secret), `denied` the operations that the role may not
    call, `refused` texts that no message may hold, `script` faults for the next requests, `fault`
    one for all of them, `largest` the limit of one event, `ahead` how far its clock is from ours,
    `page` how many events FilterLogEvents answers at once.
    """

    def __init__(self, url: str, moto: str) -> None:
        self.url = url
        self.keys = {"AKIDFORWARDER": "the secret"}
        self.denied: set[str] = set()
        self.refused: set[str] = set()
        self.script: deque[Fault] = deque()
        self.fault: Fault | None = None
        self.largest = 262_144
        self.ahead = timedelta()
        self.calls: list[Call] = []
        self.retentions: dict[str, int] = {}
        self.page = 10_000
        self._tokens: dict[str, tuple[dict[str, Any], int]] = {}
        self._moto = httpx.Client(base_url=moto, timeout=30, trust_env=False, verify=False)

    def close(self) -> None:
        self._moto.close()

    @property
    def now(self) -> int:
        """Its own time, in epoch milliseconds."""
        return int((datetime.now(UTC) + self.ahead).timestamp() * 1000)

    def counted(self, operation: str) -> int:
        """Return how many requests for `operation` came."""
        return sum(call.operation == operation for call in self.calls)

    def ask_moto(self, operation: str, **members: object) -> dict[str, Any]:
        """Ask moto itself, past every check."""
        answer = self._moto.post(
            "/",
            content=json.dumps(members),
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": f"Logs_20140328.{operation}",
                "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/logs/"
                "aws4_request, SignedHeaders=host, Signature=x",
            },
        )
        said = answer.json() if answer.content else {}
        if answer.status_code != 200:
            raise AwsError(said["__type"], said.get("message", ""), status=answer.status_code)
        return said

    def held(self, group: str, stream: str = "soteri-forwarder") -> list[Held]:
        """Return the events of a stream in order of time, those of one time as they came."""
        held: list[Held] = []
        token: dict[str, object] = {}
        shift = self._shift()
        while True:
            page = self.ask_moto(
                "GetLogEvents",
                logGroupName=group,
                logStreamName=stream,
                startFromHead=True,
                limit=10_000,
                **token,
            )
            if not page["events"]:
                return held
            held += [Held(one["timestamp"] - shift, one["message"]) for one in page["events"]]
            token = {"nextToken": page["nextForwardToken"]}

    def answer(self, operation: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """Return what AWS answers, or raise AwsError."""
        key = self._check_signature(headers, body)
        members = json.loads(body)
        self.calls.append(Call(operation, key, headers.get("user-agent", ""), members))
        group = members["logGroupName"]
        if operation in self.denied:
            arn = f"arn:aws:logs:{REGION}:123456789012:log-group:{group}:log-stream:"
            said = f"User: arn:aws:iam::123456789012:user/forwarder is not authorized to perform: logs:{operation} on resource: {arn}"  # noqa: E501
            raise AwsError("AccessDeniedException", said)
        check_group(group)
        if operation == "CreateLogStream":
            check_stream(members["logStreamName"])
        if operation == "PutRetentionPolicy":
            if members["retentionInDays"] not in RETENTIONS:
                raise invalid("retentionInDays", members["retentionInDays"], "Member must be in it")
            self.retentions[group] = members["retentionInDays"]
        if operation == "PutLogEvents":
            return self._put(members)
        if operation == "FilterLogEvents":
            return self._filter(members)
        return self.ask_moto(operation, **members)

    def _put(self, members: dict[str, Any]) -> dict[str, Any]:
        now = self.now
        check_stream(members["logStreamName"])
        events = members["logEvents"]
        check_events(events, largest=self.largest, now=now)
        if any(text in event["message"] for text in self.refused for event in events):
            raise AwsError("InvalidParameterException", "Log event refused by the test")
        retention = self.retentions.get(members["logGroupName"])
        times = [event["timestamp"] for event in events]
        info = rejected_info(times, now=now, retention_days=retention)
        start = max(info.get("tooOldLogEventEndIndex", 0), info.get("expiredLogEventEndIndex", 0))
        taken = events[start : info.get("tooNewLogEventStartIndex")]
        shift = self._shift()
        kept = [{**event, "timestamp": event["timestamp"] + shift} for event in taken]
        answer = self.ask_moto("PutLogEvents", **{**members, "logEvents": kept})
        assert "rejectedLogEventsInfo" not in answer, "moto refused what the check took"
        if info:
            answer["rejectedLogEventsInfo"] = info
        if not taken:  # as seen in the wild: aws-greengrass-log-manager, pull request 68
            answer.pop("nextSequenceToken", None)
        return answer

    def _filter(self, members: dict[str, Any]) -> dict[str, Any]:
        """Answer page by page, as AWS does: an empty page can have a token, and others follow."""
        known = {"logGroupName", "logStreamNames", "startTime", "endTime", "nextToken", "limit"}
        if strange := members.keys() - known:
            raise invalid(min(strange), "", "Member is not known to this check")
        names = members.get("logStreamNames")
        if names is not None and not 1 <= len(names) <= 100:
            raise invalid("logStreamNames", names, "Member must have length from 1 to 100")
        for name in names or ():
            check_stream(name)
        start, end = members.get("startTime", 0), members.get("endTime", 2**53)
        if type(start) is not int or type(end) is not int or not 0 <= start <= end:
            raise invalid("startTime", start, "Member must be 0 or more, and endTime not less")
        query = {name: members[name] for name in known - {"nextToken"} if name in members}
        token = members.get("nextToken")
        if token is None:
            place = -1
        elif token in self._tokens and self._tokens[token][0] == query:
            place = self._tokens[token][1]
        else:
            raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
        group = members["logGroupName"]
        self.ask_moto("FilterLogEvents", logGroupName=group, logStreamNames=names or [], limit=1)
        found = [
            {
                "eventId": f"{number:056}",
                "logStreamName": name,
                "timestamp": each.timestamp,
                "ingestionTime": self.now,
                "message": each.message,
            }
            for name in names or ()
            for number, each in enumerate(self.held(group, name))
            if start <= each.timestamp <= end
        ]
        events = found[place : place + self.page] if place >= 0 else []
        following = place + self.page if place >= 0 else 0
        answer: dict[str, Any] = {"events": events, "searchedLogStreams": []}
        if following < len(found):
            token = f"token-{len(self._tokens)}"
            self._tokens[token] = (query, following)
            answer["nextToken"] = token
        return answer

    def _shift(self) -> int:
        """Milliseconds from our clock to moto's, which is the machine's."""
        return int(-self.ahead.total_seconds() * 1000)

    def _check_signature(self, headers: dict[str, str], body: bytes) -> str:
        """Return the access key's id; the signature is really checked (SigV4)."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/logs/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if found is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token")
        key, region, signed, signature = found.groups()
        if key not in self.keys or region != REGION:
            said = "The security token included in the request is invalid."
            raise AwsError("UnrecognizedClientException", said)
        names = signed.split(";")
        assert {"host", "x-amz-date", "x-amz-target"} <= set(names)
        request = AWSRequest(
            "POST", f"http://{headers['host']}/", {name: headers[name] for name in names}, body
        )
        request.context["timestamp"] = headers["x-amz-date"]
        auth = SigV4Auth(Credentials(key, self.keys[key]), "logs", region)
        canonical = auth.canonical_request(request)
        expected = auth.signature(auth.string_to_sign(request, canonical), request)
        if not hmac.compare_digest(expected, signature):
            said = "The request signature we calculated does not match the signature you provided."
            token = headers.get("x-amz-security-token", "no token")
            said += f"\n\nThe Canonical String for this request should have been\n{token}"
            raise AwsError("InvalidSignatureException", said, status=403)
        return key


class _Conversation(BaseHTTPRequestHandler):
    """One connection; `cloudwatch` is set by `cloudwatch()`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cloudwatch: CloudWatch

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        operation = headers.get("x-amz-target", "").removeprefix("Logs_20140328.")
        fault = self.cloudwatch.script.popleft() if self.cloudwatch.script else None
        fault = fault or self.cloudwatch.fault
        try:
            if isinstance(fault, Hold):
                fault.wait()
            if fault == "answer without an end":
                self._say_without_end()
                return
            if isinstance(fault, Page):
                self._say(fault.status, "text/html", fault.text.encode())
                return
            if isinstance(fault, AwsError):
                raise fault
            if fault != "drop the request":
                answer = self.cloudwatch.answer(operation, headers, body)
        except AwsError as error:
            said = json.dumps({"__type": error.code, "message": error.message}).encode()
            self._say(error.status, "application/x-amz-json-1.1", said, error.retry_after)
            return
        if isinstance(fault, str):
            self.close_connection = True
            return
        self._say(200, "application/x-amz-json-1.1", json.dumps(answer).encode())

    def _say(self, status: int, media_type: str, body: bytes, retry_after: str = "") -> None:
        with suppress(OSError):  # who asked may have gone
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            if media_type != "text/html":
                self.send_header("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000")
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(body)

    def _say_without_end(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # who asked has had enough
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.end_headers()
            while True:
                self.wfile.write(b" " * (1 << 20))

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # who asked may have gone
            super().handle_error(request, client_address)  # type: ignore[arg-type]


_MOTO = """
import os, sys, threading
from moto.server import main
# The pipe ends when the tests do, however they end.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


def empty_moto() -> str:
    """Return the URL of a moto with nothing in it."""
    url = _moto()
    reset = httpx.post(f"{url}/moto-api/reset", timeout=30, trust_env=False, verify=False)
    reset.raise_for_status()
    return url


@cache
def _moto() -> str:
    """Start moto in a process of its own, once for all tests of this one, and return its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    _started.append(process)
    assert process.stdout is not None
    said = b""
    for line in process.stdout:
        said += line
        if b"Running on" in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return f"http://127.0.0.1:{port}"
    raise AssertionError(f"moto_server ended early: {said.decode()}")


_started: list["subprocess.Popen[bytes]"] = []


@contextmanager
def cloudwatch() -> Iterator[CloudWatch]:
    """Yield an empty CloudWatch Logs, listening on a port of its own."""
    moto = empty_moto()
    conversation = type("Conversation", (_Conversation,), {})
    server = _Server(("127.0.0.1", 0), conversation)
    receiver = CloudWatch(f"http://127.0.0.1:{server.server_address[1]}", moto)
    conversation.cloudwatch = receiver  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        receiver.close()
