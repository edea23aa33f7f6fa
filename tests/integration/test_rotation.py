"""Secrets that change while the daemon runs: each kind of file, each way of changing it."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import trustme

from forwarder.app import assemble
from forwarder.app.rotation import Rotation
from forwarder.config import Config, load
from forwarder.pipeline.stop import Stop
from forwarder.secret import Secret
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.sinks.splunk_hec.collector import SplunkToken
from forwarder.sources.bitbucket_audit.client import Credential
from tests.receivers.hec import Hec, served


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def overwritten(path: Path, text: str) -> None:
    """Change a file where it is, and give it the time of before, as `cp -p` does."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path, text: str) -> None:
    private(path.with_suffix(".new"), text).rename(path)


def swapped(path: Path, text: str) -> None:
    """Change it as Kubernetes does: a new folder, and `..data` made to point to it."""
    volume = path.parent
    newer = volume / f"..{text}"
    newer.mkdir()
    private(newer / path.name, text)
    (volume / "..data_tmp").symlink_to(newer.name)
    (volume / "..data_tmp").rename(volume / "..data")


def mounted(folder: Path, text: str) -> Path:
    """Return a secret file in a folder like a Kubernetes volume."""
    path = folder / "token"
    swapped(path, text)
    path.symlink_to("..data/token")
    return path


@pytest.mark.parametrize("change", [overwritten, replaced, swapped])
def test_a_secret_is_read_again_however_its_file_changes(
    change: Callable[[Path, str], None], tmp_path: Path
) -> None:
    make = mounted if change is swapped else (lambda folder, text: private(folder / "token", text))
    path = make(tmp_path, "first")
    secret = Secret(path=path)
    assert secret.reveal() == "first"
    for text in ("other", "again"):  # of one length, within one tick of the clock
        change(path, text)
        assert secret.reveal() == text


SECRETS = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.test"
username = "forwarder"
[sources.old]
type = "bitbucket_repository_audit"
url = "https://bitbucket.test"
projects = ["SEC"]
[sinks.splunk]
type = "splunk_hec"
url = "https://splunk.test"
management = { url = "https://splunk.test:8089" }
redact = { fields = ["actor.name"] }
[store]
url = "sqlite:////nowhere/forwarder.db"
redact = { fields = ["actor.name"] }
"""
NAMES = {
    "sources__bitbucket__password": lambda config: config.sources["bitbucket"].password,
    "sources__old__token": lambda config: config.sources["old"].token,
    "sinks__splunk__token": lambda config: config.sinks["splunk"].token,
    "sinks__splunk__management__token": lambda config: config.sinks["splunk"].management.token,
    "sinks__splunk__redact__key": lambda config: config.sinks["splunk"].redact.key,
    "store__redact__key": lambda config: config.store.redact.key,
}


@pytest.fixture
def credentials(tmp_path: Path) -> tuple[Path, Config]:
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in NAMES:
        private(folder / f"forwarder_{name}", "first")
    file = private(tmp_path / "config.toml", SECRETS)
    none = tmp_path / "none"
    return folder, load(file, {"CREDENTIALS_DIRECTORY": str(folder)}, default_secrets=none)


@pytest.mark.parametrize("name", NAMES)
def test_every_secret_of_a_credentials_directory_is_read_again(
    name: str, credentials: tuple[Path, Config]
) -> None:
    folder, config = credentials
    secret = NAMES[name](config)
    assert secret.reveal() == "first"
    replaced(folder / f"forwarder_{name}", "second")
    assert secret.reveal() == "second"


def test_what_a_request_carries_is_the_secret_of_now(credentials: tuple[Path, Config]) -> None:
    folder, config = credentials
    bitbucket, old = config.sources["bitbucket"], config.sources["old"]
    auths = (
        Credential(bitbucket.password, username=bitbucket.username),
        Credential(old.token),
        SplunkToken(config.sinks["splunk"].token),
    )

    def sent(auth: httpx.Auth) -> str:
        return next(auth.auth_flow(httpx.Request("GET", "https://x"))).headers["Authorization"]

    before = [sent(auth) for auth in auths]
    for name in NAMES:
        overwritten(folder / f"forwarder_{name}", "fresh")
    assert [sent(auth) for auth in auths][1:] == ["Bearer fresh", "Splunk fresh"]
    assert sent(auths[0]) != before[0]


CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token_file = "{folder}/bitbucket"
start_at = "beginning"
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = ""
"""
HEC = '[sinks.splunk]\ntype = "splunk_hec"\nurl = "{}"\nack = false\ntoken_file = "{}/hec"\n'


@asynccontextmanager
async def forwarding(folder: Path, *sinks: str) -> AsyncIterator[Rotation]:
    """Run a daemon that takes minutes to try again after a refusal, and yield what looks."""
    simulator = Simulator(SimulatorOptions(history=40))
    if not (folder / "bitbucket").exists():
        private(folder / "bitbucket", simulator.options.token)
    async with serve(simulator) as bitbucket:
        text = CONFIG.format(bitbucket=bitbucket, folder=folder) + "".join(sinks)
        path = private(folder / "config.toml", text)
        async with (
            assemble(load(path, {}, default_secrets=folder / "none")) as daemon,
            anyio.create_task_group() as group,
        ):
            stop = Stop()
            rotation = Rotation(daemon._parts, daemon._renew)
            group.start_soon(daemon.forward, stop)
            yield rotation
            group.cancel_scope.cancel()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():
            await anyio.sleep(0.02)


def paused(rotation: Rotation) -> list[str]:
    loops = rotation._parts.loops
    return [loop.name for loop in loops if loop.progress.state == "paused"]


async def test_a_paused_sink_tries_again_at_once_when_its_token_has_changed(tmp_path: Path) -> None:
    hec = Hec()
    private(tmp_path / "hec", "revoked")
    async with served(hec) as url, forwarding(tmp_path, HEC.format(url, tmp_path)) as rotation:
        await until(lambda: paused(rotation) == ["splunk"])
        await rotation.look_once()
        assert not hec.indexed
        replaced(tmp_path / "hec", hec.token)
        await rotation.look_once()
        await until(lambda: bool(hec.indexed))
    assert len(hec.ids) == len(set(hec.ids))


async def test_a_paused_source_tries_again_at_once_when_its_token_has_changed(
    tmp_path: Path,
) -> None:
    archive = f'[sinks.archive]\ntype = "file"\npath = "{tmp_path}/audit.jsonl"\n'
    private(tmp_path / "bitbucket", "revoked")
    async with forwarding(tmp_path, archive) as rotation:
        await until(lambda: paused(rotation) == ["bitbucket"])
        await rotation.look_once()
        replaced(tmp_path / "bitbucket", SimulatorOptions().token)
        await rotation.look_once()
        await until((tmp_path / "audit.jsonl").exists)


class Receiver:
    """A TLS receiver that asks for a certificate, and keeps the names in those it was shown."""

    def __init__(self, ca: trustme.CA) -> None:
        self.names: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(self.context)
        ca.issue_cert("127.0.0.1").configure_cert(self.context)

    def answer(self, listening: socket.socket) -> None:
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(raw, server_side=True) as link:
                    (shown,) = link.getpeercert()["subjectAltName"]
                    self.names.append(shown[1])
                    while link.recv(65536):
                        pass
            except OSError:
                raw.close()


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, receiver.answer, listening)
            try:
                yield listening.getsockname()[1]
            finally:
                listening.shutdown(socket.SHUT_RDWR)


async def test_a_client_certificate_that_changed_is_shown_and_half_a_pair_is_not(
    tmp_path: Path,
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def issue(name: str, *, half: bool = False) -> None:
        issued = ca.issue_cert(name)
        if not half:
            private(tmp_path / "key", issued.private_key_pem.bytes().decode())
        private(tmp_path / "cert", issued.cert_chain_pems[0].bytes().decode())

    issue("first.test")
    receiver = Receiver(ca)
    async with receiving(receiver) as port:
        tls = ", ".join(f'{key} = "{tmp_path}/{name}"' for key, name in PEM.items())
        sink = f'[sinks.siem]\ntype = "syslog"\naddress = "tls://127.0.0.1:{port}"\n'
        async with forwarding(tmp_path, f"{sink}tls = {{ {tls} }}\n") as rotation:
            await rotation.look_once()
            await until(lambda: "first.test" in receiver.names)
            issue("half.test", half=True)
            await rotation.look_once()
            issue("second.test")
            await rotation.look_once()
            (siem,) = [loop for loop in rotation._parts.dispatchers if loop.name == "siem"]
            await siem.sink.probe()
            await until(lambda: "second.test" in receiver.names)
    assert "half.test" not in receiver.names


PEM = {"ca_file": "ca.pem", "cert_file": "cert", "key_file": "key"}
