"""The fields that every source and every sink has, and the units in which users write them."""

import re
import ssl
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from forwarder import redaction
from forwarder.errors import ConfigError
from forwarder.model import Event, Severity
from forwarder.redaction import Redactor
from forwarder.retry import RetryPolicy
from forwarder.secret import Secret, Written
from forwarder.selection import Choice, Predicate, refusing, selector

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
_CENTURY: Final = 36_525 * 86_400.0
_DURATION_PATTERN: Final = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)"
_SIZE_PATTERN: Final = r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB|TiB)"


def parse_duration(text: object) -> float:
    """Return seconds for ``"30s"``, ``"5m"``, ``"1h30m"``.

    Raises:
        ValueError: no unit or an unknown one, or over 100 years; the message says what is
            understood.
    """
    if isinstance(text, str) and re.fullmatch(f"(?:{_DURATION_PATTERN})+", text.strip()):
        found = re.findall(_DURATION_PATTERN, text)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in found)
        if seconds > _CENTURY:  # dates would overflow
            raise ValueError("is longer than a hundred years")
        return seconds
    raise ValueError(
        f'"{text}" is not a duration: write a number and a unit, such as "30s", "5m", "24h", "7d"'
    )


def parse_size(text: object) -> int:
    """Return bytes for ``"100MiB"``, ``"900 kB"``.

    Raises:
        ValueError: no unit or an unknown one, or over 1 EiB; the message says what is understood.
    """
    if isinstance(text, str) and (match := re.fullmatch(_SIZE_PATTERN, text.strip())):
        size = float(match[1]) * _BYTES[match[2]]
        if size > 2**60:
            raise ValueError("is larger than any disk")
        return int(size)
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


LONGEST_WAIT: Final = 600.0
"""Seconds for which somebody else may be waited for, before it is tried again."""


def _bearable(seconds: float) -> float:
    if seconds > LONGEST_WAIT:
        raise ValueError('is longer than "10m": what stands still for 15m counts as stuck')
    return seconds


Wait = Annotated[Duration, AfterValidator(_bearable)]
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


@cache
def _installed(group: str) -> EntryPoints:
    """Return what every installed package adds to `group`: read once, for it is a file each."""
    return entry_points(group=f"forwarder.{group}")


def extensions(group: str) -> tuple[str, ...]:
    """Return the names of what other packages add to `group`: sources, sinks or formats."""
    return tuple(_installed(group).names)


def extension(group: str, name: str) -> object | None:
    """Return what another package registered as `name` in the entry points of `group`, or None.

    Sources and sinks are config classes (with a ``type`` of that name and an `open`), formats are
    objects with `interfaces.Format`'s methods.

    Raises:
        ConfigError: it is registered and cannot be imported.
    """
    for entry in _installed(group).select(name=name):
        try:
            loaded: object = entry.load()
        except Exception as error:
            said = f"{group}: {name} of {entry.value} cannot be imported: {error}"
            raise ConfigError([said]) from error
        return loaded
    return None


def members(annotation: Any) -> Iterator[Any]:  # noqa: ANN401  any annotation at all
    """Yield the types that a field's annotation admits, unions and Annotated taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin is Union or origin is UnionType:
        for part in get_args(annotation):
            yield from members(part)
    else:
        yield annotation


class Options(BaseModel):
    """What users write: frozen, and every unknown key is refused.

    A field of type `Secret` is written by value under its own name, or as the path of a file under
    its name and ``_file``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def secrets(cls) -> tuple[str, ...]:
        """Return the names of the fields that are secrets."""
        fields = cls.model_fields.items()
        return tuple(name for name, field in fields if Secret in members(field.annotation))

    @model_validator(mode="before")
    @classmethod
    def _take_secret_files(cls, written: object) -> object:
        if not isinstance(written, Mapping):
            return written
        taken = dict(written)
        for name in cls.secrets():
            file = taken.pop(f"{name}_file", None)
            if file is not None:
                taken[name] = Written(file=file, value=taken.get(name))
        return taken

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        shown = handler.resolve_ref_schema(handler(schema))
        for name in cls.secrets():
            shown["properties"][f"{name}_file"] = {
                "type": "string",
                "minLength": 1,
                "description": f"Path of a file that holds `{name}`, in place of it.",
            }
            shown.setdefault("allOf", []).append({"not": {"required": [name, f"{name}_file"]}})
            # Either may come from the environment or a secrets directory, so neither is required.
            shown["required"] = [key for key in shown.get("required", []) if key != name]
        return shown


class BatchOptions(Options):
    """How many events go out in one `send`."""

    events: int = Field(default=2000, ge=1, le=10_000, description="Events in one batch, at most.")
    bytes: Size = Field(
        default=as_written("4MiB"),
        description="Stored size of one batch, at most; a larger event goes alone.",
    )
    age: Duration = Field(
        default=as_written("0s"),
        description="How long to wait for a batch to fill; 0s sends at once what is there.",
    )


class RetryOptions(Options):
    """How a failed delivery or poll is tried again; it is never given up."""

    initial: Duration = Field(
        default=as_written("1s"), gt=0, description="Bound of the first wait."
    )
    maximum: Duration = Field(
        default=as_written("1m"), gt=0, description="Bound of every later wait."
    )
    access: Duration = Field(
        default=as_written("5m"),
        gt=0,
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


class FilterOptions(Options):
    """What events may have; all is matched without regard to case, empty fields ask for nothing."""

    kinds: tuple[str, ...] = Field(
        default=(), description='Kinds, with a trailing * by their beginning: "hook.*".'
    )
    severity: Severity | None = Field(
        default=None,
        description="include: this severity and graver ones; exclude: this and less grave ones.",
    )
    categories: tuple[str, ...] = Field(
        default=(), description="Categories by their display text, with a trailing * too."
    )
    actors: tuple[str, ...] = Field(
        default=(), description="Names of users, with a trailing * too."
    )
    projects: tuple[str, ...] = Field(default=(), description="Keys of projects.")
    repositories: tuple[str, ...] = Field(
        default=(), description="Slugs of repositories, or KEY/slug."
    )

    def choice(self) -> Choice:
        """Return the same for `selection`."""
        return Choice(**dict(self))


class RedactOptions(Options):
    """What an event must not tell."""

    credentials: bool = Field(
        default=True,
        description="Leave out what looks like a credential, and the text that a finding matched.",
    )
    fields: tuple[str, ...] = Field(
        default=(),
        description="Fields to leave out: actor.name, actor.id, address, node, system, method,"
        " objects.name, objects.id, attributes.NAME, changes.NAME; * in NAME is any part.",
    )
    patterns: tuple[str, ...] = Field(
        default=(), description="Regular expressions; what they match is left out everywhere."
    )
    key: Secret | None = Field(
        default=None,
        description="With it a keyed digest takes the place of what is left out, the same for the"
        ' same text, so that it can be counted and compared; without it "[redacted]".',
    )

    @field_validator("fields")
    @classmethod
    def _are_fields(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for named in fields:
            redaction.field(named)
        return fields

    @field_validator("patterns")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                matches_nothing = re.compile(pattern).search("") is not None
            except re.error as error:
                raise ValueError(f'"{pattern}" is no regular expression: {error}') from error
            if matches_nothing:
                raise ValueError(f'"{pattern}" matches even an empty text')
        return patterns

    def redactor(self) -> Redactor | None:
        """Return what leaves it out, or None where nothing is to be."""
        if not (self.credentials or self.fields or self.patterns):
            return None
        return Redactor(
            looks_like_credentials=self.credentials,
            fields=[redaction.field(named) for named in self.fields],
            patterns=self.patterns,
            replace=redaction.digest(self.key.reveal) if self.key else redaction.mask,
        )


class SourceOptions(Options):
    """What every source has; each adds its `type` and an `open`."""

    retry: RetryOptions = RetryOptions()
    poll_interval: Duration = Field(
        default=as_written("30s"), gt=0, description="Pause between two polls."
    )
    retention: Duration | None = Field(
        default=None,
        gt=0,
        description="How long the source itself keeps its records; only to tell in time what is"
        " about to be lost.",
    )


class SinkOptions(Options):
    """What every sink has; each adds its `type` and an `open`."""

    format: str = Field(default="json", description="How an event becomes bytes.")
    include: FilterOptions = Field(
        default=FilterOptions(), description="Send only events that have all of this."
    )
    exclude: FilterOptions = Field(
        default=FilterOptions(), description="Send no events that have any of this."
    )
    redact: RedactOptions = Field(
        default=RedactOptions(), description="What this sink must not be told."
    )
    batch: BatchOptions = BatchOptions()
    retry: RetryOptions = RetryOptions()

    def selects(self) -> Predicate | None:
        """Return a function that says whether the sink wants an event, or None: it wants all."""
        return selector(self.include.choice(), self.exclude.choice())

    def refusing(self, event: Event) -> str:
        """Return the rule by which the sink does not want an event, "" where it does."""
        return refusing(self.include.choice(), self.exclude.choice(), event)

    @property
    def age_limit(self) -> float | None:
        """Seconds after which the destination takes an event no more; None: whatever its age."""
        return None
