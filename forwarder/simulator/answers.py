"""Bitbucket's answers: pages, CSV, and every error body of docs/bitbucket.md section 1. Pure."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final

from starlette.responses import Response

from forwarder.simulator.generator import encoded, timestamp
from forwarder.simulator.log import Found, Row, decoded

_AUTH: Final = "com.atlassian.bitbucket.auth."
INCORRECT_PASSWORD: Final = f"{_AUTH}IncorrectPasswordAuthenticationException"
NOT_AUTHORISED: Final = "com.atlassian.bitbucket.AuthorisationException"
NO_PROJECT: Final = "com.atlassian.bitbucket.project.NoSuchProjectException"
NO_REPOSITORY: Final = "com.atlassian.bitbucket.repository.NoSuchRepositoryException"
NO_USER: Final = "com.atlassian.bitbucket.user.NoSuchUserException"
FILTERS_REFUSED: Final = "categories and actions are only supported for Datacenter license."
SLOTS_BUSY: Final = "Can't perform search as there are many other search requests in progress"
_LOGIN_PAGE: Final = (
    "<!DOCTYPE html>\n<html><head><title>Log in - Single sign-on</title></head>"
    '<body><form method="post" action="/login">'
    '<input name="j_username"><input name="j_password" type="password"></form></body></html>\n'
)


def json_answer(value: Any, status: int = 200, **headers: str) -> Response:  # noqa: ANN401  JSON
    """Return JSON; header names are written with underscores."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(encoded(value), status, named, media_type="application/json")


def error(status: int, message: str, exception: str | None, **headers: str) -> Response:
    """Return an error in the form of Bitbucket's own REST API."""
    one = {"context": None, "message": message, "exceptionName": exception}
    return json_answer({"errors": [one]}, status, **headers)


def audit_error(status: int, message: str, problems: Mapping[str, str], now_ms: int) -> Response:
    """Return an error in the form of the audit plugin; `problems` maps keys to messages."""
    errors = [{"key": key, "message": text} for key, text in problems.items()]
    body = {"status": status, "message": message, "errors": errors, "timestamp": timestamp(now_ms)}
    return json_answer(body, status)


def filters_refused(status: int, now_ms: int) -> Response:
    """Return what a Bitbucket without a Data Center licence says to filters."""
    return audit_error(status, FILTERS_REFUSED, {}, now_ms)


def slots_busy() -> Response:
    """Return what a Bitbucket says whose search slots are taken: 500 and plain text."""
    return Response(SLOTS_BUSY, 500, media_type="text/plain")


def rate_limited(retry_after: float | datetime | None) -> Response:
    """Return 429, with `Retry-After` in seconds, as an HTTP date, or without one.

    The message and the lack of an exception name are this simulator's: no text is documented.
    """
    headers = {}
    if isinstance(retry_after, datetime):
        headers["Retry_After"] = http_date(retry_after)
    elif retry_after is not None:
        headers["Retry_After"] = str(int(-(-retry_after // 1)))  # up to the next whole second
    return error(429, "You have been rate limited. Try again later.", None, **headers)


def http_date(at: datetime) -> str:
    """Return a time as HTTP writes it (RFC 9110 section 5.6.7)."""
    return format_datetime(at, usegmt=True)


def proxy_error(status: int) -> Response:
    """Return a proxy's page for a Bitbucket that is not there."""
    titles = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Time-out"}
    page = f"<html><head><title>{status} {titles[status]}</title></head><body></body></html>\n"
    return Response(page, status, media_type="text/html")


def login_page() -> Response:
    """Return a log-in page as a success, as single sign-on does."""
    return Response(_LOGIN_PAGE, media_type="text/html")


def login_redirect(host: str, path: str) -> Response:
    """Return a redirect to a log-in page."""
    return Response(status_code=302, headers={"Location": f"{host}/login?next={path}"})


def page(found: Found, *, link: str, next_offset: int, stuck_at: str | None = None) -> Response:
    """Return one page of JSON.

    `link` is the address of the next page up to its cursor. `stuck_at` puts another cursor in the
    place of the right one.
    """
    paging: dict[str, Any] = {"lastPage": not found.more, "size": len(found.rows)}
    if found.rows and (found.more or stuck_at):
        last = found.rows[-1]
        cursor = stuck_at or f"{last.at_ms},{last.id}"
        paging |= {
            "lastPage": False,
            "nextPageOffset": next_offset,
            "nextPageCursor": cursor,
            "nextPageLink": f"{link}{cursor.replace(',', '%2C')}",
        }
    bodies = b",".join([row.body for row in found.rows])
    content = b'{"entities":[%b],"pagingInfo":%b}' % (bodies, encoded(paging))
    return Response(content, media_type="application/json")


def legacy_page(rows: Sequence[Row], *, start: int, limit: int) -> Response:
    """Return a page of the audit API before 8.0: `rows` newest first, in ordinary paging.

    What a value holds beside `action`, `timestamp`, `details` and `user`, and what these say of
    an event that the newer API shows too, is inferred.
    """
    shown = rows[start : start + limit]
    following = start + len(shown)
    last = following >= len(rows)
    return json_answer(
        {
            "size": len(shown),
            "limit": limit,
            "isLastPage": last,
            "values": [_legacy_value(row) for row in shown],
            "start": start,
            "nextPageStart": None if last else following,
        }
    )


def _legacy_value(row: Row) -> dict[str, Any]:
    event = decoded(row.body)
    author = event.get("author") or {}
    attributes = event.get("extraAttributes") or ()
    details = (one.get("value") for one in attributes if one.get("name") == "details")
    id_ = str(author.get("id", ""))
    return {
        "action": row.action,
        "timestamp": row.at_ms,
        "details": next(details, None),
        "user": {
            "name": author.get("name"),
            "id": int(id_) if id_.lstrip("-").isdecimal() else None,
            "displayName": author.get("name"),
            "active": True,
            "slug": author.get("name"),
            "type": author.get("type"),
        },
    }


def csv_page(found: Found) -> Response:
    """Return the rows as CSV for people: objects and values flattened into prose.

    The columns are this simulator's: what is known of the real ones is only that objects become
    translated prose (docs/bitbucket.md section 1).
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ("Date", "Author", "Category", "Action", "Affected objects", "Changed values",
         "IP address", "Node", "Method", "Extra attributes")
    )  # fmt: skip
    writer.writerows(_cells(decoded(row.body)) for row in found.rows)
    headers = {"Content-Disposition": 'attachment; filename="audit-log.csv"'}
    return Response(out.getvalue(), 200, headers, media_type="text/csv")


def _cells(event: Mapping[str, Any]) -> tuple[str, ...]:
    author, kind = event.get("author") or {}, event.get("type") or {}
    objects = "; ".join(
        f"{one.get('type', '').capitalize()}: {one.get('name', '')}"
        for one in event.get("affectedObjects") or ()
    )
    changes = "; ".join(
        f"{one.get('key', '')} changed from {one.get('from', '')!r} to {one.get('to', '')!r}"
        for one in event.get("changedValues") or ()
    )
    attributes = "; ".join(
        f"{one.get('name', '')}: {one.get('value', '')}"
        for one in event.get("extraAttributes") or ()
    )
    return (
        str(event.get("timestamp", "")),
        str(author.get("name", "")),
        str(kind.get("category", "")),
        str(kind.get("action", "")),
        objects,
        changes,
        str(event.get("source", "")),
        str(event.get("node", "")),
        str(event.get("method", "")),
        attributes,
    )
