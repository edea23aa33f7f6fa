"""The installed command, in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio

from tests.acceptance.warm import Warm

COMMAND = str(Path(sys.executable).with_name("soteri-forwarder"))


def environment(**more: str) -> dict[str, str]:
    """Return an environment with nothing of ours in it but `more`."""
    kept = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


class Running(Protocol):
    """What there is of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...


class Forwarder:
    """One configuration in a folder, and the command that is run on it."""

    def __init__(self, folder: Path, config: str, **env: str) -> None:
        self.folder = folder
        self.path = folder / "config.toml"
        self.path.write_text(config, "utf-8")
        self.path.chmod(0o600)
        self.env = environment(**env)

    async def run(self, *words: str, fail_after: float = 90) -> subprocess.CompletedProcess[bytes]:
        """Run a verb to its end; neither a failure's output nor its exit code is hidden."""
        return await self.run_bare(*words, "--config", str(self.path), fail_after=fail_after)

    async def run_bare(
        self, *words: str, fail_after: float = 90
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a verb that takes no configuration, as `run` does."""
        return await ran(*words, env=self.env, fail_after=fail_after)

    @contextmanager
    def daemon(self, *, warm: bool = False) -> Iterator[Running]:
        """Run the daemon until the block ends, by SIGKILL if it still runs then."""
        words = ["run", "--config", str(self.path)]
        log = self.folder / "daemon.log"
        if warm:
            forked = Warm(words, environment=self.env, out=log, err=log)
            try:
                yield forked
            finally:
                forked.end()
            return
        with (
            log.open("ab") as output,
            subprocess.Popen(
                [COMMAND, *words], stderr=output, stdout=output, env=self.env
            ) as running,
        ):
            try:
                yield running
            finally:
                running.kill()

    @property
    def log(self) -> str:
        """What the daemon has logged, over all its runs."""
        return (self.folder / "daemon.log").read_text("utf-8")


async def ran(
    *words: str, env: dict[str, str] | None = None, fail_after: float = 90
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end, warm."""
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        files = {"out": Path(out.name), "err": Path(err.name)}
        forked = Warm([*words], environment=environment() if env is None else env, **files)
        try:
            code = await ended(forked, within=fail_after)
        finally:
            forked.end()
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


async def ended(running: Running, *, within: float) -> int:
    """Return the exit code once the process has ended."""
    with anyio.fail_after(within):
        return await anyio.to_thread.run_sync(running.wait, abandon_on_cancel=True)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; every line must be whole."""
    text = path.read_bytes() if path.exists() else b""
    assert not text or text.endswith(b"\n"), "the last line is torn"
    return [json.loads(line) for line in text.splitlines()]


def parts(folder: Path, pattern: str) -> list[Path]:
    """Return the file sink's rotated parts, oldest first, and the current file."""
    return sorted(folder.glob(pattern))


def archived(folder: Path, pattern: str = "audit.jsonl") -> list[dict[str, Any]]:
    """Return what the file sink has written, rotated parts included where they match."""
    return [line for path in parts(folder, pattern) for line in lines(path)]
