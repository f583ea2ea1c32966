"""Calls of an admin server, and settings that have one."""

from __future__ import annotations

from typing import Any

from lbcore.api.balancer import Balancer
from lbcore.client.registration import AdminClient
from lbcore.config.settings import (
    AdminSettings,
    BalancerSettings,
    LeaseSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
)

ME = {"server_ip": "127.0.0.1", "status": "ready", "port": 4000}


def settings(admin: dict[str, Any] | None = None, **pool: Any) -> BalancerSettings:
    """A balancer with an admin server on any port, and no probes."""
    rules = {"probe": ProbeSettings(kind="off"), "lease": LeaseSettings(heartbeat="200ms", missed=3)} | pool
    return BalancerSettings(
        workers=1,
        drain_timeout="1s",
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(**rules)],
        admin=AdminSettings(**({"listen": "127.0.0.1:0"} | (admin or {}))),
    )


def client(lb: Balancer, token: str | None = None) -> AdminClient:
    assert lb.admin_address
    return AdminClient(lb.admin_address, token)
