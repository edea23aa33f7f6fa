"""The image, built once a run, and containers of it with names of their own."""

import fcntl
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.receivers.process import missing

TOP = Path(__file__).parents[2]
BASE = "localhost/python:3.13-slim-trixie"
IMAGE = "localhost/soteri-forwarder:test"
CONFIG = "/etc/soteri-forwarder/config.toml"
STATE = "/var/lib/soteri-forwarder"
LOGS = "/var/log/soteri-forwarder"


def podman(*words: str, check: bool = True) -> str:
    """Run podman with the images of the tests; return what it prints."""
    command = [str(TOP / "tests" / "containers.sh"), "podman", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
    return done.stdout


def built(folder: Path) -> str:
    """Return the image's name once it is built from this tree; `folder` is the test run's."""
    for program in ("buildah", "podman", "runc", "mmdebstrap"):
        if shutil.which(program) is None:
            missing(f"{program} is missing: as root run tests/install.sh, tests/install-large.sh")
    if os.getuid() != 0:
        missing("only root may run containers as anyone: run the tests as root")
    with (folder / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "image.built").exists():
            command = [str(TOP / "tests" / "image.sh"), IMAGE]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "image.built").touch()
    return IMAGE


class Container:
    """A container of the image, hardened, as `user`; `mounts` are podman's --volume."""

    def __init__(self, *mounts: str, user: str, memory: str = "128m") -> None:
        self.name = f"forwarder-{uuid.uuid4().hex[:12]}"
        volumes = [word for mount in mounts for word in ("--volume", mount)]
        podman(
            *("create", "--name", self.name, "--user", user, "--no-healthcheck"),
            *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all"),
            *("--security-opt", "no-new-privileges", "--pids-limit", "64"),
            *("--memory", memory, "--memory-swap", memory),
            *volumes,
            IMAGE,
        )

    def start(self) -> None:
        podman("start", self.name)

    def healthy(self, *, within: float = 30) -> None:
        """Return once the image's own health command exits 0."""
        (image,) = json.loads(podman("image", "inspect", IMAGE))
        check = image["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        deadline = time.monotonic() + within
        while self.exec(*check[1:]) != 0:
            assert time.monotonic() < deadline, podman("logs", self.name, check=False)
            time.sleep(0.2)

    def exec(self, *words: str) -> int:
        command = [str(TOP / "tests" / "containers.sh"), "podman", "exec", self.name, *words]
        return subprocess.run(command, capture_output=True, check=False).returncode

    @property
    def state(self) -> dict[str, Any]:
        (inspected,) = json.loads(podman("inspect", self.name))
        state: dict[str, Any] = inspected["State"]
        return state

    def peak(self) -> int:
        """Return the most memory that the process ever had, in bytes (VmHWM)."""
        status = Path(f"/proc/{self.state['Pid']}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def kill(self) -> None:
        podman("kill", "--signal", "KILL", self.name)
        podman("wait", self.name)

    def stop(self) -> int:
        """Stop it as an engine does; return its exit code."""
        podman("stop", "--time", "30", self.name)
        code: int = self.state["ExitCode"]
        return code

    def remove(self) -> None:
        podman("rm", "--force", "--time", "0", self.name)


@contextmanager
def volumes(*purposes: str) -> Iterator[list[str]]:
    """Yield the names of new volumes; they are removed at the end."""
    names = [f"forwarder-{purpose}-{uuid.uuid4().hex[:12]}" for purpose in purposes]
    for name in names:
        podman("volume", "create", name)
    try:
        yield names
    finally:
        podman("volume", "rm", "--force", *names)


def inside(volume: str) -> Path:
    """Return where a volume lies on this machine."""
    return Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip())
