from string import Formatter
from typing import Any

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError

from forwarder.errors import AccessError, ForwarderError, PermanentError, TransientError
from forwarder.sinks.cloudwatch_logs.failures import VERDICTS, failure

ARN = "arn:aws:logs:eu-central-1:*:log-group:/soteri/audit:*"


def answered(
    code: str,
    message: str = "it says so",
    *,
    operation: str = "PutLogEvents",
    status: int = 400,
    headers: dict[str, str] | None = None,
) -> ForwarderError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return failure(ClientError(response, operation), resource=ARN)


@pytest.mark.parametrize(
    "code",
    [
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "ServiceUnavailableException",
        "ServiceUnavailable",
        "InternalFailure",
        "InternalServerError",
        "OperationAbortedException",
        "RequestTimeout",
        "InvalidSequenceTokenException",
    ],
)
def test_what_passes_is_transient(code):
    assert type(answered(code)) is TransientError


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "AccessDenied",
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidSignatureException",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "OptInRequired",
        "RequestExpired",
        "LimitExceededException",
        "ResourceNotFoundException",
        "UnknownOperationException",
    ],
)
def test_what_a_person_must_heal_is_an_access_error_with_a_remedy(code):
    error = answered(code)
    assert type(error) is AccessError
    assert error.remedy


@pytest.mark.parametrize("code", ["InvalidParameterException", "SerializationException"])
def test_what_is_wrong_with_the_events_is_permanent(code):
    error = answered(code)
    assert isinstance(error, PermanentError)
    assert error.reason == "malformed"


@pytest.mark.parametrize(
    "message",
    [
        "Log event too large: 292824 bytes exceeds limit of 262144",
        "Upload too large: 1049882 bytes exceeds limit of 1048576",
    ],
)
def test_what_is_too_large_is_called_so(message):
    error = answered("InvalidParameterException", message)
    assert isinstance(error, PermanentError)
    assert error.reason == "too_large"


def test_a_body_too_large_for_the_way_is_too_large():
    for error in (
        answered("RequestEntityTooLargeException", status=413),
        answered("413", status=413),
    ):
        assert isinstance(error, PermanentError)
        assert error.reason == "too_large"


@pytest.mark.parametrize("member", ["logGroupName", "logStreamName"])
def test_no_event_is_buried_for_a_wrong_name(member):
    said = f"1 validation error detected: Value 'a b' at '{member}' failed to satisfy constraint"
    assert type(answered("InvalidParameterException", said)) is AccessError


@pytest.mark.parametrize(
    "operation", ["CreateLogGroup", "PutRetentionPolicy", "AssumeRoleWithWebIdentity"]
)
@pytest.mark.parametrize("code", ["InvalidParameterException", "ValidationError"])
def test_no_event_is_buried_for_what_another_operation_refuses(operation, code):
    assert type(answered(code, operation=operation)) is AccessError


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, AccessError),
        (400, AccessError),
        (401, AccessError),
        (403, AccessError),
        (404, AccessError),
        (408, TransientError),
        (429, TransientError),
        (500, TransientError),
        (502, TransientError),
        (599, TransientError),
    ],
)
def test_an_unknown_code_is_told_by_its_status(status, expected):
    assert type(answered("NeverSeenException", status=status)) is expected


@pytest.mark.parametrize("code", ["ThrottlingException", "NeverSeen"])
def test_the_wait_that_aws_asks_for_is_handed_on(code):
    error = answered(code, status=503, headers={"retry-after": "17"})
    assert isinstance(error, TransientError)
    assert error.retry_after == 17.0


@pytest.mark.parametrize(
    "operation", ["PutLogEvents", "CreateLogStream", "CreateLogGroup", "PutRetentionPolicy"]
)
def test_a_missing_permission_is_named(operation):
    error = answered("AccessDeniedException", operation=operation)
    assert error.remedy == f"allow logs:{operation} on {ARN} in the role's policy"


def test_a_signed_request_is_not_repeated():
    said = "does not match.\n\nThe Canonical String should have been\nx-amz-security-token:SECRET"
    assert "SECRET" not in str(answered("InvalidSignatureException", said))


def test_a_page_instead_of_an_answer_is_cut_short():
    assert len(str(answered("502", "<html>" * 10_000, status=502))) < 500


@pytest.mark.parametrize(
    "operation", ["PutLogEvents", "CreateLogGroup", "CreateLogStream", "PutRetentionPolicy"]
)
def test_every_error_in_botocores_model_of_what_we_call_has_a_verdict(operation):
    model = create_loader().load_service_model("logs", "service-2")
    declared = {error["shape"] for error in model["operations"][operation]["errors"]}
    # Both say that what was wanted is so: stream.py takes them for success.
    declared -= {"ResourceAlreadyExistsException", "DataAlreadyAcceptedException"}
    assert declared
    assert {code.removesuffix("Exception") for code in declared} <= set(VERDICTS)


def every(parent: type[Exception]) -> list[type[Exception]]:
    return [parent, *(each for child in parent.__subclasses__() for each in every(child))]


def raised(kind: type[Exception]) -> Exception:
    wanted = [name for _, name, _, _ in Formatter().parse(getattr(kind, "fmt", "")) if name]
    wanted += ["last_response"] if kind is WaiterError else []
    return kind(**dict.fromkeys(wanted, "text"))


def named(error: Exception) -> ForwarderError:
    return failure(error, resource=ARN)


def test_every_exception_of_botocore_has_a_verdict_and_none_buries_events():
    kinds = [kind for kind in every(BotoCoreError) if kind.__module__ == "botocore.exceptions"]
    assert len(kinds) > 50
    for kind in kinds:
        assert type(named(raised(kind))) in (TransientError, AccessError), kind


@pytest.mark.parametrize(
    "name",
    [
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ReadTimeoutError",
        "ProxyConnectionError",
        "HTTPClientError",
        "ResponseStreamingError",
        "IncompleteReadError",
        "SSLError",
    ],
)
def test_what_the_network_does_is_transient(name):
    assert type(named(raised(getattr(botocore.exceptions, name)))) is TransientError


def test_a_certificate_that_nobody_trusts_names_the_setting():
    assert "AWS_CA_BUNDLE" in named(raised(botocore.exceptions.SSLError)).remedy


@pytest.mark.parametrize(
    "name",
    [
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "SSOTokenLoadError",
        "NoAuthTokenError",
        "MetadataRetrievalError",
        "LoginRefreshRequired",
    ],
)
def test_missing_credentials_are_an_access_error_that_says_where_to_look(name):
    error = named(raised(getattr(botocore.exceptions, name)))
    assert type(error) is AccessError
    assert "credentials that boto3 finds" in error.remedy


def test_an_answer_that_cannot_be_parsed_is_somebody_elses():
    assert type(named(ResponseParserError("not JSON"))) is AccessError


def test_every_class_in_the_table_is_one_of_botocores():
    classes = [name for name in VERDICTS if name.endswith("Error") and name != "ValidationError"]
    known = vars(botocore.exceptions).keys() | {"ResponseParserError"}
    codes = {"InternalError", "InternalServerError", "IDPCommunicationError"}
    assert set(classes) - codes <= known
