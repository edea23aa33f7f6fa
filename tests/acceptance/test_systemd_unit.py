"""The unit and its installer under a systemd that really booted, on two Debians."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from forwarder.config import load
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import lines
from tests.acceptance.test_daemon import free_port
from tests.machine import PROJECT, Machine, booted

pytestmark = pytest.mark.real

SYSTEMD = PROJECT / "deploy/systemd"
UNIT = "soteri-forwarder.service"
RESTARTER = "soteri-forwarder-credentials.service"
CREDENTIAL = "/etc/soteri-forwarder/credentials/sources__bitbucket__token"
EARLY = "/etc/soteri-forwarder/credentials/sinks__splunk__token"
CONFIG = "/etc/soteri-forwarder/config.toml"
SOTERI = "Soteri Security for Bitbucket"
ARCHIVE = '[sinks.archive]\ntype = "file"\npath = "/var/log/soteri-forwarder/audit.jsonl"\n'
OFFLINE = ("env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "PIP_ROOT_USER_ACTION=ignore")
INSTALL = (*OFFLINE, "/source/deploy/systemd/install.sh")
IMPATIENT = "[Service]\nWatchdogSec=4s\nRestartSec=500ms\n"


class Service:
    """The installed service in a machine, and the simulated Bitbucket that it reads."""

    def __init__(self, machine: Machine, simulator: Simulator, url: str) -> None:
        self.machine = machine
        self.simulator = simulator
        self._base = (
            f'[sources.bitbucket]\ntype = "bitbucket_audit"\nurl = "{url}"\n'
            'start_at = "beginning"\npoll_interval = "200ms"\n'
            f'[server]\nlisten = "127.0.0.1:{free_port()}"\n'
        )

    async def configure(self, *tables: str) -> None:
        await self.machine.write(CONFIG, self._base + "".join(tables), mode="0640")
        await self.machine.run("chgrp", "soteri-forwarder-config", CONFIG)

    async def systemctl(self, verb: str, *, check: bool = True) -> int:
        done = await self.machine.run("systemctl", verb, UNIT, check=False)
        if check and done.returncode:
            pytest.fail(f"systemctl {verb}:\n{await self.journal()}")
        return done.returncode

    async def signal(self, name: str) -> None:
        await self.machine.run("systemctl", "kill", "--signal", name, "--kill-who=main", UNIT)

    async def shows(self, name: str) -> str:
        return await self.machine.shows(UNIT, name)

    async def journal(self) -> str:
        return await self.machine.out("journalctl", "-o", "cat", "--no-pager", "-u", UNIT)

    def written(self, name: str = "audit") -> list[str]:
        path = self.machine.root / f"var/log/private/soteri-forwarder/{name}.jsonl"
        return [line["event_id"] for line in lines(path)]

    async def until_caught_up(self, name: str = "audit") -> None:
        """Return when every event is in the file; none may be there twice."""
        self.simulator.emit()
        wanted = len(self.simulator.truth(categories=[SOTERI]))
        await self.until(lambda: len(self.written(name)) >= wanted, "events are missing")
        assert len(self.written(name)) == len(set(self.written(name))) == wanted

    async def until_another_process(self, before: str) -> None:
        with anyio.fail_after(40):
            while (await self.shows("MainPID")) in (before, "0") or (
                await self.shows("ActiveState")
            ) != "active":
                await anyio.sleep(0.1)

    async def until_active(self) -> None:
        with anyio.fail_after(40):
            while await self.shows("ActiveState") != "active":
                await anyio.sleep(0.1)

    @asynccontextmanager
    async def restarter_ends(self) -> AsyncIterator[None]:
        """Go on once what is done inside was answered by what restarts the service."""
        before = await self.machine.shows(RESTARTER, "InvocationID")
        yield
        with anyio.fail_after(20):
            while (await self.machine.shows(RESTARTER, "InvocationID")) == before or (
                await self.machine.shows(RESTARTER, "ActiveState")
            ) not in ("inactive", "failed"):
                await anyio.sleep(0.05)

    async def until(self, holds: object, what: str) -> None:
        assert callable(holds)
        with anyio.move_on_after(40):
            while not holds():
                await anyio.sleep(0.05)
            return
        pytest.fail(f"{what}:\n{await self.journal()}")


async def install(machine: Machine) -> str:
    return await machine.out(*INSTALL)


async def refuses_a_bad_configuration(service: Service) -> None:
    """It fails at once and is not tried again; the journal names the mistake and the remedy."""
    await service.configure(ARCHIVE.replace("path", "pth"))
    assert await service.systemctl("start", check=False) != 0
    assert await service.shows("ActiveState") == "failed"
    assert await service.shows("NRestarts") == "0"
    assert 'did you mean "path"' in await service.journal() or "pth" in await service.journal()


async def starts_with_its_credentials(service: Service) -> None:
    await service.configure(ARCHIVE)
    await service.systemctl("start")
    await service.until_caught_up()
    with anyio.fail_after(20):
        while not (await service.shows("StatusText")).startswith("forwarding"):
            await anyio.sleep(0.1)
    exposure = ("systemd-analyze", "security", "--threshold=15", "--no-pager", UNIT)
    assert "Overall exposure level" in await service.machine.out(*exposure)
    state = service.machine.root / "var/lib/private/soteri-forwarder"
    assert state.stat().st_mode & 0o777 == 0o700
    uid = state.stat().st_uid
    assert 61184 <= uid <= 65519, "systemd.exec(5): the range of dynamic users"


async def goes_on_after_a_kill(service: Service) -> None:
    before = await service.shows("MainPID")
    await service.signal("KILL")
    await service.until_another_process(before)
    await service.until_caught_up()


async def is_ended_by_the_watchdog_when_it_hangs(service: Service) -> None:
    before = await service.shows("MainPID")
    await service.signal("STOP")
    await service.until_another_process(before)
    await service.until_caught_up()
    journal = await service.journal()
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal, "it says where it hung"


async def reloads(service: Service) -> None:
    before = await service.shows("MainPID")
    await service.configure(ARCHIVE, ARCHIVE.replace("archive", "more").replace("audit", "more"))
    await service.systemctl("reload")
    await service.until_caught_up("more")
    await service.until_caught_up()
    await service.configure(ARCHIVE.replace("type", "typ"))
    assert await service.systemctl("reload", check=False) != 0
    await service.signal("HUP")
    with anyio.fail_after(20):
        while "refused" not in await service.shows("StatusText"):
            await anyio.sleep(0.1)
    await service.until_caught_up("more")
    assert await service.shows("MainPID") == before
    await service.configure(ARCHIVE)
    await service.systemctl("reload")


async def takes_a_changed_credential(service: Service) -> None:
    before = await service.shows("MainPID")
    await service.machine.write(CREDENTIAL, f"{service.simulator.options.token}\n")
    await service.until_another_process(before)
    await service.until_caught_up()


async def hears_of_credentials_that_change_one_after_another(service: Service) -> None:
    """More often than systemd starts a unit by default: five times in ten seconds."""
    for _ in range(7):
        async with service.restarter_ends():
            await service.machine.write(CREDENTIAL, f"{service.simulator.options.token}\n")
    assert (
        await service.machine.shows("soteri-forwarder-credentials.path", "ActiveState") == "active"
    )
    await service.until_caught_up()


async def goes_on_where_a_credential_fits_nothing_yet(service: Service) -> None:
    await service.until_active()
    before = await service.shows("MainPID")
    async with service.restarter_ends():
        await service.machine.write(EARLY, "the token of a sink that is configured later\n")
    assert await service.shows("MainPID") == before
    assert "sinks__splunk__token" in await service.journal()
    await service.until_caught_up()
    assert await service.systemctl("restart", check=False) != 0
    await service.machine.run("rm", EARLY)
    await service.until_active()
    await service.until_caught_up()


async def goes_on_where_an_upgrade_refuses_the_configuration(service: Service) -> None:
    releases = service.machine.root / "opt/soteri-forwarder"
    before, pid = set(releases.iterdir()), await service.shows("MainPID")
    await service.configure(ARCHIVE.replace("path", "pth"))
    done = await service.machine.run(*INSTALL, check=False)
    assert done.returncode != 0
    assert b"nothing was changed" in done.stderr
    assert (set(releases.iterdir()), await service.shows("MainPID")) == (before, pid)
    await service.configure(ARCHIVE)
    await service.until_caught_up()


async def keeps_its_state_over_an_upgrade(service: Service) -> None:
    releases = service.machine.root / "opt/soteri-forwarder"
    before, pid = set(releases.glob("release-*")), await service.shows("MainPID")
    await service.machine.run("chmod", "0640", CONFIG)
    said = await install(service.machine)
    assert "its state and configuration are as they were" in said
    assert len(list(releases.glob("release-*"))) == 1
    assert not before & set(releases.glob("release-*"))
    assert await service.shows("MainPID") != pid
    await service.until_caught_up()


async def stops_and_goes(service: Service) -> None:
    await service.systemctl("stop")
    assert await service.shows("Result") == "success"
    assert await service.shows("ExecMainStatus") == "0"
    status = await service.machine.run("soteri-forwarder", "status", check=False)
    assert b"archive" in status.stdout, status.stderr
    root = service.machine.root
    await service.machine.run("/source/deploy/systemd/uninstall.sh")
    assert not (root / "opt/soteri-forwarder").exists()
    assert (root / "var/lib/private/soteri-forwarder/forwarder.db").exists()
    assert (root / "etc/soteri-forwarder/config.toml").exists()
    await service.machine.run("/source/deploy/systemd/uninstall.sh", "--purge")
    left = (
        "var/lib/private/soteri-forwarder",
        "etc/soteri-forwarder",
        f"etc/systemd/system/{UNIT}",
    )
    assert not [path for path in left if (root / path).exists()]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
async def test_the_life_of_the_service(release: str, tmp_path: Path) -> None:
    simulator = Simulator(SimulatorOptions(history=100))
    async with serve(simulator) as url, booted(release, tmp_path) as machine:
        assert "is installed. Next:" in await install(machine)
        await machine.write(f"/etc/systemd/system/{UNIT}.d/impatient.conf", IMPATIENT, mode="0644")
        await machine.write(CREDENTIAL, simulator.options.token)
        await machine.run("systemctl", "daemon-reload")
        service = Service(machine, simulator, url)
        await refuses_a_bad_configuration(service)
        await starts_with_its_credentials(service)
        await goes_on_after_a_kill(service)
        await is_ended_by_the_watchdog_when_it_hangs(service)
        await reloads(service)
        await takes_a_changed_credential(service)
        await hears_of_credentials_that_change_one_after_another(service)
        await goes_on_where_a_credential_fits_nothing_yet(service)
        await goes_on_where_an_upgrade_refuses_the_configuration(service)
        await keeps_its_state_over_an_upgrade(service)
        await stops_and_goes(service)


def test_the_unit_is_as_tight_as_it_is_said_to_be() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager"]
    done = subprocess.run(
        [*command, str(SYSTEMD / UNIT)], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stdout


def test_systemd_knows_every_line_of_the_units(tmp_path: Path) -> None:
    for unit in SYSTEMD.glob("soteri-forwarder*"):
        text = unit.read_text().replace(
            "/opt/soteri-forwarder/current/bin/soteri-forwarder", "/bin/true"
        )
        (tmp_path / unit.name).write_text(text)
    for unit in tmp_path.iterdir():
        verify = ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)]
        done = subprocess.run(verify, capture_output=True, check=False, text=True)
        assert (done.returncode, done.stderr) == (0, ""), unit.name


def test_the_installed_sample_loads_with_its_token_as_a_credential(tmp_path: Path) -> None:
    token = tmp_path / "forwarder_sources__bitbucket__token"
    token.touch(0o400)
    token.write_text("stand-in")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    config = load(SYSTEMD / "config.toml", environ, default_secrets=tmp_path / "none")
    assert config.sources["bitbucket"].token.reveal() == "stand-in"
    assert config.warnings == ()
