"""DNS as a source: addresses of a name (A, AAAA), or services (SRV, RFC 2782), asked again when their time to live is over."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from lbcore.backoff import Backoff
from lbcore.config.settings import join_host_port
from lbcore.discovery.found import MOST, Answer, Found, scaled
from lbcore.discovery.hold import Hold
from lbcore.discovery.resolver import DnsFailed, Resolver
from lbcore.discovery.standing import LATE_S, Standing
from lbcore.engine.codes import TIERS
from lbcore.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.config.settings import SourceSettings
    from lbcore.discovery.found import Publish

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


class DnsSource:
    """Follows a name. No answer, an error (NXDOMAIN, SERVFAIL, ...) or an answer without an address: the last one stays true,
    since a name server that lost its zone must not empty a pool; it is asked again, with growing backoff. An address that
    answers lack stays for `hold`. known: what a source, by pool and claim, named before this began."""

    def __init__(
        self,
        pool: str,
        settings: SourceSettings,
        log: Callable[[str], None],
        known: Callable[[str, str], list[Found]] | None = None,
        on_shortage: Callable[[int, str], None] | None = None,
    ) -> None:
        self.pool = pool
        self.claim: str = f"dns:{settings.kind}:{settings.name}:{settings.port or ''}"
        self.standing: Standing = Standing(pool, settings.kind, str(settings.name), settings.max_ttl_ms / 1000 + LATE_S)
        self._settings = settings
        self._log_once = LogOnce(log, f"pool {pool}: dns {settings.name}", over="well again")
        self._resolver = Resolver(settings.server, on_shortage)
        self._hold = Hold(settings.hold_ms / 1000, known(pool, self.claim) if known else ())

    async def run(self, publish: Publish) -> None:
        """Until cancelled."""
        last: list[Found] | None = None
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                found, ttl_s = await self.ask()
            except DnsFailed as failure:
                self.standing.failed(str(failure))
                self._log_once.tell(f"the last reply is kept: {failure}")
                await asyncio.sleep(backoff.next())
                continue
            self._log_once.tell("" if len(found) <= MOST else f"{len(found)} addresses, only {MOST} are taken")
            taken = self._hold.take(found, time.monotonic(), MOST)
            self.standing.heard()
            self.standing.took(len(taken), max(0, len(found) - MOST))
            if taken != last:
                last = taken
                publish(last)
            backoff.begin_anew()
            await asyncio.sleep(self._patience_s(ttl_s))

    def _patience_s(self, ttl_s: int) -> float:
        least, most = self._settings.interval_ms / 1000, self._settings.max_ttl_ms / 1000
        held_s = self._hold.left_s(time.monotonic())
        wanted = ttl_s if held_s is None else min(ttl_s, held_s)
        return min(most, max(least, wanted)) * random.uniform(0.9, 1.0)

    async def examine(self) -> Answer:
        """What the name means now. Raises DnsFailed."""
        found, _ = await self.ask()
        return Answer(found[:MOST])

    async def ask(self) -> tuple[list[Found], int]:
        """What the name means now, in a fixed order, and for how many seconds. Raises DnsFailed."""
        if self._settings.kind == "srv":
            return await self._services()
        ips, ttl_s = await self._resolver.addresses(str(self._settings.name), self._settings.family)
        return sorted(Found(join_host_port(ip, self._settings.port or 0), 1) for ip in ips), ttl_s

    async def _services(self) -> tuple[list[Found], int]:
        answer = await self._resolver.query(str(self._settings.name), "SRV")
        if answer is None:
            raise DnsFailed("no SRV record")
        chosen = sorted((record for record in answer if str(record.target) != "."), key=lambda record: record.priority)
        tiers = _tiers(record.priority for record in chosen)
        targets = (self._resolver.addresses(str(record.target), self._settings.family) for record in chosen)
        asked = await asyncio.gather(*targets, return_exceptions=True)
        found: dict[str, Found] = {}
        ttl_s, faults = answer.chaining_result.minimum_ttl, []
        weights = _scaled_by_tier([(tiers[record.priority], record.weight) for record in chosen])
        for record, weight, known in zip(chosen, weights, asked, strict=True):
            if isinstance(known, DnsFailed):
                faults.append(known)
                continue
            if isinstance(known, BaseException):
                raise known
            addresses, own_ttl_s = known
            ttl_s = min(ttl_s, own_ttl_s)
            for ip in addresses:
                address = join_host_port(ip, record.port)
                found.setdefault(address, Found(address, weight, tiers[record.priority]))  # its lowest tier
        if not found:
            raise faults[0] if faults else DnsFailed("no service is offered")
        return sorted(found.values(), key=lambda one: (one.tier, one.address)), ttl_s if not faults else 0


def _tiers(priorities: Iterable[int]) -> dict[int, int]:
    """The tier of each priority of SRV records: clients take the next one only when none of the lower can be reached
    (RFC 2782). There are TIERS; the last takes all that is left."""
    return {priority: min(tier, TIERS - 1) for tier, priority in enumerate(sorted(set(priorities)))}


def _scaled_by_tier(given: list[tuple[int, int]]) -> list[int]:
    """Weights of (tier, weight): they share within a tier alone."""
    queues = {tier: iter(scaled([weight for of, weight in given if of == tier])) for tier, _ in given}
    return [next(queues[tier]) for tier, _ in given]
