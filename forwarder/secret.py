"""A credential that users write by value, or as the path of a file that may change."""

import stat
import time
from pathlib import Path
from typing import Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from forwarder.concealed import conceal
from forwarder.errors import AccessError

_CALM: Final = 2.0
"""Seconds after which a file's time tells a later change: some file systems count in whole ones."""


class Written:
    """A secret whose file was named, perhaps beside its value: for `Secret` to accept or refuse."""

    __slots__ = ("file", "value")

    def __init__(self, *, file: object, value: object) -> None:
        self.file = file
        self.value = value


class Secret:
    """A credential, by value or in a file; never shown by str, repr, logs or JSON.

    A file is read again when it has changed, so a rotated secret is picked up without a restart:
    ask with `reveal` at each use and do not keep the answer. Two are equal where they come from
    the same file, or hold the same value.
    """

    __slots__ = ("_path", "_seen", "_value")

    def __init__(self, value: str = "", *, path: Path | None = None) -> None:
        self._value = value
        self._path = path
        self._seen: tuple[int, int, int, int] | None = None

    @property
    def path(self) -> Path | None:
        """The file that it is in, if it is in one."""
        return self._path

    def reveal(self) -> str:
        """Return the secret without the line end that editors leave in files.

        Raises:
            AccessError: the file cannot be read, or is empty.
        """
        if self._path is None:
            conceal(self._value)
            return self._value
        try:
            status = self._path.stat()
            seen = (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)
            if seen != self._seen:
                self._value = self._path.read_text("utf-8").rstrip("\r\n")
                conceal(self._value)
                calm = time.time() - status.st_ctime > _CALM
                self._seen = seen if calm else None
        except UnicodeDecodeError:  # its text and its context would show the secret
            raise AccessError(
                f"the secret file {self._path} is not UTF-8 text",
                remedy="write the secret alone into it, as plain text",
            ) from None
        except OSError as error:
            raise AccessError(
                f"the secret file {self._path} cannot be read: {error.strerror}",
                remedy="check that it exists and that the forwarder's user may read it",
            ) from error
        if not self._value:
            raise AccessError(
                f"the secret file {self._path} is empty", remedy="write the secret into it"
            )
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if self._path or other._path:
            return self._path == other._path
        return self._value == other._value

    def __hash__(self) -> int:
        return hash(self._path)

    def __repr__(self) -> str:
        return f"Secret(path={str(self._path)!r})" if self._path else "Secret('**********')"

    @classmethod
    def _read(cls, written: object) -> "Secret":
        if isinstance(written, Secret):
            return written
        if isinstance(written, Path):
            return cls._from_file(written)
        if isinstance(written, Written):
            if written.value is not None:
                raise PydanticCustomError("secret_twice", "given by value and by file: keep one")
            if isinstance(written.file, Path) or (isinstance(written.file, str) and written.file):
                return cls._from_file(Path(written.file))
            raise PydanticCustomError("secret_path", "the file must be named as text")
        if isinstance(written, str) and written:
            return cls(written)
        if written == "":
            raise PydanticCustomError("secret_empty", "is empty")
        raise PydanticCustomError("secret_type", "must be text in quotes")

    @classmethod
    def _from_file(cls, path: Path) -> "Secret":
        secret = cls(path=path)
        try:
            secret.reveal()
            mode = path.stat().st_mode
        except (AccessError, OSError) as error:
            raise PydanticCustomError("secret_file", "{said}", {"said": str(error)}) from error
        if mode & stat.S_IRWXO:
            raise PydanticCustomError(
                "secret_file",
                "everybody on this machine can read or change {path} (mode {mode}): "
                'run "chmod o= {path}" (Kubernetes: defaultMode 0440)',
                {"path": str(path), "mode": f"{stat.S_IMODE(mode):04o}"},
            )
        return secret

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        _source: type,
        _handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(
                cls, core_schema.str_schema(min_length=1)
            ),
            python_schema=core_schema.no_info_plain_validator_function(cls._read),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "**********"),
        )
