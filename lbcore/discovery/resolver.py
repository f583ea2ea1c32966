"""Names as this host knows them: /etc/hosts, then the servers of /etc/resolv.conf, both followed as they change."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from lbcore.config.settings import split_host_port
from lbcore.discovery.found import SourceFailed
from lbcore.discovery.shortages import advice, is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOSTS, RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"
MOST_HOSTS_BYTES = 1 << 20
LIMIT_S = 5.0
EDNS_BYTES = 1232
"""What a UDP answer may hold: no path fragments so much (DNS flag day 2020). A server truncates beyond it: then TCP is used."""

KINDS: dict[str, tuple[str, ...]] = {"ipv4": ("A",), "ipv6": ("AAAA",), "both": ("A", "AAAA"), "auto": ("A", "AAAA")}
"""What is asked for, by the choice of address family."""


class Addresses(NamedTuple):
    """The addresses of a name, and for how many seconds they are good."""

    ips: list[str]
    ttl_s: int


class DnsFailed(SourceFailed):
    """No answer, or one that says nothing: in words."""


class Resolver:
    """Asks for records. server: "IP:PORT", which is then asked alone, /etc/hosts left aside; None: as this host does.

    Of one event loop. A family that fails is as it was when it last answered.
    """

    def __init__(self, server: str | None = None, on_shortage: Callable[[int, str], None] | None = None) -> None:
        """on_shortage: called with an errno and a name that this host lacked something to look up."""
        self._server = server
        self._on_shortage = on_shortage or (lambda error, name: None)
        self._resolver: Any = None
        self._seen: object = None
        self._hosts = _Hosts()
        self._known: dict[tuple[str, str], list[str]] = {}  # by name and kind

    async def addresses(self, name: str, family: str = "auto") -> Addresses:
        """Those of one family or of both; auto: IPv4 if there is any, else IPv6. Raises DnsFailed when none is known."""
        import asyncio

        local = self._hosts.find(name) if self._server is None else {}
        if any(local.get(kind) for kind in KINDS[family]):
            return Addresses(_chosen(local, family), 0)
        kinds = KINDS[family]
        answers = await asyncio.gather(*(self.query(name, kind) for kind in kinds), return_exceptions=True)
        ttls, faults = [], []
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, DnsFailed):
                faults.append(answer)
                ttls.append(0)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._known[name, kind] = [] if answer is None else [record.address for record in answer]
                ttls += [] if answer is None else [answer.chaining_result.minimum_ttl]
        found = _chosen({kind: self._known.get((name, kind), []) for kind in kinds}, family)
        if not found or len(faults) == len(kinds):
            raise faults[0] if faults else DnsFailed(f"{name} has no address")
        return Addresses(found, min(ttls))

    def forget(self, name: str) -> None:
        """It is not asked for any more."""
        for kind in KINDS["both"]:
            self._known.pop((name, kind), None)

    async def query(self, name: str, kind: str) -> Any:
        """An answer of dnspython's, or None when the name has no such record. Raises DnsFailed."""
        import dns.exception
        import dns.resolver

        resolver = self._asked()
        try:
            try:
                return await resolver.resolve(name, kind, lifetime=LIMIT_S, search=False)
            except dns.resolver.NoNameservers as error:
                if not _knows_no_edns(error) or resolver.edns < 0:
                    raise
                resolver.use_edns(False)
                return await resolver.resolve(name, kind, lifetime=LIMIT_S, search=False)
        except dns.resolver.NoAnswer:
            return None
        except dns.exception.DNSException as error:
            short = _shortage(error) or _lacks(resolver)
            if short is None:
                raise DnsFailed(_words(error)) from None
        except OSError as error:
            short = error.errno if is_shortage(error) else None
            if short is None:
                raise DnsFailed(error.strerror or str(error)) from None
        self._on_shortage(short, name)
        raise DnsFailed(advice(short))

    def _asked(self) -> Any:
        """Who is asked now. Raises DnsFailed."""
        now = None if self._server is not None else _stamp(RESOLV_CONF)
        if self._resolver is None or (now is not None and now != self._seen):
            fresh = _fresh_resolver(self._server)
            if fresh is not None:
                fresh.use_edns(0, 0, EDNS_BYTES)
                self._resolver, self._seen = fresh, now
        if self._resolver is None:
            raise DnsFailed(f"{RESOLV_CONF} names no server")
        return self._resolver


def _fresh_resolver(server: str | None) -> Any:
    """None: no server is named; a file that is just being written may look so."""
    import dns.asyncresolver
    import dns.exception

    if server is not None:
        resolver: Any = dns.asyncresolver.Resolver(configure=False)
        host, resolver.port = split_host_port(server)
        resolver.nameservers = [host]
        return resolver
    try:
        resolver = dns.asyncresolver.Resolver(filename=RESOLV_CONF)
    except (dns.exception.DNSException, OSError, ValueError):
        return None
    return resolver if resolver.nameservers else None


def _chosen(by_kind: dict[str, list[str]], family: str) -> list[str]:
    found = [by_kind.get(kind, []) for kind in KINDS[family]]
    if family == "auto":
        return next((ips for ips in found if ips), [])
    return [ip for ips in found for ip in ips]


def _knows_no_edns(error: Any) -> bool:
    """Did a server refuse the question's form (RFC 6891 7)?"""
    import dns.rcode

    refusals = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)
    return any(entry[4] is not None and entry[4].rcode() in refusals for entry in error.kwargs.get("errors", ()))


def _shortage(error: Exception) -> int | None:
    """What this host lacked, where that is why no name server could be asked: dnspython takes it for a fault of the server."""
    tried = getattr(error, "kwargs", {}).get("errors") or ()
    found = [entry[3].errno for entry in tried if len(entry) > 3 and isinstance(entry[3], OSError) and is_shortage(entry[3])]
    return found[-1] if found else None


def _lacks(resolver: Any) -> int | None:
    """What this host lacks for a question: without a source port asyncio waits in silence (connect(2), EAGAIN)."""
    import socket

    server = str(resolver.nameservers[0])
    try:
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((server, resolver.port))
    except OSError as error:
        return error.errno if is_shortage(error) else None
    return None


def _words(error: Exception) -> str:
    import dns.resolver

    if isinstance(error, dns.resolver.NXDOMAIN):
        return "there is no such name"
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return f"no reply within {LIMIT_S:g} s"
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _stamp(path: str) -> object:
    """What changes with a file; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class _Hosts:
    """The names of /etc/hosts (hosts(5))."""

    def __init__(self) -> None:
        self._seen: object = None
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> dict[str, list[str]]:
        """Addresses by kind of record; none when it is not there."""
        now = _stamp(HOSTS)
        if now != self._seen:
            self._names, self._seen = _read_hosts(), now
        return self._names.get(name.rstrip(".").lower(), {})


def _read_hosts() -> dict[str, dict[str, list[str]]]:
    names: dict[str, dict[str, list[str]]] = {}
    for ip, aliases in _lines_of_hosts():
        kind = "AAAA" if ":" in ip else "A"
        for alias in aliases:
            known = names.setdefault(alias.rstrip(".").lower(), {}).setdefault(kind, [])
            if ip not in known:
                known.append(ip)
    return names


def _lines_of_hosts() -> Iterable[tuple[str, list[str]]]:
    try:
        with open(HOSTS, "rb") as file:
            text = file.read(MOST_HOSTS_BYTES).decode(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        ip, *aliases = line.partition("#")[0].split() or [""]
        try:
            yield str(ipaddress.ip_address(ip)), aliases
        except ValueError:
            continue
