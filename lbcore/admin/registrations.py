"""The calls that backends make for themselves: register, heartbeat, deregister."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbcore.admin.bodies import Announcement, BadBody, Farewell, parse
from lbcore.admin.request import Refusal, Request
from lbcore.config.settings import DEFAULT_POOL, join_host_port

if TYPE_CHECKING:
    from lbcore.admin.authorization import Authorization
    from lbcore.discovery.membership import Membership
    from lbcore.table import Row


class Registrations:
    """Each call takes its body and returns (status, response). Raises Refusal or BadBody."""

    def __init__(self, membership: Membership, rights: Authorization) -> None:
        self._membership = membership
        self._authorization = rights

    def answer(self, request: Request, data: bytes) -> tuple[int, dict[str, Any]]:
        """To a call of OF_BACKENDS."""
        if request.path == "/heartbeat":
            return self.heartbeat(request, data)
        return self.register(request, data) if request.path == "/register" else self.deregister(request, data)

    def register(self, request: Request, data: bytes) -> tuple[int, dict[str, Any]]:
        """201: a new backend; 200: one that is known."""
        body = parse(data, Announcement)
        pool = self.pool(body.pool)
        self._authorization.check_member(request, pool, data)
        self._authorization.check_may_speak(request, body.server_ip, joins=True)
        port = self._port_to_join(pool, body.port)
        self._authorization.check_not_own(body.server_ip, port)
        try:
            row, new = self._membership.leases.register(pool, join_host_port(body.server_ip, port), body.report)
        except ValueError as error:
            raise Refusal(422, str(error)) from None
        return 201 if new else 200, self._lease(row)

    def heartbeat(self, request: Request, data: bytes) -> tuple[int, dict[str, Any]]:
        """Renew a lease; 404 with `action: register` when there is none."""
        body = parse(data, Announcement)
        pool, address = self._speaks_for(request, data, body)
        row = self._membership.leases.heartbeat(pool, address, body.report)
        if row is None:
            raise Refusal(404, f"{address} has no lease in pool {pool}", action="register")
        return 200, self._lease(row)

    def deregister(self, request: Request, data: bytes) -> tuple[int, dict[str, Any]]:
        """The backend drains, then goes; `active` says how far it is. While other instances serve there it stays, and
        `instances` says how many there are."""
        body = parse(data, Farewell)
        pool, address = self._speaks_for(request, data, body)
        row = self._membership.find(pool, address)
        if row is not None and row.source != "lease" and not self._authorization.is_operator(request):
            raise Refusal(403, f"{address} was not registered: it is named by {row.source}")
        row = self._membership.leases.deregister(pool, address, body.instance or "") or self._membership.leaving(pool, address)
        if row is None:
            raise Refusal(404, f"{address} is not in pool {pool}")
        left = self._membership.leases.instances(row)
        return 200, self._lease(row) | {"active": self._membership.active(row)} | ({"instances": left} if left else {})

    def _speaks_for(self, request: Request, data: bytes, body: Announcement | Farewell) -> tuple[str, str]:
        """The pool and address of the backend that is known already, and that the caller may speak for."""
        pool = self.pool(body.pool)
        self._authorization.check_member(request, pool, data)
        self._authorization.check_may_speak(request, body.server_ip, joins=False)
        return pool, self._known_address(pool, body.server_ip, body.port)

    def pool(self, named: str | None) -> str:
        """The pool that a caller means. Raises BadBody."""
        pools = self._membership.pools()
        if named is None:
            named = pools[0] if len(pools) == 1 else DEFAULT_POOL
        if named not in pools:
            raise BadBody(f"pool: {named!r} is unknown (known: {', '.join(pools)})", "pool")
        return named

    def _port_to_join(self, pool: str, named: int | None) -> int:
        port = named or self._membership.rules(pool).lease.port
        if port is None:
            raise BadBody(f"port: missing (pool {pool} has no lease.port)", "port")
        return port

    def _known_address(self, pool: str, server_ip: str, named: int | None) -> str:
        """The backend that a caller means. Without a port: the pool's lease.port, or the only backend of that host."""
        port = named or self._membership.rules(pool).lease.port
        if port is not None:
            address = join_host_port(server_ip, port)
            if named or self._membership.find(pool, address):
                return address
        here = self._membership.on_host(pool, server_ip)
        if len(here) == 1:
            return here[0].address
        if port is not None:
            return join_host_port(server_ip, port)
        if here:
            raise BadBody(f"port: missing ({server_ip} has {len(here)} backends in pool {pool})", "port")
        raise Refusal(404, f"{server_ip} has no lease in pool {pool}", action="register")

    def _lease(self, row: Row) -> dict[str, Any]:
        lease = self._membership.rules(row.pool).lease
        return {
            "id": row.id,
            "address": row.address,
            "pool": row.pool,
            "generation": row.generation,
            "heartbeat_s": lease.heartbeat_ms / 1000,
            "lease_s": lease.length_ms / 1000,
            "state": row.state,
        }
