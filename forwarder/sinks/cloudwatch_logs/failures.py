"""One map from what AWS and botocore say to our errors. Imports neither."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import httpx

from forwarder import http
from forwarder.errors import AccessError, ForwarderError, PermanentError, Reason, TransientError

_CREDENTIALS: Final = (
    "check the credentials that boto3 finds: environment, profile, or the role of the instance, "
    "task or pod"
)
_CLOCK: Final = "set this machine's clock (NTP): AWS refuses signatures over 5 minutes off"
_ENDPOINT: Final = "check region and endpoint_url: something else answers there"
_NETWORK: Final = "check region, endpoint_url, the proxy (HTTPS_PROXY) and the VPC endpoint"
_CA: Final = "check the CA that signed the endpoint's certificate (AWS_CA_BUNDLE)"
_QUOTA: Final = "ask AWS for a higher quota, or create the log group yourself"


@dataclass(frozen=True, slots=True)
class _Transient:
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Access:
    remedy: str


@dataclass(frozen=True, slots=True)
class _Permanent:
    reason: Reason = "malformed"


_Verdict = _Transient | _Access | _Permanent

VERDICTS: Final[Mapping[str, _Verdict]] = MappingProxyType(
    {
        # Error codes, without "Exception" at their end: the operations' own (botocore's model),
        # those that any AWS API answers (API reference, "Common errors"), and STS's, because the
        # credential chain may ask it first.
        **dict.fromkeys(
            (
                "BandwidthLimitExceeded",
                "EC2Throttled",
                "IDPCommunicationError",
                "InternalError",
                "InternalFailure",
                "InternalServer",
                "InternalServerError",
                "InvalidSequenceToken",
                "OperationAborted",
                "PriorRequestNotComplete",
                "ProvisionedThroughputExceeded",
                "RequestAborted",
                "RequestLimitExceeded",
                "RequestThrottled",
                "RequestTimeout",
                "ServiceUnavailable",
                "SlowDown",
                "Throttled",
                "Throttling",
                "TooManyRequests",
                "TransactionInProgress",
            ),
            _Transient(),
        ),
        **dict.fromkeys(
            (
                "AccessDenied",
                "AuthFailure",
                "ExpiredToken",
                "IDPRejectedClaim",
                "IncompleteSignature",
                "InvalidAccessKeyId",
                "InvalidClientTokenId",
                "InvalidIdentityToken",
                "MissingAuthenticationToken",
                "NotAuthorized",
                "OptInRequired",
                "RegionDisabled",
                "UnauthorizedOperation",
                "UnrecognizedClient",
            ),
            _Access(_CREDENTIALS),
        ),
        "InvalidSignature": _Access(f"{_CREDENTIALS}; {_CLOCK}"),
        "SignatureDoesNotMatch": _Access(f"{_CREDENTIALS}; {_CLOCK}"),
        "RequestExpired": _Access(_CLOCK),
        "RequestTimeTooSkewed": _Access(_CLOCK),
        "LimitExceeded": _Access(_QUOTA),
        "ServiceQuotaExceeded": _Access(_QUOTA),
        "ResourceNotFound": _Access("create the log group and the log stream"),
        "InvalidOperation": _Access("use a log group whose class takes events"),
        "InvalidAction": _Access(_ENDPOINT),
        "UnknownOperation": _Access(_ENDPOINT),
        **dict.fromkeys(
            (
                "InvalidParameter",
                "InvalidParameterCombination",
                "InvalidParameterValue",
                "MalformedHttpRequest",
                "Serialization",
                "Validation",
                "ValidationError",
            ),
            _Permanent(),
        ),
        "RequestEntityTooLarge": _Permanent("too_large"),
        # botocore's exceptions, by class; a subclass without a line of its own is as its parent.
        "ConnectionError": _Transient(_NETWORK),
        "HTTPClientError": _Transient(_NETWORK),
        "IncompleteReadError": _Transient(),
        "SSLError": _Transient(_CA),
        "CredentialRetrievalError": _Access(_CREDENTIALS),
        "LoginError": _Access(_CREDENTIALS),
        "MetadataRetrievalError": _Access(_CREDENTIALS),
        "NoAuthTokenError": _Access(_CREDENTIALS),
        "NoCredentialsError": _Access(_CREDENTIALS),
        "PartialCredentialsError": _Access(_CREDENTIALS),
        "SSOError": _Access(_CREDENTIALS),
        "TokenRetrievalError": _Access(_CREDENTIALS),
        "UnknownCredentialError": _Access(_CREDENTIALS),
        "ResponseParserError": _Access(_ENDPOINT),
        "BotoCoreError": _Access("check profile, region and endpoint_url"),
    }
)
"""What is done about each error code and each of botocore's exceptions."""


def code_of(error: Exception) -> str:
    """Return the error code of a `ClientError`; nothing of any other exception."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def failure(error: Exception, *, resource: str) -> ForwarderError:
    """Return the error that an exception of botocore's stands for.

    `resource` is the ARN pattern that a missing permission must cover. What AWS says is cut to
    its first line: further ones can hold the signed request, and with it the session token.
    """
    code = code_of(error)
    if not code:
        return _named(error)
    answer = _answer(error)
    operation = str(getattr(error, "operation_name", ""))
    said = _first_line(str(answer["Error"].get("Message", "")))
    message = f"{operation}: {code}: {said}"
    metadata = answer.get("ResponseMetadata", {})
    received = httpx.Response(
        metadata.get("HTTPStatusCode", 400), headers=metadata.get("HTTPHeaders", {})
    )
    match VERDICTS.get(code.removesuffix("Exception")):
        case _Transient(remedy):
            return TransientError(message, retry_after=http.retry_after(received), remedy=remedy)
        case _Access(remedy):
            return AccessError(message, remedy=_permission(operation, code, resource) or remedy)
        case _Permanent(reason):
            return _of_the_events(message, operation=operation, reason=reason)
        case None if received.status_code == 413:
            return _of_the_events(message, operation=operation, reason="too_large")
        case None:
            return http.failure(received, where=operation, detail=f"{code}: {said}")


def _answer(error: Exception) -> Mapping[str, Any]:
    answer = getattr(error, "response", None)  # botocore's HTTPClientError has one that is None
    return answer if isinstance(answer, Mapping) else {}


def _of_the_events(message: str, *, operation: str, reason: Reason) -> ForwarderError:
    """Return PermanentError only where the events can be at fault, so that none is buried for us.

    A wrong name, or whatever another operation refuses, stands in the configuration.
    """
    names = ("logGroupName", "logStreamName")
    if operation != "PutLogEvents" or any(name in message for name in names):
        return AccessError(message, remedy="check log_group, log_stream and the role")
    return PermanentError(message, reason="too_large" if "too large" in message else reason)


def _permission(operation: str, code: str, resource: str) -> str:
    ours = ("PutLogEvents", "CreateLogStream", "CreateLogGroup", "PutRetentionPolicy")
    if code.startswith("AccessDenied") and operation in ours:
        return f"allow logs:{operation} on {resource} in the role's policy"
    return ""


def _named(error: Exception) -> ForwarderError:
    names = [parent.__name__ for parent in type(error).__mro__]
    verdict = next((VERDICTS[name] for name in names if name in VERDICTS), None)
    message = f"{names[0]}: {_first_line(str(error))}"
    if isinstance(verdict, _Transient):
        return TransientError(message, remedy=verdict.remedy)
    return AccessError(message, remedy=verdict.remedy if isinstance(verdict, _Access) else "")


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:300]
