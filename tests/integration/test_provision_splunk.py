"""`provision splunk` makes what alerts people, once, and undoes it; see the stand-in's limits."""

import os
import re
import stat
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import to_thread
from typer.main import get_command

from forwarder.cli import app
from forwarder.detections import detections
from forwarder.errors import AccessError, TransientError
from forwarder.provision.splunk.access import SplunkAccess, connected
from forwarder.provision.splunk.alerts import name_of
from forwarder.sinks.splunk_hec import SplunkHecConfig
from tests.fakes.command_line import Said, typed
from tests.fakes.pseudo_terminal import at_a_terminal
from tests.receivers.certificates import Certificates, make_certificates
from tests.receivers.serving import listening
from tests.receivers.splunk_management import Member, SplunkManagement, User

TOKEN = "admin-token"
EMAIL = "security@example.com"
WORKER = User("worker", "w", "worker-token", frozenset({"indexes_edit", "schedule_search"}))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@dataclass
class Place:
    """A Splunk, and somebody who types."""

    splunk: SplunkManagement
    url: str
    folder: Path

    @property
    def hec_token(self) -> Path:
        return self.folder / "hec-token"

    def secret(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(f"{text}\n")
        path.chmod(0o600)
        return path

    async def provision(self, *words: object, token: str = TOKEN, email: str = EMAIL) -> Said:
        admin = self.secret("admin", token)
        access: tuple[object, ...] = ("--url", self.url, "--admin-token-file", admin)
        if self.url.startswith("https:"):
            access += ("--ca-file", self.folder / "ca.pem")
        told = () if "--remove" in words else ("--email", email)
        return await typed("provision", "splunk", *access, *told, *words)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    splunk = SplunkManagement(users=(User(), WORKER))
    async with listening(splunk.app) as url:
        yield Place(splunk, url, tmp_path)


@pytest.fixture
async def secure(tmp_path: Path, certificates: Certificates) -> AsyncIterator[Place]:
    (tmp_path / "ca.pem").write_bytes(certificates.ca_file.read_bytes())
    splunk = SplunkManagement(users=(User(), WORKER))
    files = {
        "ssl_certfile": str(certificates.server_cert_file),
        "ssl_keyfile": str(certificates.server_key_file),
    }
    async with listening(splunk.app, **files) as url:
        yield Place(splunk, url, tmp_path)


async def test_everything_is_made_from_nothing_and_a_second_time_changes_nothing(
    secure: Place,
) -> None:
    place, splunk = secure, secure.splunk
    shown = await place.provision("--dry-run", "--hec-token-file", place.hec_token)
    assert shown.code == 0, shown.stderr
    assert not splunk.writes
    assert "+ create index security" in shown.stdout
    assert "~ change HTTP Event Collector" in shown.stdout
    assert "nothing was changed" in shown.stdout

    made = await place.provision("--yes", "--hec-token-file", place.hec_token)
    assert made.code == 0, made.stderr
    assert splunk.indexes["security"].content["datatype"] == "event"
    token = splunk.tokens["http://soteri-forwarder"].content
    assert (token["useACK"], token["index"], token["indexes"]) == ("1", "security", ["security"])
    assert token["sourcetype"] == "soteri:bitbucket:audit"
    assert splunk.tokens["http"].content["disabled"] == "0"
    assert place.hec_token.read_text() == f"{token['token']}\n"
    assert stat.S_IMODE(place.hec_token.stat().st_mode) == 0o600
    assert token["token"] not in made.stdout + made.stderr
    sink = tomllib.loads(made.stdout[made.stdout.index("[sinks.splunk]") :])["sinks"]["splunk"]
    assert sink == {
        "type": "splunk_hec",
        "url": "https://127.0.0.1:8088",
        "token_file": str(place.hec_token),
        "index": "security",
        "ack": True,
    }
    assert SplunkHecConfig.model_validate(sink).token.reveal() == token["token"]

    splunk.writes.clear()
    again = await place.provision("--yes", "--hec-token-file", place.hec_token)
    assert again.code == 0
    assert not splunk.writes
    assert "0 to create, 0 to change, 0 to remove" in again.stdout


async def test_each_detection_is_an_alert_with_its_search_its_schedule_and_its_email(
    place: Place,
) -> None:
    made = await place.provision("--yes", "--only", "alerts", "--index", "audit")
    assert made.code == 0, made.stderr
    assert place.splunk.searches.keys() == {name_of(each) for each in detections()}
    assert place.splunk.indexes.keys().isdisjoint({"audit", "security"})
    for detection in detections():
        member = place.splunk.searches[name_of(detection)]
        alert = member.content
        words = alert["search"].split()
        assert words[:2] == ['index="audit"', 'sourcetype="soteri:bitbucket:audit"']
        converted = detection.splunk.split("\n|")
        assert f"({' '.join(converted[0].split())})" in " ".join(words)
        for command in converted[1:]:
            assert f"| {' '.join(command.split())}" in " ".join(words)
        assert (member.app, member.owner, alert["is_scheduled"]) == ("search", "nobody", "1")
        assert alert["cron_schedule"].startswith("*/")
        assert (alert["actions"], alert["action.email.to"]) == ("email", EMAIL)
        assert detection.title in alert["action.email.subject"]
        for harmless in detection.false_positives:
            assert " ".join(harmless.split()) in alert["action.email.message.alert"]


async def test_what_somebody_changed_is_named_and_set_right_and_nothing_else(
    place: Place,
) -> None:
    await place.provision("--yes")
    alert = place.splunk.searches["soteri_hook_skipped"].content
    before = dict(alert)
    alert |= {"cron_schedule": "0 3 * * 0", "disabled": "1", "max_concurrent": "7"}
    place.splunk.tokens["http://soteri-forwarder"].content["useACK"] = "0"
    place.splunk.writes.clear()

    changed = await place.provision("--yes")
    assert "~ change alert soteri_hook_skipped" in changed.stdout
    assert "cron_schedule: 0 3 * * 0 -> */5 * * * *" in changed.stdout
    assert "disabled: 1 -> 0" in changed.stdout
    assert "useACK: 0 -> 1" in changed.stdout
    assert alert == before | {"max_concurrent": "7"}
    assert len(place.splunk.writes) == 2

    alert["actions"] = "webhook"
    await place.provision("--yes")
    assert alert["actions"] == "webhook,email"
    alert["actions"] = "email, webhook"
    assert "0 to change" in (await place.provision("--yes")).stdout


async def test_a_token_file_is_set_right_and_another_file_is_never_touched(place: Place) -> None:
    words = ("--yes", "--only", "token", "--index", "main", "--hec-token-file", place.hec_token)
    await place.provision(*words)
    token = place.hec_token.read_text()
    place.hec_token.chmod(0o644)
    assert "mode: 644 -> 600" in (await place.provision(*words)).stdout
    assert stat.S_IMODE(place.hec_token.stat().st_mode) == 0o600
    place.hec_token.write_text("old\n")
    assert "it holds another token" in (await place.provision(*words)).stdout
    assert place.hec_token.read_text() == token

    place.hec_token.write_text("old\n")
    left = await place.provision(*words, "--remove")
    assert "it does not hold this token" in left.stdout
    assert place.hec_token.read_text() == "old\n"
    place.hec_token.write_text("[default]\nkey = of somebody else\n")
    refused = await place.provision(*words)
    assert refused.code == 77
    assert "holds something else than a token" in refused.stderr


async def test_what_a_release_or_a_user_leaves_out_goes_and_what_others_made_stays(
    place: Place,
) -> None:
    theirs = Member("search", "nobody", {"search": "soteri_ index=main", "disabled": "0"})
    place.splunk.searches |= {"soteri_of_theirs": theirs}
    place.splunk.searches |= {f"report soteri_ {n:03}": theirs for n in range(150)}
    await place.provision("--yes")
    left_out = await place.provision("--yes", "--without", "hook_skipped")
    assert "- remove alert soteri_hook_skipped" in left_out.stdout
    assert "soteri_hook_skipped" not in place.splunk.searches
    assert "soteri_many_findings_reviewed" in place.splunk.searches
    assert "soteri_of_theirs" in place.splunk.searches
    assert len(place.splunk.searches) == 151 + len(detections()) - 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_token_file_that_was_given_to_the_forwarder_stays_its_own(place: Place) -> None:
    words = ("--yes", "--only", "token", "--index", "main", "--hec-token-file", place.hec_token)
    await place.provision(*words)
    os.chown(place.hec_token, 1234, 5678)
    place.hec_token.write_text("old\n")
    assert "it holds another token" in (await place.provision(*words)).stdout
    there = place.hec_token.stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 5678, 0o600)


async def test_an_alert_of_our_name_that_somebody_else_made_is_left_as_it_is(place: Place) -> None:
    written = {"search": "index=main skip", "description": "ours, by hand", "disabled": "0"}
    theirs = Member("search", "nobody", dict(written))
    place.splunk.searches["soteri_hook_skipped"] = theirs
    for words in ((), ("--remove",)):
        said = await place.provision("--yes", "--only", "alerts", *words)
        assert said.code == 0, said.stderr
        assert "alert soteri_hook_skipped\n           there already, and not made" in said.stdout
        assert place.splunk.searches["soteri_hook_skipped"].content == written
    assert place.splunk.searches.keys() == {"soteri_hook_skipped"}


async def test_remove_undoes_it_and_an_index_goes_with_its_events_only_where_told_so(
    place: Place,
) -> None:
    await place.provision("--yes", "--hec-token-file", place.hec_token)
    place.splunk.indexes["security"].content["totalEventCount"] = "12"
    removed = await place.provision("--yes", "--remove", "--hec-token-file", place.hec_token)
    assert removed.code == 0, removed.stderr
    assert not place.splunk.searches
    assert place.splunk.tokens.keys() == {"http"}
    assert not place.hec_token.exists()
    assert "security" in place.splunk.indexes
    assert "it holds 12 events: add --delete-data" in removed.stdout

    place.splunk.writes.clear()
    again = await place.provision("--yes", "--remove")
    assert not place.splunk.writes
    assert again.code == 0
    gone = await place.provision("--yes", "--remove", "--delete-data")
    assert "with the 12 events in it, for good" in gone.stdout
    assert "security" not in place.splunk.indexes
    own = await place.provision("--yes", "--remove", "--delete-data", "--index", "main")
    assert "it is Splunk's own" in own.stdout
    assert "main" in place.splunk.indexes


async def test_an_empty_index_goes_and_a_retention_that_is_asked_for_is_set(place: Place) -> None:
    await place.provision("--yes", "--only", "index", "--retention", "365d")
    content = place.splunk.indexes["security"].content
    assert content["frozenTimePeriodInSecs"] == "31536000"
    content["disabled"] = "1"
    enabled = await place.provision("--yes", "--only", "index")
    assert "disabled: 1 -> 0" in enabled.stdout
    assert content["disabled"] == "0"
    await place.provision("--yes", "--remove")
    assert "security" not in place.splunk.indexes


async def test_a_refused_log_in_says_so_and_what_to_do(place: Place) -> None:
    refused = await place.provision("--dry-run", token="stolen")
    assert refused.code == 77
    assert "the credential goes there unencrypted" in refused.stderr
    assert "HTTP 401: call not properly authenticated" in refused.stderr
    assert "remedy: check the credentials" in refused.stderr
    user = ("--username", "admin", "--password-file", place.secret("password", "wrong"))
    address = ("--url", place.url)
    refused = await typed("provision", "splunk", *address, *user, "--email", EMAIL)
    assert refused.code == 77
    assert "cannot log in: HTTP 401: Login failed" in refused.stderr
    place.secret("password", "changed-me")
    let_in = await typed("provision", "splunk", *address, *user, "--email", EMAIL, "--yes")
    assert let_in.code == 0, let_in.stderr
    assert place.splunk.searches


async def test_a_missing_right_is_named_and_what_was_done_before_it_stays(place: Place) -> None:
    refused = await place.provision("--yes", token=WORKER.token)
    assert refused.code == 77
    assert "requires capability: edit_token_http" in refused.stderr
    assert "remedy: give the capability edit_token_http to a role" in refused.stderr
    parts = ("--only", "index", "--only", "alerts")
    done = await place.provision("--yes", *parts, token=WORKER.token)
    assert done.code == 0, done.stderr

    place.splunk.users = (User("reader", "r", "reader-token", frozenset()),)
    place.splunk.searches.clear()
    refused = await place.provision("--yes", *parts, token="reader-token")
    assert refused.code == 77
    assert "requires capability: schedule_search" in refused.stderr
    assert f"0 of {len(detections())} done" in refused.stdout


async def test_a_certificate_that_nobody_vouches_for_ends_it(secure: Place) -> None:
    place = secure
    access = ("--url", place.url, "--admin-token-file", place.secret("admin", TOKEN))
    refused = await typed("provision", "splunk", *access, "--email", EMAIL, "--yes")
    assert refused.code == 1
    assert "from a CA that is not trusted here" in refused.stderr
    assert "remedy: give --ca-file the PEM file" in refused.stderr
    assert not place.splunk.writes


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((200, "text/html", "<html>log in</html"), "the answer is not Splunk's"),
        ((404, "text/html", "nothing here"), "HTTP 404"),
        ((503, "text/plain", "starting"), "HTTP 503"),
    ],
)
async def test_what_is_not_splunk_or_out_of_order_is_told_apart(
    place: Place, fault: tuple[int, str, str], said: str
) -> None:
    place.splunk.fault = fault
    failed = await place.provision("--yes", "--only", "alerts")
    assert failed.code in (1, 77)
    assert said in failed.stderr
    assert not place.splunk.searches


async def test_nothing_is_done_where_nobody_answers_the_question(place: Place) -> None:
    asked = await place.provision()
    assert asked.code == 2
    assert "add --yes" in asked.stderr
    assert not place.splunk.writes


async def test_an_app_that_is_not_there_is_named_before_anything_is_done(place: Place) -> None:
    failed = await place.provision("--yes", "--only", "alerts", "--app", "of_theirs")
    assert failed.code == 1
    assert "Application does not exist: of_theirs" in failed.stderr
    assert "remedy: check --app" in failed.stderr


async def test_a_mail_server_that_nobody_has_set_is_told(place: Place) -> None:
    told = await place.provision("--dry-run", "--only", "alerts")
    assert "it sends by localhost: see Settings > Server settings" in told.stdout
    place.splunk.alert_actions["email"].content["mailserver"] = "mail.example.com:587"
    told = await place.provision("--dry-run", "--only", "alerts")
    assert "localhost" not in told.stdout


@pytest.mark.real
async def test_at_a_terminal_a_no_changes_nothing_and_a_yes_does_it(place: Place) -> None:
    words = ("provision", "splunk", "--email", EMAIL, "--only", "alerts")
    words += ("--url", place.url, "--admin-token-file", str(place.secret("admin", TOKEN)))
    refused, screen = await to_thread.run_sync(at_a_terminal, words, {"Carry it out?": "n"})
    assert refused == 1
    assert not place.splunk.writes, screen
    done, screen = await to_thread.run_sync(at_a_terminal, words, {"Carry it out?": "y"})
    assert done == 0, screen
    assert len(place.splunk.searches) == len(detections())


async def test_a_configured_sink_says_where_and_which_index(place: Place) -> None:
    config = place.folder / "config.toml"
    config.write_text(f"""
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
token = "b"
[sinks.siem]
type = "splunk_hec"
url = "https://splunk:8088"
token = "h"
index = "audit"
[sinks.siem.management]
url = "{place.url}"
token = "{TOKEN}"
[sinks.copy]
type = "splunk_hec"
url = "https://splunk:8088"
token = "h"
""")
    config.chmod(0o600)
    words = ("--config", config, "--email", EMAIL, "--yes")
    made = await typed("provision", "splunk", "--sink", "siem", *words)
    assert made.code == 0, made.stderr
    assert "audit" in place.splunk.indexes
    assert "[sinks.siem]" in made.stdout
    refused = await typed("provision", "splunk", "--sink", "copy", *words)
    assert refused.code == 78
    assert "sinks.copy: set management.url" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 78, "no Splunk is named"),
        (("--url", "splunk:8089", "--username", "a"), 78, "--url: must be scheme, host and port"),
        (("--url", "https://a:b@splunk:8089"), 78, "--url: must be scheme, host and port"),
        (("--url", "https://splunk:8089"), 78, "--admin-token-file, or --username"),
        (("--email", "nobody"), 2, "is no e-mail address"),
        (("--email", "a@b, c@d"), 2, "is no e-mail address"),
        (("--only", "everything"), 2, "none of index, token, alerts"),
        (("--without", "nothing"), 2, "is none of"),
        (("--list", "nothing"), 2, "write LIST=NAME"),
        (("--delete-data",), 2, "without --remove"),
    ],
)
async def test_a_mistake_on_the_command_line_is_named(
    words: tuple[str, ...], code: int, said: str
) -> None:
    told = () if "--email" in words else ("--email", EMAIL)
    refused = await typed("provision", "splunk", *told, *words)
    assert refused.code == code, refused.stderr
    assert said in " ".join(refused.stderr.replace("│", " ").split())


def test_the_page_for_users_names_options_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")
    half = page.partition("## Splunk\n")[2].partition("\n## ")[0]
    command = get_command(app).commands["provision"].commands["splunk"]  # type: ignore[attr-defined]
    known = {name for each in command.params for name in each.opts} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", half)) <= known
    assert tomllib.loads(half.partition("```toml\n")[2].partition("```")[0])["sinks"]["splunk"]
    names = {name_of(each) for each in detections()}
    assert set(re.findall(r"alert (soteri_\w+)", half)) <= names


async def test_the_stand_in_speaks_json_too(place: Place) -> None:
    import httpx

    who = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=place.url, headers=who, verify=False) as client:
        form = {"name": "made", "useACK": "1"}
        path = "/servicesNS/nobody/search/data/inputs/http?output_mode=json"
        (made,) = (await client.post(path, data=form)).json()["entry"]
        assert made["links"]["alternate"].endswith("/data/inputs/http/http%253A%252F%252Fmade")
        assert (await client.post(path, data=form)).status_code == 409
        refused = await client.post(path, data={"name": "other", "usaACK": "1"})
        assert refused.status_code == 400
        (message,) = refused.json()["messages"]
        assert message["text"] == 'Argument "usaACK" is not supported by this handler.'


def test_a_user_without_password_or_two_credentials_are_refused() -> None:
    with pytest.raises(ValueError, match="a user needs a password"):
        SplunkAccess.model_validate({"url": "https://splunk:8089", "username": "a"})
    both = {"token": "t", "username": "a", "password": "p"}
    with pytest.raises(ValueError, match="not both"):
        SplunkAccess.model_validate({"url": "https://splunk:8089", **both})


def test_a_splunk_that_is_not_there_is_told_with_its_remedy() -> None:
    access = SplunkAccess.model_validate(
        {"url": "http://127.0.0.1:1", "username": "a", "password": "p"}
    )
    with pytest.raises(TransientError, match="nothing listens there") as raised:
        connected(access, app="search")
    assert not isinstance(raised.value, AccessError)
    assert raised.value.remedy
