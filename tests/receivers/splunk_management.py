"""A strict stand-in for the configuration side of Splunk's management port; for tests.

Serve it with `tests.receivers.hec.served`.

It plays what `provision splunk` uses, as splunk-sdk reads it and under ``/services/…`` and
``/servicesNS/OWNER/APP/…``: `POST auth/login`; `server/info`; `data/indexes`, `data/inputs/http`
(its stanza `http`, which switches HEC on, too), `saved/searches` and the mail server in
`configs/conf-alert_actions`, each with GET of the
collection (count, offset, search, sorted by name), POST to create (201), and GET, POST, DELETE and
POST enable and disable of a member, in Atom and, with ``output_mode=json``, JSON.

It enforces: the log-in (401, in the two shapes that Splunk has), the capabilities of the user
(403), apps and names that are known (404), names that are new (409), arguments that the handler
declares (400, in its own words), names of indexes, cron schedules, values of the alert's fields, a
token's default index among its indexes, and that an index of Splunk's own is not removed. A HEC
token is a member ``http://NAME``, its links encoded twice, with a value that Splunk makes. Who asks
in an app sees its members and those that the whole system shares.

Shapes and words: Splunk's REST API Reference, and what others measured on Splunk Enterprise 8.0 to
10.4. Not measured, so perhaps in other words there: the 409s of indexes and tokens, and the 400s of
schedules and values.

It does not cover: SPL (any search is taken), e-mail, running what is scheduled, roles and ACLs
beyond a capability, two members of one name in several apps, clusters and Splunk Cloud (where
indexes and tokens are made elsewhere), restarts, deletion that takes its time, changed passwords.
"""

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape, quoteattr

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ATOM = 'xmlns="http://www.w3.org/2005/Atom" xmlns:s="http://dev.splunk.com/ns/rest"'
PAGING = frozenset({"count", "offset", "search", "sort_dir", "sort_key", "sort_mode", "f"})
INDEX = frozenset({
    "name", "datatype", "homePath", "coldPath", "thawedPath", "maxTotalDataSizeMB",
    "frozenTimePeriodInSecs", "maxDataSize", "coldToFrozenDir", "repFactor",
})  # fmt: skip
TOKEN = frozenset({
    "name", "description", "disabled", "host", "index", "indexes", "source", "sourcetype", "token",
    "useACK",
})  # fmt: skip
COLLECTOR = frozenset(
    {"disabled", "port", "enableSSL", "index", "sourcetype", "dedicatedIoThreads"}
)
SEARCH = frozenset({
    "name", "search", "description", "disabled", "is_scheduled", "cron_schedule",
    "realtime_schedule", "alert_type", "alert_comparator", "alert_threshold", "alert_condition",
    "actions", "is_visible", "max_concurrent", "request.ui_dispatch_app",
})  # fmt: skip
WILD = ("action.", "alert.", "dispatch.", "display.", "args.")
ALLOWED = {
    "alert_type": {"always", "custom", "number of events", "number of hosts", "number of sources"},
    "alert_comparator": {
        "greater than", "less than", "equal to", "not equal to", "rises by", "drops by",
    },
    "alert.severity": set("123456"),
    "action.email.format": {"table", "raw", "csv", "html", "plain", "pdf"},
}  # fmt: skip
TRUTHS = {
    "disabled", "is_scheduled", "realtime_schedule", "useACK", "alert.suppress", "alert.track",
    "alert.digest_mode", "action.email", "action.email.sendresults", "action.email.inline",
}  # fmt: skip
CRON = re.compile(r"[\d*/,\-]+( [\d*/,\-]+){4}")


@dataclass(frozen=True)
class User:
    """`rights` are capabilities; None stands for all of them."""

    name: str = "admin"
    password: str = "changed-me"
    token: str = "admin-token"
    rights: frozenset[str] | None = None


@dataclass
class Member:
    app: str
    owner: str
    content: dict[str, Any]
    sharing: str = "app"
    removable: bool = True


class Refused(Exception):  # noqa: N818  an answer, not a fault
    def __init__(self, status: int, text: str, kind: str = "ERROR", code: str = "") -> None:
        self.status, self.text, self.kind, self.code = status, text, kind, code


def _system(**content: Any) -> Member:
    return Member("system", "nobody", content, "system", removable=False)


@dataclass
class SplunkManagement:
    """One Splunk. `writes` has what changed something: method, path and form.

    `fault` (status, media type, body) stands in place of every answer.
    """

    users: tuple[User, ...] = (User(),)
    indexes: dict[str, Member] = field(
        default_factory=lambda: {
            name: _system(datatype="event", disabled="0", totalEventCount="0")
            for name in ("main", "_internal", "_audit", "history", "summary")
        }
    )
    tokens: dict[str, Member] = field(
        default_factory=lambda: {
            "http": Member(
                "splunk_httpinput",
                "nobody",
                {"disabled": "1", "port": "8088", "enableSSL": "1", "index": "default"},
                removable=False,
            )
        }
    )
    searches: dict[str, Member] = field(default_factory=dict)
    alert_actions: dict[str, Member] = field(
        default_factory=lambda: {"email": _system(mailserver="localhost", **{"from": "splunk"})}
    )
    apps: frozenset[str] = frozenset({"search", "system", "splunk_httpinput"})
    writes: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sessions: dict[str, User] = field(default_factory=dict)
    fault: tuple[int, str, str] | None = None

    @property
    def app(self) -> Starlette:
        methods = ["GET", "POST", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        if self.fault:
            status, media_type, body = self.fault
            return Response(body, status, media_type=media_type)
        asked = parse_qsl(str(request.url.query), keep_blank_values=True)
        asked += parse_qsl((await request.body()).decode(), keep_blank_values=True)
        form = dict(asked)
        is_json = form.pop("output_mode", "atom") == "json"
        try:
            status, collection, entries = self._route(request, form)
        except Refused as refused:
            return said(refused, is_json=is_json)
        if isinstance(entries, str):
            return Response(entries, status, media_type="text/xml")
        shown = [shape(collection, name, member) for name, member in entries]
        body = json.dumps(feed(collection, shown)) if is_json else atom(collection, shown)
        kind = "application/json" if is_json else "text/xml"
        return Response(body, status, media_type=kind)

    def _route(
        self, request: Request, form: dict[str, str]
    ) -> tuple[int, str, list[tuple[str, Member]] | str]:
        raw = request.scope["raw_path"].decode().strip("/").split("/")
        parts = [unquoted(part) for part in raw]
        owner, app = "admin", "search"
        if parts[0] == "servicesNS":
            owner, app, parts = parts[1], parts[2], parts[3:]
        else:
            parts = parts[1:]
        path = "/".join(parts)
        if path == "auth/login" and request.method == "POST":
            return 200, "", self._login(form)
        user = self._user(request)
        if path == "server/info":
            info = Member("", "system", {"version": "10.0.0", "serverName": "splunk"}, "system")
            return 200, "server", [("info", info)]
        if app not in self.apps | {"-"}:
            raise Refused(404, f"Application does not exist: {app}")
        for collection, handler in HANDLERS.items():
            if path == collection or path.startswith(f"{collection}/"):
                rest = parts[collection.count("/") + 1 :]
                if request.method != "GET":
                    self.writes.append((request.method, path, dict(form)))
                told = handler(self).answer(request.method, user, (owner, app), rest, form)
                return told[0], collection, told[1]
        raise Refused(404, "Not Found")

    def _login(self, form: dict[str, str]) -> str:
        for user in self.users:
            if (form.get("username"), form.get("password")) == (user.name, user.password):
                session = uuid.uuid4().hex
                self.sessions[session] = user
                return f"<response>\n  <sessionKey>{session}</sessionKey>\n</response>"
        raise Refused(401, "Login failed", "WARN", "incorrect_username_or_password")

    def _user(self, request: Request) -> User:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme == "Splunk" and value in self.sessions:
            return self.sessions[value]
        for user in self.users:
            if scheme == "Bearer" and value == user.token:
                return user
        if scheme:
            raise Refused(401, "call not properly authenticated", "WARN")
        raise Refused(401, "Unauthorized")


class Handler:
    """One collection; `reads` and `writes` are the capabilities that it asks for."""

    arguments: frozenset[str] = frozenset()
    wild: tuple[str, ...] = ()
    reads: str | None = None
    writes: str | None = None
    home = "search"

    def __init__(self, splunk: SplunkManagement) -> None:
        self.splunk = splunk

    @property
    def members(self) -> dict[str, Member]:
        raise NotImplementedError

    def answer(
        self,
        method: str,
        user: User,
        namespace: tuple[str, str],
        rest: list[str],
        form: dict[str, str],
    ) -> tuple[int, list[tuple[str, Member]]]:
        need = self.reads if method == "GET" else self.writes
        if need and user.rights is not None and need not in user.rights:
            raise Refused(
                403,
                f"You (user={user.name}) do not have permission to perform this operation "
                f"(requires capability: {need}).",
            )
        if not rest:
            return self._list(namespace, form) if method == "GET" else self._create(namespace, form)
        name = self.key(rest[0])
        member = self.members.get(name)
        if member is None or not visible(member, namespace[1]):
            raise Refused(404, f"Could not find object id={rest[0]}")
        if method == "DELETE":
            if not member.removable:
                raise Refused(400, f"Cannot remove {rest[0]}: it is not removable")
            del self.members[name]
            return 200, sorted(self.members.items())
        if method == "POST" and rest[1:] in (["enable"], ["disable"]):
            member.content["disabled"] = "0" if rest[1] == "enable" else "1"
        elif method == "POST":
            self._check(name, form, new=False)
            member.content |= self.stored(form)
        else:
            self._only(form, PAGING)
        return 200, [(name, member)]

    def _list(
        self, namespace: tuple[str, str], form: dict[str, str]
    ) -> tuple[int, list[tuple[str, Member]]]:
        self._only(form, PAGING)
        wanted = form.get("search", "")
        found = [
            (name, member)
            for name, member in sorted(self.members.items())
            if visible(member, namespace[1]) and not self.hidden(name)
            and any(wanted in str(text) for text in (name, *member.content.values()))
        ]  # fmt: skip
        offset, count = int(form.get("offset", "0")), int(form.get("count", "30"))
        return 200, found[offset : offset + count] if count > 0 else found[offset:]

    def _create(
        self, namespace: tuple[str, str], form: dict[str, str]
    ) -> tuple[int, list[tuple[str, Member]]]:
        if "name" not in form:
            raise Refused(400, 'Cannot perform action "POST" without a target name to act on.')
        name = self.key(form["name"])
        if name in self.members:
            raise Refused(409, self.known(form["name"]))
        self._check(name, form, new=True)
        owner, app = namespace
        content = self.defaults(form["name"]) | self.stored(form)
        self.members[name] = Member(self.home or app, owner, content)
        return 201, [(name, self.members[name])]

    def _check(self, name: str, form: dict[str, str], *, new: bool) -> None:
        self._only(form, self.allowed(name) - (frozenset() if new else {"name"}))
        for key, values in ALLOWED.items():
            if key in form and form[key] not in values:
                raise Refused(400, f"Invalid {key}={form[key]}")
        for key in TRUTHS & form.keys():
            if form[key] not in ("0", "1", "true", "false"):
                raise Refused(400, f"{key} must be a boolean, not {form[key]}")
        self.check(name, (self.members[name].content if not new else {}) | form)

    def _only(self, form: dict[str, str], allowed: frozenset[str]) -> None:
        for name in form:
            if name not in allowed and not (self.wild and name.startswith(self.wild)):
                raise Refused(400, f'Argument "{name}" is not supported by this handler.')

    def allowed(self, name: str) -> frozenset[str]:
        return self.arguments

    def key(self, name: str) -> str:
        return name

    def hidden(self, name: str) -> bool:
        return False

    def known(self, name: str) -> str:
        return f"An object with name={name} already exists"

    def defaults(self, name: str) -> dict[str, Any]:
        return {}

    def stored(self, form: dict[str, str]) -> dict[str, Any]:
        return {key: value for key, value in form.items() if key != "name"}

    def check(self, name: str, content: dict[str, Any]) -> None: ...


class Indexes(Handler):
    arguments = INDEX
    writes = "indexes_edit"

    @property
    def members(self) -> dict[str, Member]:
        return self.splunk.indexes

    def known(self, name: str) -> str:
        return f"Index name={name} already exists."

    def defaults(self, name: str) -> dict[str, Any]:
        return {
            "datatype": "event",
            "disabled": "0",
            "totalEventCount": "0",
            "frozenTimePeriodInSecs": "188697600",
            "maxTotalDataSizeMB": "500000",
            "homePath": f"$SPLUNK_DB/{name}/db",
            "minTime": "",
        }

    def check(self, name: str, content: dict[str, Any]) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or "kvstore" in name:
            raise Refused(400, f"Invalid index name: {name}")
        if not str(content.get("frozenTimePeriodInSecs", "0")).isdigit():
            raise Refused(400, "frozenTimePeriodInSecs must be a number")


class Tokens(Handler):
    arguments = TOKEN
    reads = writes = "edit_token_http"
    home = "splunk_httpinput"

    @property
    def members(self) -> dict[str, Member]:
        return self.splunk.tokens

    def allowed(self, name: str) -> frozenset[str]:
        return COLLECTOR if name == "http" else self.arguments

    def key(self, name: str) -> str:
        return name if name == "http" or name.startswith("http://") else f"http://{name}"

    def hidden(self, name: str) -> bool:
        return name == "http"

    def defaults(self, name: str) -> dict[str, Any]:
        return {"host": "splunk", "index": "default", "token": str(uuid.uuid4()), "useACK": "0"}

    def stored(self, form: dict[str, str]) -> dict[str, Any]:
        content = super().stored(form)
        if "indexes" in content:
            content["indexes"] = content["indexes"].split(",") if content["indexes"] else []
        return content

    def check(self, name: str, content: dict[str, Any]) -> None:
        indexes = content.get("indexes") or []
        allowed = indexes.split(",") if isinstance(indexes, str) else indexes
        if allowed and content.get("index") not in allowed:
            raise Refused(400, f"The index {content.get('index')} is not among {allowed}")
        if strange := [each for each in allowed if each not in self.splunk.indexes]:
            raise Refused(400, f"Index {strange[0]} does not exist")


class Searches(Handler):
    arguments = SEARCH
    wild = WILD
    home = ""

    @property
    def members(self) -> dict[str, Member]:
        return self.splunk.searches

    def answer(
        self,
        method: str,
        user: User,
        namespace: tuple[str, str],
        rest: list[str],
        form: dict[str, str],
    ) -> tuple[int, list[tuple[str, Member]]]:
        if form.get("is_scheduled") == "1" and user.rights is not None:
            self.writes = "schedule_search"
        return super().answer(method, user, namespace, rest, form)

    def known(self, name: str) -> str:
        return (
            f"Unable to create saved search with name '{name}'. "
            "A saved search with that name already exists."
        )

    def defaults(self, name: str) -> dict[str, Any]:
        return {
            "disabled": "0",
            "is_scheduled": "0",
            "alert_type": "always",
            "action.email": "0",
            "action.email.sendresults": None,
            "dispatch.earliest_time": None,
            "dispatch.latest_time": None,
            "max_concurrent": "1",
            "next_scheduled_time": "",
        }

    def check(self, name: str, content: dict[str, Any]) -> None:
        if not str(content.get("search", "")).strip():
            raise Refused(400, "Search string cannot be empty.")
        if content.get("is_scheduled") != "1":
            return
        if not CRON.fullmatch(str(content.get("cron_schedule", ""))):
            raise Refused(400, f'Invalid cron_schedule="{content.get("cron_schedule", "")}".')
        actions = [each.strip() for each in str(content.get("actions", "")).split(",")]
        if "email" in actions and "@" not in str(content.get("action.email.to", "")):
            raise Refused(400, "action.email.to is required if the email action is enabled")
        by_result = content.get("alert.digest_mode") == "0"
        throttled = content.get("alert.suppress") == "1"
        if by_result and throttled and not content.get("alert.suppress.fields"):
            raise Refused(400, "alert.suppress.fields is required for each result")


class AlertActions(Handler):
    writes = "admin_all_objects"
    arguments = frozenset({"mailserver", "from"})

    @property
    def members(self) -> dict[str, Member]:
        return self.splunk.alert_actions


HANDLERS = {
    "configs/conf-alert_actions": AlertActions,
    "data/indexes": Indexes,
    "data/inputs/http": Tokens,
    "saved/searches": Searches,
}


def visible(member: Member, app: str) -> bool:
    """Tell whether who asks in `app` sees the member: indexes and HEC are the whole system's."""
    is_shared = member.sharing in ("system", "global") or member.app == "splunk_httpinput"
    return app in ("-", member.app) or is_shared or "totalEventCount" in member.content


def unquoted(part: str) -> str:
    """Return a part of a path; a name with slashes in it is encoded twice."""
    return unquote(unquote(part))


def shape(collection: str, name: str, member: Member) -> dict[str, Any]:
    """Return an entry as Splunk's JSON has it."""
    encoded = quote(quote(name, safe=""), safe="") if "/" in name else quote(name, safe="")
    path = f"/servicesNS/{member.owner}/{member.app}/{collection}/{encoded}"
    links = {"alternate": path, "list": path, "edit": path, "_reload": f"{path}/_reload"}
    if member.removable:
        links["remove"] = path
    acl = {
        "app": member.app,
        "can_list": True,
        "can_write": True,
        "modifiable": True,
        "owner": member.owner,
        "perms": {"read": ["*"], "write": ["admin", "power"]},
        "removable": member.removable,
        "sharing": member.sharing,
    }
    return {
        "name": name,
        "id": f"https://127.0.0.1:8089{path}",
        "updated": "1970-01-01T00:00:00+00:00",
        "links": links,
        "author": member.owner,
        "acl": acl,
        "content": {"eai:acl": None, **member.content},
    }


def feed(collection: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a collection as Splunk's JSON has it."""
    return {
        "links": {"create": f"/services/{collection}/_new"},
        "origin": f"https://127.0.0.1:8089/services/{collection}",
        "updated": "2026-01-02T03:04:05+00:00",
        "generator": {"build": "0123456789ab", "version": "10.0.0"},
        "entry": entries,
        "paging": {"total": len(entries), "perPage": 30, "offset": 0},
        "messages": [],
    }


def atom(collection: str, entries: list[dict[str, Any]]) -> str:
    """Return the same as Atom, where truth is 0 and 1, and nothing is an empty element."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<feed {ATOM} '
        'xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">'
        f"<title>{collection}</title><id>https://127.0.0.1:8089/services/{collection}</id>"
        "<updated>2026-01-02T03:04:05+00:00</updated>"
        '<generator build="0123456789ab" version="10.0.0"/><author><name>Splunk</name></author>'
        f'<link href="/services/{collection}/_new" rel="create"/>'
        f"<opensearch:totalResults>{len(entries)}</opensearch:totalResults>"
        "<opensearch:itemsPerPage>30</opensearch:itemsPerPage>"
        "<opensearch:startIndex>0</opensearch:startIndex><s:messages/>"
        f"{''.join(entry(each) for each in entries)}</feed>"
    )


def entry(shown: dict[str, Any]) -> str:
    links = "".join(
        f"<link href={quoteattr(href)} rel={quoteattr(rel)}/>"
        for rel, href in shown["links"].items()
    )
    content = {**shown["content"], "eai:acl": shown["acl"]}
    return (
        f"<entry><title>{escape(shown['name'])}</title><id>{escape(shown['id'])}</id>"
        f"<updated>{shown['updated']}</updated>{links}"
        f"<author><name>{escape(shown['author'])}</name></author>"
        f'<content type="text/xml">{element(content)}</content></entry>'
    )


def element(value: Any) -> str:
    if isinstance(value, dict):
        keys = (f"<s:key name={quoteattr(k)}>{element(v)}</s:key>" for k, v in value.items())
        return f"<s:dict>{''.join(keys)}</s:dict>"
    if isinstance(value, list):
        return f"<s:list>{''.join(f'<s:item>{escape(str(v))}</s:item>' for v in value)}</s:list>"
    if isinstance(value, bool):
        return "1" if value else "0"
    return "" if value is None else escape(str(value))


def said(refused: Refused, *, is_json: bool) -> Response:
    if is_json:
        message = {"type": refused.kind, "text": refused.text}
        if refused.code:
            message["code"] = refused.code
        body = json.dumps({"messages": [message]})
        return Response(body, refused.status, media_type="application/json")
    code = f' code="{refused.code}"' if refused.code else ""
    text = f'<msg type="{refused.kind}"{code}>{escape(refused.text)}</msg>'
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<response>\n  <messages>\n    {text}\n  </messages>\n</response>"
    )
    return Response(body, refused.status, media_type="text/xml; charset=UTF-8")
