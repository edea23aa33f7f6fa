"""Credentials that may come back to us: a server that repeats a request's headers in its error.

What is concealed here is replaced wherever text of others is kept or shown: in our errors, in
dead letters' reasons, and in the log's finished lines.
"""

import base64
from typing import Final
from urllib.parse import quote

STARS: Final = "**********"
_SHORTEST: Final = 8
"""Characters: to replace less would spoil ordinary words and hide nothing that is one."""
_known: dict[str, None] = {}


def conceal(secret: str | None, *, user: str | None = None) -> None:
    """Have `secret` replaced from now on, as it is, quoted, and, with `user`, as in Basic."""
    if not secret or len(secret) < _SHORTEST:
        return
    forms = [secret, quote(secret), quote(secret, safe="")]
    if user is not None:
        forms.append(base64.b64encode(f"{user}:{secret}".encode()).decode())
    for form in forms:
        _known.setdefault(form)


def without_secrets(text: str) -> str:
    """Return `text` with asterisks for each credential in it."""
    for form in _known:
        if form in text:
            text = text.replace(form, STARS)
    return text
