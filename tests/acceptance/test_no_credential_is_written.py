"""A run in which everything fails that can, before servers that repeat every credential they get.

All that is written in it, wherever, is searched for every credential that was given.
"""

import base64
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder
from tests.receivers.process import free_port

pytestmark = pytest.mark.real

NAMES = (
    "bitbucket",
    "password",
    "filed",
    "proxy",
    "userinfo",
    "hec",
    "hectls",
    "hecfile",
    "management",
    "aws",
    "session",
    "server",
    "variable",
)
SECRETS = {name: f"{name}-Zq7kVx2{number}mPw" for number, name in enumerate(NAMES)}
CONFIG = """
[log]
level = "debug"
[store]
url = "sqlite:///{folder}/state/forwarder.db"
[server]
listen = "127.0.0.1:{port}"
token = "{server}"
[sources.good]
type = "bitbucket_audit"
url = "{good}"
token = "{simulator}"
start_at = "beginning"
poll_interval = "200ms"
[sources.token]
type = "bitbucket_audit"
url = "{echo}/token"
token = "{bitbucket}"
start_at = "beginning"
enrich = true
{again}
[sources.basic]
type = "bitbucket_audit"
url = "{echo}/basic"
username = "admin"
password = "{password}"
{again}
[sources.filed]
type = "bitbucket_audit"
url = "{echo}/filed"
token_file = "{folder}/filed-token"
{again}
[sources.proxied]
type = "bitbucket_audit"
url = "http://bitbucket.test"
token = "{bitbucket}"
{again}
[sources.older]
type = "bitbucket_repository_audit"
url = "{echo}/older"
token = "{bitbucket}"
repositories = ["SEC/payments"]
{again}
[sinks.refused]
type = "splunk_hec"
url = "{echo}/refused"
token = "{hec}"
management = {{ url = "{echo}", token = "{management}" }}
{again}
[sinks.burying]
type = "splunk_hec"
url = "{echo}/burying"
token_file = "{folder}/hec-token"
ack = false
{again}
[sinks.broken]
type = "splunk_hec"
url = "{echo}/broken"
token = "{hec}"
ack = true
{again}
[sinks.plain]
type = "splunk_hec"
url = "https://{echo_host}"
token = "{hectls}"
{again}
[sinks.cloud]
type = "cloudwatch_logs"
log_group = "/soteri/audit"
region = "eu-central-1"
endpoint_url = "{echo}"
{again}
[sinks.siem]
type = "syslog"
address = "tls://{echo_host}"
{again}
[sinks.tunnel]
type = "syslog"
address = "relp://{echo_host}"
{again}
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
"""
AGAIN = 'retry = { initial = "100ms", maximum = "300ms", access = "300ms" }'


def answer(path: str, said: str) -> tuple[int, str]:
    """Return status and body: an error of the protocol's own form that repeats the request."""
    if "/burying/" in path:
        return 400, json.dumps({"text": said, "code": 6, "invalid-event-number": 0})
    if "/broken/" in path:
        return 500, json.dumps({"text": said, "code": 8})
    if "/services/" in path:
        return 403, json.dumps({"text": said, "code": 4})
    if path == "/":
        return 400, json.dumps({"__type": "UnrecognizedClientException", "message": said})
    errors = [{"context": None, "message": said, "exceptionName": "IncorrectPassword"}]
    return 407 if path.startswith("http:") else 401, json.dumps({"errors": errors})


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """Yield host and port of what answers every request with its own headers."""

    async def converse(stream: SocketStream) -> None:
        async with stream:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += await stream.receive()
                head = request.partition(b"\r\n\r\n")[0].decode("latin-1")
                path = head.split(" ")[1] if " " in head else ""
                status, body = answer(path, " ".join(head.split()))
                answered = (
                    f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n"
                    f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                )
                await stream.send(answered.encode())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, converse)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def forms(secret: str) -> list[bytes]:
    """Return the secret as it is, and as it may stand in a header or an address."""
    encoded = [
        base64.b64encode(f"{user}:{secret}".encode()).rstrip(b"=")
        for user in ("admin", "proxyuser", "x", "")
    ]
    return [secret.encode(), quote(secret).encode(), base64.b64encode(secret.encode()), *encoded]


def everything_in(folder: Path) -> dict[str, bytes]:
    kept = ("config.toml", "filed-token", "hec-token")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in kept
    }


async def asked(server: str, token: str) -> dict[str, bytes]:
    """Return what the running daemon says of itself, over HTTP."""
    paths = ("/readyz", "/metrics", "/", "/api/status", "/api/dead-letters", "/api/history")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=server, trust_env=False, headers=headers) as client:
        return {path: (await client.get(path)).content for path in paths}


async def until_all_has_failed(forwarder: Forwarder, server: str) -> None:
    headers = {"Authorization": f"Bearer {SECRETS['server']}"}
    well = {"good", "archive", "burying"}
    async with httpx.AsyncClient(base_url=server, trust_env=False, headers=headers) as client:
        status: dict = {}
        with anyio.move_on_after(60):
            while True:
                try:
                    status = (await client.get("/api/status")).json()
                except httpx.TransportError:
                    status = {}
                parts = [*status.get("sources", ()), *status.get("sinks", ())]
                failed = {part["name"] for part in parts if part["error"]}
                letters = {part["name"] for part in parts if part.get("dead_letters")}
                if len(parts) == 14 and failed >= {p["name"] for p in parts} - well and letters:
                    return
                await anyio.sleep(0.1)
    raise AssertionError(f"{status}\n{forwarder.log[-3000:]}")


async def test_no_credential_is_in_anything_that_is_written_and_the_state_is_its_owners_alone(
    tmp_path: Path,
) -> None:
    simulator = Simulator(SimulatorOptions(history=60))
    for name, secret in (("filed-token", "filed"), ("hec-token", "hecfile")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(SECRETS[secret])
    port = free_port()
    server = f"http://127.0.0.1:{port}"
    said: dict[str, bytes] = {}
    async with serve(simulator) as good, echoing() as echo:
        text = CONFIG.format(
            good=good,
            simulator=simulator.options.token,
            echo=f"http://{echo}",
            echo_host=echo,
            folder=tmp_path,
            port=port,
            again=AGAIN,
            **SECRETS,
        )
        forwarder = Forwarder(
            tmp_path,
            text,
            AWS_ACCESS_KEY_ID="AKIAFORWARDER",
            AWS_SECRET_ACCESS_KEY=SECRETS["aws"],
            AWS_SESSION_TOKEN=SECRETS["session"],
            FORWARDER_SINKS__BROKEN__TOKEN=SECRETS["variable"],
            HTTP_PROXY=f"http://proxyuser:{SECRETS['proxy']}@{echo}",
            NO_PROXY="127.0.0.1",
        )
        before = os.umask(0)  # takes no right away from anybody
        try:
            with forwarder.daemon(warm=True) as running:
                await until_all_has_failed(forwarder, server)
                said |= await asked(server, SECRETS["server"])
                verbs: list[tuple[str, ...]] = [
                    ("status",),
                    ("status", "--json"),
                    ("dead-letters", "list"),
                ]
                verbs += [("dead-letters", "show", "1"), ("check",), ("events",)]
                for sink in ("refused", "cloud"):
                    verbs.append(("reconcile", "--since", "400d", "--sink", sink))

                async def run(*words: str) -> None:
                    done = await forwarder.run(*words)
                    said[" ".join(words)] = done.stdout + done.stderr

                async with anyio.create_task_group() as tasks:
                    for verb in verbs:
                        tasks.start_soon(run, *verb)
                state = tmp_path / "state"
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
                assert stat.S_IMODE(state.stat().st_mode) == 0o700
                assert running.poll() is None
                said |= everything_in(tmp_path)
            for name, misplaced in (
                ("userinfo", text.replace(f"//{echo}/token", f"//me:{SECRETS['userinfo']}@{echo}")),
                ("proxy", text.replace(AGAIN, f'proxy = "http://u:{SECRETS["proxy"]}@{echo}"', 1)),
            ):
                forwarder.path.write_text(misplaced)
                done = await forwarder.run("run", "--once", "--timeout", "1s")
                said[f"with {name}"] = done.stdout + done.stderr
        finally:
            os.umask(before)
    said |= {f"{name} after": found for name, found in everything_in(tmp_path).items()}

    assert modes.keys() >= {f"forwarder.db{end}" for end in ("", "-wal", "-shm", ".lock")}
    assert set(modes.values()) == {0o600}, modes
    assert b"UnrecognizedClient" in b"".join(said.values()), "the answers were not repeated"
    secrets = {**SECRETS, "simulator": simulator.options.token}
    leaks = [
        (name, where, found[max(0, found.find(form) - 200) : found.find(form) + 60])
        for name, secret in secrets.items()
        for form in forms(secret)
        for where, found in said.items()
        if form in found
    ]
    assert leaks == []
