"""What unix sockets cannot do that other backends can."""

from __future__ import annotations

from lbcore.config.settings.addresses import is_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.config.settings.listener import ListenerSettings
    from lbcore.config.settings.pool import PoolSettings


def unix_faults(listeners: Iterable[ListenerSettings], pools: Iterable[PoolSettings]) -> Iterable[str]:
    """Backends that are unix sockets have no port, and take no datagrams from here."""
    datagrams = {listener.pool: listener.name for listener in listeners if listener.mode == "udp"}
    for pool in pools:
        local = next((backend.address for backend in pool.backends if is_unix(backend.address)), None)
        if local is None:
            continue
        if pool.name in datagrams:
            yield f"pool {pool.name}: backend {local}: not for listeners of mode udp ({datagrams[pool.name]})"
        if pool.probe.kind == "udp":
            yield f"pool {pool.name}: probe.kind: udp does not reach the unix socket {local} (allowed: tcp, http, grpc, ...)"
        if pool.probe.port:
            yield f"pool {pool.name}: probe.port: {pool.probe.port} is not for the unix socket {local}, which has no port"
