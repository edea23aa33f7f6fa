"""Looks at the files that hold secrets, so that a changed one is used at once, without a restart.

A secret is read from its file at each use (`Secret`), so a part that runs needs nothing. A part
that is paused is begun again, because its next try may be minutes away; so is a part whose
certificates have changed, because connections are made with those read when it was opened.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import structlog
from anyio import to_thread
from pydantic import BaseModel

from forwarder.app.parts import Key, Part, Parts
from forwarder.errors import StoreError
from forwarder.options import TlsOptions
from forwarder.pipeline.stop import Stop
from forwarder.secret import Secret

LOOK_EVERY: Final = 5.0

Seen = tuple[tuple[Path, tuple[int, ...]], ...]
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Rotation:
    """The loop that looks; `renew` has a part closed and opened again."""

    def __init__(
        self,
        parts: Parts,
        renew: Callable[[Part], Awaitable[bool]],
        *,
        every: float = LOOK_EVERY,
    ) -> None:
        self._parts = parts
        self._renew = renew
        self._every = every
        self._seen: dict[Key, tuple[Part, Seen, Seen]] = {}

    async def run(self, stop: Stop) -> None:
        """Look again and again until `stop`.

        Raises:
            StoreError: the outbox cannot be used.
        """
        while not stop.requested:
            try:
                await self.look_once()
            except StoreError:
                raise
            except Exception:
                log.exception("rotation.crashed")
            await stop.sleep(self._every)

    async def look_once(self) -> None:
        """Look at every file once, and begin again what has to be."""
        open_ = self._parts.open_parts
        seen = await to_thread.run_sync(_look, open_.values())
        paused = {
            (loop.progress.component, loop.name)
            for loop in self._parts.loops
            if loop.progress.state == "paused"
        }
        for key, (part, secrets, held) in seen.items():
            known, *before = self._seen.get(key, (None, (), ()))
            is_awaited = key in paused and secrets != before[0]
            if known is part and (is_awaited or held != before[1]):
                log.info("secret.changed", part=part.name)
                if not await self._renew(part):
                    continue  # half of a pair is there: look again
            self._seen[key] = seen[key]


def _look(parts: Iterable[Part]) -> dict[Key, tuple[Part, Seen, Seen]]:
    looked = {}
    for part in parts:
        options = part.settings[0]
        secrets = (*_paths(options, Secret), *getattr(options, "credential_files", ()))
        looked[part.key] = part, _states(secrets), _states(_paths(options, TlsOptions))
    return looked


def _states(paths: Iterable[Path]) -> Seen:
    return tuple((path, _state(path)) for path in paths)


def _state(path: Path) -> tuple[int, ...]:
    """Return what is another after any change, Kubernetes' swap of a folder's link included."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size


def _paths(options: BaseModel, kind: type[Secret | TlsOptions]) -> Iterator[Path]:
    """Yield the files that the secrets, or the certificates, of `options` come from."""
    for value in dict(options).values():
        if isinstance(value, Secret) and kind is Secret and value.path:
            yield value.path
        if isinstance(value, TlsOptions) and kind is TlsOptions:
            yield from filter(None, (value.ca_file, value.cert_file, value.key_file))
        if isinstance(value, BaseModel):
            yield from _paths(value, kind)
