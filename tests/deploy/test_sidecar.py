"""The forwarder beside Bitbucket, as the shipped pod and the shipped compose file put it there.

Both have a network of their own without any way out, in which Bitbucket is a stand-in.
"""

import base64
import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from forwarder.config import load
from forwarder.sources.bitbucket_audit import identity, wire
from tests.acceptance.command import archived
from tests.deploy.containers import IMAGE, TOP, built, inside, podman

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

POD = TOP / "deploy" / "kubernetes" / "sidecar.yaml"
COMPOSE = TOP / "deploy" / "compose" / "compose.yaml"
SOTERI = "Soteri Security for Bitbucket"


@pytest.fixture(scope="module", autouse=True)
def _image(tmp_path_factory: pytest.TempPathFactory) -> None:
    built(tmp_path_factory.getbasetemp().parent)


@dataclass
class Beside:
    """Bitbucket's container, the forwarder's, and where the delivered file lies here."""

    bitbucket: str
    forwarder: str
    delivered: Path

    def ask(self, path: str, *, post: str | None = None) -> bytes:
        """Ask the stand-in, from within: nobody else reaches it."""
        program = (
            "import sys, urllib.request as web\n"
            "body = sys.argv[2].encode() if sys.argv[2:] else None\n"
            "answer = web.urlopen('http://127.0.0.1:7990' + sys.argv[1], body)\n"
            "sys.stdout.buffer.write(answer.read())"
        )
        words = [path] if post is None else [path, post]
        return podman("exec", self.bitbucket, "python", "-c", program, *words).encode()

    def truth(self) -> list[str]:
        """Return the ids of Soteri's events in the stand-in's log."""
        bodies = self.ask("/simulator/truth").splitlines()
        records = [wire.record(msgspec.Raw(body), namespace="bitbucket") for body in bodies]
        return [one.event_id for one in identity.number(records) if one.category == SOTERI]

    def arrive(self, count: int, *, within: float = 60) -> None:
        """Return once `count` events were delivered."""
        deadline = time.monotonic() + within
        while len(archived(self.delivered)) < count:
            log = podman("logs", "--tail", "20", self.forwarder, check=False)
            assert time.monotonic() < deadline, log
            time.sleep(0.2)

    def sources(self) -> dict[str, str]:
        """Return the state of each source."""
        said = podman("exec", self.forwarder, "soteri-forwarder", "status", "--json")
        return {one["name"]: one["state"] for one in json.loads(said)["sources"]}


@contextmanager
def pod() -> Iterator[Beside]:
    """Yield the shipped pod under another name, with nothing happening by itself."""
    name = f"soteri-{uuid.uuid4().hex[:12]}"
    text = POD.read_text().replace("soteri-sidecar", name)
    text = text.replace("registry.example.com/soteri-forwarder:0.1.0", IMAGE)
    text = text.replace("--rate=1", "--rate=0").replace('"5s"', '"1s"')
    file = Path(f"/tmp/{name}.yaml")
    file.write_text(text)
    try:
        podman("kube", "play", "--start=false", "--network", "none", str(file))
        # Podman 4.3 neither decodes a secret's file nor gives it its mode, as Kubernetes does.
        secret = inside(f"{name}-token") / "sources__bitbucket__token"
        secret.write_bytes(base64.b64decode(secret.read_bytes()))
        secret.chmod(0o440)
        os.chown(secret, 0, 2003)
        podman("pod", "start", name)
        yield Beside(f"{name}-bitbucket", f"{name}-soteri-forwarder", inside(f"{name}-delivered"))
    finally:
        both = (f"{name}-soteri-forwarder", f"{name}-bitbucket")
        podman("rm", "--force", "--volumes", "--time", "1", *both, check=False)
        podman("kube", "down", str(file), check=False)
        podman("pod", "rm", "--force", "--ignore", name, check=False)
        podman("secret", "rm", f"{name}-token", check=False)
        parts = ("home", "state", "delivered", "config", "token")
        podman("volume", "rm", "--force", *(f"{name}-{part}" for part in parts), check=False)
        file.unlink()


@contextmanager
def composed(folder: Path) -> Iterator[Beside]:
    """Yield what the shipped compose file starts, with nothing happening by itself."""
    name = f"soteri-{uuid.uuid4().hex[:12]}"
    text = COMPOSE.read_text().replace("soteri-forwarder:0.1.0", IMAGE)
    text = text.replace("    build: &build\n      context: ../..\n", "").replace(
        "    build: *build\n", ""
    )
    text = text.replace("      - --port=7990\n", "      - --port=7990\n      - --rate=0\n")
    (folder / "compose.yaml").write_text(text)
    (folder / "apart.yaml").write_text("services: {bitbucket: {network_mode: none}}\n")
    config = (COMPOSE.parent / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace('"5s"', '"1s"'))
    (folder / "config.toml").chmod(0o644)
    files = [word for file in ("compose.yaml", "apart.yaml") for word in ("-f", str(folder / file))]
    program = TOP / ".tools" / "checks" / "bin" / "podman-compose"
    command = [str(TOP / "tests" / "containers.sh"), str(program), "-p", name, *files]
    try:
        done = subprocess.run([*command, "up", "-d"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield Beside(f"{name}_bitbucket_1", f"{name}_forwarder_1", inside(f"{name}_delivered"))
    finally:
        both = (f"{name}_forwarder_1", f"{name}_bitbucket_1")
        podman("rm", "--force", "--volumes", "--time", "1", *both, check=False)
        subprocess.run([*command, "down", "--volumes", "-t", "1"], capture_output=True, check=False)


def through_a_kill(beside: Beside) -> None:
    """Let the forwarder read both ways, kill it, and let more happen; all comes, and once."""
    beside.arrive(1)
    beside.arrive(len(beside.truth()))
    beside.ask("/simulator/emit", post='{"count": 100}')
    podman("kill", "--signal", "KILL", beside.forwarder)
    beside.ask("/simulator/emit", post='{"copies": 3}')
    podman("start", beside.forwarder)
    beside.arrive(len(beside.truth()))
    deadline = time.monotonic() + 20
    while set(beside.sources().values()) != {"running"}:
        assert time.monotonic() < deadline, beside.sources()
        time.sleep(0.2)
    assert set(beside.sources()) == {"bitbucket", "node-files"}
    delivered = [line["event_id"] for line in archived(beside.delivered)]
    assert sorted(delivered) == sorted(beside.truth())


def test_the_pod_reads_files_and_api_under_one_identity_and_delivers_each_event_once() -> None:
    with pod() as beside:
        through_a_kill(beside)


def test_the_compose_file_does_the_same(tmp_path: Path) -> None:
    with composed(tmp_path) as beside:
        through_a_kill(beside)


def test_the_configuration_of_the_compose_file_loads_without_a_warning(tmp_path: Path) -> None:
    token = {"FORWARDER_SOURCES__BITBUCKET__TOKEN": "t"}
    config = load(COMPOSE.parent / "config.toml", token, default_secrets=tmp_path / "none")
    assert config.warnings == ()
