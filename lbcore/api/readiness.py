"""Whether clients should be sent to a balancer."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from lbcore.cluster.cluster import Cluster
    from lbcore.control.supervisor import Supervisor
    from lbcore.discovery.membership import Membership
    from lbcore.table import Table

READY_EVERY_S = 0.25
"""How soon health_path of listeners tells what readyz tells."""


class Readiness:
    """Of a balancer that runs. when: the option ready_when, as it is now. cluster: that it is a node of."""

    def __init__(
        self,
        table: Table,
        membership: Membership,
        supervisor: Supervisor,
        when: Callable[[], str],
        cluster: Cluster | None = None,
    ) -> None:
        self._table, self._membership, self._supervisor, self._when = table, membership, supervisor, when
        self._cluster = cluster

    def now(self, *, leaving: bool) -> tuple[bool, str, dict[str, Any]]:
        """Whether clients should be sent here, why not, and what else there is to know. leaving: it is about to stop."""
        hanging, outages = self._supervisor.hanging, self._membership.outages()
        known = {"outage": outages, "hanging": hanging}
        if leaving or self._table.segment.head.draining:
            return False, "draining", known
        if self._cluster is not None and self._cluster.is_drained:
            return False, "this node of the cluster is drained", known
        when = self._when()
        lack = lack_of_workers(when, hanging, self._table.workers) or lack_of_backends(
            when, outages, len(self._membership.pools())
        )
        return not lack, lack or "ready", known

    def say(self, *, leaving: bool) -> None:
        """Tell the workers, for listeners with a health_path."""
        self._table.set_ready(self.now(leaving=leaving)[0])

    def tell(self, now: float, wanted: float | None, *, leaving: bool) -> float:
        """Likewise, in a tick. wanted: when the next is wanted by others; returns when it is."""
        self.say(leaving=leaving)
        return now + READY_EVERY_S if wanted is None else min(wanted, now + READY_EVERY_S)


def lack_of_workers(when: str, hanging: Sequence[int], workers: int) -> str:
    """Why a balancer with these hanging workers is not ready, under ready_when; "" when it is."""
    if len(hanging) == workers:
        return "every worker hangs"
    if hanging and when != "any":
        return f"workers hang: {', '.join(map(str, hanging))} of {workers}"
    return ""


def lack_of_backends(when: str, outages: Sequence[str], pools: int) -> str:
    """Why a balancer whose pools in outage are these is not ready, under ready_when; "" when it is."""
    if when == "workers" or not outages:
        return ""
    if len(outages) == pools:
        return "no pool has a usable backend"
    if when == "backends":
        return f"pools without a usable backend: {', '.join(outages)}"
    return ""
