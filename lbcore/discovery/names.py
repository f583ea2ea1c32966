"""Host names of backends, asked again when their time to live is over: a backend follows its name to another address.

A name that has no address yet is asked for until it has one. One thread, begun with the first name; addresses need none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from lbcore import locks
from lbcore.backoff import Backoff
from lbcore.log_once import LogOnce
from lbcore.table.resolved import Resolved, resolve, resolve_all

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings
    from lbcore.discovery.membership import Membership
    from lbcore.discovery.resolver import Resolver
    from lbcore.discovery.targets import Named

LEAST_S, MOST_S = 1.0, 300.0
"""How long a name is believed at least and at most, whatever its time to live."""
SYSTEM_S = 30.0
"""How long an answer is good that only the system's resolver knows (search domains, mDNS): it tells no time to live."""
REFRESH_S = 1.0
SURE = 2
"""So many answers in a row must lack a backend's address until the backend moves."""


class _Watch:
    """What is known of one backend's name. missing: answers in a row that lack the address of the backend."""

    def __init__(self, log: Callable[[str], None], pool: str, address: str, due_at: float) -> None:
        self.due_at = due_at
        self.missing = 0
        self.busy = False
        self.backoff = Backoff(LEAST_S, SYSTEM_S)
        self.log_once = LogOnce(log, f"pool {pool}: {address}", over="resolved again")


class Names:
    """Follows the names that `membership.claims.named()` tells of."""

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership = membership
        self._log = log
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._begun = threading.Event()
        self._lock = locks.lock("names")
        self._stopping = False
        membership.on_name.subscribe(self.poke)

    def poke(self) -> None:
        """There may be a name to follow, or to ask for now. Starts the thread when there is."""
        wanted = bool(self._membership.claims.named())  # before our lock: who pokes may hold membership's
        with self._lock:
            if self._stopping or (self._thread is None and not wanted):
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="lbcore-names", daemon=True)
                self._thread.start()
                return
        self._begun.wait()
        self._wake()

    def stop(self) -> None:
        """End the thread; questions under way are given up."""
        with self._lock:
            self._stopping = True
        if self._thread is not None:
            self._begun.wait()
            self._wake()
            self._thread.join()

    def _wake(self) -> None:
        if self._loop is not None and self._woken is not None:
            try:
                self._loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:
                return  # the loop has just ended

    def _main(self) -> None:
        import asyncio

        try:
            asyncio.run(self._run())
        finally:
            self._begun.set()

    async def _run(self) -> None:
        import asyncio

        from lbcore.discovery.resolver import Resolver

        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        resolver = Resolver()
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not self._stopping:
                for named, watch in self._due(time.monotonic()):
                    watch.busy = True
                    task = asyncio.create_task(self._follow(named, watch, resolver))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await self._sleep(self._pause_s(time.monotonic()))
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _due(self, now: float) -> list[tuple[Named, _Watch]]:
        """Whose time has come. Names that came since the last look were just resolved, so their time is not at once."""
        named = {(one.pool, one.address): one for one in self._membership.claims.named()}
        for key in set(self._watches) - set(named):
            del self._watches[key]
        for key in set(named) - set(self._watches):
            self._watches[key] = _Watch(self._log, *key, now + LEAST_S)
        found = ((one, self._watches[key]) for key, one in named.items())
        return [(one, watch) for one, watch in found if watch.due_at <= now and not watch.busy]

    def _pause_s(self, now: float) -> float:
        first = min((watch.due_at for watch in self._watches.values() if not watch.busy), default=now + MOST_S)
        return min(REFRESH_S, max(0.01, first - now))

    async def _sleep(self, seconds: float) -> None:
        import asyncio

        assert self._woken is not None
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return
        self._woken.clear()

    async def _follow(self, named: Named, watch: _Watch, resolver: Resolver) -> None:
        """Ask for one name, and have its backend move if it must."""
        try:
            found, ttl_s = await _ask(named, resolver)
        except ValueError as error:
            watch.log_once.tell(str(error) if named.resolved else "")  # of others the state tells
            watch.due_at = time.monotonic() + watch.backoff.next()
            return
        finally:
            watch.busy = False
        watch.log_once.tell("")
        watch.backoff.begin_anew()
        watch.missing = 0 if named.ip in found.all_ips else watch.missing + 1
        if watch.missing and (watch.missing >= SURE or not named.resolved):
            self._membership.claims.move(named.pool, named.address, found)
            watch.missing = 0
        watch.due_at = time.monotonic() + (LEAST_S if watch.missing else min(MOST_S, max(LEAST_S, ttl_s)))


async def _ask(named: Named, resolver: Resolver) -> tuple[Resolved, float]:
    """What the name means, and for how many seconds. What DNS does not know the system may know. Raises ValueError."""
    import socket

    from lbcore.discovery.resolver import DnsFailed

    if "." in named.host.rstrip("."):
        try:
            ips, ttl_s = await resolver.addresses(named.host)
        except DnsFailed:
            pass
        else:
            family = socket.AF_INET6 if ":" in ips[0] else socket.AF_INET
            return Resolved(int(family), ips[0], 0, tuple(ips)), ttl_s
    return await _beside(named.host, named.port), SYSTEM_S


def _beside(host: str, port: int) -> asyncio.Future[Resolved]:
    """What the system's resolver says, from a thread that nobody waits for: it may take half a minute."""
    import asyncio

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Resolved] = loop.create_future()

    def settle(found: Resolved | ValueError) -> None:
        if answer.done():
            return
        if isinstance(found, ValueError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        try:
            found: Resolved | ValueError = resolve(host, port)
        except ValueError as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, name="lbcore-getaddrinfo", daemon=True).start()
    return answer


def unresolvable(settings: BalancerSettings) -> list[str]:
    """A line for each backend of these settings whose host has no address now."""
    from lbcore.config.settings import parse_address

    backends = [(pool.name, backend.address) for pool in settings.pools for backend in pool.backends]
    found = resolve_all(parse_address(address) for _, address in backends)
    failed = ((pool, address, found.get(parse_address(address))) for pool, address in backends)
    return [f"pool {pool}: backend {address}: {error}" for pool, address, error in failed if isinstance(error, ValueError)]
