"""An AWS account in one region through boto3, which is imported on first use."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from forwarder import __version__
from forwarder.errors import AccessError, ConfigError, ForwarderError
from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from forwarder.sinks.cloudwatch_logs.failures import code_of, failure

POLICY: Final = "deploy/cloudwatch/iam-policy-provision.json"
_ABSENT: Final = ("ResourceNotFound", "NotFound")
_DENIED: Final = ("AccessDenied", "AuthorizationError", "UnauthorizedOperation")
_NOT_TAKEN: Final = ("InvalidParameter", "InvalidParameterValue", "Validation", "ValidationError")
_ATTEMPTS: Final = 8
"""Of one call: PutMetricAlarm is throttled at three a second (CloudWatch's service quotas)."""


def open_session(config: CloudWatchLogsConfig) -> Any:  # noqa: ANN401  boto3's, untyped
    """Return a session with the profile and region of `config`; the rest is boto3's own chain.

    Raises:
        ConfigError: no such profile, or its files cannot be read.
    """
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError

    try:
        return Session(profile_name=config.profile, region_name=config.region)
    except BotoCoreError as error:
        raise ConfigError([f"profile: {error}"]) from error


class Account:
    """The account that the credentials of `session` belong to, in the session's region.

    `endpoint_url` is CloudWatch Logs'; the other services have addresses of their own, which boto3
    takes from AWS_ENDPOINT_URL_CLOUDWATCH, _SNS and _STS or their like in the profile.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401  boto3's, untyped
        *,
        endpoint_url: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        """Make the clients and ask whose credentials these are.

        Raises:
            ConfigError: no region, or an address that is none.
            AccessError, TransientError: no credentials, or none that AWS knows.
        """
        self._clients = _clients(session, endpoint_url, timeout)
        self.region = str(self._clients["logs"].meta.region_name)
        self.partition = str(self._clients["logs"].meta.partition)
        self.number = str(self.call("sts", "get_caller_identity").get("Account", ""))
        if not self.number:
            raise AccessError(
                "the answer is not AWS's",
                remedy="check the proxy (HTTPS_PROXY) and AWS_ENDPOINT_URL: something else answers",
            )

    def __str__(self) -> str:
        return f"AWS account {self.number}, region {self.region}"

    def arn(self, service: str, name: str) -> str:
        """Return the ARN of what is `name`, such as ``alarm:soteri-forwarder-x``, in `service`."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.number}:{name}"

    def call(
        self, service: str, operation: str, *, remedy: str = "", **members: object
    ) -> Mapping[str, Any]:
        """Return the answer; `remedy` is what to do about parameters that AWS does not take.

        Raises:
            AccessError, TransientError: it was not done.
        """
        answer = self.ask(service, operation, remedy=remedy, **members)
        if answer is None:
            said = f"{operation.title().replace('_', '')}: what it is about is there no more"
            raise AccessError(said, remedy="somebody changes it at the same time: try again")
        return answer

    def ask(
        self, service: str, operation: str, *, remedy: str = "", **members: object
    ) -> Mapping[str, Any] | None:
        """Return the answer, None where the thing asked for is not there.

        Raises:
            AccessError, TransientError: nothing is known.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            answer: Mapping[str, Any] = getattr(self._clients[service], operation)(**members)
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            if _short(error) in _ABSENT:
                return None
            raise _failed(error, service, remedy) from error
        return answer

    def pages(self, service: str, operation: str, field: str, **members: object) -> Iterator[Any]:
        """Yield what the answers hold in `field`; nothing where what is asked for is not there.

        Raises:
            AccessError, TransientError: what was yielded is not all.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            for page in self._clients[service].get_paginator(operation).paginate(**members):
                yield from page.get(field, ())
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            if _short(error) not in _ABSENT:
                raise _failed(error, service, "") from error


def _clients(session: Any, endpoint_url: str | None, timeout: float) -> dict[str, Any]:  # noqa: ANN401  boto3's, untyped
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, NoRegionError

    config = Config(
        retries={"mode": "standard", "max_attempts": _ATTEMPTS},
        connect_timeout=5,
        read_timeout=timeout,
        user_agent_extra=f"soteri-forwarder/{__version__}",
    )
    # It is asked first, and whoever cannot reach AWS wants to know soon.
    soon = config.merge(Config(retries={"mode": "standard", "max_attempts": 2}))
    try:
        return {
            "logs": session.client("logs", endpoint_url=endpoint_url, config=config),
            "cloudwatch": session.client("cloudwatch", config=config),
            "sns": session.client("sns", config=config),
            "sts": session.client("sts", config=soon),
        }
    except NoRegionError:
        said = "region: is missing: --region eu-central-1, AWS_REGION, or the sink's region"
        raise ConfigError([said]) from None
    except (BotoCoreError, ValueError) as error:
        raise ConfigError([f"AWS: {error}"]) from error


def _short(error: Exception) -> str:
    return code_of(error).removesuffix("Exception")


def _failed(error: Exception, service: str, remedy: str) -> ForwarderError:
    """Return what it means, with what to do about it."""
    action = f"{service}:{getattr(error, 'operation_name', '')}"
    meant = failure(error, resource="")
    if _short(error) in _DENIED:
        said = f"allow {action} in the role's policy; {POLICY} is the whole of what it takes"
        return AccessError(str(meant), remedy=said)
    if _short(error) in _NOT_TAKEN:
        return AccessError(str(meant), remedy=remedy or "AWS does not take this: please report it")
    return meant
