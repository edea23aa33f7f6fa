"""`check` names the right cause and remedy: a table of broken set-ups, on real servers."""

import json
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme

from forwarder.model import Checkpoint
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.store import StoreConfig
from tests.contract.sinks.cloudwatch_logs import alone
from tests.fakes.command_line import typed
from tests.fakes.events import BEGINNING, events
from tests.receivers.cloudwatch import REGION, AwsError, cloudwatch
from tests.receivers.hec import Hec, served
from tests.receivers.socket_peer import read_to_the_end, socket_peer

SECURE = {
    "good": {},
    "other": {},
    "old": {
        "not_before": datetime(2020, 1, 1, tzinfo=UTC),
        "not_after": datetime(2021, 1, 1, tzinfo=UTC),
    },
}


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def closed_port() -> int:
    """Return a port at which nothing listens: it was just given back."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class World:
    """Servers for one set-up, which `stack` ends, and its configuration, well but for the row."""

    stack: AsyncExitStack
    folder: Path
    patch: pytest.MonkeyPatch
    source: str = ""
    sink: str = ""
    store: str = ""
    simulator: Simulator = field(default_factory=Simulator)

    async def bitbucket(self, more: str = "", *, url: str = "", **options: Any) -> str:
        """Serve a simulated Bitbucket and write its source, at `url` where that is given."""
        options = {"history": 30, **options}
        self.simulator = Simulator(SimulatorOptions(**options))
        address = await self.stack.enter_async_context(serve(self.simulator))
        self.at(url or address, more)
        return address

    def at(self, url: str, more: str = "") -> None:
        token = "" if "token" in more else 'token = "simulator-admin-token"'
        self.source = f'type = "bitbucket_audit"\nurl = "{url}"\n{token}\n{more}'

    async def splunk(self, more: str = "", *, url: str = "", **options: Any) -> Hec:
        """Serve a HEC and write its sink, at `url` where that is given."""
        hec = Hec(**options)
        address = await self.stack.enter_async_context(served(hec))
        token = "" if "token" in more else f'token = "{hec.token}"'
        ack = "" if "ack" in more else f"ack = {str(hec.acking).lower()}"
        self.sink = f'type = "splunk_hec"\nurl = "{url or address}"\n{token}\n{ack}\n{more}'
        return hec

    async def secured(self, certificate: str) -> str:
        """Serve a HEC over TLS with such a certificate; return its URL."""
        name = "elsewhere.example.com" if certificate == "other" else "127.0.0.1"
        issued = authority().issue_cert(name, **SECURE[certificate])  # type: ignore[arg-type]
        path = self.folder / "server.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        authority().cert_pem.write_to_path(self.folder / "ca.pem")
        return await self.stack.enter_async_context(served(Hec(), ssl_certfile=str(path)))

    @property
    def trusting(self) -> str:
        return f'tls.ca_file = "{self.folder}/ca.pem"'

    def peer(self, answer: bytes) -> int:
        """Answer every connection with these bytes once it has said something."""

        def behave(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(answer)

        return self.stack.enter_context(socket_peer(behave))

    def cloudwatch(self, more: str, **members: object) -> Any:
        """Serve CloudWatch Logs and write its sink."""
        alone(self.patch, self.folder)
        self.patch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
        self.patch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
        receiver = self.stack.enter_context(cloudwatch())
        endpoint = "" if "region" in more else f'region = "{REGION}"\n'
        self.sink = (
            f'type = "cloudwatch_logs"\nlog_group = "/soteri/audit"\n{endpoint}'
            f'endpoint_url = "{receiver.url}"\n{more}'
        )
        return receiver

    async def config(self) -> Path:
        if not self.source:
            await self.bitbucket()
        sink = self.sink or f'type = "file"\npath = "{self.folder}/audit.jsonl"'
        url = self.store or f"{self.folder}/forwarder.db"
        path = self.folder / "config.toml"
        path.touch(mode=0o600)
        path.write_text(
            f'[sources.bb]\n{self.source}\n[sinks.out]\n{sink}\n[store]\nurl = "sqlite:///{url}"\n'
        )
        return path


SetUp = Callable[[World], Awaitable[object]]
ROWS: dict[str, tuple[SetUp, str, str, int, str, str]] = {}


def row(part: str, state: str, code: int, found: str, remedy: str) -> Callable[[SetUp], SetUp]:
    """Add a set-up with the part and state, the exit code, and words of the cause and remedy."""

    def add(set_up: SetUp) -> SetUp:
        ROWS[set_up.__name__.strip("_")] = set_up, part, state, code, found, remedy
        return set_up

    return add


# -- Bitbucket: the address


@row("source bb", "fails", 77, "one does at http", 'set url = "http')
async def context_path_missing(world: World) -> None:
    address = await world.bitbucket(context="/bitbucket")
    world.at(address.removesuffix("/bitbucket"))


@row("source bb", "fails", 77, "one does at http", 'context path is wrong: set url = "http')
async def context_path_wrong(world: World) -> None:
    address = await world.bitbucket(context="/bitbucket")
    world.at(address.replace("/bitbucket", "/stash"))


@row("source bb", "fails", 77, "one does at http", 'set url = "http')
async def address_of_a_project(world: World) -> None:
    world.at(await world.bitbucket() + "/projects/SEC")


@row("source bb", "fails", 77, "but no Bitbucket", "Bitbucket's front page")
async def another_server(world: World) -> None:
    world.at(await world.stack.enter_async_context(served(Hec())))


@row("source bb", "fails", 1, "nothing listens there", "check the host and the port")
async def bitbucket_port_refused(world: World) -> None:
    world.at(f"http://127.0.0.1:{closed_port()}")


@row("source bb", "fails", 1, "does not speak TLS", "http://")
async def https_to_an_http_port(world: World) -> None:
    world.at((await world.bitbucket()).replace("http:", "https:"))


@row("source bb", "fails", 1, "the port speaks TLS", 'begin url with "https://"')
async def http_to_a_tls_port(world: World) -> None:
    world.at((await world.secured("good")).replace("https:", "http:"))


@row("source bb", "fails", 77, "redirected to https://127", 'begin url with "https://"')
async def http_redirected_to_https(world: World) -> None:
    head = b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nConnection: close\r\n"
    port = world.peer(head + b"Location: https://127.0.0.1/x\r\n\r\n")
    world.at(f"http://127.0.0.1:{port}")


# -- certificates


@row("source bb", "fails", 1, "from a CA that is not trusted here", "set tls.ca_file")
async def unknown_ca(world: World) -> None:
    world.at(await world.secured("good"))


@row("source bb", "fails", 1, "its certificate has expired", "renew the server's certificate")
async def certificate_expired(world: World) -> None:
    world.at(await world.secured("old"), world.trusting)


@row("source bb", "fails", 1, "its certificate is for another name", "tls.server_name")
async def certificate_of_another(world: World) -> None:
    world.at(await world.secured("other"), world.trusting)


# -- the proxy


@row("source bb", "fails", 1, "(proxy) cannot be reached: nothing listens", "check proxy")
async def proxy_refused(world: World) -> None:
    world.at("https://bitbucket.example.com", f'proxy = "http://127.0.0.1:{closed_port()}"')


@row("source bb", "fails", 1, "(proxy) does not let us through: 407", "user:password@host")
async def proxy_wants_a_password(world: World) -> None:
    port = world.peer(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    world.at("https://bitbucket.example.com", f'proxy = "http://127.0.0.1:{port}"')


@row("sink out", "fails", 1, "(HTTPS_PROXY) does not let us through: 403", "NO_PROXY")
async def proxy_of_the_environment_forbids(world: World) -> None:
    port = world.peer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    world.patch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    world.patch.delenv("NO_PROXY", raising=False)
    await world.splunk(url="https://splunk.example.com:8088")


# -- Bitbucket: access


@row("source bb", "fails", 77, "with a web page", "log-in or maintenance page")
async def login_page(world: World) -> None:
    await world.bitbucket(fault_rates={"html_login": 1.0})


@row("source bb", "fails", 77, "redirected to", "log-in page: check the credential")
async def redirected_to_a_login_page(world: World) -> None:
    await world.bitbucket(fault_rates={"redirect_login": 1.0})


@row("source bb", "fails", 77, "HTTP 401", "mistyped, expired or revoked")
async def wrong_token(world: World) -> None:
    await world.bitbucket('token = "of-yesterday"')


@row("source bb", "fails", 77, "HTTP 401", "give the account the right")
async def token_without_rights(world: World) -> None:
    await world.bitbucket('token = "simulator-project-token"')


@row("source bb", "fails", 77, "project NOPE does not exist", "check projects and repositories")
async def project_unknown(world: World) -> None:
    await world.bitbucket('projects = ["NOPE"]')


@row("source bb", "note", 0, "GONE is not found, asked for by its id", "write its new name")
async def project_renamed(world: World) -> None:
    await world.bitbucket('projects = ["SEC", "GONE"]')
    stored = Checkpoint(BEGINNING, {"ids": {"SEC": "1", "GONE": "3"}})
    async with StoreConfig(url=f"sqlite:///{world.folder / 'forwarder.db'}").open() as outbox:
        await outbox.append("bb", [], stored)


@row("source bb", "fails", 77, "repository SEC/nope does not exist", "check projects and repo")
async def repository_unknown(world: World) -> None:
    await world.bitbucket('repositories = ["SEC/nope"]')


# -- Bitbucket: what it does not tell


@row("source bb", "note", 0, "refuses filters (no Data Center licence)", "nothing is lost")
async def filters_refused_by_the_licence(world: World) -> None:
    await world.bitbucket(fault_rates={"filters_refused_400": 1.0})


@row("source bb", "note", 0, 'no event of the category "Soteri Security"', "check its spelling")
async def category_unknown(world: World) -> None:
    await world.bitbucket('categories = ["Soteri Security"]')


@row("source bb", "note", 0, " s ahead of ours", "set both clocks by NTP")
async def clock_skewed(world: World) -> None:
    await world.bitbucket()
    world.simulator.clock.jump(90.5)


@row("source bb", "note", 0, 'coverage of "ecosystem" is off', 'set it to "base" or more')
async def coverage_off(world: World) -> None:
    await world.bitbucket(coverage={"ecosystem": "off"})


@row("source bb", "note", 0, "leaves out 1 actions: Security hook skipped", "take it off the list")
async def action_excluded(world: World) -> None:
    await world.bitbucket(denylist=("Security hook skipped",))


# -- Splunk


@row("sink out", "fails", 77, "code 4: Invalid token", "this Splunk does not know")
async def hec_token_wrong(world: World) -> None:
    await world.splunk('token = "99999999-2222-3333-4444-555555555555"')


@row("sink out", "fails", 77, "code 1: Token disabled", "enable the token in Splunk")
async def hec_token_disabled(world: World) -> None:
    (await world.splunk()).enabled = False


@row("sink out", "fails", 1, "nothing listens there", "Global Settings > All Tokens: Enabled")
async def hec_switched_off(world: World) -> None:
    await world.splunk(url=f"http://127.0.0.1:{closed_port()}")


@row("sink out", "fails", 77, "index secrity: HTTP 400, code 7", "create the index, allow it")
async def hec_index_not_allowed(world: World) -> None:
    await world.splunk('index = "secrity"')


@row("sink out", "fails", 77, "code 14: ACK is disabled", "or set ack = false")
async def hec_ack_disabled(world: World) -> None:
    await world.splunk("ack = true")


@row("sink out", "fails", 77, "code 10: Data channel is missing", "set ack = true")
async def hec_ack_wanted(world: World) -> None:
    await world.splunk("ack = false", acking=True)


@row("sink out", "fails", 77, "not HEC's (text/html", "port 8088")
async def splunk_web_in_place_of_hec(world: World) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    await world.splunk(url=f"http://127.0.0.1:{world.peer(page)}")


# -- CloudWatch Logs


@row("sink out", "fails", 77, f"no such log group or stream in {REGION}", "set the region that has")
async def log_group_missing(world: World) -> None:
    world.cloudwatch("create = false")


@row("sink out", "fails", 77, "AccessDenied", "allow logs:CreateLogGroup on arn:aws:logs")
async def iam_action_missing(world: World) -> None:
    world.cloudwatch("").denied.add("CreateLogGroup")


@row("sink out", "fails", 77, 'no AWS region "eu-centrl-1"', 'set region = "eu-central-1"')
async def region_misspelt(world: World) -> None:
    world.cloudwatch('region = "eu-centrl-1"')
    world.sink = "\n".join(x for x in world.sink.splitlines() if "endpoint_url" not in x)


@row("sink out", "fails", 77, "RequestTimeTooSkewed", "set this machine's clock (NTP)")
async def aws_clock_skewed(world: World) -> None:
    said = "The difference between the request time and the current time is too large."
    world.cloudwatch("").fault = AwsError("RequestTimeTooSkewed", said, status=403)


# -- syslog


def syslog(world: World, address: str, more: str = "") -> None:
    world.sink = f'type = "syslog"\naddress = "{address}"\n{more}'


@row("sink out", "fails", 1, "Connection refused", "check the host and the port")
async def syslog_port_refused(world: World) -> None:
    syslog(world, f"tcp://127.0.0.1:{closed_port()}")


@row("sink out", "fails", 77, "its certificate is for another name", "tls.server_name")
async def syslog_name_wrong(world: World) -> None:
    address = (await world.secured("other")).replace("https", "tls")
    syslog(world, address, world.trusting)


@row("sink out", "fails", 77, "does not speak TLS", "address without TLS")
async def syslog_tls_to_a_plain_port(world: World) -> None:
    syslog(world, f"tls://127.0.0.1:{world.peer(b'what do you mean?' * 9)}")


@row("sink out", "note", 0, "no receiver tells whether it takes octet counting", 'framing = "lf"')
async def syslog_framing_unknown(world: World) -> None:
    port = world.stack.enter_context(socket_peer(lambda peer: read_to_the_end(peer) and None))
    syslog(world, f"tcp://127.0.0.1:{port}")


# -- files and the store


@row("sink out", "fails", 77, "Is a directory", "the path is a folder: name a file in it")
async def file_path_is_a_folder(world: World) -> None:
    world.sink = f'type = "file"\npath = "{world.folder}"'


@row("sink out", "fails", 77, "not a folder: ", "a part of the path is not a folder")
async def file_path_below_a_file(world: World) -> None:
    (world.folder / "taken").touch()
    world.sink = f'type = "file"\npath = "{world.folder}/taken/audit.jsonl"'


@row("store", "fails", 74, "is not a folder", "name another file in [store] url")
async def state_folder_is_a_file(world: World) -> None:
    (world.folder / "state").touch()
    world.store = f"{world.folder}/state/forwarder.db"


@row("store", "fails", 74, "another program's database", "a store of its own")
async def store_of_another_program(world: World) -> None:
    with sqlite3.connect(world.folder / "forwarder.db") as database:
        database.execute("create table bookmarks (a integer)")
    database.close()


@row("store", "fails", 74, "is busy", "end what else has the file open")
async def store_locked_by_another_program(world: World) -> None:
    path = world.folder / "forwarder.db"
    async with StoreConfig(url=f"sqlite:///{path}").open():
        pass
    database = sqlite3.connect(path)
    world.stack.callback(database.close)
    database.execute("pragma locking_mode = exclusive")
    database.execute("begin exclusive")


@row("store", "note", 0, "% full", "[store] capacity")
async def store_nearly_full(world: World) -> None:
    path = world.folder / "forwarder.db"
    async with StoreConfig(url=f"sqlite:///{path}").open() as outbox:
        for first in range(0, 20_000, 5000):
            await outbox.append("bb", events(5000, first=first), Checkpoint(BEGINNING))
    world.store = f'{path}"\ncapacity = "32MiB'


@pytest.mark.real
@pytest.mark.parametrize("name", ROWS)
async def test_check_names_the_cause_and_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up, part, state, code, cause, remedy = ROWS[name]
    async with AsyncExitStack() as stack:
        world = World(stack, tmp_path, monkeypatch)
        await set_up(world)
        done = await typed("check", "--json", "--config", await world.config())
    assert done.stderr == "" or "warning" in done.stderr
    told = json.loads(done.stdout)
    wrong = [each for each in told["findings"] if each["state"] != "ok"]
    assert done.code == code
    assert told["ok"] == (code == 0)
    ours = [each for each in wrong if each["part"] == part and cause in each["found"]]
    assert ours, wrong
    assert ours[0]["state"] == state
    assert remedy in ours[0]["remedy"]
    if state == "fails":  # nothing else is blamed
        assert [each["part"] for each in wrong if each["state"] == "fails"] == [part]
