"""The HTTP face: Bitbucket's addresses, and beside them this simulator's own for tests."""

from collections.abc import Awaitable, Callable
from functools import wraps
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from forwarder.simulator import answers, control
from forwarder.simulator.access import Caller, NotAllowedError, NotLoggedInError, may_read
from forwarder.simulator.catalogue import Project, Repository
from forwarder.simulator.clock import from_ms
from forwarder.simulator.faulty import FaultyServer
from forwarder.simulator.log import Found, Query
from forwarder.simulator.query import InvalidQueryError, read_paging, read_query, wants_csv
from forwarder.simulator.simulator import Simulator

Endpoint = Callable[[Request], Awaitable[Response]]


def application(simulator: Simulator) -> Starlette:
    """Return the ASGI application, mounted at the simulator's context path."""
    routes: list[BaseRoute] = [
        Route("/status", _status),
        Route("/rest/auditing/1.0/events", _with_caller(_events)),
        Route("/rest/auditing/1.0/configuration/coverage", _with_caller(_coverage)),
        Route("/rest/auditing/1.0/configuration/denylist", _with_caller(_denylist)),
        Route("/rest/plugins/1.0/", _with_caller(_plugins)),
        Route("/rest/access-tokens/latest/users/{slug}", _with_caller(_tokens)),
        *(
            route
            for version in ("latest", "1.0")
            for route in (
                Route(f"/rest/api/{version}/application-properties", _properties),
                Route(f"/rest/api/{version}/users/{{slug}}", _with_caller(_user)),
                Route(f"/rest/api/{version}/projects/{{key}}", _with_caller(_project)),
                Route(
                    f"/rest/api/{version}/projects/{{key}}/repos/{{slug}}",
                    _with_caller(_repository),
                ),
            )
        ),
        *(
            Route(f"/rest/audit/{version}/projects/{{key}}{of}/events", _with_caller(_legacy))
            for version in ("latest", "1.0")
            for of in ("", "/repos/{slug}")
        ),
        Mount("/simulator", routes=control.routes()),
    ]
    context = simulator.options.context.rstrip("/")
    app = Starlette(
        routes=[Mount(context, routes=routes)] if context else routes,
        middleware=[Middleware(FaultyServer, simulator=simulator)],
        exception_handlers={404: _not_found},
    )
    app.state.simulator = simulator
    return app


def _simulator(request: Request) -> Simulator:
    simulator: Simulator = request.app.state.simulator
    return simulator


def _with_caller(
    endpoint: Callable[[Request, Caller], Awaitable[Response]],
) -> Endpoint:
    """Return an endpoint that refuses whom Bitbucket refuses, in Bitbucket's words."""

    @wraps(endpoint)
    async def checked(request: Request) -> Response:
        simulator = _simulator(request)
        try:
            caller = simulator.door.member(request.headers)
            if wait := simulator.limited(caller):
                return _rate_limited(simulator, wait)
            return _named(await endpoint(request, caller), caller)
        except NotLoggedInError as refusal:
            return _refused(refusal)
        except NotAllowedError as refusal:
            status = simulator.options.denied_status
            return answers.error(status, str(refusal), answers.NOT_AUTHORISED)
        except InvalidQueryError as refusal:
            return answers.audit_error(
                400, "Invalid Query", {refusal.key: str(refusal)}, simulator.clock.now_ms()
            )

    return checked


def _named(response: Response, caller: Caller) -> Response:
    """Return the answer with the header by which Bitbucket says as whom it took the request."""
    response.headers["X-AUSERNAME"] = quote(caller.name)
    return response


def _refused(refusal: NotLoggedInError) -> Response:
    headers = {"WWW_Authenticate": 'Basic realm="Atlassian Bitbucket"'}
    if refusal.captcha:
        headers["X_Authentication_Denied_Reason"] = "CAPTCHA_CHALLENGE"
    return answers.error(401, str(refusal), answers.INCORRECT_PASSWORD, **headers)


def _rate_limited(simulator: Simulator, wait: float) -> Response:
    if simulator.options.retry_after == "none":
        return answers.rate_limited(None)
    if simulator.options.retry_after == "date":
        return answers.rate_limited(from_ms(simulator.clock.now_ms() + round(wait * 1000) + 999))
    return answers.rate_limited(wait)


async def _events(request: Request, caller: Caller) -> Response:
    simulator = _simulator(request)
    parameters = dict(request.query_params)
    query = read_query(
        parameters, now_ms=simulator.clock.now_ms(), limit_cap=simulator.options.limit_cap
    )
    may_read(caller, query.objects, simulator.catalogue)
    address = request.client.host if request.client else ""
    found = simulator.search(query, caller, address=address, terms=parameters.get("search", ""))
    if wants_csv(parameters):
        return answers.csv_page(found)
    parameters.pop("pageCursor", None)
    parameters.pop("offset", None)
    options = simulator.options
    path = f"{options.internal_host}{options.context.rstrip('/')}/rest/auditing/1.0/events"
    return answers.page(
        found,
        link=f"{path}?{urlencode({**parameters, 'pageCursor': ''})}",
        # Zero beside a cursor was seen on a real server.
        next_offset=query.offset + len(found.rows) if query.offset else 0,
        stuck_at=_stuck_cursor(found, query) if request.scope.get("fault") else None,
    )


def _stuck_cursor(found: Found, query: Query) -> str | None:
    """Return the cursor of this very page, or of its newest row: neither leads further back."""
    if query.cursor:
        return f"{query.cursor[0]},{query.cursor[1]}"
    return f"{found.rows[0].at_ms},{found.rows[0].id + 1}" if found.rows else None


def _admin_only(caller: Caller) -> None:
    if not caller.is_admin:
        raise NotAllowedError("You are not permitted to access this resource")


async def _coverage(request: Request, caller: Caller) -> Response:
    _admin_only(caller)
    return answers.json_answer({"levelByArea": _simulator(request).coverage})


async def _denylist(request: Request, caller: Caller) -> Response:
    _admin_only(caller)
    return answers.json_answer({"actions": _simulator(request).denylist})


async def _plugins(request: Request, caller: Caller) -> Response:
    _admin_only(caller)
    soteri = _simulator(request).soteri
    # Name and form are inferred (docs/bitbucket.md section 5); Soteri's real key is not known.
    named = {
        "key": "unknown.simulator.soteri-security-for-bitbucket",
        "name": "Soteri Security for Bitbucket",
        "userInstalled": True,
    }
    plugins = [
        *([] if soteri is None else [{**named, **soteri}]),
        {
            "key": "com.atlassian.audit.atlassian-audit-plugin",
            "name": "Atlassian Audit Plugin",
            "version": "1.16.4",
            "enabled": True,
            "userInstalled": False,
        },
    ]
    return answers.json_answer({"plugins": plugins})


async def _tokens(request: Request, caller: Caller) -> Response:
    """List the caller's own tokens; the form is inferred (docs/bitbucket.md section 5)."""
    if request.path_params["slug"] != caller.name:
        raise NotAllowedError("You are not permitted to access this resource")
    tokens = _simulator(request).tokens
    return answers.json_answer(
        {"size": len(tokens), "limit": 1000, "isLastPage": True, "values": tokens, "start": 0}
    )


async def _status(_request: Request) -> Response:
    return answers.json_answer({"state": "RUNNING"})


async def _properties(request: Request) -> Response:
    simulator = _simulator(request)
    try:
        simulator.door.caller(request.headers)  # nobody is fine, a wrong credential is not
    except NotLoggedInError as refusal:
        return _refused(refusal)
    major, minor, patch = (int(part) for part in simulator.options.version.split("."))
    return answers.json_answer(
        {
            "version": simulator.options.version,
            "buildNumber": f"{major}{minor:03}{patch:03}",
            "buildDate": "1714003200000",
            "displayName": "Bitbucket",
        }
    )


async def _user(request: Request, _caller: Caller) -> Response:
    """Show a person; a real slug is the name with its odd characters replaced, here it is it."""
    slug = request.path_params["slug"]
    for person in _simulator(request).catalogue.people:
        if person.name == slug:
            return answers.json_answer(
                {
                    "name": person.name,
                    "id": person.id,
                    "displayName": person.display_name,
                    "active": True,
                    "slug": person.name,
                    "type": "NORMAL",
                }
            )
    return answers.error(404, f"User {slug} does not exist.", answers.NO_USER)


async def _project(request: Request, _caller: Caller) -> Response:
    key = request.path_params["key"]
    project = _simulator(request).catalogue.project(key)
    if project is None:
        return _no_project(key)
    return answers.json_answer(_shown_project(request, project))


async def _repository(request: Request, _caller: Caller) -> Response:
    key, slug = request.path_params["key"], request.path_params["slug"]
    catalogue = _simulator(request).catalogue
    if catalogue.project(key) is None:
        return _no_project(key)
    found = catalogue.repository(key, slug)
    if found is None:
        return _no_repository(key, slug)
    return answers.json_answer(_shown_repository(request, *found))


def _no_project(key: str) -> Response:
    return answers.error(404, f"Project {key} does not exist.", answers.NO_PROJECT)


def _no_repository(key: str, slug: str) -> Response:
    return answers.error(404, f"Repository {key}/{slug} does not exist.", answers.NO_REPOSITORY)


def _shown_project(request: Request, project: Project) -> dict[str, object]:
    host = _simulator(request).options.internal_host
    return {
        "key": project.key,
        "id": project.id,
        "name": project.name,
        "public": False,
        "type": "PERSONAL" if project.key.startswith("~") else "NORMAL",
        "links": {"self": [{"href": f"{host}/projects/{project.key}"}]},
    }


def _shown_repository(
    request: Request, project: Project, repository: Repository
) -> dict[str, object]:
    return {
        "slug": repository.slug,
        "id": repository.id,
        "name": repository.slug,
        "scmId": "git",
        "state": "AVAILABLE",
        "project": _shown_project(request, project),
    }


async def _legacy(request: Request, caller: Caller) -> Response:
    """Answer the audit API of one project or repository, which Bitbucket 8.0 has removed."""
    simulator = _simulator(request)
    if int(simulator.options.version.partition(".")[0]) >= 8:
        return await _not_found(request, HTTPException(404))
    key, slug = request.path_params["key"], request.path_params.get("slug")
    project = simulator.catalogue.project(key)
    if project is None:
        return _no_project(key)
    objects = {"PROJECT": frozenset({str(project.id)})}
    if slug is not None:
        found = simulator.catalogue.repository(key, slug)
        if found is None:
            return _no_repository(key, slug)
        objects = {"REPOSITORY": frozenset({str(found[1].id)})}
    may_read(caller, objects, simulator.catalogue)
    start, limit = read_paging(request.query_params)
    return answers.legacy_page(simulator.log.touching(objects), start=start, limit=limit)


async def _not_found(request: Request, _error: Exception) -> Response:
    """Answer for what is not there."""
    return answers.error(404, f"null for uri: {request.url.path}", "javax.ws.rs.NotFoundException")
