"""Threads that a balancer has only while its settings want them: the prober, the scraper, sources of backends,
and the keeper of certificates."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.acme.keeper import Keeper
    from lbcore.config.settings import BalancerSettings, RouteSettings
    from lbcore.discovery.found import Found
    from lbcore.discovery.membership import Membership
    from lbcore.discovery.prober import Prober
    from lbcore.discovery.scraper import Scraper
    from lbcore.discovery.sources import Sources
    from lbcore.discovery.standing import Standing


class Probing:
    """A prober, once some pool wants probes."""

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership, self._log = membership, log
        self._prober: Prober | None = None

    def follow(self, settings: BalancerSettings) -> None:
        """Have a prober if some pool wants probes."""
        if self._prober is None and any(pool.probe.kind != "off" for pool in settings.pools):
            from lbcore.discovery.prober import Prober

            self._prober = Prober(self._membership, log=self._log)
            self._prober.start()

    def stop(self) -> None:
        """End the prober."""
        if self._prober:
            self._prober.stop()


class Scraping:
    """A scraper, once some pool wants metrics to be read."""

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership, self._log = membership, log
        self._scraper: Scraper | None = None

    def follow(self, settings: BalancerSettings) -> None:
        """Have a scraper if some pool wants one."""
        if self._scraper is None and any(pool.scrape.kind != "off" for pool in settings.pools):
            from lbcore.discovery.scraper import Scraper

            self._scraper = Scraper(self._membership, self._log)
            self._scraper.start()

    def standings(self) -> list[dict[str, Any]]:
        """How the reads of each backend go (Scraper.standings)."""
        return self._scraper.standings() if self._scraper else []

    def stop(self) -> None:
        """End the scraper."""
        if self._scraper:
            self._scraper.stop()


class Issuing:
    """Certificates that an authority issues, where the settings ask for them. publish: puts routes before all others."""

    def __init__(self, publish: Callable[[list[RouteSettings]], None], log: Callable[[str], None]) -> None:
        self._publish, self._log = publish, log
        self._keeper: Keeper | None = None

    def follow(self, settings: BalancerSettings) -> None:
        """Keep the certificates of these settings."""
        if self._keeper is None:
            if settings.acme is None or not any(entry.acme for one in settings.listeners for entry in one.certificates):
                return
            from lbcore.acme.keeper import Keeper

            self._keeper = Keeper(settings.acme, self._show, self._log)
        self._keeper.follow(settings)

    def _show(self, proofs: dict[str, str]) -> None:
        from lbcore.config.settings import AuthRequestSettings, RespondSettings, RouteSettings

        self._publish(
            [
                RouteSettings(
                    path=path,
                    respond=RespondSettings(body=body, content_type="application/octet-stream"),
                    deny_clients=[],
                    api_keys="off",
                    basic_auth="off",
                    auth_request=AuthRequestSettings(pool="off"),
                )
                for path, body in proofs.items()
            ]
        )

    def status(self) -> list[dict[str, Any]] | None:
        """Of each certificate (Keeper.status); None: none is issued."""
        return self._keeper.status() if self._keeper else None

    def stop(self) -> None:
        """End the keeper."""
        if self._keeper:
            self._keeper.stop()


class Sourcing:
    """The sources that the pools name."""

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership, self._log = membership, log
        self._sources: Sources | None = None
        self._named: dict[str, object] = {}
        self._leaving: dict[str, set[str]] = {}  # by pool, claims of sources that are not there any more
        self._awaited: dict[str, set[str]] = {}  # by pool, claims of sources that have not answered yet

    def follow(self, settings: BalancerSettings) -> None:
        """Run the sources that the pools name. What was named by one that is not there any more goes once all sources of the
        pool have answered: a pool whose source changes is never empty meanwhile."""
        named: dict[str, object] = {pool.name: pool.sources for pool in settings.pools}
        before, self._named = self._named, named
        if named == before or (self._sources is None and not any(pool.sources for pool in settings.pools)):
            return
        from lbcore.discovery.sources import Sources, made

        gone: set[tuple[str, str]] = set()
        if self._sources:
            gone = self._sources.claims
            self._sources.stop()
        known, told = self._membership.claims.claimed, self._membership.shortages.lookup
        self._sources = Sources(made(settings.pools, self._log, known, told), self._found, self._log)
        self._await(gone)
        self._sources.start()

    def _await(self, before: set[tuple[str, str]]) -> None:
        """The sources that are about to start are awaited by those that were before and are not there now."""
        assert self._sources is not None
        self._awaited = _by_pool(self._sources.claims)
        leaving = {(pool, claim) for pool, claims in self._leaving.items() for claim in claims} | before
        self._leaving = _by_pool(leaving - self._sources.claims)
        for pool in set(self._leaving) - set(self._awaited):
            self._dismiss(pool)

    def _found(self, pool: str, claim: str, found: list[Found]) -> None:
        if pool in self._membership.pools():
            self._membership.claims.follow_source(pool, claim, found)
        self._awaited.get(pool, set()).discard(claim)
        if not self._awaited.get(pool):
            self._dismiss(pool)

    def _dismiss(self, pool: str) -> None:
        for claim in self._leaving.pop(pool, ()):
            if pool in self._membership.pools():
                self._membership.claims.follow_source(pool, claim, [])

    def standings(self) -> list[Standing]:
        """How each source is doing. Any thread may ask."""
        sources = self._sources
        return sources.standings() if sources else []

    def stop(self) -> None:
        """End all sources."""
        if self._sources:
            self._sources.stop()


def _by_pool(claims: set[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for pool, claim in claims:
        found.setdefault(pool, set()).add(claim)
    return found
