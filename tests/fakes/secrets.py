"""Fake credentials of every shape that is redacted by default; none ever opened anything.

They are put together here, so that no scanner takes this file for a leak.
"""

import base64
import json
import random
import re

_random = random.Random(20260102)
_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _some(count: int, letters: str = _ALNUM) -> str:
    return "".join(_random.choice(letters) for _ in range(count))


def _jwt() -> str:
    parts = ('{"alg":"HS256","typ":"JWT"}', '{"sub":"1234567890","name":"nobody"}', _some(32))
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


def _pem(kind: str) -> str:
    lines = "\n".join(_some(64) for _ in range(3))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


# What must not leave, in a text around it that may.
SECRETS: dict[str, tuple[str, str]] = {
    name: (secret, text.replace("@@", secret))
    for name, secret, text in (
        ("aws key id", "AKIA" + _some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "key @@ found"),
        ("aws session", "ASIA" + _some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "@@"),
        ("aws secret", _some(39) + "/", "aws_secret_access_key = @@"),
        ("github classic", "ghp_" + _some(36), "uses @@ here"),
        ("github server", "ghs_" + _some(36), "@@"),
        ("github fine", "github_pat_" + _some(22) + "_" + _some(59), "(@@)"),
        ("gitlab", "glpat-" + _some(20), "remove @@ please"),
        ("gitlab runner", "glrt-" + _some(20), "@@"),
        ("slack bot", "xoxb-" + _some(12, "0123456789") + "-" + _some(24), "@@"),
        ("slack hook", "services/T" + _some(8) + "/B" + _some(8) + "/" + _some(24),
         "https://hooks.slack.com/@@"),
        ("stripe", "sk_live_" + _some(24), "stripe: @@"),
        ("stripe hook", "whsec_" + _some(32), "@@"),
        ("bitbucket", "BBDC-" + _some(44), "git clone with @@"),
        ("atlassian", "ATATT3x" + _some(60), "@@"),
        ("google", "AIza" + _some(35), "@@"),
        ("npm", "npm_" + _some(36), "@@"),
        ("pypi", "pypi-AgEI" + _some(60), "@@"),
        ("docker", "dckr_pat_" + _some(27), "@@"),
        ("vault", "hvs." + _some(24), "@@"),
        ("hugging face", "hf_" + _some(34, _ALNUM[:52]), "@@"),
        ("sendgrid", "SG." + _some(22) + "." + _some(43), "@@"),
        ("openai", "sk-proj-" + _some(40), "@@"),
        ("jwt", _jwt(), "session @@ ended"),
        ("rsa key", _pem("RSA PRIVATE KEY"), "before\n@@\nafter"),
        ("openssh key", _pem("OPENSSH PRIVATE KEY"), "@@"),
        ("pgp key", _pem("PGP PRIVATE KEY BLOCK"), "@@"),
        ("url", _some(12), "postgresql://app:@@@db.example.com/app"),
        ("bearer", _some(30) + "7", "Authorization: Bearer @@"),
        ("basic", base64.b64encode(b"alice:" + _some(15).encode()).decode(), "Basic @@"),
        ("password", _some(10), "password=@@"),
        ("spaced password", _some(10), "Password : '@@'"),
        ("spring", _some(14), "spring.datasource.password: @@"),
        ("quoted words", "correct horse battery staple", 'passphrase = "@@"'),
        ("json", _some(16), '{"password":"@@","user":"app"}'),
        ("nested json", _some(16), '{"body":"{\\"db_password\\": \\"@@\\"}"}'),
        ("query", _some(20) + "1", "GET /x?access_token=@@&page=2"),
        ("api key", _some(32) + "3", "apiKey: @@"),
        ("azure", _some(44) + "8==", "AccountName=x;AccountKey=@@;"),
        ("client secret", _some(32) + "5", "client_secret='@@'"),
    )
}  # fmt: skip

INNOCENT = (
    "Fix the password reset page",
    "password: required",
    "Password changed",
    "Basic authentication was switched off",
    "token deleted by alice",
    "refs/heads/feature/secret-scanning",
    "d34db33fd34db33fd34db33fd34db33fd34db33f",
    "https://bitbucket.example.com/projects/SEC/repos/payments?at=refs%2Fheads%2Fmain",
    "8767044c-1b98-4d64-82db-ef29af8c3792",
    "bitbucket.access.tokens.audit.action.accesstokencreated.personal",
    '{"old.project":"TEST","new.project":"AT"}',
    "alice <alice@example.com>",
)
"""What looks a little like a credential and is none."""


def nested(text: str) -> str:
    """Return JSON that holds a text of several lines, as attributes of events do."""
    return json.dumps({"entities": ["x"], "message": f"the first line\n{text}\r\nthe last"})


def as_gson(written: str) -> str:
    """Escape as Gson does unless it is told not to: what could be HTML."""
    return re.sub("[<>&='\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", written)


def forms(secret: str) -> tuple[str, ...]:
    """All that a secret may look like in a text, JSON, or JSON in a text."""
    once = json.dumps(secret, ensure_ascii=False)[1:-1]
    return secret, once, as_gson(once)
