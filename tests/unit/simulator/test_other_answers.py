"""What a poller asks beside the audit log, and the simulator's own addresses."""

import json

import pytest

from forwarder.simulator.events import SOTERI_CATEGORY


async def test_a_project_is_found_by_its_key_with_a_number_for_an_id(opened):
    async with opened(context="/bitbucket") as (_, client):
        for version in ("latest", "1.0"):
            project = (await client.get(f"/rest/api/{version}/projects/SEC")).json()
            assert (project["key"], project["id"], project["name"]) == ("SEC", 1, "Security")
        personal = (await client.get("/rest/api/latest/projects/~mira.holm")).json()
    assert personal["type"] == "PERSONAL"


async def test_a_repository_is_found_within_its_project(opened):
    async with opened() as (_, client):
        web = (await client.get("/rest/api/latest/projects/WEB/repos/search")).json()
        data = (await client.get("/rest/api/latest/projects/DATA/repos/search")).json()
    assert (web["slug"], web["id"], web["project"]["key"]) == ("search", 5, "WEB")
    assert data["id"] == 9


@pytest.mark.parametrize(
    ("path", "message", "exception"),
    [
        ("unknown", "Project unknown does not exist.", "project.NoSuchProjectException"),
        ("unknown/repos/x", "Project unknown does not exist.", "project.NoSuchProjectException"),
        (
            "SEC/repos/nope",
            "Repository SEC/nope does not exist.",
            "repository.NoSuchRepositoryException",
        ),
    ],
)
async def test_what_does_not_exist_is_404_with_the_exceptions_name(
    opened, path, message, exception
):
    async with opened() as (_, client):
        answer = await client.get(f"/rest/api/latest/projects/{path}")
    assert answer.status_code == 404
    assert answer.json() == {
        "errors": [
            {
                "context": None,
                "message": message,
                "exceptionName": f"com.atlassian.bitbucket.{exception}",
            }
        ]
    }


async def test_a_look_up_wants_a_log_in(opened):
    async with opened(token="") as (_, client):
        assert (await client.get("/rest/api/latest/projects/SEC")).status_code == 401


async def test_properties_are_for_everybody_but_a_wrong_credential(opened):
    path = "/rest/api/latest/application-properties"
    async with opened(token="", version="9.4.2") as (_, client):
        answer = await client.get(path)
        assert answer.json()["version"] == "9.4.2"
        assert answer.json()["buildNumber"] == "9004002"
    async with opened(token="wrong") as (_, client):
        assert (await client.get(path)).status_code == 401


async def test_the_status_wants_no_credential_and_never_fails(opened):
    async with opened(token="", fault_rates={"http_503": 1.0}) as (_, client):
        assert (await client.get("/status")).json() == {"state": "RUNNING"}


async def test_coverage_denylist_and_plugins_are_for_global_administrators(opened):
    paths = (
        "/rest/auditing/1.0/configuration/coverage",
        "/rest/auditing/1.0/configuration/denylist",
        "/rest/plugins/1.0/",
    )
    async with opened(coverage={"ecosystem": "off"}, denylist=("Push",)) as (_, client):
        coverage, denylist, plugins = [(await client.get(path)).json() for path in paths]
    assert coverage["levelByArea"]["ecosystem"] == "off"
    assert denylist == {"actions": ["Push"]}
    assert SOTERI_CATEGORY in {plugin["name"] for plugin in plugins["plugins"]}
    async with opened(token="simulator-project-token") as (_, client):
        assert {(await client.get(path)).status_code for path in paths} == {401}


@pytest.mark.parametrize("path", ["projects/SEC/events", "projects/SEC/repos/payments/events"])
async def test_the_legacy_audit_api_is_gone_as_on_8_0(opened, path):
    async with opened() as (_, client):
        assert (await client.get(f"/rest/audit/latest/{path}")).status_code == 404


async def test_the_truth_is_told_as_json_lines_to_anybody_and_not_audited(opened):
    async with opened(history=50, token="", fault_rates={"http_503": 1.0}) as (simulator, client):
        answer = await client.get("/simulator/truth", params={"category": SOTERI_CATEGORY})
        truth = simulator.truth(categories=[SOTERI_CATEGORY])
        assert [json.loads(line) for line in answer.text.splitlines()] == truth
        assert truth
        assert len(simulator.truth()) == 50


async def test_another_process_can_emit_one_event_or_many(opened):
    async with opened() as (simulator, client):
        one = {"event": {"source": "192.0.2.1"}, "copies": 2}
        answer = (await client.post("/simulator/emit", json=one)).json()
        await client.post("/simulator/emit", json={"count": 5, "late": 9})
        assert simulator.truth() == [answer["event"]] * 2
        simulator.clock.advance(9)
        assert len(simulator.truth()) == 7


async def test_another_process_can_set_faults_and_the_clock_and_forget(opened):
    async with opened() as (simulator, client):
        wanted = {"rates": {"slow": 0.5}, "next": ["http_503", None], "next_other": ["gzip"]}
        assert (await client.post("/simulator/faults", json=wanted)).json() == wanted
        assert (await client.post("/simulator/faults", json={"next": ["x"]})).status_code == 400
        simulator.emit()
        moved = (await client.post("/simulator/clock", json={"jump": 7200})).json()
        assert moved == {"now": "2026-01-01T02:00:00Z"}
        forgotten = await client.post("/simulator/forget", json={"older_than": 3600})
        state = (await client.get("/simulator/state")).json()
    assert forgotten.json() == {"forgotten": 1}
    assert (state["rows"], state["written"], state["forgotten"]) == (0, 1, 1)
