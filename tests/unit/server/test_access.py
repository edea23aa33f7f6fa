"""Who is let in, and what a request that changes something must show."""

import base64
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from forwarder.server import ServerConfig
from tests.fakes.daemon import FakeDaemon, asking
from tests.fakes.outbox import MemoryOutbox

OPEN = ServerConfig()
TOKEN = ServerConfig(token="s3cret")
USER = ServerConfig(username="ops", password="pa:ss")
ANYWHERE = {"listen": "0.0.0.0:9187"}
OURS = {"x-forwarder-action": "1"}
EVERYTHING = [
    "/api/status",
    "/api/history",
    "/api/events",
    "/api/dead-letters",
    "/api/dead-letters/1",
]


def basic(user: str, password: str) -> dict[str, str]:
    said = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {said}"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def get(
    config: ServerConfig, path: str = "/api/status", *, host: str = "127.0.0.1:9187", **headers: str
) -> httpx.Response:
    async with asking(FakeDaemon(), config, host=host) as client:
        return await client.get(path, headers=headers)


async def post(config: ServerConfig, **headers: str) -> int:
    body = {"ids": [1]}
    async with asking(FakeDaemon(), config) as client:
        answer = await client.post("/api/dead-letters/discard", json=body, headers=headers)
    return answer.status_code


async def test_nobody_is_asked_where_nothing_is_configured() -> None:
    assert (await get(OPEN)).status_code == 200


@pytest.mark.parametrize("path", ["/", *EVERYTHING])
@pytest.mark.parametrize("config", [TOKEN, USER], ids=["token", "user"])
async def test_everything_that_tells_something_asks_for_credentials(
    config: ServerConfig, path: str
) -> None:
    answer = await get(config, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Basic realm="soteri-forwarder"')


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_probes_and_metrics_ask_for_none(path: str) -> None:
    assert (await get(TOKEN, path)).status_code == 200


@pytest.mark.parametrize(
    ("config", "headers", "status"),
    [
        (TOKEN, bearer("s3cret"), 200),
        (TOKEN, basic("anybody", "s3cret"), 200),
        (TOKEN, bearer("s3cre"), 401),
        (TOKEN, bearer(""), 401),
        (TOKEN, basic("s3cret", ""), 401),
        (TOKEN, {"authorization": "Basic %%%"}, 401),
        (TOKEN, {"authorization": "Digest s3cret"}, 401),
        (USER, basic("ops", "pa:ss"), 200),
        (USER, basic("ops", "wrong"), 401),
        (USER, basic("root", "pa:ss"), 401),
        (USER, bearer("pa:ss"), 401),
    ],
)
async def test_only_the_right_credentials_are_let_in(
    config: ServerConfig, headers: dict[str, str], status: int
) -> None:
    assert (await get(config, **headers)).status_code == status


async def test_a_secret_file_that_changes_is_read_again_and_one_that_is_gone_lets_nobody_in(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("first\n")
    config = ServerConfig.model_validate({"token_file": str(file)})
    assert (await get(config, **bearer("first"))).status_code == 200
    file.write_text("second one\n")
    assert (await get(config, **bearer("first"))).status_code == 401
    assert (await get(config, **bearer("second one"))).status_code == 200
    file.unlink()
    assert (await get(config, **bearer("second one"))).status_code == 503


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "["}, 421),
        ({"host": "[::1"}, 421),
        ({"authorization": b"Basic \xe9"}, 401),
        ({"authorization": b"Bearer \xe9"}, 401),
        ({"origin": "http://["} | OURS | bearer("s3cret"), 403),
    ],
)
async def test_a_header_that_cannot_be_read_is_refused_and_no_crash(
    headers: dict[str, str], status: int
) -> None:
    async with asking(FakeDaemon(), TOKEN) as client:
        answer = await client.post("/api/dead-letters/discard", json={"ids": [1]}, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1/static/x", "127.0.0.1/livez?", "127.0.0.1/livez#"])
@pytest.mark.parametrize("listen", ["127.0.0.1:9187", "0.0.0.0:9187"])
async def test_a_path_in_the_host_header_opens_nothing(listen: str, host: str) -> None:
    config = ServerConfig(listen=listen, token="s3cret")
    async with asking(FakeDaemon(), config) as client:
        assert (await client.get("/api/status", headers={"host": host})).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1:9187", "localhost:8080", "[::1]:9187", "10.1.2.3"])
async def test_addresses_and_localhost_are_names_of_a_loopback_server(host: str) -> None:
    assert (await get(OPEN, host=host)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/metrics", *EVERYTHING])
async def test_another_name_that_leads_to_loopback_is_refused(path: str) -> None:
    assert (await get(OPEN, path, host="evil.example:9187")).status_code == 421


async def test_a_probe_may_use_any_name() -> None:
    assert (await get(OPEN, "/livez", host="whatever")).status_code == 200


async def test_hosts_adds_a_name_and_elsewhere_leaves_no_others() -> None:
    named = ServerConfig(hosts=("Status.Example.com",))
    assert (await get(named, host="status.example.com:443")).status_code == 200
    anywhere = ServerConfig(**ANYWHERE)
    assert (await get(anywhere, host="forwarder.svc")).status_code == 200
    strict = ServerConfig(**ANYWHERE, hosts=("forwarder.svc",))
    assert (await get(strict, host="forwarder.svc")).status_code == 200
    assert (await get(strict, host="evil.example")).status_code == 421


@pytest.mark.parametrize(
    ("config", "headers", "status"),
    [
        (OPEN, OURS, 403),
        (TOKEN, OURS, 401),
        (TOKEN, bearer("s3cret"), 403),
        (TOKEN, OURS | bearer("s3cret"), 200),
        (TOKEN, OURS | bearer("s3cret") | {"sec-fetch-site": "same-origin"}, 200),
        (TOKEN, OURS | bearer("s3cret") | {"sec-fetch-site": "same-site"}, 403),
        (TOKEN, OURS | bearer("s3cret") | {"sec-fetch-site": "cross-site"}, 403),
        (TOKEN, OURS | bearer("s3cret") | {"sec-fetch-site": "none"}, 403),
        (TOKEN, OURS | bearer("s3cret") | {"origin": "http://127.0.0.1:9187"}, 200),
        (TOKEN, OURS | bearer("s3cret") | {"origin": "http://evil.example"}, 403),
        (TOKEN, OURS | bearer("s3cret") | {"origin": "null"}, 403),
    ],
)
async def test_what_changes_something_needs_credentials_and_our_own_page(
    config: ServerConfig, headers: dict[str, str], status: int
) -> None:
    assert await post(config, **headers) == status


async def test_a_get_changes_nothing() -> None:
    outbox = MemoryOutbox()
    async with asking(FakeDaemon(outbox), TOKEN) as client:
        for verb in ("replay", "discard"):
            answer = await client.get(f"/api/dead-letters/{verb}", headers=bearer("s3cret") | OURS)
            assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/", "/livez", "/metrics", "/api/status", "/static/page.css"])
async def test_every_answer_says_strictly_what_a_browser_may_do(path: str) -> None:
    headers = (await get(OPEN, path)).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_user_without_a_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="username and password belong together"):
        ServerConfig(username="ops")


@pytest.mark.parametrize(
    ("config", "risky"),
    [
        (OPEN, False),
        (ServerConfig(listen="localhost:1"), False),
        (ServerConfig(listen=""), False),
        (ServerConfig(**ANYWHERE), True),
        (ServerConfig(listen="[::]:9187"), True),
        (ServerConfig(**ANYWHERE, token="x"), False),
        (ServerConfig(**ANYWHERE, username="a", password="b"), False),
    ],
)
def test_an_open_server_that_others_can_reach_is_a_risk(config: ServerConfig, risky: bool) -> None:
    assert bool(config.risk) == risky
