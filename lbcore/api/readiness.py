"""Whether clients should be sent to a balancer."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.control.supervisor import Supervisor
    from lbcore.discovery.membership import Membership
    from lbcore.table import Table

READY_EVERY_S = 0.25
"""How soon health_path of listeners tells what readyz tells."""


class Readiness:
    """Of a balancer that runs."""

    def __init__(self, table: Table, membership: Membership, supervisor: Supervisor) -> None:
        self._table, self._membership, self._supervisor = table, membership, supervisor

    def now(self, *, leaving: bool) -> tuple[bool, str, dict[str, Any]]:
        """Whether clients should be sent here, why not, and what else there is to know. leaving: it is about to stop."""
        hanging = self._supervisor.hanging
        known = {"outage": self._membership.outages(), "hanging": hanging}
        if leaving or self._table.segment.head.draining:
            return False, "draining", known
        if len(hanging) == self._table.workers:
            return False, "every worker hangs", known
        if not self._membership.usable():
            return False, "no pool has a usable backend", known
        return True, "ready", known

    def say(self, *, leaving: bool) -> None:
        """Tell the workers, for listeners with a health_path."""
        self._table.set_ready(self.now(leaving=leaving)[0])

    def tell(self, now: float, wanted: float | None, *, leaving: bool) -> float:
        """Likewise, in a tick. wanted: when the next is wanted by others; returns when it is."""
        self.say(leaving=leaving)
        return now + READY_EVERY_S if wanted is None else min(wanted, now + READY_EVERY_S)
