"""Whether a call may do what it asks: tokens, signatures, rates, and for which address it may speak."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lbcore.admin import access
from lbcore.admin.limits import Rate
from lbcore.admin.request import OF_BACKENDS, Refusal, Request
from lbcore.client.signature import Verifier
from lbcore.config.settings import join_host_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.admin.access import Access
    from lbcore.discovery.membership import Membership

_UNGUARDED = {"/healthz", "/readyz", "/"}
"""What is told to anybody: how it is, and the dashboard's page, which says nothing of this balancer."""


class Authorization:
    """The rules of one admin server; each check raises Refusal.

    rate: calls a second from one address, 0: any. own: where the balancer itself listens, (host, port) each.
    """

    def __init__(self, asked: Access, rate: int, membership: Membership, own: Callable[[], list[tuple[str, int]]]) -> None:
        self._access = asked
        self._rate = Rate(rate)
        self._membership = membership
        self._own = own
        self._verifier = Verifier()

    def check(self, request: Request) -> None:
        """May it be heard at all?"""
        self._check_host(request)
        self._check_origin(request)
        self._check_token(request)
        if request.caller is not None and not self.is_operator(request) and not self._rate.allows(request.caller):
            raise Refusal(429, "too many calls from your address (admin.rate)", retry_after_s=1)

    def is_operator(self, request: Request) -> bool:
        """Does it hold the operators' token, or come over a unix socket?"""
        return request.caller is None or self._access.has_token(request.authorization)

    def check_operator(self, request: Request) -> None:
        """May it change what it did not register?"""
        if not self.is_operator(request):
            raise Refusal(403, "this call requires the token, or the control socket")

    def _check_host(self, request: Request) -> None:
        """Does a caller without a token name this server by its address, or as localhost?

        A page whose name was made to lead here (DNS rebinding) is of this server's origin for a browser: its GETs carry neither
        Origin nor, over plain http, Sec-Fetch-Site. Only Host tells its name. Where a token is set, the token is what it lacks.
        """
        host = request.fields.get("Host")
        if request.caller is None or self._access.needs_token or host is None or _names_a_host_itself(f"http://{host}"):
            return
        if request.path not in OF_BACKENDS or not self._may_be_member(request):  # asked last: it looks at every pool
            raise Refusal(403, f"without a token, Host must be an address or localhost: {host!r} is neither (admin.token_file)")

    def _check_origin(self, request: Request) -> None:
        """Does another site's page make a browser act here? (Fetch Metadata; RFC 6454 7)"""
        if request.method in ("GET", "HEAD"):  # they only look
            return
        origin, site = request.fields.get("Origin"), request.fields.get("Sec-Fetch-Site")
        if origin is None and site is None:  # no browser, or none that could be led here
            return
        own = _authority(origin) == request.fields.get("Host", "").lower() if site is None else site in ("same-origin", "none")
        if not own:
            raise Refusal(403, "a page of another origin may not call this")
        # its name may have been made to lead here (DNS rebinding); a token is nothing that such a page has
        if origin is not None and not self._access.has_token(request.authorization) and not _names_a_host_itself(origin):
            raise Refusal(403, "without the token, a browser must name this server by its address, or as localhost")

    def _check_token(self, request: Request) -> None:
        header = request.authorization
        if request.caller is None or request.path in _UNGUARDED or (header is None and not self._access.needs_token):
            return
        if request.path in OF_BACKENDS and self._may_be_member(request):  # a pool's own token or key may admit these
            return
        if self._access.has_token(header) or (request.method in ("GET", "HEAD") and self._access.may_look(header)):
            return
        if self._access.may_look(header):
            raise Refusal(403, "this token may only read")
        raise Refusal(401, _no_token(request))

    def _may_be_member(self, request: Request) -> bool:
        """Does the caller show what any pool admits? Which pool it means is in its body, which strangers are not asked for."""
        header, signed = request.authorization, "X-LB-Signature" in request.fields
        leases = [self._membership.rules(pool).lease for pool in self._membership.pools()]
        return any(
            (signed and lease.hmac_key)
            or (lease.token and access.shows(header, lease.token.reveal()))
            or (lease.open and header is None)
            for lease in leases
        )

    def check_member(self, request: Request, pool: str, body: bytes) -> None:
        """May the caller speak for backends of this pool? With the operators' token or the pool's, signed if it has a key."""
        lease, header = self._membership.rules(pool).lease, request.authorization
        if self.is_operator(request):
            return
        if lease.token is not None:
            shown = access.shows(header, lease.token.reveal())
        elif lease.open and header is None:
            shown = True
        else:
            shown = not self._access.needs_token and (header is None or lease.hmac_key is not None)
            shown = shown or (lease.hmac_key is not None and header is None)
        if not shown:
            raise Refusal(401, _no_token(request))
        if lease.hmac_key is not None:
            fault = self._verifier.fault(lease.hmac_key.reveal(), request.method, request.path, request.fields, body)
            if fault:
                raise Refusal(401, f"the signature is refused: {fault}")

    def check_may_speak(self, request: Request, server_ip: str, *, joins: bool) -> None:
        """May it speak for a backend at this address, and, when it joins, may one stand there?"""
        if not self.is_operator(request) and not self._access.may_speak_for(request.caller, server_ip):
            raise Refusal(403, f"server_ip: {server_ip} is not the address you call from")
        if not joins:
            return
        if access.is_nobodys(server_ip):
            raise Refusal(403, f"server_ip: {server_ip} is link-local, or a cloud's metadata server: no backend")
        if access.is_loopback(server_ip) and not access.is_loopback(request.caller):
            raise Refusal(403, f"server_ip: {server_ip} is this host, you call from another")
        if not self._access.is_allowed(server_ip):
            raise Refusal(403, f"server_ip: {server_ip} is not in a network that may register (admin.allow)")

    def check_not_own(self, server_ip: str, port: int) -> None:
        """Does it name another server than this balancer?"""
        if access.is_own(server_ip, port, self._own()):
            raise Refusal(403, f"{join_host_port(server_ip, port)} is this balancer itself")


def _authority(origin: str | None) -> str:
    """The host and port of an origin, as the field Host has them."""
    return (origin or "").partition("://")[2].lower()


@lru_cache(maxsize=256)  # each heartbeat asks
def _names_a_host_itself(origin: str) -> bool:
    """Is the host of an origin an address, or localhost (RFC 6761 6.3)? Names are led elsewhere by whoever holds them."""
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        if parts.netloc != origin.partition("://")[2] or "@" in parts.netloc:
            return False
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _no_token(request: Request) -> str:
    """What is said to a caller that shows none; a backend may have registered before there was one."""
    if request.path in OF_BACKENDS and request.authorization is None:
        return (
            "no token: backends need one to register, too, where the admin server has one (pool.lease.open = true: they do not)"
        )
    return "no token, or a wrong one"
