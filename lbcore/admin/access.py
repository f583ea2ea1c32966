"""Who may do what: operators hold the token or reach a unix socket; anybody else may speak for its own address only."""

from __future__ import annotations

import hmac
import ipaddress

from lbcore.config.settings.loops import is_own as is_own

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER: list[Network] = [
    ipaddress.ip_network(network)
    for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "0.0.0.0/8", "::/128")
]
"""Nobody's backends: link-local addresses (RFC 3927, RFC 4291 2.5.6), where clouds keep their metadata servers, and those that
stand elsewhere (AWS's over IPv6, Alibaba Cloud's)."""


class Access:
    """The rules of one admin server.

    token: what operators and, where it is set, all callers but health checks must show. allow: networks that may register.
    read_token: what shows all that is looked at, and acts on nothing.
    """

    def __init__(self, token: str | None, allow: list[str], read_token: str | None = None) -> None:
        self._token, self._read_token = token, read_token
        self._allow: list[Network] = [ipaddress.ip_network(network) for network in allow]

    def has_token(self, header: str | None) -> bool:
        """Does the Authorization header hold the operators' token?"""
        return self._token is not None and shows(header, self._token)

    def may_look(self, header: str | None) -> bool:
        """Does the Authorization header hold the token that may only look?"""
        return self._read_token is not None and shows(header, self._read_token)

    @property
    def needs_token(self) -> bool:
        """Is a token asked of everybody?"""
        return self._token is not None

    def may_speak_for(self, caller: str | None, server_ip: str) -> bool:
        """May a caller without operator's rights register this address? Its own only; loopback is one host."""
        if not caller or caller == server_ip:
            return bool(caller)
        mine, wanted = _plain(caller), _plain(server_ip)
        return mine == wanted or (mine.is_loopback and wanted.is_loopback)

    def is_allowed(self, server_ip: str) -> bool:
        """Is the address in a network that may register?"""
        address = _plain(server_ip)
        return any(address.version == network.version and address in network for network in self._allow)


def shows(header: str | None, token: str) -> bool:
    """Does an Authorization header hold this token? In constant time (RFC 6750 2.1)."""
    if header is None:
        return False
    scheme, _, shown = header.partition(" ")
    return hmac.compare_digest(shown.strip().encode(), token.encode()) and scheme.lower() == "bearer"


def is_nobodys(server_ip: str) -> bool:
    """Is it an address at which no backend may stand, whoever says so?"""
    address = _plain(server_ip)
    return any(address.version == network.version and address in network for network in NEVER)


def is_loopback(address: str | None) -> bool:
    """Does a caller or a backend stand on the host itself? None: a unix socket's."""
    return address is None or _plain(address).is_loopback


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
