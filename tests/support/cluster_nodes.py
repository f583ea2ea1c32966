"""Balancers of one cluster, in this process: what each has, and what backends tell them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from admin_calls import client
from harness import SLOWER, wait_for

from lbcore import Balancer
from lbcore.config.settings import (
    AdminSettings,
    BalancerSettings,
    ClusterSettings,
    LeaseSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PREFIX = "/lbcore/test/"


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of this process wait less for the store and for each other: where the time itself is not what is tested."""
    monkeypatch.setattr("lbcore.store.etcd.LIMIT_S", 1.0 * SLOWER)
    monkeypatch.setattr("lbcore.cluster.session.RENEW_S", 0.5)
    monkeypatch.setattr("lbcore.cluster.cluster.LONGEST_PAUSE_S", 0.3)
    monkeypatch.setattr("lbcore.cluster.registry.OFFER_S", 0.7 * SLOWER)


TOKEN = "of all nodes"


class NodeOf:
    """A balancer named n0, n1, ... log: its lines."""

    def __init__(
        self,
        number: int,
        urls: list[str],
        *,
        pool: dict[str, Any],
        top: dict[str, Any],
        listeners: list[ListenerSettings] | None,
        **cluster: Any,
    ) -> None:
        self.name = f"n{number}"
        self.log: list[str] = []
        rules = {"name": "p", "probe": ProbeSettings(kind="off"), "lease": LeaseSettings(heartbeat="1s", missed=3)} | pool
        self.settings = BalancerSettings(
            workers=1,
            drain_timeout="100ms",
            listeners=listeners or [ListenerSettings(bind="http://127.0.0.1:0")],
            pools=[PoolSettings(**rules)],
            admin=AdminSettings(listen="127.0.0.1:0", token=TOKEN),
            cluster=ClusterSettings(**({"endpoints": urls, "prefix": PREFIX, "node": self.name} | cluster)),
            **top,
        )
        self.lb = Balancer(settings=self.settings, log=self.log.append)

    def tell(self, path: str, port: int, **more: Any) -> tuple[int, dict[str, Any]]:
        """A backend's call: register, heartbeat or deregister."""
        said = {"server_ip": "127.0.0.1", "port": port} | more
        if path != "deregister":
            said = {"status": "ready"} | said
        return client(self.lb, TOKEN).call("POST", f"/{path}", said)

    def order(self, verb: str, port: int, **more: Any) -> None:
        """An operator's."""
        status, answer = client(self.lb, TOKEN).call("POST", f"/backends/{verb}", {"address": f"127.0.0.1:{port}"} | more)
        assert status == 200, answer

    @property
    def backends(self) -> dict[int, dict[str, Any]]:
        """Those that do not leave, by port."""
        found = (entry for pool in self.lb.status()["pools"] for entry in pool["backends"])
        return {int(entry["address"].rpartition(":")[2]): entry for entry in found if entry["leaves_in_s"] is None}

    @property
    def cluster(self) -> dict[str, Any]:
        """Of the status document."""
        found: dict[str, Any] = self.lb.status()["cluster"]
        return found


@contextlib.contextmanager
def nodes(
    urls: list[str],
    count: int = 3,
    *,
    pool: dict[str, Any] | None = None,
    top: dict[str, Any] | None = None,
    listeners: list[ListenerSettings] | None = None,
    **cluster: Any,
) -> Iterator[list[NodeOf]]:
    """So many that serve."""
    with contextlib.ExitStack() as stack:
        made = [NodeOf(number, urls, pool=pool or {}, top=top or {}, listeners=listeners, **cluster) for number in range(count)]
        for node in made:
            stack.enter_context(node.lb)
        yield made


def all_have(made: list[NodeOf], ports: set[int], what: str = "all nodes have the same backends", limit_s: float = 10) -> None:
    """Every node has these backends, and no other."""
    wait_for(
        lambda: all(set(node.backends) == ports for node in made),
        f"{what}: {[sorted(node.backends) for node in made]}",
        limit_s,
    )
