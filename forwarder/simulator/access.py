"""Who asks, what they may read, and how often. Pure but for the counting."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forwarder.simulator.catalogue import Catalogue

_CAPTCHA_AFTER: Final = 5
"""Failed log-ins until Bitbucket asks for a CAPTCHA: its default, an administrator's setting."""


class NotLoggedInError(Exception):
    """The credential is missing or wrong. `captcha` says that the account is locked behind one."""

    def __init__(self, message: str, *, captcha: bool = False) -> None:
        super().__init__(message)
        self.captcha = captcha


class NotAllowedError(Exception):
    """Logged in, but not allowed to read this."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. `projects` are the keys that they administer; None is all there are."""

    id: int
    name: str
    projects: tuple[str, ...] | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this is a global administrator."""
        return self.projects is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What opens the simulated Bitbucket: two HTTP access tokens, a user name and a password."""

    token: str
    project_token: str
    projects: tuple[str, ...]
    username: str
    password: str


class Door:
    """Checks credentials; after five wrong passwords in a row only a token still opens."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.refused = 0
        self._wrong_passwords = 0

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Return who asks; None where no credential was sent at all.

        Raises:
            NotLoggedInError: the credential is wrong.
        """
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        known = self._credentials
        if scheme.lower() == "bearer":
            if value == known.token:
                return Caller(2, known.username)
            if value == known.project_token:
                return Caller(58, "project.admin", known.projects)
        elif scheme.lower() == "basic" and self._password_fits(value):
            return Caller(2, known.username)
        self.refused += 1
        raise NotLoggedInError(
            "Authentication failed. Please check your credentials and try again.",
            captcha=self._wrong_passwords >= _CAPTCHA_AFTER,
        )

    def member(self, headers: Mapping[str, str]) -> Caller:
        """Return who asks, where nobody may not.

        Raises:
            NotLoggedInError: the credential is missing or wrong.
        """
        caller = self.caller(headers)
        if caller is None:
            raise NotLoggedInError("You are not permitted to access this resource")
        return caller

    def _password_fits(self, value: str) -> bool:
        try:
            given = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            given = ""
        known = f"{self._credentials.username}:{self._credentials.password}"
        if self._wrong_passwords < _CAPTCHA_AFTER and given == known:
            self._wrong_passwords = 0
            return True
        self._wrong_passwords += 1
        return False


def may_read(caller: Caller, objects: Mapping[str, frozenset[str]], catalogue: Catalogue) -> None:
    """Pass a global administrator, and the administrator of all the objects asked for.

    Raises:
        NotAllowedError: anybody else.
    """
    if caller.is_admin:
        return
    own = [one for key in caller.projects or () if (one := catalogue.project(key))]
    administered = {
        "PROJECT": {str(project.id) for project in own},
        "REPOSITORY": {str(one.id) for project in own for one in project.repositories},
    }
    asked = [(kind, id_) for kind, ids in objects.items() for id_ in ids]
    if asked and all(id_ in administered.get(kind, ()) for kind, id_ in asked):
        return
    raise NotAllowedError("You are not permitted to access this resource")


class TokenBucket:
    """Bitbucket's rate limit for one user: so many requests at once, so many a second after.

    60 and 5 are what an administrator turns on (docs/bitbucket.md section 1). Times are
    epoch milliseconds.
    """

    def __init__(self, capacity: int = 60, per_second: float = 5.0) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._tokens = float(capacity)
        self._at_ms: int | None = None

    def wait(self, now_ms: int) -> float:
        """Take one token and return 0, or take none and return the seconds until there is one."""
        passed = max(now_ms - self._at_ms, 0) / 1000 if self._at_ms is not None else 0.0
        self._at_ms = now_ms
        self._tokens = min(self._tokens + passed * self._per_second, float(self._capacity))
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second
