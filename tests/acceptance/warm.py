"""The command in a process of its own, forked from one that has imported it: in 30 ms, not in 2 s.

What runs is the installed command's `main`, with the arguments, environment and files given, and
it can be signalled and killed like any other process.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_IMPORTED = [
    "anyio._backends._asyncio",
    "boto3.session",
    "botocore.endpoint",
    "forwarder.__main__",
    "forwarder.app",
    "forwarder.server.http",
    "forwarder.store.outbox",
    "forwarder.store.sqlite",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.protocols.http.h11_impl",
]


def _main(words: list[str], environment: dict[str, str], out: str, err: str) -> None:
    for name, number in ((os.devnull, 0), (out, 1), (err, 2)):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["soteri-forwarder", *words]
    from forwarder.__main__ import main

    main()


class Warm:
    """One run of the command, with as much of `subprocess.Popen` as the tests use."""

    def __init__(
        self, words: list[str], *, environment: dict[str, str], out: Path, err: Path
    ) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        self._process = context.Process(
            target=_main, args=(words, environment, str(out), str(err)), daemon=True
        )
        self._process.start()
        self._words = words

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal, or None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._words, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Let no process and no descriptor be left."""
        self.kill()
        self._process.join()
        self._process.close()
