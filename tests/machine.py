"""A Debian of its own with a systemd that really booted, on this machine's network.

`tests/install-machines.sh` makes the roots; what happens in one stays in memory.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

PROJECT = Path(__file__).parents[1]
CGROUPS = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))
# systemd-nspawn wants a /run/systemd, and a cgroup that it may manage.
_BOOT = """
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
for cgroup in {cgroups}; do echo $$ >$cgroup/cgroup.procs; done
exec systemd-nspawn --quiet --boot --directory={root} --volatile=overlay --machine={name} \
  --register=no --keep-unit --console=pipe --bind-ro={source}:/source --bind-ro={wheels}:/wheels
"""


class Machine:
    """What runs in it is run by `run`; `root` is its file system, seen from here."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self.root = Path(f"/proc/{leader}/root")

    async def run(
        self, *words: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        done = await anyio.run_process(
            ["nsenter", "--target", str(self._leader), "--all", *words],
            input=stdin.encode(),
            check=False,
        )
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    async def out(self, *words: str) -> str:
        return (await self.run(*words)).stdout.decode().strip()

    async def write(self, path: str, text: str, *, mode: str = "0600") -> None:
        """Write a file by a rename, as careful editors do."""
        await self.run("install", "-D", "-m", mode, "/dev/stdin", f"{path}.new", stdin=text)
        await self.run("mv", f"{path}.new", path)

    async def shows(self, unit: str, name: str) -> str:
        return await self.out("systemctl", "show", "-P", name, unit)


@asynccontextmanager
async def booted(release: str, folder: Path) -> AsyncIterator[Machine]:
    """Boot a Debian release; everything of it is gone afterwards."""
    root = PROJECT / ".tools" / f"machine-{release}"
    assert shutil.which("systemd-nspawn"), "systemd-nspawn is missing: run tests/install.sh as root"
    assert root.exists(), f"{root} is missing: run tests/install.sh as root"
    name = f"forwarder-{release}-{os.getpid()}"
    cgroups = [cgroup / name for cgroup in CGROUPS if cgroup.is_dir()]
    for cgroup in cgroups:
        cgroup.mkdir()
    script = _BOOT.format(
        root=root.resolve(),
        name=name,
        source=PROJECT,
        wheels=(PROJECT / ".tools/wheels").resolve(),
        cgroups=" ".join(map(str, cgroups)),
    )
    console = folder / "console"
    with console.open("wb") as log:
        # In processes of its own, which end with their first one: nothing outlives a killed test.
        command = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--propagation=private"]
        command += ["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec", script]
        nspawn = subprocess.Popen(  # noqa: ASYNC220  begins at once, and outlives this block
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    leader = 0
    try:
        with anyio.fail_after(30):
            while not (leader := _first_process(nspawn.pid)):
                assert nspawn.poll() is None, console.read_text(errors="replace")
                await anyio.sleep(0.05)
            machine = Machine(leader)
            asked = ("systemctl", "is-system-running")
            while (await machine.run(*asked, check=False)).stdout.strip() not in (
                b"running",
                b"degraded",
            ):
                await anyio.sleep(0.05)
        yield machine
    finally:
        os.kill(leader or nspawn.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(nspawn.wait)
        for cgroup in cgroups:
            _remove(cgroup)


def _first_process(parent: int) -> int:
    """Return the process below `parent` that is 1 inside, or 0 as long as it has not begun."""
    try:
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
            if found := _first_process(int(child)):
                return found
    except OSError:
        pass
    return 0


def _remove(cgroup: Path) -> None:
    folders: Sequence[Path] = [path for path in cgroup.rglob("*") if path.is_dir()]
    for folder in (*sorted(folders, reverse=True), cgroup):
        folder.rmdir()
