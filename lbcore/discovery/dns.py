"""DNS as a source: addresses of a name (A, AAAA), or services (SRV, RFC 2782), asked again when their time to live is over."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from lbcore.complaints import Complaints
from lbcore.discovery.sources import MOST, Found
from lbcore.pauses import Pauses
from lbcore.settings import join_host_port, split_host_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.discovery.sources import Publish
    from lbcore.settings import SourceSettings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
LIMIT_S = 5.0
FAMILIES = ("A", "AAAA")


class DnsFailed(Exception):
    """No answer, or one that says nothing: in words."""


class DnsSource:
    """Follows a name. No answer, an error (NXDOMAIN, SERVFAIL, ...) or an answer without an address: the last one stays true,
    since a name server that lost its zone must not empty a pool; it is asked again, with growing pauses."""

    def __init__(self, pool: str, settings: SourceSettings, log: Callable[[str], None]) -> None:
        self.pool = pool
        self.claim = f"dns:{settings.kind}:{settings.name}:{settings.port or ''}"
        self._settings = settings
        self._complaints = Complaints(log, f"pool {pool}: dns {settings.name}", over="well again")
        self._resolver: Any = None
        self._known: dict[tuple[str, str], list[str]] = {}  # by name and family

    async def run(self, publish: Publish) -> None:
        """Until cancelled."""
        last: list[Found] | None = None
        pauses = Pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                found, ttl_s = await self.ask()
            except DnsFailed as failure:
                self._complaints.tell(f"the last answer is kept: {failure}")
                await asyncio.sleep(pauses.next())
                continue
            self._complaints.tell("" if len(found) <= MOST else f"{len(found)} addresses, only {MOST} are taken")
            if found[:MOST] != last:
                last = found[:MOST]
                publish(last)
            pauses.begin_anew()
            await asyncio.sleep(self._patience_s(ttl_s))

    def _patience_s(self, ttl_s: int) -> float:
        least, most = self._settings.interval_ms / 1000, self._settings.max_ttl_ms / 1000
        return min(most, max(least, ttl_s)) * random.uniform(0.9, 1.0)

    async def ask(self) -> tuple[list[Found], int]:
        """What the name means now, in a fixed order, and for how many seconds. Raises DnsFailed."""
        if self._settings.kind == "srv":
            return await self._services()
        addresses, ttl_s = await self._addresses(str(self._settings.name))
        return sorted(Found(join_host_port(ip, self._settings.port or 0), 1) for ip in addresses), ttl_s

    async def _services(self) -> tuple[list[Found], int]:
        answer = await self._query(str(self._settings.name), "SRV")
        if answer is None:
            raise DnsFailed("no SRV record")
        least = min(record.priority for record in answer)
        chosen = [record for record in answer if record.priority == least and str(record.target) != "."]
        asked = await asyncio.gather(*(self._addresses(str(record.target)) for record in chosen), return_exceptions=True)
        found: dict[str, Found] = {}
        ttl_s, faults = answer.chaining_result.minimum_ttl, []
        for record, weight, known in zip(chosen, _scaled([record.weight for record in chosen]), asked, strict=True):
            if isinstance(known, DnsFailed):
                faults.append(known)
                continue
            if isinstance(known, BaseException):
                raise known
            addresses, own_ttl_s = known
            ttl_s = min(ttl_s, own_ttl_s)
            for ip in addresses:
                address = join_host_port(ip, record.port)
                found[address] = Found(address, weight)
        if not found:
            raise faults[0] if faults else DnsFailed("no service is offered")
        return sorted(found.values()), ttl_s if not faults else 0

    async def _addresses(self, name: str) -> tuple[list[str], int]:
        """Of both families. One that fails is as it was when it last answered. Raises DnsFailed when no address is known."""
        answers = await asyncio.gather(*(self._query(name, kind) for kind in FAMILIES), return_exceptions=True)
        found: list[str] = []
        ttls: list[int] = []
        faults: list[DnsFailed] = []
        for kind, answer in zip(FAMILIES, answers, strict=True):
            if isinstance(answer, DnsFailed):
                faults.append(answer)
                ttls.append(0)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._known[name, kind] = [] if answer is None else [record.address for record in answer]
                ttls += [] if answer is None else [answer.chaining_result.minimum_ttl]
            found += self._known.get((name, kind), [])
        if not found or len(faults) == len(FAMILIES):
            raise faults[0] if faults else DnsFailed(f"{name} has no address")
        return found, min(ttls)

    async def _query(self, name: str, kind: str) -> Any:
        """An answer, or None when the name has no such record. Raises DnsFailed."""
        import dns.exception
        import dns.resolver

        try:
            return await self._asked().resolve(name, kind, lifetime=LIMIT_S, search=False)
        except dns.resolver.NoAnswer:
            return None
        except dns.exception.DNSException as error:
            raise DnsFailed(_words(error)) from None
        except OSError as error:
            raise DnsFailed(error.strerror or str(error)) from None

    def _asked(self) -> Any:
        import dns.asyncresolver

        if self._resolver is None:
            server = self._settings.server
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
            if server is not None:
                host, port = split_host_port(server)
                self._resolver.nameservers, self._resolver.port = [host], port
        return self._resolver


def _scaled(weights: Iterable[int]) -> list[int]:
    """Weights of SRV records (0..65535; 0 is hardly any, RFC 2782) as those of backends, 1..256."""
    given = list(weights)
    heaviest = max(given, default=0)
    if heaviest <= 256:
        return [max(1, weight) for weight in given]
    return [max(1, round(weight * 256 / heaviest)) for weight in given]


def _words(error: Exception) -> str:
    import dns.resolver

    if isinstance(error, dns.resolver.NXDOMAIN):
        return "there is no such name"
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return f"no answer within {LIMIT_S:g} s"
    return (str(error) or type(error).__name__).splitlines()[0][:200]
