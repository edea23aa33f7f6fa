"""Start a real receiver as a process of its own, on loopback, and end it by its id."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import psutil
import pytest

Kind = Literal["tcp", "udp"]


def free_port(kind: Kind = "tcp") -> int:
    """Return a loopback port that nobody holds, below the range that outgoing connections use.

    Linux hands out 32768 and up for those (ip_local_port_range): a port from there could be
    taken while a receiver is restarted on it.
    """
    wanted = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(20_000, 32_000)
        with socket.socket(socket.AF_INET, wanted) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def required(program: str, *, package: str) -> str:
    """Return the program's path; without it the test is left out, and listed, but fails in CI."""
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        missing(f"{program} is missing: apt-get install -y --no-install-recommends {package}")
    return str(path)


def missing(what: str) -> NoReturn:
    """Leave the test out for want of a program; nothing may be left out in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


class Daemon:
    """One process that listens on one port and writes each message as a line of JSON.

    It is started, stopped and killed as often as wanted. Each start writes a file of its own
    (`output`), so that a line torn by a kill stays the last of its file.
    """

    def __init__(self, folder: Path, *, port: int, kind: Kind) -> None:
        self.folder = folder
        self.port = port
        self.kind: Kind = kind
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._counted: dict[Path, tuple[int, int]] = {}

    @property
    def output(self) -> Path:
        """The file that the latest start writes."""
        return self._output(self.starts)

    def _output(self, number: int) -> Path:
        return self.folder / f"messages-{number}.jsonl"

    def lines(self) -> list[str]:
        """Return the whole lines written so far, of every start, in order."""
        found: list[str] = []
        for number in range(1, self.starts + 1):
            path = self._output(number)
            text = path.read_bytes() if path.exists() else b""
            found += text[: text.rfind(b"\n") + 1].decode("utf-8").split("\n")[:-1]
        return found

    def messages(self) -> list[dict[str, Any]]:
        """Return what it understood: one object a message, in the receiver's own names."""
        return [json.loads(line) for line in self.lines()]

    def count(self) -> int:
        """Return how many messages are written: reads only what is new, so ask often."""
        total = 0
        for number in range(1, self.starts + 1):
            path = self._output(number)
            place, count = self._counted.get(path, (0, 0))
            if path.exists():
                with path.open("rb") as written:
                    written.seek(place)
                    new = written.read()
                place, count = place + len(new), count + new.count(b"\n")
                self._counted[path] = (place, count)
            total += count
        return total

    def launch(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start `command` and return when it listens on the port."""
        log = self.folder / "receiver.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=env
            )
        watched = psutil.Process(self._process.pid)
        until = time.monotonic() + 20
        while not self._listens(watched):
            said = log.read_text("utf-8", "replace")
            assert self._process.poll() is None, f"{command[0]} ended early: {said}"
            assert time.monotonic() < until, f"{command[0]} does not listen: {said}"
            time.sleep(0.02)

    def _listens(self, watched: psutil.Process) -> bool:
        try:
            held = watched.net_connections(self.kind)
        except psutil.Error:
            return False
        return any(
            one.laddr.port == self.port and one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
            for one in held
            if one.laddr
        )

    def end(self, by: signal.Signals) -> None:
        """Send the signal and return when the process is gone; nothing where none runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(by)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL): nothing is flushed."""
        self.end(signal.SIGKILL)

    def kill_unread(self) -> None:
        """Kill it at a moment at which something sent to its TCP port is still unread.

        Where all is read, the kernel ends the connection of a killed process like one that was
        served in full, and no sender can tell them apart; with something unread it resets it.
        """
        assert self._process is not None
        while True:
            self._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
            for _ in range(20):
                if self._unread():
                    self.kill()
                    return
                time.sleep(0.005)
            self._process.send_signal(signal.SIGCONT)
            time.sleep(0.005)

    def _unread(self) -> bool:
        """Say whether a connection to its port holds bytes that it has not read.

        Linux, Documentation/networking/proc_net_tcp: local address and port, the remote ones, the
        state (0A is listening), and the bytes of both queues, in hexadecimal.
        """
        rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
        return any(
            int(row[1].rpartition(":")[2], 16) == self.port
            and row[3] != "0A"
            and int(row[4].rpartition(":")[2], 16) > 0
            for row in rows
        )

    def stop(self) -> None:
        """End it as its supervisor would (SIGTERM): what it holds is written."""
        self.end(signal.SIGTERM)
