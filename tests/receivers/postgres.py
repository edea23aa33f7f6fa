"""A real PostgreSQL for the tests: one server, as many databases as wanted."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: len(str(path)))


class Postgres:
    """A server in a folder of its own; started, stopped and restarted as often as wanted."""

    def __init__(self, folder: Path, programs: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = int(taken.getsockname()[1])
        self._folder = folder
        self._programs = programs
        self._numbers = count(1)

    def url(self, database: str) -> str:
        """Return where a database is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def database(self, *, encoding: str = "UTF8") -> str:
        """Make a database; return its URL."""
        name = f"d{next(self._numbers)}"
        extra = "" if encoding == "UTF8" else f" encoding '{encoding}' template template0"
        self.execute(f"create database {name} {extra}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Return the rows of a statement, made by the server's owner outside of a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def start(self, *settings: str) -> None:
        """Start it, and return when it answers."""
        chosen = ["fsync=off", "listen_addresses=127.0.0.1", "max_connections=200", *settings]
        options = " ".join(f"-c {setting}" for setting in chosen)
        self._control("-w", "-l", str(self._folder / "log"), "-o", self._place(options), "start")

    def _place(self, options: str) -> str:
        return f"{options} -p {self.port} -k {self._folder}"

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` is a crash, ``fast`` ends every session."""
        self._control("-w", "-m", mode, "stop")

    def initialise(self) -> None:
        """Make its folder."""
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", *words)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *words]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr.decode()}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server until the block ends."""
    assert _FOUND, "PostgreSQL is missing: run tests/install.sh"
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    server = Postgres(folder, _FOUND[-1].parent)
    try:
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
