"""A strict stand-in for Splunk's management port, over what a `Hec` has indexed; for tests.

Serve it with `tests.receivers.hec.served`.

It plays what `reconcile` uses: `GET /services/server/info` (Atom), which splunk-sdk asks first, and
`POST /services/search/v2/jobs/export` with `output_mode=json`: one JSON object a line with
`preview`, `offset`, `result` and, in the last, `lastrow`; every value of a result is text. It
enforces the bearer token (401 and Splunk's XML), the parameters that the endpoint documents, the
one form of search that we send (400 and `messages` for any other), the time range (`_time` from
`earliest_time`, before `latest_time`) and the indexes of the user's role, which, as in Splunk,
make a search find less and not fail.

It does not cover: SPL itself (a search that Splunk would refuse or read otherwise passes if it has
our form), index-time and search-time rules of a real `props.conf`, buckets, replication, search
quotas and queues, log-in with a password, and releases before 9.0.2 (other paths).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.receivers.hec import Hec

PARAMETERS = {
    "search", "output_mode", "preview", "earliest_time", "latest_time", "segmentation",
}  # fmt: skip
TEXT = r'"((?:[^"\\]|\\.)*)"'
SEARCH = re.compile(
    rf"\| tstats count where index=(\*|{TEXT}) source={TEXT} event_id=\* by event_id"
)
INFO = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:s="http://dev.splunk.com/ns/rest">
  <title>server-info</title><id>https://127.0.0.1:8089/services/server/info</id>
  <updated>2026-01-02T03:04:05+00:00</updated>
  <entry><title>server-info</title>
    <id>https://127.0.0.1:8089/services/server/info/server-info</id>
    <updated>2026-01-02T03:04:05+00:00</updated>
    <link href="/services/server/info/server-info" rel="alternate"/>
    <author><name>system</name></author>
    <content type="text/xml"><s:dict>
      <s:key name="build">0123456789ab</s:key>
      <s:key name="instance_type">download</s:key>
      <s:key name="serverName">splunk</s:key>
      <s:key name="version">10.0.0</s:key>
    </s:dict></content>
  </entry>
</feed>"""


@dataclass
class Splunkd:
    """One search head over `hec`; `token` is the user's, `indexes` what its role may search.

    `messages` come with the next results, `fault` (status, text) in place of every answer.
    """

    hec: Hec
    token: str = "management-token"
    indexes: set[str] = field(default_factory=lambda: {"main", "security"})
    default_index: str = "main"
    messages: list[dict[str, str]] = field(default_factory=list)
    fault: tuple[int, str] | None = None
    searches: list[str] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        routes = [
            Route("/services/server/info", self._info),
            Route("/services/search/v2/jobs/export", self._export, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _refused(self, request: Request) -> Response | None:
        if self.fault:
            return Response(self.fault[1], self.fault[0], media_type="text/html")
        if request.headers.get("authorization") == f"Bearer {self.token}":
            return None
        said = '<msg type="WARN">call not properly authenticated</msg>'
        body = f"<response><messages>{said}</messages></response>"
        return Response(body, 401, media_type="text/xml")

    async def _info(self, request: Request) -> Response:
        return self._refused(request) or Response(INFO, media_type="text/xml")

    async def _export(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        form = parse_qs((await request.body()).decode(), strict_parsing=True)
        if strange := form.keys() - PARAMETERS:
            return fatal(f"unknown parameter {strange}")
        asked = {name: values[0] for name, values in form.items()}
        if asked.get("output_mode") != "json":
            return fatal("the stand-in knows output_mode=json alone")
        found = SEARCH.fullmatch(asked["search"])
        if found is None:
            return fatal(f"Error in 'SearchParser': {asked['search']}")
        self.searches.append(asked["search"])
        index = None if found[1] == "*" else unquoted(found[2])
        counts = self._count(
            index, unquoted(found[3]), float(asked["earliest_time"]), float(asked["latest_time"])
        )
        lines = list(self._lines(counts, previews=asked.get("preview") not in ("0", "False")))
        return Response("\n".join(lines) + "\n", media_type="application/json")

    def _count(
        self, index: str | None, source: str, earliest: float, latest: float
    ) -> Counter[str]:
        counts: Counter[str] = Counter()
        for envelope in self.hec.indexed:
            its = envelope.get("index", self.default_index)
            if its not in self.indexes or index not in (None, its):
                continue
            if envelope.get("source") == source and earliest <= float(envelope["time"]) < latest:
                counts[envelope["fields"]["event_id"]] += 1
        return counts

    def _lines(self, counts: Counter[str], *, previews: bool) -> Iterator[str]:
        rows = [{"event_id": name, "count": str(count)} for name, count in sorted(counts.items())]
        for preview in (True, False) if previews else (False,):
            messages, self.messages = self.messages, []
            if messages:
                yield json.dumps({"preview": preview, "messages": messages})
            for offset, row in enumerate(rows):
                last = {"lastrow": True} if offset == len(rows) - 1 else {}
                yield json.dumps({"preview": preview, "offset": offset, **last, "result": row})
            if not rows:
                yield json.dumps({"preview": preview, "lastrow": True})


def fatal(text: str) -> Response:
    said = {"messages": [{"type": "FATAL", "text": text}]}
    return Response(json.dumps(said), 400, media_type="application/json")


def unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
