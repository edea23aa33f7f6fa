"""The installed command at a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

from tests.acceptance.command import COMMAND, environment

_PATIENCE = 60


def at_a_terminal(
    words: Sequence[str],
    answers: Mapping[str, str] | None = None,
    *,
    columns: int = 80,
    stop_at: str = "",
    **env: str,
) -> tuple[int, str]:
    """Type each answer once its question stands on the screen; return exit code and screen.

    With `stop_at`, press Ctrl-C once that text is there.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [COMMAND, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", **env),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,  # noqa: PLW1509  no threads there
    ) as running:
        os.close(theirs)
        screen, read = "", 0
        for question, answer in (answers or {}).items():
            while not re.search(re.escape(question) + r".*: $", screen[read:], re.DOTALL):
                part = _said(ours)
                assert part, screen
                screen += part
            read = len(screen)
            os.write(ours, f"{answer}\n".encode())
        stopped = not stop_at
        while part := _said(ours):
            screen += part
            if not stopped and stop_at in screen:
                stopped = True
                os.write(ours, b"\x03")
        os.close(ours)
        return running.wait(_PATIENCE), screen


def _said(terminal: int) -> str:
    ready, _, _ = select.select([terminal], [], [], _PATIENCE)
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace") if ready else ""
    except OSError:  # the other side is closed
        return ""
