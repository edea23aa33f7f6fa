"""What every measurement needs: processes, configurations, and what a process has used."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from tests.receivers.rsyslog import Via, rsyslogd

# Byte code is kept, as in any installation.
_ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}


@dataclass(frozen=True)
class Forwarder:
    """The command to measure, by the interpreter that runs it."""

    python: str

    @property
    def command(self) -> list[str]:
        return [self.python, "-m", "forwarder"]

    def version(self) -> str:
        """Return the interpreter's version."""
        look = "import platform; print(platform.python_version())"
        return subprocess.check_output([self.python, "-c", look], text=True).strip()

    def warm_up(self) -> None:
        """Have the byte code written of all that a daemon imports."""
        code = "import forwarder.cli.run, forwarder.app, forwarder.store.opening"
        subprocess.run([self.python, "-c", code], check=True, env=_ENVIRONMENT)

    def once(self, config: Path, count: int) -> dict[str, float]:
        """Catch up with `count` events; return what it took."""
        began = time.monotonic()
        running = subprocess.Popen(
            [*self.command, "run", "--once", "--config", str(config)], env=_ENVIRONMENT
        )
        peak = Peak(running.pid)
        try:
            _, status, usage = os.wait4(running.pid, 0)
        except BaseException:
            running.kill()
            raise
        seconds = time.monotonic() - began
        running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode:
            sys.exit(f"the forwarder ended with {running.returncode}")
        return {
            "events_per_second": round(count / seconds),
            "cpu_us_per_event": round((usage.ru_utime + usage.ru_stime) / count * 1e6, 1),
            "peak_mib": peak.stop(),
            "seconds": round(seconds, 2),
        }

    @contextmanager
    def daemon(self, config: Path) -> Iterator[psutil.Process]:
        """Run it until the block ends."""
        command = [*self.command, "run", "--config", str(config)]
        with subprocess.Popen(command, env=_ENVIRONMENT) as running:
            try:
                yield psutil.Process(running.pid)
            finally:
                running.terminate()


class Peak:
    """The most memory that a process held, read off /proc while it runs.

    `ru_maxrss` would not do: a child begins with what its parent, this benchmark, held.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._kib = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
            except OSError:
                return
            if found is None:  # it has ended
                return
            self._kib = max(self._kib, int(found[1]))
            time.sleep(0.05)

    def stop(self) -> float:
        self._thread.join()
        return round(self._kib / 1024, 1)


@contextmanager
def process(module: str, *arguments: str, python: str = sys.executable) -> Iterator[list[str]]:
    """Run a module of this folder; yield the words of its first line."""
    with subprocess.Popen(
        [python, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout
            yield running.stdout.readline().split()
        finally:
            running.terminate()


def configuration(
    folder: Path, port: str, sinks: str, *, interval: str = "30s", listen: str = ""
) -> Path:
    """Write a configuration; the source begins at the beginning."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        f"""
[sources.bitbucket]
type = "bitbucket_audit"
url = "http://127.0.0.1:{port}"
token = "bench"
start_at = "beginning"
poll_interval = "{interval}"
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = "{listen}"
[log]
level = "warning"
{sinks}
"""
    )
    return path


def ask(url: str, body: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, body) as answer:
        return dict(json.load(answer))


class Receivers:
    """Starts what a sink needs, and counts what has arrived there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._counts: list[Any] = []

    def sink(self, name: str) -> str:
        """Return the configuration of one sink, whose receiver runs from now on."""
        made: str = getattr(self, f"_{name}")()
        return made

    def expect(self, count: int) -> None:
        """Exit where any receiver has not got `count` events, each once."""
        for arrived in self._counts:
            if (found := arrived()) != count:
                sys.exit(f"{found} events arrived, {count} were sent: no figure counts")

    def _file(self) -> str:
        path = self._folder / "audit.jsonl"

        def lines() -> int:
            with path.open("rb") as file:
                return sum(1 for _ in file)

        self._counts.append(lines)
        return archive(self._folder)

    def _hec(self) -> str:
        return hec(self._collector())

    def _collector(self) -> str:
        """Start a collector, and return its port."""
        (port,) = self._stack.enter_context(process("tests.bench.collector"))
        self._counts.append(lambda: ask(f"http://127.0.0.1:{port}/count")["distinct"])
        return port

    def _syslog(self) -> str:
        return self._rsyslog("tcp")

    def _relp(self) -> str:
        return self._rsyslog("relp")

    def _rsyslog(self, via: Via) -> str:
        # One property is enough to count, and leaves the machine to what is measured.
        receiver = self._stack.enter_context(
            rsyslogd(self._folder, via=via, properties=("rawmsg",))
        )
        self._counts.append(receiver.count)
        return f'[sinks.siem]\ntype = "syslog"\naddress = "{receiver.address}"\n'

    def _cloudwatch(self) -> str:
        return f"""
[sinks.aws]
type = "cloudwatch_logs"
log_group = "bench"
region = "eu-central-1"
endpoint_url = "http://127.0.0.1:{self._collector()}"
"""


def hec(collector: str) -> str:
    return f"""
[sinks.splunk]
type = "splunk_hec"
url = "http://127.0.0.1:{collector}"
token = "bench"
ack = false
compression = "gzip"
"""


def archive(folder: Path) -> str:
    return f"""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
rotate = {{ size = "10GiB" }}
"""


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: round(median(run[key] for run in runs), 3) for key in runs[0]}
