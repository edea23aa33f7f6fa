"""What Splunk has, compared with what it should have: a plan for index, token and alerts.

https://help.splunk.com/en/splunk-enterprise/rest-api-reference: data/indexes, data/inputs/http,
saved/searches. What others have set beside our fields is let be.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from forwarder.concealed import conceal
from forwarder.errors import AccessError, PermanentError
from forwarder.provision.plan import Difference, Step, differences
from forwarder.provision.splunk import token_file
from forwarder.provision.splunk.access import translated
from forwarder.provision.splunk.alerts import (
    MARK,
    PREFIX,
    email,
    name_of,
    saved_search,
    with_email,
)
from forwarder.provision.splunk.wanted import Wanted
from forwarder.span import many

_PAGE: Final = 100
"""Saved searches asked for at once."""
_TOLD: Final = frozenset({"search", "cron_schedule", "action.email.to"})
"""Fields of a new alert that its plan shows; the rest follows from the detection."""
_FOREIGN: Final = (
    f'there already, and not made by this command (its description has no "{MARK}"): rename it, or '
    "give another --app"
)
_SPLUNKS_OWN: Final = frozenset({"main", "history", "summary", "splunklogger", "lastchanceindex"})


class SplunkPlan:
    """One Splunk, through splunk-sdk's `service`, and what is `wanted` of it."""

    def __init__(self, service: Any, wanted: Wanted, *, where: str) -> None:  # noqa: ANN401  untyped
        from splunklib.client import Collection

        self._service = service
        self._wanted = wanted
        self._where = where
        self._tokens = Collection(service, "data/inputs/http")

    def provision(self) -> tuple[Step, ...]:
        """Return what is to be done so that all is there as wanted.

        Raises:
            AccessError, TransientError, PermanentError: it cannot be told what is there.
        """
        steps: list[Step] = []
        if "index" in self._wanted.parts:
            steps.append(self._index())
        if "token" in self._wanted.parts:
            steps += [*self._collector(), self._token(), *self._token_file()]
        if "alerts" in self._wanted.parts:
            steps += [*self._alerts(), *self._mail()]
        return tuple(steps)

    def removal(self, *, with_data: bool) -> tuple[Step, ...]:
        """Return what is to be done so that nothing of ours is left; an index with events stays.

        It goes only `with_data`. Raises as `provision`.
        """
        steps: list[Step] = []
        if "alerts" in self._wanted.parts:
            steps += self._alert_removal(self._saved_searches())
        if "token" in self._wanted.parts:
            steps += self._token_removal()
        if "index" in self._wanted.parts:
            steps += self._index_removal(with_data=with_data)
        return tuple(steps)

    def collector_url(self) -> str:
        """Return where the forwarder sends to, as far as this Splunk says it."""
        collector = self._found(self._tokens, "http")
        found = _read(collector) if collector is not None else {}
        scheme = "http" if found.get("enableSSL") == "0" else "https"
        host = urlsplit(str(self._service.authority)).hostname
        return f"{scheme}://{host}:{found.get('port') or 8088}"

    def _index(self) -> Step:
        name, indexes = self._wanted.index, self._service.indexes
        wanted = {}
        if self._wanted.retention is not None:
            wanted["frozenTimePeriodInSecs"] = str(int(self._wanted.retention))
        what = f"index {name}"
        index = self._found(indexes, name)
        if index is None:
            return self._create(indexes, name, what, wanted)
        found = _read(index)
        if found.get("datatype", "event") != "event":
            raise PermanentError(
                f"{self._where}: the index {name} holds metrics, not events",
                remedy="choose another name with --index",
            )
        if found.get("disabled") == "1":
            return Step("change", what, partial(self._enable, index), _enabled())
        return self._change(index, what, wanted, note=f"it holds {many(_count(found), 'event')}")

    def _enable(self, entity: Any) -> None:  # noqa: ANN401  untyped
        with translated(self._where, f"enable {entity.name}"):
            entity.enable()

    def _collector(self) -> Iterator[Step]:
        """Yield the step for HEC as a whole, which a new Splunk has switched off."""
        collector = self._found(self._tokens, "http")
        if collector is None:
            note = "not found here: see that it is enabled where events are sent to"
            yield Step("leave", "HTTP Event Collector", note=note)
        else:
            yield self._change(collector, "HTTP Event Collector", {"disabled": "0"})

    def _token(self) -> Step:
        wanted = {
            "description": "soteri-forwarder: audit events of Bitbucket",
            "index": self._wanted.index,
            "indexes": self._wanted.index,
            "sourcetype": self._wanted.sourcetype,
            "useACK": "1",
            "disabled": "0",
        }
        what = f"HEC token {self._wanted.token}"
        token = self._found(self._tokens, self._wanted.token)
        if token is None:
            return self._create(self._tokens, self._wanted.token, what, wanted)
        return self._change(token, what, wanted)

    def _token_file(self) -> Iterator[Step]:
        path = self._wanted.token_file
        if path is None:
            return
        kept, token = token_file.kept(path), self._found(self._tokens, self._wanted.token)
        act = partial(self._keep_token, path)
        if kept is None:
            yield Step("create", f"file {path}", act, note="the token, readable by you alone")
        elif token is None or kept != _read(token).get("token"):
            yield Step("change", f"file {path}", act, note="it holds another token")
        elif differs := token_file.mode_differs(path):
            yield Step("change", f"file {path}", act, differs)
        else:
            yield token_file.left(path)

    def _keep_token(self, path: Path) -> None:
        token = self._found(self._tokens, self._wanted.token)
        value = _read(token).get("token") if token is not None else None
        if not value:
            raise PermanentError(
                f"{self._where}: it does not show the token {self._wanted.token}",
                remedy="give the user's role the capability edit_token_http",
            )
        conceal(value)
        token_file.write(path, value)

    def _alerts(self) -> Iterator[Step]:
        found = self._saved_searches()
        events = f'index="{self._wanted.index}" sourcetype="{self._wanted.sourcetype}"'
        for detection in self._wanted.detections:
            name = name_of(detection)
            wanted = saved_search(detection, events=events)
            wanted |= email(detection, self._wanted.recipients)
            if (search := found.pop(name, None)) is not None:
                if not _is_marked(name, _read(search)):
                    yield Step("leave", f"alert {name}", note=_FOREIGN)
                    continue
                wanted["actions"] = with_email(_read(search).get("actions", ""))
                yield self._change(search, f"alert {name}", wanted)
            else:
                searches = self._service.saved_searches
                yield self._create(searches, name, f"alert {name}", wanted, told=_TOLD)
        note = "it is no detection of this release, or one that was left out"
        yield from self._alert_removal(found, note=note)

    def _alert_removal(self, found: dict[str, Any], *, note: str = "") -> Iterator[Step]:
        for name, search in sorted(found.items()):
            if _is_marked(name, _read(search)):
                yield self._remove(f"alert {name}", search, note=note)
            else:
                yield Step("leave", f"alert {name}", note=_FOREIGN)

    def _mail(self) -> Iterator[Step]:
        """Yield a note where nobody has set a mail server: then no e-mail may arrive."""
        from splunklib.client import Collection

        actions = Collection(self._service, "configs/conf-alert_actions")
        try:
            email = self._found(actions, "email")
        except (AccessError, PermanentError):  # who may make alerts may not read this everywhere
            return
        server = _read(email).get("mailserver", "") if email is not None else ""
        if server in ("", "localhost"):
            note = "it sends by localhost: see Settings > Server settings > Email settings"
            yield Step("leave", "Splunk's mail server", note=note)

    def _saved_searches(self) -> dict[str, Any]:
        """Return the saved searches of our app that are ours, or have a name of ours, by name."""
        with translated(self._where, "list the saved searches"):
            found = list(self._service.saved_searches.iter(pagesize=_PAGE, search=PREFIX))
            ours = {name_of(each) for each in self._wanted.detections}
            return {
                each.name: each
                for each in found
                if each.access.app == self._wanted.app
                and (each.name in ours or _is_marked(each.name, _read(each)))
            }

    def _token_removal(self) -> Iterator[Step]:
        token = self._found(self._tokens, self._wanted.token)
        if token is not None:
            yield self._remove(f"HEC token {self._wanted.token}", token)
        path = self._wanted.token_file
        if path is None or (kept := token_file.kept(path)) is None:
            return
        if token is not None and kept == _read(token).get("token"):
            yield Step("remove", f"file {path}", partial(token_file.remove, path))
        else:
            yield Step("leave", f"file {path}", note="it does not hold this token")

    def _index_removal(self, *, with_data: bool) -> Iterator[Step]:
        name = self._wanted.index
        index = self._found(self._service.indexes, name)
        if index is None:
            return
        count = _count(_read(index))
        if name in _SPLUNKS_OWN or name.startswith("_"):
            yield Step("leave", f"index {name}", note="it is Splunk's own")
        elif count and not with_data:
            note = f"it holds {many(count, 'event')}: add --delete-data to delete it with them"
            yield Step("leave", f"index {name}", note=note)
        else:
            note = f"with the {many(count, 'event')} in it, for good" if count else "it is empty"
            yield self._remove(f"index {name}", index, note=note)

    def _found(self, collection: Any, name: str) -> Any:  # noqa: ANN401  untyped
        """Return the entity of that name, or None."""
        with translated(self._where, f"look for {name}"):
            try:
                return collection[name]
            except KeyError:
                return None

    def _create(
        self,
        collection: Any,  # noqa: ANN401  untyped
        name: str,
        what: str,
        wanted: dict[str, str],
        *,
        told: frozenset[str] | None = None,
    ) -> Step:
        """Return the step that creates it; the plan shows the fields in `told`, None for all."""

        def act() -> None:
            with translated(self._where, f"create {what}"):
                collection.create(name, **wanted)

        shown = {field: text for field, text in wanted.items() if told is None or field in told}
        return Step("create", what, act, differences(shown, {}))

    def _change(self, entity: Any, what: str, wanted: dict[str, str], note: str = "") -> Step:  # noqa: ANN401  untyped
        found = _read(entity)
        differ = tuple(
            each for each in differences(wanted, found) if _same(each.before) != _same(each.after)
        )
        if not differ:
            return Step("leave", what, note=note)

        def act() -> None:
            with translated(self._where, f"change {what}"):
                entity.update(**{each.field: each.after for each in differ})

        return Step("change", what, act, differ, note)

    def _remove(self, what: str, entity: Any, note: str = "") -> Step:  # noqa: ANN401  untyped
        def act() -> None:
            with translated(self._where, f"remove {what}"):
                entity.delete()

        return Step("remove", what, act, note=note)


def _read(entity: Any) -> dict[str, str]:  # noqa: ANN401  untyped
    """Return an entity's fields as they are written: lists parted by commas, truth as 0 and 1."""
    return {name: _text(value) for name, value in entity.content.items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    text = str(value)
    return {"true": "1", "false": "0"}.get(text.lower(), text)


def _same(value: str) -> str:
    """Return `value` without what a conf file does to white space."""
    return " ".join(value.split())


def _count(found: dict[str, str]) -> int:
    return int(found.get("totalEventCount") or 0)


def _enabled() -> tuple[Difference, ...]:
    return (Difference("disabled", "1", "0"),)


def _is_marked(name: str, found: dict[str, str]) -> bool:
    return name.startswith(PREFIX) and MARK in found.get("description", "")
