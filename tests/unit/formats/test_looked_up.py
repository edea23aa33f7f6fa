"""What was looked up beside the record goes where each schema looks for it."""

import json

from forwarder.formats import FORMATS
from forwarder.model import Context
from tests.fakes.events import event
from tests.receivers import cef, leef

LINK = "https://bitbucket.example.com/projects/SEC/repos/payments"
LOOKED_UP = event(
    context=Context(
        actor_name="Alice Liddell",
        project_name="Security",
        repository_name="Payments service",
        link=LINK,
    )
)


def line(name: str) -> str:
    return FORMATS[name].encode(LOOKED_UP).decode()


def test_ecs_has_names_and_link():
    written = json.loads(line("ecs"))
    assert written["user"]["full_name"] == "Alice Liddell"
    assert written["event"]["url"] == LINK
    assert written["labels"]["project_name"] == "Security"
    assert written["labels"]["repository_name"] == "Payments service"


def test_ocsf_has_names_and_link():
    written = json.loads(line("ocsf"))
    assert written["actor"]["user"]["full_name"] == "Alice Liddell"
    assert written["unmapped"]["context"]["link"] == LINK


def test_cef_leef_and_splunk_have_the_link():
    assert cef.parse(line("cef")).extension["request"] == LINK
    assert leef.parse(line("leef")).attributes["url"] == LINK
    written = json.loads(line("splunk_cim"))
    assert (written["user_name"], written["url"]) == ("Alice Liddell", LINK)
