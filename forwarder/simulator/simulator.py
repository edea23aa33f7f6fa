"""The simulated Bitbucket as one object: its log, clock, faults and HTTP face."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from starlette.applications import Starlette

from forwarder.simulator import catalogue as catalogues
from forwarder.simulator import events
from forwarder.simulator.access import Caller, Credentials, Door, TokenBucket
from forwarder.simulator.catalogue import Catalogue
from forwarder.simulator.clock import Clock, SystemClock, to_ms
from forwarder.simulator.faults import Faults
from forwarder.simulator.generator import (
    Arrival,
    Generator,
    stamped,
    timestamp,
)
from forwarder.simulator.log import AuditLog, Found, Query, decoded, event_ms
from forwarder.simulator.node_files import NodeFiles
from forwarder.simulator.options import SimulatorOptions

# Areas after Atlassian's coverage settings; only "ecosystem", "permissions" and "security" are
# seen in real events (docs/bitbucket.md, the sample). Soteri's events belong to "ecosystem" (I).
_COVERAGE: Final = {
    "ecosystem": "base",
    "end_user_activity": "base",
    "global_config_and_administration": "base",
    "local_config_and_administration": "base",
    "permissions": "base",
    "security": "base",
    "user_management": "base",
}


class Connection(Protocol):
    """What the simulator does to a client's connection: cut it."""

    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
        ...

    def close(self) -> None:
        """Close once everything buffered is sent."""
        ...


class Simulator:
    """A Bitbucket Data Center with Soteri, as a poller of its audit log meets it.

    Equal options, clock and requests give equal answers. `app` is the ASGI application; tests use
    it through `httpx.ASGITransport(simulator.app)`, others through `serve`.

    Not covered: how a real version orders its checks of one request, the texts of most errors,
    the CSV's columns, how `search` weighs words, SAML and OAuth, writing to the configuration,
    projects, hooks, scans and all the rest of Bitbucket. The audit API of single projects and
    repositories, which 8.0 removed, answers where `version` is older; its values are inferred.
    Every Soteri text but "Security hook skipped" is invented (events/soteri.py).

    Raises:
        ValueError: the file of captured events cannot be used; the message names the line.
        OSError: the nodes' files cannot be written.
    """

    def __init__(
        self, options: SimulatorOptions | None = None, *, clock: Clock | None = None
    ) -> None:
        self.options = options = options or SimulatorOptions()
        self.clock: Clock = clock or SystemClock()
        files = NodeFiles(options.audit_logs) if options.audit_logs else None
        self.log = AuditLog(files.write if files else None)
        self.faults = Faults(options.fault_rates, seed=options.seed)
        self.door = Door(
            Credentials(
                token=options.token,
                project_token=options.project_token,
                projects=options.project_token_projects,
                username=options.username,
                password=options.password,
            )
        )
        self.coverage = {**_COVERAGE, **options.coverage}
        self.denylist = list(options.denylist)
        self.soteri: dict[str, Any] | None = {"version": "4.17.0", "enabled": True}
        self.tokens: list[dict[str, Any]] = []
        self.connections: dict[tuple[str, int], Connection] = {}
        self.requests = 0
        self.searches = 0
        self.happened = 0
        self._buckets: dict[str, TokenBucket] = {}
        self._lived_ms = self.clock.elapsed_ms()
        captured = _captured(options.events) if options.events else []
        self.catalogue: Catalogue = (
            catalogues.of_events(body for body, _ in captured)
            if options.events
            else catalogues.invented()
        )
        self._filling = self._generator("history")
        self._emitting = self._generator("emit")
        self._living = self._generator("live")
        for body, at_ms in captured:
            self._store(Arrival(body, at_ms, self._lived_ms))
        if not options.events:
            self.fill(options.history, span=options.span)

    @cached_property
    def app(self) -> Starlette:
        """The ASGI application; `app.state.simulator` is this object."""
        from forwarder.simulator.app import application

        return application(self)

    def advance(self) -> None:
        """Let happen what is due by now: live events, late rows, retention. Each request does."""
        true_ms = self.clock.elapsed_ms()
        if self.options.rate > 0:
            self._live(true_ms)
        self._lived_ms = true_ms
        self.log.show(true_ms)
        if self.options.retention is not None or self.log.written > self.options.keep_rows:
            seconds = self.options.retention
            before = (
                self.clock.now_ms() - round(seconds * 1000) if seconds is not None else -(2**62)
            )
            self.log.forget(before_ms=before, keep=self.options.keep_rows)

    def _live(self, true_ms: int) -> None:
        """Write what happened since the last time, up to as many events as there may be."""
        happening = self._living.live(
            after_ms=self._lived_ms,
            until_ms=true_ms,
            rate=self.options.rate,
            offset_ms=self.clock.offset_ms,
        )
        count = self.options.live_count
        left = None if count is None else count - self.happened
        for arrival in islice(happening, left):
            self._store(arrival)
            self.happened += 1

    def fill(self, count: int, *, span: float, until: datetime | None = None) -> None:
        """Write `count` generated events, spread over the `span` seconds before `until`."""
        end_ms = self.clock.now_ms() if until is None else to_ms(until)
        start_ms = end_ms - round(span * 1000)
        for arrival in self._filling.history(count, start_ms=start_ms, end_ms=end_ms):
            self._store(arrival)

    def emit(
        self,
        event: Mapping[str, Any] | None = None,
        *,
        at: datetime | None = None,
        late: float = 0.0,
        copies: int = 1,
    ) -> dict[str, Any]:
        """Write one event and return it as it will be served.

        It is a "Security hook skipped" whose fields `event` overrides; a field that is None there
        is left out. `at` is its time, now if not given (a `timestamp` in `event` is kept as it is
        written); it shows up `late` seconds from now; `copies` writes twins that are equal in
        every field.
        """
        made = {**self._emitting.event(events.hook_skipped), **(event or {})}
        made = {name: value for name, value in made.items() if value is not None}
        at_ms = self.clock.now_ms() if at is None else to_ms(at)
        if "timestamp" in made and at is None:
            at_ms = event_ms(made["timestamp"])
        body = stamped(made, at_ms)
        for _ in range(copies):
            self._store(Arrival(body, at_ms, self._visible(late)))
        served: dict[str, Any] = decoded(body)
        return served

    def emit_any(self, count: int, *, late: float = 0.0) -> None:
        """Write `count` generated events of any kind, all now."""
        at_ms = self.clock.now_ms()
        for _ in range(count):
            body = stamped(self._emitting.event(), at_ms)
            self._store(Arrival(body, at_ms, self._visible(late)))

    def emit_raw(self, body: bytes, *, at: datetime | None = None, late: float = 0.0) -> None:
        """Write a row that is served as these very bytes, whatever they are."""
        at_ms = self.clock.now_ms() if at is None else to_ms(at)
        self._store(Arrival(body, at_ms, self._visible(late)))

    def truth(
        self, *, categories: Iterable[str] = (), actions: Iterable[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the events now in the log, oldest first, as a client decodes them."""
        self.advance()
        return [decoded(body) for body in self.truth_bytes(categories=categories, actions=actions)]

    def truth_bytes(
        self, *, categories: Iterable[str] = (), actions: Iterable[str] = ()
    ) -> list[bytes]:
        """Return the events now in the log, oldest first, as they are served."""
        self.advance()
        query = Query(to_ms=0, categories=frozenset(categories), actions=frozenset(actions))
        return [row.body for row in self.log.matching(query)]

    def search(self, query: Query, caller: Caller, *, address: str, terms: str) -> Found:
        """Return a page, and write the audit row that reading it leaves behind."""
        found = self.log.find(query)
        self.searches += 1
        rows = found.rows
        ids = [row.id for row in rows]
        attributes = {"query": terms, "results": str(len(rows))}
        if rows:
            span = f"{timestamp(rows[-1].at_ms)} - {timestamp(rows[0].at_ms)}"
            attributes = {"id": f"{min(ids)} - {max(ids)}", **attributes, "timestamp": span}
        host = self.options.internal_host
        event = events.search_performed(
            author={
                "name": caller.name,
                "type": "NORMAL",
                "id": str(caller.id),
                "uri": f"{host}/users/{caller.name}",
                "avatarUri": "",
            },
            address=address,
            host=host,
            node=self.catalogue.nodes[0],
            attributes=attributes,
        )
        at_ms = self.clock.now_ms()
        self._store(Arrival(stamped(event, at_ms), at_ms, self.clock.elapsed_ms()))
        return found

    def limited(self, caller: Caller) -> float:
        """Return how many seconds the rate limit makes this caller wait; 0 lets them in."""
        if not self.options.rate_limit:
            return 0.0
        bucket = self._buckets.setdefault(caller.name, TokenBucket())
        return bucket.wait(self.clock.elapsed_ms())

    def _visible(self, late: float) -> int:
        return self.clock.elapsed_ms() + round(late * 1000)

    def _store(self, arrival: Arrival) -> None:
        if self._blind and self._hidden(arrival.body):
            return
        if arrival.visible_at_ms > self.clock.elapsed_ms():
            self.log.write_late(arrival.body, arrival.at_ms, visible_at_ms=arrival.visible_at_ms)
        else:
            self.log.write(arrival.body, arrival.at_ms)

    @property
    def _blind(self) -> bool:
        return bool(self.denylist) or self.coverage["ecosystem"] == "off"

    def _hidden(self, body: bytes) -> bool:
        """Whether coverage or the list of excluded actions keeps this event out of the log."""
        with suppress(ValueError, TypeError, KeyError):
            kind = decoded(body)["type"]
            if kind["category"] == events.SOTERI_CATEGORY and self.coverage["ecosystem"] == "off":
                return True
            return kind["action"] in self.denylist or kind["actionI18nKey"] in self.denylist
        return False

    def _generator(self, purpose: str) -> Generator:
        return Generator(
            self.options.seed,
            catalogue=self.catalogue if self.catalogue.projects else catalogues.invented(),
            mixture=self.options.mixture,
            host=self.options.internal_host,
            purpose=purpose,
        )


def _captured(path: Path) -> list[tuple[bytes, int]]:
    """Return the lines of a file of REST events, byte for byte, each with its time."""
    read: list[tuple[bytes, int]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            read.append((line.strip(), event_ms(decoded(line)["timestamp"])))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}, line {number}: not an audit event as REST gives it: {error!r}"
            ) from error
    return read
