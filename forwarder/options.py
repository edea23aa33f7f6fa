"""The fields that every source and every sink has, and the units in which users write them."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from forwarder.errors import AccessError, ConfigError
from forwarder.retry import RetryPolicy

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_DURATION_PATTERN: Final = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)"
_SIZE_PATTERN: Final = r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB|TiB)"


def parse_duration(text: object) -> float:
    """Return seconds for ``"30s"``, ``"5m"``, ``"1h30m"``.

    Raises:
        ValueError: no unit or an unknown one; the message says what is understood.
    """
    if isinstance(text, str) and re.fullmatch(f"(?:{_DURATION_PATTERN})+", text.strip()):
        found = re.findall(_DURATION_PATTERN, text)
        return sum(float(number) * _SECONDS[unit] for number, unit in found)
    raise ValueError(
        f'"{text}" is not a duration: write a number and a unit, such as "30s", "5m", "24h", "7d"'
    )


def parse_size(text: object) -> int:
    """Return bytes for ``"100MiB"``, ``"900 kB"``.

    Raises:
        ValueError: no unit or an unknown one; the message says what is understood.
    """
    if isinstance(text, str) and (match := re.fullmatch(_SIZE_PATTERN, text.strip())):
        return int(float(match[1]) * _BYTES[match[2]])
    raise ValueError(
        f'"{text}" is not a size: write a number and a unit, such as "900KiB", "100MiB", "1GiB"'
    )


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"type": "string", "pattern": f"^(?:{_DURATION_PATTERN})+$", "examples": ["30s", "5m"]}
    ),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_SIZE_PATTERN}$", "examples": ["900KiB", "100MiB"]}
    ),
]


def as_written(text: str) -> Any:  # noqa: ANN401  validated into the field's own type
    """Return a default in the words in which a user would write it, for schema and help."""
    return text


class Options(BaseModel):
    """What users write: frozen, and every unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Secret:
    """A credential, by value or in a file; never shown by str, repr, logs or JSON.

    A file is read again when it has changed, so a rotated secret is picked up without a restart:
    ask with `reveal` at each use and do not keep the answer.
    """

    __slots__ = ("_path", "_seen", "_value")

    def __init__(self, value: str = "", *, path: Path | None = None) -> None:
        self._value = value
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def reveal(self) -> str:
        """Return the secret without the line end that editors leave in files.

        Raises:
            AccessError: the file cannot be read, or is empty.
        """
        if self._path is None:
            return self._value
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._value = self._path.read_text("utf-8").rstrip("\r\n")
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            raise AccessError(
                f"the secret file {self._path} cannot be read: {error}",
                remedy="check that it exists and that the forwarder's user may read it",
            ) from error
        if not self._value:
            raise AccessError(f"the secret file {self._path} is empty")
        return self._value

    def __repr__(self) -> str:
        return f"Secret(path={str(self._path)!r})" if self._path else "Secret('**********')"

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        _source: type,
        _handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        text = core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1)
        )
        return core_schema.json_or_python_schema(
            json_schema=text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), text]),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "**********"),
        )


class BatchOptions(Options):
    """How many events go out in one `send`."""

    events: int = Field(default=1000, ge=1, le=10_000, description="Events in one batch, at most.")
    bytes: Size = Field(
        default=as_written("900KiB"),
        description="Stored size of one batch, at most; a larger event goes alone.",
    )
    age: Duration = Field(
        default=as_written("0s"),
        description="How long to wait for a batch to fill; 0s sends at once what is there.",
    )


class RetryOptions(Options):
    """How a failed delivery or poll is tried again; it is never given up."""

    initial: Duration = Field(default=as_written("1s"), description="Bound of the first wait.")
    maximum: Duration = Field(default=as_written("1m"), description="Bound of every later wait.")
    access: Duration = Field(
        default=as_written("5m"),
        description="Wait after access was refused, so that no account is locked.",
    )

    def policy(self) -> RetryPolicy:
        """Return the arithmetic for transient failures."""
        return RetryPolicy(initial=self.initial, maximum=self.maximum)


class TlsOptions(Options):
    """Whom to trust and who we are; TLS 1.2 at least, always."""

    ca_file: Path | None = Field(
        default=None, description="PEM file of trusted CAs, in place of the system's."
    )
    cert_file: Path | None = Field(default=None, description="PEM file of our client certificate.")
    key_file: Path | None = Field(default=None, description="PEM file of its private key.")
    server_name: str | None = Field(
        default=None, description="Name to expect in the server's certificate, if not the host's."
    )
    verify: bool = Field(
        default=True, description="false trusts anyone: for trials only, and logged at each start."
    )

    def context(self) -> ssl.SSLContext:
        """Return a client context.

        Raises:
            ConfigError: a file cannot be read or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            named = self.ca_file, self.cert_file, self.key_file
            files = ", ".join(str(path) for path in named if path)
            raise ConfigError([f"tls: cannot use {files}: {error}"]) from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class SourceOptions(Options):
    """What every source has; each adds its `type` and an `open`."""

    retry: RetryOptions = RetryOptions()
    poll_interval: Duration = Field(
        default=as_written("30s"), description="Pause between two polls."
    )


class SinkOptions(Options):
    """What every sink has; each adds its `type` and an `open`."""

    format: str = Field(default="json", description="How an event becomes bytes.")
    batch: BatchOptions = BatchOptions()
    retry: RetryOptions = RetryOptions()
