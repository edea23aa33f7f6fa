"""`man`: the manual page, made of what every verb says of itself."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import typer

from forwarder import __version__

_FRONT: Final = """\
.TH SOTERI\\-FORWARDER 1 "" "soteri\\-forwarder {version}" "User Commands"
.SH NAME
soteri\\-forwarder \\- forward Bitbucket Data Center's audit events, losing none
.SH SYNOPSIS
.B soteri\\-forwarder
.RI [ options ]
.I verb
.RI [ arguments ]
.SH DESCRIPTION
Polls the audit log of Bitbucket Data Center for the events of Soteri Security for Bitbucket (or of
any category), keeps them in an outbox on this machine, and delivers each at least once, in order,
to Splunk HEC, CloudWatch Logs, syslog and files. An outage of either side delays events and loses
none. On a terminal answers come as tables, in a pipe as plain lines or JSON;
.B NO_COLOR
is obeyed.
.SH VERBS"""
_BACK: Final = """\
.SH EXIT STATUS
.TP
.B 0
All is well.
.TP
.B 1
The work is not complete: something failed, is missing or is still owed.
.TP
.B 2
The command line is wrong.
.TP
.B 74
The store cannot be used.
.TP
.B 77
Access is refused.
.TP
.B 78
The configuration is wrong.
.SH ENVIRONMENT
.TP
.B FORWARDER_CONFIG
The configuration file, where
.B \\-\\-config
does not name one. Every field can be set by a variable too: FORWARDER_SINKS__SPLUNK__TOKEN.
.TP
.B NO_COLOR
Without colours, whatever its value.
.TP
.BR HTTPS_PROXY ", " HTTP_PROXY ", " NO_PROXY
The proxy, where the configuration names none.
.SH FILES
.TP
.I /etc/soteri\\-forwarder/config.toml
The configuration.
.TP
.I /var/lib/soteri\\-forwarder/forwarder.db
The outbox, unless the configuration says otherwise."""


def man() -> None:
    """Print the manual page.

    Examples:

      soteri-forwarder man | man -l -

      soteri-forwarder man > /usr/local/share/man/man1/soteri-forwarder.1
    """
    sys.stdout.write(page())


def page() -> str:
    """Return the manual page in roff, with the man macros of groff_man(7)."""
    from forwarder.cli import app

    root = typer.main.get_command(app)
    lines = [_FRONT.format(version=_plain(__version__))]
    for path, command in _verbs(root, ()):
        lines += _verb(" ".join(path), command)
    return "\n".join([*lines, _BACK]) + "\n"


def _verbs(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401  typer's own click
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, (*path, name))
        else:
            yield (*path, name), command


def _verb(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401  the same
    context = command.make_context(name, [], resilient_parsing=True)
    usage = [name]
    options = []
    for each in command.params:
        if each.param_type_name == "argument":
            usage += each.get_usage_pieces(context)
        elif each.name != "help" and (record := each.get_help_record(context)):
            options.append(record)
    yield f'.SS "{_plain(" ".join(usage))}"'
    text, _, examples = (command.help or "").replace("\b\n", "").partition("Examples:")
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(text).strip()):
        yield _plain(" ".join(paragraph.split()))
        yield ".PP"
    for names, said in options:
        yield ".TP"
        yield f".B {_plain(' '.join(names.split()))}"
        yield _plain(" ".join(said.split()))
    yield ".PP"
    yield ".EX"
    yield from (_plain(line.strip()) for line in examples.splitlines() if line.strip())
    yield ".EE"


def _plain(text: str) -> str:
    """Return text that roff takes as it is."""
    escaped = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("`", "\\(ga")
    )
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
