"""What operators order: changes of backends, a reload, an upgrade."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from lbcore.admin.bodies import BackendCall, BadBody, UpgradeCall, parse
from lbcore.admin.request import Refusal, Reply, Request, json_reply
from lbcore.config.settings import is_unix
from lbcore.discovery.members import normal
from lbcore.errors import ConfigError, LbcoreError, StillDraining

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.admin.authorization import Authorization
    from lbcore.discovery.membership import Membership
    from lbcore.table import Row

T = TypeVar("T")

_SOCKETS_ARE_LOCAL = "address: a unix socket is added over the admin server's unix socket only, as lbcore backend add does"
"""Else a stolen token would reach every socket of the host that lbcore may connect to, a container engine's among them."""

_IT_BEATS = "it sends heartbeats, and will register again with the next one: drain it instead, or end its registration"


class OperatorCalls:
    """Each call needs an operator's rights. reload, upgrade: what the balancer does; without upgrade it cannot be upgraded.
    pool: the one that a caller's word means; raises BadBody."""

    def __init__(
        self,
        membership: Membership,
        rights: Authorization,
        *,
        pool: Callable[[str | None], str],
        reload: Callable[[], None],
        upgrade: Callable[[UpgradeCall], str] | None,
    ) -> None:
        self._membership = membership
        self._authorization = rights
        self._pool = pool
        self._reload, self._upgrade = reload, upgrade

    async def backend(self, request: Request) -> Reply:
        """POST /backends/VERB."""
        self._authorization.check_operator(request)
        verb = request.path.removeprefix("/backends/")
        if verb not in ("add", "drain", "ready", "remove", "weight"):
            raise Refusal(404, f"{verb}: unknown (known: add, drain, ready, remove, weight)")
        body = parse(await request.read(), BackendCall)
        if verb == "add" and is_unix(body.address) and request.caller is not None:
            raise Refusal(403, _SOCKETS_ARE_LOCAL)
        row, note = await asyncio.to_thread(self._carry_out, verb, body)  # adding resolves a name, which may take its time
        told = {
            "id": row.id,
            "address": row.address,
            "pool": row.pool,
            "state": row.state,
            "reason": row.reason,
            "weight": row.weight,
            "tier": row.tier,
        }
        return json_reply(told | ({"note": note} if note else {}))

    def _carry_out(self, verb: str, body: BackendCall) -> tuple[Row, str]:
        """What became of it, and what is to be known of that."""
        try:
            if verb == "add":
                weight = 1 if body.weight is None else body.weight
                tier = int(body.backup)
                return self._membership.add(self._pool(body.pool), body.address, weight, tier=tier, unresolved=True), ""
            pool = self._pool_of(body.address) if body.pool is None else self._pool(body.pool)
            row = self._membership.find(pool, body.address)
        except BadBody:
            raise
        except ValueError as error:
            raise Refusal(422, f"address: {error}") from None
        if row is None:
            raise Refusal(404, f"{normal(body.address)} is not in pool {pool}")
        note = ""
        if verb == "weight":
            if body.weight is None:
                raise BadBody("weight: missing", "weight")
            self._membership.set_weight(row, body.weight)
        elif verb == "remove":
            note = _IT_BEATS if self._membership.leases.instances(row) else ""
            self._membership.remove(row)
        elif verb == "drain":
            self._membership.drain(row)
        else:
            self._membership.ready(row)
        return row, note

    def _pool_of(self, address: str) -> str:
        """The only pool that has this backend; without one, the pool that is meant where none is named. Raises BadBody."""
        found = [pool for pool in self._membership.pools() if self._membership.find(pool, address) is not None]
        if len(found) > 1:
            raise BadBody(f"pool: {normal(address)} is in several: name one of {', '.join(found)}", "pool")
        return found[0] if found else self._pool(None)

    async def reload(self, request: Request) -> Reply:
        """POST /reload."""
        self._authorization.check_operator(request)
        await _obey(self._reload)
        return json_reply({"status": "reloaded"})

    async def upgrade(self, request: Request) -> Reply:
        """POST /upgrade, whole or a step of it."""
        if self._upgrade is None:
            raise Refusal(409, "only a balancer that runs as a command can be upgraded")
        self._authorization.check_operator(request)
        upgrade, order = self._upgrade, parse(await request.read() or b"{}", UpgradeCall)
        if (order.step == "worker") != (order.worker is not None):
            raise BadBody("worker: which, with the step 'worker' alone", "worker")
        told = await _obey(lambda: upgrade(order))
        return json_reply({"status": "able" if order.step == "check" else "upgrading", "to": told})


async def _obey(order: Callable[[], T]) -> T:
    """Carry out an order that may take a while; that it is an operator's was checked."""
    try:
        return await asyncio.to_thread(order)
    except ConfigError as error:
        raise Refusal(422, "the configuration was refused", problems=error.problems) from None
    except StillDraining as error:
        raise Refusal(409, str(error), problems=[str(error)], wait_s=round(error.wait_s, 3)) from None
    except LbcoreError as error:
        raise Refusal(409, str(error), problems=[str(error)]) from None
