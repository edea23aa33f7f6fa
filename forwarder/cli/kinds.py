"""`kinds`: the catalogue of events, for people, for machines and for docs/events.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from forwarder.cli.terminal import ConfigOption, loaded, say_json, show, shown, table

if TYPE_CHECKING:
    from forwarder.normalizers.catalogue import Kind

_COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
_TECHNIQUES = "https://attack.mitre.org/techniques/"


def kinds(
    config: ConfigOption = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON array.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/events.md.")] = False,
) -> None:
    """List the kinds of events: what each is called, how grave it is, why it matters.

    With `--config` those of your configuration are among them.

    Examples:

      soteri-forwarder kinds

      soteri-forwarder kinds --json | jq -r '.[] | select(.severity == "high").kind'
    """
    from forwarder.normalizers.catalogue import shipped

    known = loaded(config).catalogue.kinds if config else shipped()
    listed = sorted(known.values(), key=_maker)
    if json:
        said = [{name: getattr(kind, name) for name in _SHOWN} for kind in listed]
        say_json(said)
    elif markdown:
        sys.stdout.write("\n".join(_page(listed)))
    else:
        _show(listed)


def _maker(kind: Kind) -> int:
    """Return 0 for Soteri's kinds, 1 for Bitbucket's own, 2 and 3 for the forwarder's."""
    return {"bitbucket": 1, "forwarder": 2, "correlation": 3}.get(kind.kind.partition(".")[0], 0)


_SHOWN = ("kind", "title", "why", "severity", "since", "techniques")


def _show(listed: list[Kind]) -> None:
    rows = table("kind", "severity", "what happened", "since", "ATT&CK")
    for kind in listed:
        colour = _COLOURS.get(kind.severity, "dim")
        rows.add_row(
            shown(kind.kind),
            f"[{colour}]{kind.severity}[/]",
            shown(kind.title),
            kind.since or "",
            shown(" ".join(kind.techniques)),
        )
    show(rows)


def _page(listed: list[Kind]) -> Iterator[str]:
    yield """\
# Kinds of events

Every event has a `kind`, a name that stays the same whatever the version and the language of
Bitbucket and of the app, and a `severity`. This page is printed by
`soteri-forwarder kinds --markdown`; with `--json` the same comes for machines.

Of Soteri's action texts only "Security hook skipped" is public, so the kinds are recognised by
rules that tolerate wording (`forwarder/normalizers/catalogue.toml`). What fits no rule, or the
rules of two kinds, is never guessed: it is `soteri.unknown`, or `bitbucket.` and its action's
words for Bitbucket's own events, and passes with all it says. `soteri-forwarder status` and the
metric `forwarder_unknown_events` count those of Soteri's, and `soteri-forwarder events --kind
soteri.unknown` shows them. Give them a name, or ours another severity, in the configuration:

```toml
[kinds."acme.push_quarantined"]
title = "Push quarantined"
severity = "high"
actions = ["Push quarantined"]

[kinds."hook.skipped"]
severity = "critical"
```

Techniques are MITRE ATT&CK's, only where one truly fits. "Since" is the first version of
Soteri Security for Bitbucket that writes the event.
"""
    yield "## Soteri's\n"
    yield from _rows(kind for kind in listed if _maker(kind) == 0)
    yield """
## Bitbucket's own, around them

They come where `categories` of the source lets them in (`[]` takes every category).
"""
    yield from _rows(kind for kind in listed if _maker(kind) == 1)
    yield """
## The forwarder's own

Its watches (`[watch]`) and heartbeats (`[heartbeat]`) tell them through the same outbox to the same
sinks, with the source `forwarder` and a chain of its own. What goes on has one event at its start
and one at its end, which says under `since` and `seconds` how long it was.
"""
    yield from _rows(kind for kind in listed if _maker(kind) == 2)
    yield """
## Correlations

What several events mean together, told in the same way where its rule is switched on
(`[correlations]`). The time, the person and the objects are those of the event that completed it;
the attribute `events` cites the ids that it is drawn from (20 at most, `count` says how many there
are), `detail` says it in a sentence, and `rule` is the rule's name.
"""
    yield from _rows(kind for kind in listed if _maker(kind) == 3)
    yield ""


def _rows(listed: Iterator[Kind]) -> Iterator[str]:
    yield "| kind | what happened, and why it matters | severity | since | ATT&CK |"
    yield "|---|---|---|---|---|"
    for kind in listed:
        links = ", ".join(
            f"[{each}]({_TECHNIQUES}{each.replace('.', '/')}/)" for each in kind.techniques
        )
        what = f"**{kind.title}.** {kind.why}".replace("|", "\\|").replace("**skip-", "`**skip-")
        what = what.replace("check**", "check**`")
        yield f"| `{kind.kind}` | {what} | {kind.severity} | {kind.since or ''} | {links} |"
