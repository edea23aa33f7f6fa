"""A verb as somebody types it into a pipe, in this process: quick, because nothing is started."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from anyio import to_thread

from forwarder.cli import app
from forwarder.cli.terminal import exit_codes


@dataclass(frozen=True)
class Said:
    """What a verb has said, and how it ended."""

    code: int
    stdout: str
    stderr: str


async def typed(*words: object) -> Said:
    """Run a verb to its end in a thread; one at a time, because it takes over stdout."""
    return await to_thread.run_sync(_typed, [str(word) for word in words])


def _typed(words: list[str]) -> Said:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            with exit_codes():
                app(words, prog_name="soteri-forwarder")
        except SystemExit as ended:
            code = ended.code
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Said(code if isinstance(code, int) else 0, *said)
