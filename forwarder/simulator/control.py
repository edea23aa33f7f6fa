"""What is NOT part of Bitbucket: ``{context}/simulator/...``, for tests in another process.

No credential is asked for, nothing is audited, nothing ever fails. All but `truth` and `state`
answer to POST with a JSON object.

    GET  truth?category=…&action=…   every event now in the log, oldest first, as JSON lines;
                                     both filters may be repeated
    GET  state                       what was written, asked for, refused and made to fail
    POST emit    {"event": {…}, "late": 5, "copies": 2}   one event, as `Simulator.emit`
                 {"count": 100, "late": 5}                so many of any kind
    POST faults  {"rates": {"http_503": 0.2}, "next": ["http_503", null], "next_other": []}
    POST clock   {"jump": -3600}     sets the server's clock by so many seconds
    POST settings {"coverage": {"ecosystem": "off"}, "denylist": […], "app": {…} or null,
                  "tokens": […]}     what Bitbucket's configuration addresses answer
    POST forget  {"older_than": 60}  retention: removes rows older than so many seconds
"""

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from forwarder.simulator.answers import json_answer
from forwarder.simulator.faults import FaultName, fault_name
from forwarder.simulator.generator import encoded
from forwarder.simulator.log import decoded

if TYPE_CHECKING:
    from forwarder.simulator.simulator import Simulator


def routes() -> list[Route]:
    """Return the control addresses."""
    return [
        Route("/truth", _truth),
        Route("/state", _state),
        Route("/emit", _emit, methods=["POST"]),
        Route("/faults", _faults, methods=["POST"]),
        Route("/clock", _clock, methods=["POST"]),
        Route("/forget", _forget, methods=["POST"]),
        Route("/settings", _settings, methods=["POST"]),
    ]


def _simulator(request: Request) -> "Simulator":
    simulator: Simulator = request.app.state.simulator
    return simulator


async def _asked(request: Request) -> dict[str, Any]:
    asked = decoded(await request.body() or b"{}")
    return asked if isinstance(asked, dict) else {}


async def _truth(request: Request) -> Response:
    asked = request.query_params
    bodies = _simulator(request).truth_bytes(
        categories=asked.getlist("category"), actions=asked.getlist("action")
    )
    content = b"".join(body + b"\n" for body in bodies)
    return Response(content, media_type="application/x-ndjson")


async def _state(request: Request) -> Response:
    simulator = _simulator(request)
    return json_answer(
        {
            "rows": len(simulator.log.rows),
            "written": simulator.log.written,
            "forgotten": simulator.log.forgotten,
            "waiting": simulator.log.waiting,
            "requests": simulator.requests,
            "searches": simulator.searches,
            "refused": simulator.door.refused,
            "faults": dict(simulator.faults.counts),
            "now": simulator.clock.now(),
        }
    )


async def _emit(request: Request) -> Response:
    simulator, asked = _simulator(request), await _asked(request)
    late = float(asked.get("late", 0))
    if "count" in asked:
        simulator.emit_any(int(asked["count"]), late=late)
        return json_answer({"emitted": int(asked["count"])})
    copies = int(asked.get("copies", 1))
    served = simulator.emit(asked.get("event"), late=late, copies=copies)
    return json_answer({"emitted": copies, "event": served})


async def _faults(request: Request) -> Response:
    faults, asked = _simulator(request).faults, await _asked(request)
    try:
        if "rates" in asked:
            faults.rates = {fault_name(name): float(r) for name, r in asked["rates"].items()}
        if "next" in asked:
            faults.next = _script(asked["next"])
        if "next_other" in asked:
            faults.next_other = _script(asked["next_other"])
    except ValueError as error:
        return json_answer({"error": str(error)}, 400)
    return json_answer(
        {"rates": faults.rates, "next": faults.next, "next_other": faults.next_other}
    )


def _script(names: list[str | None]) -> list[FaultName | None]:
    return [fault_name(name) if name else None for name in names]


async def _clock(request: Request) -> Response:
    simulator, asked = _simulator(request), await _asked(request)
    simulator.clock.jump(float(asked.get("jump", 0)))
    return Response(encoded({"now": simulator.clock.now()}), media_type="application/json")


async def _settings(request: Request) -> Response:
    simulator, asked = _simulator(request), await _asked(request)
    simulator.coverage |= asked.get("coverage", {})
    simulator.denylist = asked.get("denylist", simulator.denylist)
    simulator.soteri = asked.get("app", simulator.soteri)
    simulator.tokens = asked.get("tokens", simulator.tokens)
    return json_answer(
        {
            "coverage": simulator.coverage,
            "denylist": simulator.denylist,
            "app": simulator.soteri,
            "tokens": simulator.tokens,
        }
    )


async def _forget(request: Request) -> Response:
    simulator, asked = _simulator(request), await _asked(request)
    before = simulator.clock.now_ms() - round(float(asked.get("older_than", 0)) * 1000)
    forgotten = simulator.log.forget(before_ms=before, keep=simulator.options.keep_rows)
    return json_answer({"forgotten": forgotten})
