"""The HEC token that Splunk has made, in a file that only its owner can read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from forwarder.errors import AccessError
from forwarder.provision.plan import Difference, Step

_MODE: Final = 0o600
_LONGEST: Final = 256
"""Characters; Splunk's own tokens have 36."""


def kept(path: Path) -> str | None:
    """Return what the file holds, None where there is none.

    Raises:
        AccessError: it is there and cannot be read, or holds what is no token: it is kept from
            being overwritten.
    """
    try:
        text = path.read_text("utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(path, error) from None
    if len(text.split()) > 1 or len(text) > _LONGEST:
        raise AccessError(
            f"{path} holds something else than a token", remedy="give --hec-token-file another path"
        )
    return text


def write(path: Path, token: str) -> None:
    """Make the file whole at once, with mode 600, in place of any that is there.

    It belongs to whom that one belonged to, where we may give it away.

    Raises:
        AccessError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            with suppress(FileNotFoundError, PermissionError):  # only root can give a file away
                there = path.stat()
                os.fchown(descriptor, there.st_uid, there.st_gid)
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _failed(path, error) from None


def remove(path: Path) -> None:
    """See that there is no such file.

    Raises:
        AccessError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(path, error) from None


def mode_differs(path: Path) -> tuple[Difference, ...]:
    """Return the difference where others than its owner can read or change the file."""
    mode = path.stat().st_mode & 0o777
    return () if mode & 0o077 == 0 else (Difference("mode", f"{mode:o}", f"{_MODE:o}"),)


def left(path: Path) -> Step:
    """Return the step of a file that is right."""
    return Step("leave", f"file {path}")


def _failed(path: Path, error: Exception) -> AccessError:
    said = getattr(error, "strerror", None) or "it is not UTF-8 text"
    return AccessError(
        f"the token's file {path} cannot be used: {said}",
        remedy="give --hec-token-file a path in a folder that is there and may be written to",
    )
