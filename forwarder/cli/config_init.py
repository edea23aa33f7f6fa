"""`config init`: a few questions, and a configuration that works."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import typer

from forwarder.cli.terminal import err, out, shown
from forwarder.errors import ConfigError

Destination = Literal["splunk", "cloudwatch", "syslog", "file"]
_DESTINATIONS: Final[tuple[Destination, ...]] = get_args(Destination)
_HEAD: Final = """\
# Written by "soteri-forwarder config init". Every field there is, with its meaning:
# "soteri-forwarder config schema", or config/full.toml of the source.
"""


def init(
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="Where to write the configuration.")
    ] = Path("config.toml"),
    *,
    url: Annotated[str | None, typer.Option("--url", help="Bitbucket's address.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with Bitbucket's HTTP access token."),
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option("--project", help="Read only this project (its key); may be repeated."),
    ] = None,
    start_at: Annotated[
        str | None,
        typer.Option("--start-at", help='"now", "beginning" or a time; by default now.'),
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option("--sink", help="splunk, cloudwatch, syslog or file; may be repeated."),
    ] = None,
    splunk_url: Annotated[
        str | None, typer.Option("--splunk-url", help="Address of the HTTP Event Collector.")
    ] = None,
    splunk_token_file: Annotated[
        Path | None, typer.Option("--splunk-token-file", help="File with the HEC token.")
    ] = None,
    splunk_index: Annotated[
        str | None, typer.Option("--splunk-index", help="Index; by default the token's.")
    ] = None,
    splunk_ack: Annotated[
        bool | None,
        typer.Option("--splunk-ack/--no-splunk-ack", help="Has the token acknowledgement?"),
    ] = None,
    log_group: Annotated[
        str | None, typer.Option("--log-group", help="CloudWatch Logs' log group.")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="AWS region.")] = None,
    syslog_address: Annotated[
        str | None, typer.Option("--syslog-address", help="Such as tls://siem.example.com:6514.")
    ] = None,
    syslog_format: Annotated[
        str | None, typer.Option("--syslog-format", help="json, cef, leef, ...; by default json.")
    ] = None,
    file_path: Annotated[
        str | None, typer.Option("--file-path", help="The file that events are written to.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="The outbox's own file, on a local disk.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: options and defaults say it all.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that are there already.")
    ] = False,
) -> None:
    r"""Write a configuration that works, out of a few answers.

    What an option says is not asked. Secrets that are typed go into files of their own beside the
    configuration (mode 0600) and never into it (0640). Nothing is written over without --force.

    Examples:

      soteri-forwarder config init

      soteri-forwarder config init --to /etc/soteri-forwarder/config.toml

      soteri-forwarder config init --yes --url https://bitbucket.example.com --token-file ./token \
          --sink file --file-path /var/log/soteri-forwarder/audit.jsonl
    """
    answers = _Answers(folder=to.absolute().parent, asks=not yes, force=force)
    given = {
        "--url": url,
        "--start-at": start_at,
        "--splunk-url": splunk_url,
        "--splunk-index": splunk_index,
        "--log-group": log_group,
        "--region": region,
        "--syslog-address": syslog_address,
        "--syslog-format": syslog_format,
        "--file-path": file_path,
        "--state": state,
    }
    answers.given = {option: value for option, value in given.items() if value is not None}
    if to.exists() and not force:
        raise typer.BadParameter(
            f"{to} is there already: --force writes over it", param_hint="--to"
        )
    if not yes and not sys.stdin.isatty() and (url is None or not sink):
        raise typer.BadParameter("there is no terminal to ask at: give --yes and the options")
    tables = [
        ("sources.bitbucket", answers.bitbucket(token_file, project)),
        ("store", {"url": f"sqlite:///{answers.state()}"}),
    ]
    for name in answers.destinations(sink):
        table = {
            "splunk": lambda: answers.splunk(splunk_token_file, acking=splunk_ack),
            "cloudwatch": answers.cloudwatch,
            "syslog": answers.syslog,
            "file": answers.file,
        }[name]()
        tables.append((f"sinks.{name}", table))
    _write(to, "\n".join([_HEAD, *_toml(tables)]), answers.secrets)
    out.print(f"written: [bold]{shown(str(to))}[/]")
    for path in answers.secrets:
        out.print(f"written: [bold]{shown(str(path))}[/] (mode 0600)")
    out.print(f'next: "soteri-forwarder check --config {shown(str(to))}"')


Fields = Mapping[str, object]


@dataclass(slots=True)
class _Answers:
    """What options have `given`, and else what is asked; `secrets` are for files of their own."""

    folder: Path
    asks: bool
    force: bool
    given: Mapping[str, str] = field(default_factory=dict)
    secrets: dict[Path, str] = field(default_factory=dict)

    def bitbucket(self, token_file: Path | None, projects: list[str] | None) -> Fields:
        """Return the source's table."""
        url = self._text("--url", "Bitbucket's address", check=_web_address)
        token = self._secret("--token-file", "Bitbucket's HTTP access token", token_file)
        if projects is None:
            said = self._text("", "Keys of projects to read, or nothing for all", default="")
            projects = [key.strip() for key in said.split(",") if key.strip()]
        start = self._text("--start-at", 'Start at "now" or "beginning"', default="now")
        more = {"projects": projects} if projects else {}
        fields = {"type": "bitbucket_audit", "url": url, "token_file": str(token)}
        return {**fields, **more, "start_at": start}

    def state(self) -> str:
        """Return the store's file, absolute."""
        default = "/var/lib/soteri-forwarder/forwarder.db"
        named = self._text("--state", "The outbox's own file", default=default)
        return str(Path(named).expanduser().absolute())

    def destinations(self, chosen: list[str] | None) -> list[Destination]:
        """Return which sinks there are to be, each once."""
        more = {"--sink": ",".join(chosen)} if chosen else {}
        self.given = {**self.given, **more}
        question = f"Send events to ({', '.join(_DESTINATIONS)}; more than one with commas)"
        said = self._text("--sink", question, check=_sinks)
        return [name for name in _DESTINATIONS if name in said.split(",")]

    def splunk(self, token_file: Path | None, *, acking: bool | None) -> Fields:
        """Return the table of a HEC."""
        url = self._text("--splunk-url", "Address of Splunk's HEC", check=_web_address)
        token = self._secret("--splunk-token-file", "HEC token", token_file, name="hec-token")
        index = self._text("--splunk-index", "Index, or nothing for the token's", default="")
        if acking is None:
            question = "Does the token have indexer acknowledgement?"
            acking = typer.confirm(question, default=True, err=True) if self.asks else True
        more = {"index": index} if index else {}
        return {"type": "splunk_hec", "url": url, "token_file": str(token), **more, "ack": acking}

    def cloudwatch(self) -> Fields:
        """Return the table of a log group."""
        group = self._text("--log-group", "Log group", default="/soteri/audit")
        region = self._text("--region", "AWS region", default=os.environ.get("AWS_REGION"))
        return {"type": "cloudwatch_logs", "log_group": group, "region": region}

    def syslog(self) -> Fields:
        """Return the table of a syslog receiver."""
        question = "Receiver, such as tls://siem.example.com:6514"
        address = self._text("--syslog-address", question, check=_syslog_address)
        format_ = self._text("--syslog-format", "Format (json, cef, leef, ...)", default="json")
        return {"type": "syslog", "address": address, "format": format_}

    def file(self) -> Fields:
        """Return the table of a file."""
        default = "/var/log/soteri-forwarder/audit.jsonl"
        path = self._text("--file-path", "File to write events to", default=default)
        return {"type": "file", "path": str(Path(path).expanduser().absolute())}

    def _text(
        self,
        option: str,
        question: str,
        *,
        default: str | None = None,
        check: Callable[[str], str] = str,
    ) -> str:
        if option in self.given:
            try:
                return check(self.given[option])
            except typer.BadParameter as error:
                raise typer.BadParameter(error.message, param_hint=option) from None
        if self.asks:
            return str(typer.prompt(question, default=default, value_proc=check, err=True))
        if default is None:
            raise typer.BadParameter("is needed with --yes", param_hint=option)
        return default

    def _secret(
        self, option: str, question: str, path: Path | None, *, name: str = "bitbucket-token"
    ) -> Path:
        """Return the file that holds a secret: one that is there, or one to be written."""
        if path is not None:
            return path.absolute()
        if not self.asks:
            raise typer.BadParameter("is needed with --yes", param_hint=option)
        path = self.folder / name
        if path.exists() and not self.force:
            err.print(f"{shown(str(path))} is there already, and stays")
            return path
        said = typer.prompt(f"{question} (it is not shown)", hide_input=True, err=True)
        self.secrets[path] = str(said).strip()
        return path


def _web_address(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise typer.BadParameter(f'"{text}" is no web address: begin it with "https://"')
    return text.rstrip("/")


def _syslog_address(text: str) -> str:
    from forwarder.sinks.syslog.address import parse_address

    try:
        return str(parse_address(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _sinks(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in names if name not in _DESTINATIONS]
    if strange or not names:
        raise typer.BadParameter(f"choose from {', '.join(_DESTINATIONS)}")
    return ",".join(names)


def _toml(tables: list[tuple[str, Fields]]) -> Iterator[str]:
    for header, fields in tables:
        yield f"[{header}]"
        for name, value in fields.items():  # text and lists of JSON are TOML's too
            yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
        yield ""


def _write(to: Path, text: str, secrets: Mapping[Path, str]) -> None:
    """Write secrets and configuration, where it is accepted; else leave all as it was.

    Raises:
        ConfigError: it is not accepted, with every mistake.
    """
    from forwarder.config import load

    made = {path: path.with_name(f".{path.name}.new") for path in (to, *secrets)}
    tried = text
    for path in secrets:  # the configuration that is tried names the secrets that are tried
        tried = tried.replace(json.dumps(str(path)), json.dumps(str(made[path])))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        for path, secret in secrets.items():
            _put(made[path], f"{secret}\n", 0o600)
        _put(made[to], tried, 0o640)
        load(made[to], {})
        _put(made[to], text, 0o640)
        for path in (*secrets, to):
            made[path].replace(path)
    except ConfigError as error:
        said = (line.replace(str(made[to]), str(to)) for line in error.problems)
        raise ConfigError(said) from None
    except OSError as error:
        said_of = f"{error.filename}: {error.strerror}"
        raise typer.BadParameter(said_of, param_hint="--to") from error
    finally:
        for path in made.values():
            path.unlink(missing_ok=True)


def _put(path: Path, text: str, mode: int) -> None:
    """Write a new file that nobody else can read even while it is written."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
