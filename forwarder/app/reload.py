"""What SIGHUP does: files opened afresh, and the configuration read again and swapped in.

Part by part: only a source or sink whose configuration has changed is stopped, after the batch
that is under way, and begun again. A configuration with a mistake changes nothing.
"""

from collections.abc import Callable, Collection
from typing import Protocol

import structlog
from anyio import Lock, to_thread

from forwarder.app.serving import Serving
from forwarder.config import Config
from forwarder.errors import ConfigError
from forwarder.logs import LogConfig
from forwarder.systemd import Systemd

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Daemon(Protocol):
    """What is reloaded."""

    def reopen(self) -> None:
        """Open again what writes to files."""
        ...

    async def rehearse(self, config: Config) -> None:
        """Raise ConfigError where `apply` would fail."""
        ...

    async def apply(self, config: Config) -> list[str]:
        """Run as `config` says from now on; return the settings that take a restart."""
        ...


class Reload:
    """Reads the configuration by `read`, and has daemon, server and log be as it says."""

    def __init__(
        self,
        daemon: Daemon,
        serving: Serving,
        systemd: Systemd,
        log_: LogConfig,
        read: Callable[[], Config],
    ) -> None:
        self._daemon = daemon
        self._serving = serving
        self._systemd = systemd
        self._log = log_
        self._read = read
        self._one_at_a_time = Lock()

    async def run(self) -> None:
        """Reload once; what cannot be used is logged, mistake by mistake, and the old is kept.

        Raises:
            StoreError: the outbox cannot be used.
        """
        async with self._one_at_a_time:
            self._systemd.reloading()
            self._daemon.reopen()
            try:
                config = await to_thread.run_sync(self._read)
                await self._daemon.rehearse(config)
                await self._serving.apply(config.server)
            except ConfigError as error:
                self._refuse(error.problems)
            except Exception as error:  # a part of another package's: what runs is well
                log.exception("reload.crashed")
                self._refuse([f"it cannot be tried: {error}"])
            else:
                await self._swap_in(config)

    async def _swap_in(self, config: Config) -> None:
        for warning in config.warnings:
            log.warning("configuration.doubted", warning=warning)
        if config.log != self._log:
            config.log.apply()
            self._log = config.log
        waits = await self._daemon.apply(config)
        self._systemd.ready(f"takes a restart: {', '.join(waits)}" if waits else "")

    def _refuse(self, problems: Collection[str]) -> None:
        for problem in problems:
            log.error("configuration.refused", problem=problem)
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "a mistake"
        self._systemd.ready(f"the new configuration is refused: {count}, see log")
