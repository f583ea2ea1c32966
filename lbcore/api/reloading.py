"""A reload: a running balancer follows other settings, whole or not at all."""

from __future__ import annotations

from lbcore import locks
from lbcore.errors import ConfigError, LbcoreError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from lbcore.api.running import Running
    from lbcore.config.settings import BalancerSettings, PoolSettings


class Reloading:
    """One reload after the other. log: called with a line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = locks.lock("reload")

    def reload(
        self,
        running: Running,
        read: Callable[[], BalancerSettings],
        turn: Callable[[], AbstractContextManager[object]],
    ) -> BalancerSettings:
        """Hosts are looked up before the turn comes: `stop` and a worker that dies meanwhile wait for no name server.

        read: what comes. turn: the balancer's lock. Raises ConfigError, PortTaken or NotRunning with the old settings in force.
        """
        with self._lock:
            if running.leaving:
                raise NotRunning("the balancer is stopping")  # whatever its file says
            fresh = read()
            problems = running.settings.restarts_for(fresh)
            if problems:
                raise ConfigError(problems)
            for line in fresh.advice():
                self._log(line)
            running.supervisor.listeners.look_up(fresh)
            resolved = running.membership.changes.look_up(by_name(fresh), lambda: running.leaving)
            with turn():
                _follow(running, fresh, resolved)
        return fresh


def _follow(running: Running, fresh: BalancerSettings, resolved: dict[tuple[str, int], Any]) -> None:
    membership, recording = running.membership, running.recording
    pools = by_name(fresh)
    outlets = recording.open(fresh)
    running.guard.settings = fresh
    try:
        _bring_pools(running, pools)
        running.supervisor.follow(fresh, lambda: membership.changes.admit(pools, fresh.drain_timeout_ms, resolved))
    except (LbcoreError, ValueError):
        recording.discard(outlets)
        _drop_unused_pools(running, pools)
        running.guard.settings = running.settings
        raise
    membership.changes.dismiss(pools)
    recording.follow(fresh, outlets)
    running.settings = fresh
    running.probing.follow(fresh)
    running.scraping.follow(fresh)
    running.sourcing.follow(fresh)
    running.issuing.follow(fresh)
    if running.cluster:
        running.cluster.reshow()
    running.publish(running.supervisor.pids)


def _bring_pools(running: Running, pools: dict[str, PoolSettings]) -> None:
    """New pools have rows before listeners lead to them."""
    for name, pool in pools.items():
        if name not in running.membership.pools():
            running.table.set_pool(pool)


def _drop_unused_pools(running: Running, pools: dict[str, PoolSettings]) -> None:
    for name in pools:
        if name not in running.membership.pools() and name in running.table.pools():
            running.table.drop_pool(name)


def by_name(settings: BalancerSettings) -> dict[str, PoolSettings]:
    """The pools of settings."""
    return {pool.name: pool for pool in settings.pools}
