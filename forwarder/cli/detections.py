"""`detections`: what somebody should be told of, for people, SIEMs and docs/detections.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from forwarder.cli.terminal import say_json, show, shown, table
from forwarder.span import span

if TYPE_CHECKING:
    from forwarder.detections import Detection

_COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}


class Siem(StrEnum):
    """Whom a search is for."""

    SPLUNK = "splunk"
    CLOUDWATCH = "cloudwatch"
    LOGS_INSIGHTS = "logs-insights"


def detections(
    name: Annotated[str, typer.Argument(help="One detection, whole; without it, all.")] = "",
    *,
    siem: Annotated[
        Siem | None, typer.Option("--for", help="Only its search, to put into a SIEM.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/detections.md.")] = False,
) -> None:
    """List what somebody should be told of, with the searches that find it in a SIEM.

    The searches are for events in the format json.

    Examples:

      soteri-forwarder detections

      soteri-forwarder detections hook_switched_off

      soteri-forwarder detections hook_switched_off --for splunk
    """
    from forwarder.config.problems import did_you_mean
    from forwarder.detections import detections as known

    listed = known()
    if name:
        near = did_you_mean(name, (each.name for each in listed)) or "; see `detections`"
        listed = tuple(each for each in listed if each.name == name)
        if not listed:
            raise typer.BadParameter(f"there is no detection {name!r}{near}")
    if siem:
        _say_search(listed, siem)
    elif json:
        say_json(list(listed))
    elif markdown:
        sys.stdout.write("\n".join(_page(listed)))
    elif name:
        sys.stdout.write("\n".join(_whole(listed[0])))
    else:
        _show(listed)


def _say_search(listed: tuple[Detection, ...], siem: Siem) -> None:
    if len(listed) != 1:
        raise typer.BadParameter("--for takes the name of one detection")
    search = _search(listed[0], siem)
    if search is None:
        raise typer.BadParameter(f"{siem.value} has no words for it", param_hint="--for")
    typer.echo(search)


def _search(detection: Detection, siem: Siem) -> str | None:
    if siem is Siem.SPLUNK:
        return detection.splunk
    return detection.cloudwatch if siem is Siem.CLOUDWATCH else detection.logs_insights


def _show(listed: tuple[Detection, ...]) -> None:
    rows = table("detection", "level", "what it sees", "kinds")
    for each in listed:
        colour = _COLOURS.get(each.level, "dim")
        kinds = shown(" ".join(each.kinds))
        rows.add_row(shown(each.name), f"[{colour}]{each.level}[/]", shown(each.title), kinds)
    show(rows)


def _whole(each: Detection) -> Iterator[str]:
    yield f"{each.title} ({each.name}, {each.level})\n"
    yield f"{each.description}\n"
    yield f"fires: {_when(each)}"
    yield f"kinds: {' '.join(each.kinds)}"
    if each.tags:
        yield f"ATT&CK: {' '.join(each.tags)}"
    for text in each.false_positives:
        yield f"harmless: {text}"
    for text in each.references:
        yield f"reference: {text}"
    for siem in Siem:
        if search := _search(each, siem):
            yield f"\n{siem.value}:\n{search}"
    yield ""


def _when(each: Detection) -> str:
    by = f" of one {', '.join(each.group_by)}" if each.group_by else ""
    if each.absence:
        return f"where none came for {span(each.window)}"
    if each.threshold > 1:
        return f"at {each.threshold} events{by} within {span(each.window)}"
    if each.group_by:
        return f"at events{by}, one after the other, within {span(each.window)}"
    return "at each event"


def _page(listed: tuple[Detection, ...]) -> Iterator[str]:
    yield _BEFORE
    yield "| detection | level | what it sees | kinds of events | harmless where it is | ATT&CK |"
    yield "|---|---|---|---|---|---|"
    for each in listed:
        techniques = [tag for tag in each.tags if tag.startswith("attack.t")]
        links = ", ".join(
            f"[{tag[7:].upper()}](https://attack.mitre.org/techniques/{tag[7:].upper()}/)"
            for tag in techniques
        )
        what = f"**{each.title}.** {each.description}".replace("|", "\\|")
        what = what.replace("**skip-", "`**skip-").replace("check**", "check**`")
        kinds = ", ".join(f"`{kind}`" for kind in each.kinds)
        harmless = "; ".join(each.false_positives).replace("|", "\\|")
        yield f"| `{each.name}` | {each.level} | {what} | {kinds} | {harmless} | {links} |"
    yield _AFTER


_BEFORE = """\
# Detections

What somebody should be told of. The rules are Sigma (specification 2), one in a file, in
`deploy/detections/`; this page is printed by `soteri-forwarder detections --markdown`. Each is
run in the tests, by SQLite and over lines that a sink would send, against events that must fire
it and events that must not (`tests/data/detections/`), and against a fortnight of usual traffic.

Nothing but the kinds is certain about Soteri's wording (see [events.md](events.md)), so what
switches protection off is found by whatever does not say plainly that it switches it on: rather an
alert too many.

Kinds `bitbucket.*` come where `categories` of the source lets them in, `forwarder.*` from `[watch]`
and `[heartbeat]`, `correlation.*` from `[correlations]`, which is off by default.
"""
_AFTER = """
Sigma tells what is there, never what stays away: `forwarder_silent` is written for each SIEM, in
`deploy/detections/native/`. All others are Sigma.

## The searches that come with the forwarder

    soteri-forwarder detections hook_switched_off --for splunk

`--for cloudwatch` gives the pattern of a metric filter, `--for logs-insights` a query; `--json` has
them all. They need events in the format `json`.

- Splunk: put `index=...` in front. Rules over several events look at whatever time range they are
  given: give them a little more than an hour. They find such events in their order wherever they
  lie; pySigma's own conversion cuts time into fixed hours and knows no order.
- CloudWatch: a metric filter sees one event, tells upper from lower case, and looks at the first
  changed value, object and attribute alone. `many_findings_reviewed` counts for each person only
  with the dimension `$.actor.name`. What it cannot say has a query of Logs Insights for people; and
  the forwarder can put events in order itself (`[correlations]`), for which there are
  `protection_gap`, `skips_above_habit` and `block_became_warning`.

## The list of those who may skip

`hook_skipped_by_outsider` asks for a list, `may_skip_hook`. As shipped it is empty: nobody may. In
the searches above, put names where `%may_skip_hook%` is; for pySigma copy
`deploy/detections/pipelines/lists.yaml` and put them there.

## Converting for another SIEM

`deploy/detections/converted/` has them for Elasticsearch (EQL) and OpenSearch (Lucene), over events
in the format `ecs`. For others take [sigma-cli](https://github.com/SigmaHQ/sigma-cli) and the
backend of your SIEM:

```sh
pip install sigma-cli pysigma-backend-elasticsearch
cd deploy/detections
sigma convert -t eql -p pipelines/lists.yaml -p pipelines/ecs.yaml -p pipelines/eql.yaml .
```

sigma-cli gives up at a rule that a language cannot say (the second table): leave out those in order
with `$(grep -L 'type: temporal_ordered' *.yml)` in place of the `.`, and those that count as well
with `$(grep -L '^correlation:' *.yml)`.

The rules look at the fields of our format `json` ([formats.md](formats.md)), as the log source
`product: soteri-forwarder`, `service: events`. It is a log source of its own, because Sigma's
`product: bitbucket`, `service: audit` is Bitbucket's own audit log file, which has other fields and
no kinds. A list of objects is written with a dot (`changes.to`): any of its values.

| what you send | give |
|---|---|
| `json` | `lists.yaml`; for Splunk `splunk_json.yaml` too |
| `ecs` | `lists.yaml`, `ecs.yaml` |
| `audit_log` | `lists.yaml`, `audit_log.yaml` |

In `audit_log` there are no kinds: only rules whose actions have a text that is known for certain
can be said, and the others are refused.

| pySigma's backend | single events | counting | in order |
|---|---|---|---|
| splunk | yes | in fixed hours | no: take ours |
| elasticsearch, `eql` | yes | as that many one after the other | yes |
| elasticsearch, `esql` | yes | in fixed hours | no |
| elasticsearch, `lucene` | yes | no | no |
| opensearch, `opensearch_lucene` | yes | no | no |
| sqlite | yes | yes | yes |

Elasticsearch's `esql` and `lucene` tell upper from lower case in keyword fields, and ES|QL does
not compare a field that has several values at once: take `eql`.
"""
