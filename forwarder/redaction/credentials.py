"""What a credential looks like.

Shapes are those that the issuers publish for secret scanners (GitHub's "Secret scanning patterns",
GitLab's "Token overview", AWS' "IAM identifiers", Slack's "Token types", Stripe's "API keys",
Atlassian's "HTTP access tokens"; RFC 7519 for JWT, RFC 7468 for PEM, RFC 3986 section 3.2.1 for
passwords in URLs), and names that people give to fields with a password in them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

Replace = Callable[[str], str]


class Shape(NamedTuple):
    """A pattern, and texts of which one begins whatever it matches."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]


# An event can hold a long text that somebody chose, and all else waits meanwhile: so what repeats
# gives nothing back (`*+`), and where it may begin in the middle of itself it has an end.
# A text can hold JSON in a string: a line end is a backslash and a letter there, and quotes have
# backslashes before them. The patterns find in it, at any depth, what they find outside.
_BEGIN: Final = r"(?:\b|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4}))"
_SPACE: Final = r"(?:\s|\\+(?:[nrtbf]|u00[01][0-9a-fA-F]))"
_QUOTE: Final = r"(?:\\*[\"']|\\+u0022)"
_EQUALS: Final = r"(?::=|=>|[:=])"
_ESCAPE: Final = re.compile(r"(?<!\\)\\++u00((?!22|5[cC])[2-7][0-9a-fA-F])")

_PEM: Final = r"[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_TOKENS: Final = (
    (("AKIA", "ASIA", "ABIA"), r"(?:AKIA|ASIA|ABIA)[A-Z2-7]{16}\b"),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{20,}"),
    (("github_pat_",), r"github_pat_\w{20,}"),
    (
        ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glimt-", "glagent-"),
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[\w.-]{16,}",
    ),
    (("xox", "xapp-"), r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}"),
    (("sk_live_", "sk_test_"), r"sk_(?:live|test)_\w{10,}"),
    (("rk_live_", "rk_test_"), r"rk_(?:live|test)_\w{10,}"),
    (("pk_live_", "pk_test_"), r"pk_(?:live|test)_\w{10,}"),
    (("whsec_",), r"whsec_\w{10,}"),
    (("BBDC-",), r"BBDC-[A-Za-z0-9+/=_-]{20,}"),
    (("ATATT3x", "ATCTT3x", "ATBB"), r"(?:AT[AC]TT3x|ATBB)[A-Za-z0-9+/=_-]{16,}"),
    (("AIza",), r"AIza[\w-]{30,}"),
    (("ya29.", "GOCSPX-"), r"(?:ya29\.|GOCSPX-)[\w-]{20,}"),
    (("npm_",), r"npm_\w{30,}"),
    (("pypi-",), r"pypi-[\w-]{40,}"),
    (("dckr_pat_",), r"dckr_pat_[\w-]{20,}"),
    (("hvs.", "hvb."), r"hv[sb]\.[\w-]{20,}"),
    (("hf_",), r"hf_[A-Za-z]{30,}"),
    (("shpat_",), r"shpat_[0-9a-fA-F]{32}"),
    (("SG.",), r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    (("sk-",), r"sk-[\w-]{20,}"),
    (("eyJ",), r"eyJ[A-Za-z0-9_-]{8,4096}+\.[\w-]{4,}(?:\.[\w-]*){1,3}"),
)
SHAPES: Final = (
    *(Shape(hints, re.compile(_BEGIN + token)) for hints, token in _TOKENS),
    Shape(
        ("hooks.slack.com/",),
        re.compile(r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{10,}"),
    ),
    Shape(("BEGIN ",), re.compile(rf"(?<=-----)BEGIN {_PEM}[\s\S]*?(?:-----END {_PEM}|\Z)")),
)
"""What credentials look like in themselves."""

# Of these only the part in a group goes. What is sent in a header, and user:password@ in a URL:
_HEADER: Final = re.compile(
    rf"{_BEGIN}(?:bearer|basic){_SPACE}++"
    r"(?P<secret>(?=[^\s\"',;]{0,1000}[0-9=+/])[A-Za-z0-9+/._~=-]{12,})",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"://[^/\s:@\"'<>\\]*:(?P<secret>[^/\s\"'<>@\\]+)@")
# What is assigned, in code, in a query or in JSON (whose quotes may be escaped):
_ASSIGN: Final = rf"(?:{_QUOTE})?{_SPACE}*{_EQUALS}{_SPACE}*"
_KEYS: Final = ("api", "access", "account", "private")
_SECRETS: Final = rf"(?:secret|token|credentials?|(?:{'|'.join(_KEYS)})[_ -]?key|authorization)"
_PHRASES: Final = r"(?:passwor[dt]|passwd|passphrase|pwd)"
_NAME: Final = r"[\w.-]{0,200}+"
_KEY: Final = re.compile(
    rf"{_SECRETS}{_NAME}{_ASSIGN}"
    rf"(?:{_QUOTE})?(?P<secret>(?=[A-Za-z+/_.~=-]*[0-9])[A-Za-z0-9+/_.~=-]{{12,}}|"
    r"[A-Za-z0-9+/_.~=-]{24,})",
    re.IGNORECASE,
)
_PASSWORD: Final = re.compile(
    rf"{_PHRASES}{_NAME}{_ASSIGN}"
    rf"(?:(?P<quote>{_QUOTE})(?P<quoted>(?:(?!(?P=quote)).)+)|(?P<bare>[^\s\"'\\,;&<>{{}}()\[\]]+))",
    re.IGNORECASE,
)
# What follows "password:" in prose.
_PROSE: Final = frozenset(
    (
        *("added", "attempt", "changed", "created", "deleted", "disabled", "empty", "enabled"),
        *("expired", "expires", "failed", "false", "forgotten", "hidden", "incorrect", "invalid"),
        *("missing", "must", "never", "no", "none", "not", "null", "ok", "optional", "policy"),
        *("recently", "removed", "required", "reset", "set", "the", "true", "unchanged"),
        *("undefined", "unset", "updated", "was", "will", "wrong", "yes"),
    )
)

WORDS: Final = (
    Shape(("beare", "basi"), _HEADER),
    # A name that is known, with anything at all assigned to it.
    Shape(
        (
            *("secret", "token", "credential", "authorization"),
            *("passwor", "passwd", "passphrase", "pwd"),
            *(f"{key}{between}key" for key in _KEYS for between in ("", "_", " ", "-")),
        ),
        re.compile(rf"(?:{_SECRETS}|{_PHRASES})[\w .-]*+{_ASSIGN}", re.IGNORECASE),
    ),
)
"""Words, in any case, beside which a credential may stand."""

# Names of attributes and changed values whose whole value is a credential, or what a scan matched:
# Soteri's events about findings carry that text (docs.soteri.io, "Reviewing findings").
_TELLTALE: Final = re.compile(
    r"(?:.*\b)?(?:password|passwd|passphrase|pwd|secret|credentials?|(?:api|access|private) key)"
    r"(?: value| text)?"
    r"|(?:matche?[ds]?|found|finding|reviewed|hidden|secret|allow(?:ed|listed))"
    r"(?: text| string| value| secret| content| line| snippet)"
    r"|match|snippet|false positives?|(?:reviewed )?false positive(?: text| string| value)?",
)


@lru_cache(maxsize=4096)
def is_telltale(name: str) -> bool:
    """Return whether a field of this name holds nothing but a secret."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return bool(_TELLTALE.fullmatch(" ".join(re.findall(r"[^\W_]+", words.lower()))))


def has_url(text: str) -> bool:
    """Return whether a URL with a password stands in `text`."""
    return _URL.search(text) is not None


def unescaped(text: str) -> str:
    """Return `text` with those of JSON's escapes undone, at any depth, that nothing needs."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def without(text: str, replace: Replace) -> str:
    """Return `text` with everything replaced that looks like a credential."""
    if "\\u00" in text:
        plain = unescaped(text)
        left = _without(plain, replace)
        return text if left == plain else left
    return _without(text, replace)


def _without(text: str, replace: Replace) -> str:
    for hints, shape in SHAPES:
        if any(hint in text for hint in hints):
            text = shape.sub(lambda match: replace(match[0]), text)
    for pattern in (_URL, _HEADER, _KEY):
        text = pattern.sub(lambda match: _inner(match, "secret", replace), text)
    return _PASSWORD.sub(lambda match: _password(match, replace), text)


def _password(match: re.Match[str], replace: Replace) -> str:
    group = "bare" if match["bare"] is not None else "quoted"
    said = match[group].strip(".!?:").lower()
    return match[0] if said in _PROSE or not said else _inner(match, group, replace)


def _inner(match: re.Match[str], group: str, replace: Replace) -> str:
    secret = match[group]
    if secret.startswith("[redacted"):
        return match[0]
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return match[0][:start] + replace(secret) + match[0][end:]
