"""The options of `simulate`, by the panels of its help."""

from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

_server: Final = partial(typer.Option, rich_help_panel="Server")
_events: Final = partial(typer.Option, rich_help_panel="Events")
_trouble: Final = partial(typer.Option, rich_help_panel="Trouble")
_end: Final = partial(typer.Option, rich_help_panel="End")

# -- server

Host = Annotated[str, _server(help="Address to listen on.")]
Port = Annotated[int, _server(help="Port; 0 takes a free one.")]
Context = Annotated[str, _server(help='Context path, such as "/bitbucket".')]
InternalHost = Annotated[
    str, _server(help="Address that Bitbucket believes to have; nextPageLink names it.")
]
Token = Annotated[str, _server(help="HTTP access token of an administrator.")]
ProjectToken = Annotated[
    str, _server(help="HTTP access token of one who administers --project only.")
]
Project = Annotated[
    list[str] | None,
    _server(
        help="Key of a project of --project-token; may be repeated. [default: SEC]",
        show_default=False,
    ),
]
Username = Annotated[str, _server(help="User for Basic authentication.")]
Password = Annotated[str, _server(help="Password for it.")]
BitbucketVersion = Annotated[str, _server(help="Version to claim.")]

# -- events

Seed = Annotated[int, _events(help="Another seed makes other events.")]
History = Annotated[int, _events(min=0, help="Events before the start.")]
Span = Annotated[str, _events(help="How far back they go.")]
Rate = Annotated[float, _events(min=0, help="Events a second from then on.")]
Events = Annotated[
    Path | None,
    _events(
        exists=True,
        dir_okay=False,
        help="Serve these captured events (JSON lines as REST gives them) and no others.",
    ),
]
AuditLogs = Annotated[
    Path | None,
    _events(
        file_okay=False,
        metavar="FOLDER",
        help="Write the nodes' audit log files too, in a folder for each node in this one.",
    ),
]
Soteri = Annotated[float, _events(min=0, max=1, help="Share of Soteri's events.")]
Bursts = Annotated[
    float, _events(min=0, max=1, help="Share of events that begin a burst in one millisecond.")
]
Twins = Annotated[float, _events(min=0, max=1, help="Share of events written twice, equal in all.")]
Late = Annotated[
    float, _events(min=0, max=1, help="Share of events that show up after their time.")
]
LateBy = Annotated[str, _events(help="How late, at most.")]
Skew = Annotated[str, _events(help="How far one node's clock is ahead, and another's behind.")]
Retention = Annotated[str | None, _events(help="Forget older rows. [default: never]")]
Coverage = Annotated[
    list[str] | None,
    _events(
        metavar="AREA=LEVEL",
        help='Coverage level; "ecosystem=off" hides Soteri\'s events. May be repeated.',
    ),
]
ExcludeAction = Annotated[
    list[str] | None, _events(help="Action that is not audited: its text or key. May be repeated.")
]

# -- trouble

Faults = Annotated[
    float,
    _trouble(min=0, max=1, help="Share of requests that fail, by every transient fault alike."),
]
Fault = Annotated[
    list[str] | None,
    _trouble(
        metavar="NAME[=RATE]",
        help='One fault and its share of requests, 1 if not given; "help" lists the names. '
        "May be repeated, and beats --faults.",
    ),
]
Slow = Annotated[str, _trouble(help="How late a slow answer is.")]
Busy = Annotated[str, _trouble(help="How long a busy search waits before its 500; a real one 30s.")]
RateLimit = Annotated[
    bool, _trouble("--rate-limit", help="Limit each user to 60 requests, and 5 a second.")
]
RetryAfter = Annotated[
    Literal["seconds", "date", "none"], _trouble(help="How a refused client is told the wait.")
]
LimitCap = Annotated[
    int,
    _trouble(min=1, help="Largest page: 100000, or 10000 as Atlassian's knowledge base has it."),
]
Denied = Annotated[
    Literal["401", "403"],
    _trouble(help="Status for one who may not read; perhaps 403 on newer versions."),
]

# -- end

Count = Annotated[
    int | None,
    _end(min=1, help="Make no more live events than this, and end then if there is no --duration."),
]
Duration = Annotated[str | None, _end(help="End after this.")]
