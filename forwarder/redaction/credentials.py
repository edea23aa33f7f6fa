"""What a credential looks like.

Shapes are those that the issuers publish for secret scanners (GitHub's "Secret scanning patterns",
GitLab's "Token overview", AWS' "IAM identifiers", Slack's "Token types", Stripe's "API keys",
Atlassian's "HTTP access tokens"; RFC 7519 for JWT, RFC 7468 for PEM, RFC 3986 section 3.2.1 for
passwords in URLs), and names that people give to fields with a password in them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ahocorasick_rs import BytesAhoCorasick

Replace = Callable[[str], str]

_PEM: Final = r"[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
# Each with texts of which one is in whatever the pattern matches: looking for those first is a
# hundred times as fast as the patterns are.
_SHAPES: Final[tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]] = tuple(
    (hints, re.compile(shape))
    for hints, shape in (
        (("AKIA", "ASIA", "ABIA"), r"\b(?:AKIA|ASIA|ABIA)[A-Z2-7]{16}\b"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
        (("github_pat_",), r"\bgithub_pat_\w{20,}"),
        (("gl",), r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[\w.-]{16,}"),
        (("xox", "xapp-"), r"\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}"),
        (("hooks.slack",), r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{10,}"),
        (("k_live_", "k_test_", "whsec_"), r"\b(?:[rsp]k_(?:live|test)|whsec)_\w{10,}"),
        (("BBDC-",), r"\bBBDC-[A-Za-z0-9+/=_-]{20,}"),
        (("ATATT3x", "ATCTT3x", "ATBB"), r"\b(?:AT[AC]TT3x|ATBB)[A-Za-z0-9+/=_-]{16,}"),
        (("AIza",), r"\bAIza[\w-]{30,}"),
        (("ya29.", "GOCSPX-"), r"\b(?:ya29\.|GOCSPX-)[\w-]{20,}"),
        (("npm_", "pypi-", "_pat_"), r"\b(?:npm_\w{30,}|pypi-[\w-]{40,}|dckr_pat_[\w-]{20,})"),
        (("hvs.", "hvb."), r"\bhv[sb]\.[\w-]{20,}"),
        (("hf_", "shpat_"), r"\b(?:hf_[A-Za-z]{30,}|shpat_[0-9a-fA-F]{32})"),
        (("SG.",), r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
        (("sk-",), r"\bsk-[\w-]{20,}"),
        (("eyJ",), r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){1,3}"),
        (
            ("PRIVATE KEY",),
            rf"-----BEGIN {_PEM}[\s\S]*?(?:-----END {_PEM}|\Z)",
        ),
    )
)

# Of these only the part in a group goes. What is sent in a header, and user:password@ in a URL:
_HEADER: Final = re.compile(
    r"\b(?:bearer|basic)\s+(?P<secret>(?=[^\s\"',;]*[0-9=+/])[A-Za-z0-9+/._~=-]{12,})",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"://[^/\s:@\"'<>\\]*:(?P<secret>[^/\s\"'<>@\\]+)@")
# What is assigned, in code, in a query or in JSON (whose quotes may be escaped):
_ASSIGN: Final = r"(?:\\*[\"'])?\s*(?::=|=>|[:=])\s*"
_KEYS: Final = ("api", "access", "account", "private")
_KEY: Final = re.compile(
    rf"(?:secret|token|credentials?|(?:{'|'.join(_KEYS)})[_ -]?key|authorization)[\w.-]*{_ASSIGN}"
    r"(?:\\*[\"'])?(?P<secret>(?=[A-Za-z+/_.~=-]*[0-9])[A-Za-z0-9+/_.~=-]{12,}|"
    r"[A-Za-z0-9+/_.~=-]{24,})",
    re.IGNORECASE,
)
_PASSWORD: Final = re.compile(
    rf"(?:passwor[dt]|passwd|passphrase|pwd)[\w.-]*{_ASSIGN}"
    r"(?:(?P<quote>\\*[\"'])(?P<quoted>(?:(?!(?P=quote)).)+)|(?P<bare>[^\s\"'\\,;&<>{}()\[\]]+))",
    re.IGNORECASE,
)
# What follows "password:" in prose.
_PROSE: Final = frozenset(
    (
        "added",
        "attempt",
        "changed",
        "created",
        "deleted",
        "disabled",
        "empty",
        "enabled",
        "expired",
        "expires",
        "failed",
        "false",
        "forgotten",
        "hidden",
        "incorrect",
        "invalid",
        "missing",
        "must",
        "never",
        "no",
        "none",
        "not",
        "null",
        "ok",
        "optional",
        "policy",
        "recently",
        "removed",
        "required",
        "reset",
        "set",
        "the",
        "true",
        "unchanged",
        "undefined",
        "unset",
        "updated",
        "was",
        "will",
        "wrong",
        "yes",
    )
)

# Whatever a pattern above matches, one of these is in it, without regard to case.
_HINTS: Final = (
    *("@", "_key", "_pat_", "_live_", "_test_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "whsec_"),
    *(
        "npm_",
        "hf_",
        "shpat_",
        "eyj",
        "aiza",
        "akia",
        "asia",
        "abia",
        "tt3x",
        "atbb",
        "hvs.",
        "hvb.",
    ),
    *(
        "private key",
        "sg.",
        "ya29.",
        "hooks.slack",
        "gocspx-",
        "bbdc-",
        "xox",
        "xapp-",
        "sk-",
        "pypi-",
    ),
    *("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glimt-", "glagent-"),
    *("pass", "pwd", "secret", "token", "credential", "authori", "bearer", "basic "),
    *("apikey", "accesskey", "accountkey", "privatekey", "-key", " key"),
)
# One pass over the text for all of them: Aho and Corasick, "Efficient String Matching", CACM 1975.
_hints: Final = BytesAhoCorasick([hint.encode() for hint in _HINTS])

# Names of attributes and changed values whose whole value is a credential, or what a scan matched:
# Soteri's events about findings carry that text (docs.soteri.io, "Reviewing findings").
_TELLTALE: Final = re.compile(
    r"(?:.*\b)?(?:password|passwd|passphrase|pwd|secret|credentials?|(?:api|access|private) key)"
    r"(?: value| text)?"
    r"|(?:matche?[ds]?|found|finding|reviewed|hidden|secret|allow(?:ed|listed))"
    r"(?: text| string| value| secret| content| line| snippet)"
    r"|match|snippet|false positives?|(?:reviewed )?false positive(?: text| string| value)?",
)


def may_hold(text: str) -> bool:
    """Return whether `text` may hold a credential; quick, and never wrong where it says no."""
    return bool(_hints.find_matches_as_indexes(text.lower().encode(errors="surrogatepass")))


@lru_cache(maxsize=4096)
def is_telltale(name: str) -> bool:
    """Return whether a field of this name holds nothing but a secret."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return bool(_TELLTALE.fullmatch(" ".join(re.findall(r"[^\W_]+", words.lower()))))


def without(text: str, replace: Replace) -> str:
    """Return `text` with everything replaced that looks like a credential."""
    for hints, shape in _SHAPES:
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
