"""What the command line of `lbcore run` says of settings, alone or laid over a file."""

from __future__ import annotations

import socket

from lbcore.cli.log import Lines
from lbcore.config.options import DEFAULT_NAME
from lbcore.config.settings import (
    DEFAULT_POOL,
    BackendSettings,
    admin_of,
    join_host_port,
    limited,
    listeners_of,
    probe_of,
    simple,
    split_host_port,
)
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.config.settings import BalancerSettings, PoolSettings

DEFAULT_ADMIN = "127.0.0.1:9900"


class Flags:
    """What the command line says beside the file: it holds for a file that is read again, too."""

    def __init__(
        self,
        *,
        listen: list[str],
        backends: list[str],
        health: str | None,
        admin: str | None,
        pem: tuple[str | None, str | None],
        limits: dict[str, Any],
        pool: dict[str, Any],
        top: dict[str, Any],
    ) -> None:
        """pem: files of a certificate and its key. limits: of each listener's clients. pool: of the default or only pool.

        top: of the top level. None: unsaid.
        """
        self.listen: list[str] = listen
        self.backends: list[str] = backends
        self.health: str | None = health
        self.admin: str | None = admin
        self.pem: tuple[str | None, str | None] = pem
        self.limits: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
        self.pool: dict[str, Any] = {key: value for key, value in pool.items() if value is not None}
        self.top: dict[str, Any] = {key: value for key, value in top.items() if value is not None}
        self._default_admin: str | None = None

    def alone(self) -> BalancerSettings:
        """What they say without a file. Raises ConfigError."""
        if not self.listen:
            raise ConfigError("listen: missing (give --listen MODE://HOST:PORT, or -c FILE)")
        return simple(
            self.listen,
            self.backends,
            health=self.health,
            admin=self.admin or self._own_admin(self.top.get("name"), self.top.get("log_format")),
            certificate=self.pem[0],
            key=self.pem[1],
            limits=self.limits,
            **self.pool,
            **self.top,
        )

    def lay(self, settings: BalancerSettings) -> BalancerSettings:
        """A file's settings with the flags laid over. Those for a pool mean the default or only one. Raises ConfigError."""
        changes: dict[str, Any] = dict(self.top)
        if self.listen or any(self.pem):  # a certificate without --listen is told what it lacks
            changes["listeners"] = listeners_of(self.listen, *self.pem)
        if self.limits:
            changes["listeners"] = limited(changes.get("listeners", settings.listeners), self.limits)
        if self.backends or self.pool or self.health:
            changes["pools"] = [self._lay_pool(pool, settings) for pool in settings.pools]
        if self.admin:
            changes["admin"] = admin_of(self.admin)
        elif not settings.admin_said:
            changes["admin"] = admin_of(self._own_admin(settings.name, settings.log_format))
        laid = settings.replace(**changes) if changes else settings
        if not laid.listeners:
            raise ConfigError("listener: missing (give [[listener]] in the file, or --listen MODE://HOST:PORT)")
        return laid

    def _own_admin(self, name: str | None, log_format: str | None) -> str:
        """Where the admin server listens when nobody says it: the same at each reload."""
        if self._default_admin is None:
            self._default_admin = _default_admin(name or DEFAULT_NAME, log_format or "text")
        return self._default_admin

    def _lay_pool(self, pool: PoolSettings, settings: BalancerSettings) -> PoolSettings:
        if pool.name != DEFAULT_POOL and len(settings.pools) > 1:
            return pool
        changes: dict[str, Any] = dict(self.pool)
        if self.backends:
            changes["backends"] = [BackendSettings.parse(backend) for backend in self.backends]
        if self.health:
            changes["probe"] = probe_of(self.health)
        return pool.replace(**changes)


def _default_admin(name: str, log_format: str) -> str:
    """The default admin address, or one beside it when it is taken: nobody asked for that very port."""
    host, port = split_host_port(DEFAULT_ADMIN)
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            log = Lines(log_format, name)
            log(f"{DEFAULT_ADMIN} is taken: the admin server takes another port (--admin HOST:PORT chooses one)")
            return join_host_port(host, 0)
    return DEFAULT_ADMIN
