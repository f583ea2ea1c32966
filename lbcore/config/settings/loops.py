"""Backends that are listeners of the same balancer. One that leads back to its own pool would have sessions and probes go round
until every place is taken; a chain that ends elsewhere, such as from a tls listener to an https one, is none."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from lbcore.config.settings.addresses import ROUTED_MODES, is_unix, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.config.settings.listener import ListenerSettings, RouteSettings
    from lbcore.config.settings.pool import PoolSettings


class Place(NamedTuple):
    """A listener: where it is bound, and the pools that it leads to."""

    name: str
    datagrams: bool
    host: str
    port: int
    pools: frozenset[str]


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_own(ip: str, port: int, bound: Iterable[tuple[str, int]]) -> bool:
    """Does a connection to this address reach one of these sockets? A wildcard takes what any address of this machine gets."""
    return any(port == own_port and _reaches(ip, host) for host, own_port in bound)


def _reaches(ip: str, host: str) -> bool:
    if is_unix(host) or is_unix(ip):
        return ip == host
    listens, to = plain(host), plain(ip)
    if listens is None or to is None:
        return False
    if to.is_unspecified:  # the kernel connects to the loopback address
        to = ipaddress.ip_address("127.0.0.1" if to.version == 4 else "::1")
    return listens == to or (listens.is_unspecified and listens.version >= to.version and _is_here(ip, to))


def _is_here(ip: str, address: Address) -> bool:
    """Is it an address of this machine? The kernel would take no other as its own side of a connection there. (Binding to it
    says nothing where net.ipv4.ip_nonlocal_bind is set, as with VRRP.)"""
    if address.is_loopback:
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect((ip if "%" in ip else str(address), 9))  # sends nothing
            return plain(trial.getsockname()[0]) == address
        except OSError:
            return False


def plain(text: str) -> Address | None:
    """An address without its zone, IPv4 inside IPv6 as IPv4 (RFC 4291 2.5.5.2); None: a name, but localhost has an address."""
    try:
        address = ipaddress.ip_address({"localhost": "127.0.0.1", "*": "::"}.get(text) or text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def places_of(
    listeners: Iterable[ListenerSettings], routes: Iterable[RouteSettings], bound: dict[str, tuple[str, int]]
) -> list[Place]:
    """All listeners. bound: where they really are, by name, as far as is known; a port 0 is nowhere yet."""
    found = []
    routes = list(routes)
    for listener in listeners:
        host, port = bound.get(str(listener.name), (listener.host, listener.port))
        if port or is_unix(host):
            found.append(Place(str(listener.name), listener.mode == "udp", host, port, _pools_behind(routes, listener)))
    return found


def _pools_behind(routes: Iterable[RouteSettings], listener: ListenerSettings) -> frozenset[str]:
    routed = (
        pool
        for route in routes
        if listener.mode in ROUTED_MODES and route.listener in (None, listener.group)
        for pool in route.pools
    )
    return frozenset({*routed, *({listener.pool} if listener.pool else ())})


def leads_back(places: list[Place], pool: str, ip: str, port: int, backends: Callable[[str], Iterable[tuple[str, int]]]) -> str:
    """The listener that a backend of a pool is, if sessions would come to that pool again from there; else "".

    backends: (ip, port) of a pool's other backends, asked for only where it matters.
    """
    for place in _reached(places, pool, ip, port):
        seen: set[str] = set()
        ahead = set(place.pools)
        while ahead:
            at = ahead.pop()
            if at == pool:
                return str(place.name)
            seen.add(at)
            for other in backends(at):
                for further in _reached(places, at, *other):
                    ahead |= further.pools - seen
    return ""


def _reached(places: list[Place], pool: str, ip: str, port: int) -> list[Place]:
    """The listeners that sessions of a pool reach at an address: by datagrams where datagrams come in, else by TCP."""
    if all(place.port != port for place in places):
        return []
    ways = {place.datagrams for place in places if pool in place.pools}
    return [place for place in places if place.datagrams in ways and is_own(ip, port, [(place.host, place.port)])]


def loop_faults(
    listeners: Iterable[ListenerSettings], routes: Iterable[RouteSettings], pools: list[PoolSettings]
) -> Iterable[str]:
    """Of backends that are named by their addresses: names are looked up when the balancer starts."""
    backends = {pool.name: [parse_address(backend.address) for backend in pool.backends] for pool in pools}
    places = places_of(listeners, routes, {})
    for pool in pools:
        for backend in pool.backends:
            host, port = parse_address(backend.address)
            name = leads_back(places, pool.name, host, port, lambda at: backends.get(at, ()))
            if name:
                yield f"pool {pool.name}: {fault(backend.address, name)}"


def fault(address: str, name: str) -> str:
    """What is wrong with such a backend."""
    return f"backend {address} is this balancer's own listener {name}: its sessions would come back for ever"
