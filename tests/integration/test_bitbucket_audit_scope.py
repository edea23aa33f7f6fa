"""Projects and repositories by name: whatever they are called later, their events are read."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog

from forwarder.errors import AccessError
from forwarder.model import Checkpoint
from forwarder.simulator import SimulatorOptions
from forwarder.simulator.catalogue import Project, Repository
from tests.integration.test_bitbucket_audit import NOON, World, world

PROJECT_TOKEN = SimulatorOptions().project_token


def touched(*objects: tuple[str, str, str]) -> dict[str, Any]:
    """Return an event's affected objects: type, name, id."""
    return {"affectedObjects": [{"type": t, "name": n, "id": i} for t, n, i in objects]}


def projects(here: World, *changed: Project, without: str = "") -> None:
    """Change projects of the simulated Bitbucket, or delete one."""
    catalogue = here.simulator.catalogue
    ids = {project.id for project in changed}
    kept = [p for p in catalogue.projects if p.id not in ids and p.key != without]
    here.simulator.catalogue = replace(catalogue, projects=(*kept, *changed))


def read(here: World) -> Counter[str]:
    return Counter(one.address or "" for one in here.stored.values())


def stored_form(checkpoint: Checkpoint | None) -> Checkpoint:
    return msgspec.json.decode(msgspec.json.encode(checkpoint), type=Checkpoint)


async def test_the_union_of_projects_and_repositories_is_read_each_event_once() -> None:
    names = {"projects": ["SEC", "WEB"], "repositories": ["OPS/terraform", "SEC/payments"]}
    async with world(categories=[], start_at="now", **names) as here:
        await here.poll()
        here.clock.advance(1)
        for address, objects in {
            "project": [("PROJECT", "SEC", "1")],
            "both": [("PROJECT", "SEC", "1"), ("REPOSITORY", "payments", "1")],
            "repository alone": [("REPOSITORY", "terraform", "6")],
            "two projects": [("PROJECT", "SEC", "1"), ("PROJECT", "WEB", "2")],
            "across": [("PROJECT", "WEB", "2"), ("REPOSITORY", "terraform", "6")],
            "other project": [("PROJECT", "DATA", "4"), ("REPOSITORY", "etl", "8")],
            "same slug elsewhere": [("PROJECT", "DATA", "4"), ("REPOSITORY", "search", "9")],
            "nothing": [],
        }.items():
            here.simulator.emit({**touched(*objects), "source": address})
        await here.poll()
        assert read(here) == Counter(
            ["project", "both", "repository alone", "two projects", "across"]
        )


async def test_an_object_beyond_the_first_five_is_found_by_any_other_of_the_scope() -> None:
    """Bitbucket searches an event's first five objects: what stands behind, it does not show."""
    many = [("USER", f"user{number}", str(number)) for number in range(4)]
    async with world(categories=[], start_at="now", projects=["SEC", "WEB"]) as here:
        await here.poll()
        here.clock.advance(1)
        fifth = (*many, ("PROJECT", "SEC", "1"), ("PROJECT", "WEB", "2"))
        sixth = (*many, ("PROJECT", "DATA", "4"), ("PROJECT", "SEC", "1"))
        here.simulator.emit({**touched(*fifth), "source": "fifth"})
        here.simulator.emit({**touched(*sixth), "source": "sixth"})
        await here.poll()
        assert read(here) == Counter(["fifth"])


async def test_twins_that_two_questions_find_are_both_kept_and_no_more() -> None:
    both = touched(("PROJECT", "SEC", "1"), ("REPOSITORY", "terraform", "6"))
    async with world(projects=["SEC"], repositories=["OPS/terraform"]) as here:
        here.simulator.emit(both, at=NOON - timedelta(seconds=5), copies=7)
        await here.poll()
        here.clock.advance(30)
        await here.poll()
        assert len(here.stored) == 7


async def test_more_projects_than_one_question_takes_are_asked_in_several() -> None:
    keys = [f"P{number}" for number in range(230)]
    async with world(start_at="now", projects=keys) as here:
        made = [Project(1000 + n, key, key) for n, key in enumerate(keys)]
        projects(here, *made)
        await here.poll()
        for number in (0, 99, 100, 229):
            one = made[number]
            here.simulator.emit(touched(("PROJECT", one.key, str(one.id))))
        here.clock.advance(1)
        await here.poll()
        assert len(here.stored) == 4


async def test_a_personal_project_and_its_repository_are_found() -> None:
    names = {"projects": ["~mira.holm"], "repositories": ["~mira.holm/dotfiles"]}
    async with world(start_at="now", **names) as here:
        await here.poll()
        here.clock.advance(1)
        here.simulator.emit(touched(("PROJECT", "~mira.holm", "5")))
        here.simulator.emit(touched(("REPOSITORY", "dotfiles", "10")))
        await here.poll()
        assert len(here.stored) == 2


async def test_a_project_administrators_token_is_enough_for_its_own_and_no_other() -> None:
    names = {"projects": ["SEC"], "repositories": ["SEC/vault-tools"]}
    async with world(token=PROJECT_TOKEN, start_at="now", **names) as here:
        await here.poll()
        here.clock.advance(1)
        here.simulator.emit(touched(("PROJECT", "SEC", "1")))
        here.simulator.emit(touched(("REPOSITORY", "vault-tools", "2")))
        await here.poll()
        assert len(here.stored) == 2
    async with world(token=PROJECT_TOKEN, projects=["SEC", "WEB"]) as here:
        with pytest.raises(AccessError):
            await here.poll()


async def test_a_renamed_project_keeps_its_id_and_the_new_name_is_said() -> None:
    with structlog.testing.capture_logs() as logs:
        async with world(start_at="now", projects=["OPS"]) as here:
            await here.poll()
            projects(here, Project(3, "INFRA", "Operations"))
            here.clock.advance(30)
            here.simulator.emit(touched(("PROJECT", "OPS", "3")))
            here.clock.advance(30)
            here.simulator.emit(touched(("PROJECT", "INFRA", "3")))
            await here.poll()
            assert len(here.stored) == 2
            here.clock.advance(4000)
            here.simulator.emit(touched(("PROJECT", "INFRA", "3")))
            await here.poll()
            assert len(here.stored) == 3
    told = {one["event"]: one for one in logs}
    assert (told["scope.renamed"]["before"], told["scope.renamed"]["name"]) == ("OPS", "INFRA")
    assert told["scope.missing"]["then"] == "asked for by its id"
    assert sum(one["event"] == "scope.renamed" for one in logs) == 1


async def test_a_rename_outlives_a_restart() -> None:
    async with world(start_at="now", projects=["OPS"]) as here:
        await here.poll()
        checkpoint = stored_form(here.checkpoint)
    async with world(at=NOON, start_at="now", projects=["OPS"]) as here:
        projects(here, Project(3, "INFRA", "Operations"))
        with pytest.raises(AccessError, match="project OPS does not exist"):
            await here.poll()
        here.checkpoint = checkpoint
        here.simulator.emit(touched(("PROJECT", "INFRA", "3")))
        await here.poll()
        assert len(here.stored) == 1


async def test_a_repository_that_was_moved_to_another_project_keeps_its_id() -> None:
    async with world(start_at="now", repositories=["OPS/terraform"]) as here:
        await here.poll()
        moved = Repository(6, "terraform")
        projects(here, Project(3, "OPS", "Operations"), Project(4, "DATA", "Data", (moved,)))
        here.clock.advance(4000)
        here.simulator.emit(touched(("PROJECT", "DATA", "4"), ("REPOSITORY", "terraform", "6")))
        await here.poll()
        assert len(here.stored) == 1


async def test_a_new_project_under_an_old_name_is_read_and_said() -> None:
    with structlog.testing.capture_logs() as logs:
        async with world(start_at="now", projects=["OPS"]) as here:
            await here.poll()
            projects(here, Project(77, "OPS", "New operations"), without="OPS")
            here.clock.advance(4000)
            here.simulator.emit(touched(("PROJECT", "OPS", "77")))
            await here.poll()
            assert len(here.stored) == 1
    assert [one["id"] for one in logs if one["event"] == "scope.replaced"] == ["77"]


async def test_a_deleted_repository_does_not_stop_the_others_of_a_project_administrator() -> None:
    names = {"repositories": ["SEC/payments", "SEC/vault-tools"]}
    async with world(token=PROJECT_TOKEN, start_at="now", **names) as here:
        await here.poll()
        projects(here, Project(1, "SEC", "Security", (Repository(1, "payments"),)))
        here.clock.advance(60)
        here.simulator.emit(touched(("REPOSITORY", "payments", "1")))
        with pytest.raises(AccessError):
            await here.poll()
        await here.poll()
        assert len(here.stored) == 1
        assert "SEC/vault-tools is not found, left out" in await here.source.probe()
        sec = (Repository(1, "payments"), Repository(2, "vault-tools"))
        projects(here, Project(1, "SEC", "Security", sec))
        here.clock.advance(4000)
        here.simulator.emit(touched(("REPOSITORY", "vault-tools", "2")))
        await here.poll()
        assert len(here.stored) == 2


async def test_what_happened_while_a_repository_was_left_out_is_read_once_it_is_there_again() -> (
    None
):
    names = {"repositories": ["SEC/payments", "SEC/vault-tools"]}
    sec = (Repository(1, "payments"), Repository(2, "vault-tools"))
    days = 5
    async with world(token=PROJECT_TOKEN, start_at="now", **names) as here:
        await here.poll()
        projects(here, Project(1, "SEC", "Security", sec[:1]))
        here.clock.advance(4000)
        for _ in range(days):
            here.simulator.emit(touched(("REPOSITORY", "payments", "1")))
            here.simulator.emit(touched(("REPOSITORY", "vault-tools", "2")))
            await here.poll()
            here.clock.advance(86_400)
        checkpoint = stored_form(here.checkpoint)
        assert len(here.stored) == days
        simulator, now = here.simulator, here.clock.now()
    async with world(at=now, token=PROJECT_TOKEN, start_at="now", **names) as here:
        here.simulator.log, here.checkpoint = simulator.log, checkpoint
        projects(here, Project(1, "SEC", "Security", sec))
        await here.poll()
        assert len(here.stored) == 2 * days
        rest = stored_form(here.checkpoint).extra
        assert "left_out" not in rest


async def test_where_nothing_is_left_access_is_refused() -> None:
    async with world(token=PROJECT_TOKEN, start_at="now", repositories=["SEC/payments"]) as here:
        await here.poll()
        projects(here, Project(1, "SEC", "Security"))
        here.clock.advance(4000)
        with pytest.raises(AccessError, match="repository SEC/payments: gone"):
            await here.poll()


async def test_names_are_looked_up_once_an_hour() -> None:
    async with world(start_at="now", projects=["SEC"], repositories=["OPS/terraform"]) as here:
        for _ in range(240):
            await here.poll()
            here.clock.advance(30)
        paths = Counter(request.url.path for request in here.network.requests)
        assert paths["/rest/api/latest/projects/SEC"] == 2
        assert paths["/rest/api/latest/projects/OPS/repos/terraform"] == 2
