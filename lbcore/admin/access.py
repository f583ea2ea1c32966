"""Who may do what: operators hold the token or reach a unix socket; anybody else may speak for its own address only."""

from __future__ import annotations

import hmac
import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Access:
    """The rules of one admin server.

    token: what operators and, where it is set, all callers but health checks must show. allow: networks that may register.
    """

    def __init__(self, token: str | None, allow: list[str]) -> None:
        self._token = token
        self._allow: list[Network] = [ipaddress.ip_network(network) for network in allow]

    def has_token(self, header: str | None) -> bool:
        """Does the Authorization header hold the token? In constant time (RFC 6750 2.1)."""
        if self._token is None or header is None:
            return False
        scheme, _, shown = header.partition(" ")
        return hmac.compare_digest(shown.strip().encode(), self._token.encode()) and scheme.lower() == "bearer"

    @property
    def needs_token(self) -> bool:
        """Is a token asked of everybody?"""
        return self._token is not None

    def may_speak_for(self, caller: str | None, server_ip: str) -> bool:
        """May a caller without operator's rights register this address? Its own only; loopback is one host."""
        if caller is None:
            return False
        mine, wanted = _plain(caller), _plain(server_ip)
        return mine == wanted or (mine.is_loopback and wanted.is_loopback)

    def is_allowed(self, server_ip: str) -> bool:
        """Is the address in a network that may register?"""
        address = _plain(server_ip)
        return any(address.version == network.version and address in network for network in self._allow)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
