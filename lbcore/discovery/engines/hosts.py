"""Host names that an engine's entries name, and the addresses that DNS has for them: bounded in number, size and time.

An engine that names a host makes lbcore ask the name servers of this host for its A and AAAA records, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from lbcore.backoff import Backoff
from lbcore.config.settings import join_host_port, parse_address
from lbcore.discovery.engines.entries import Skips, address_of, name_in
from lbcore.discovery.found import MOST_ENTRIES, Answer, Found
from lbcore.discovery.hold import Hold
from lbcore.discovery.resolver import DnsFailed, Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.config.settings import SourceSettings

MOST_NAMES = 1024
MOST_OF_NAME = 64
"""Addresses of one name that are taken."""
MOST_AT_ONCE = 32
"""Names that are looked up at the same time."""
LEAST_S, MOST_S = 5.0, 300.0
"""How long an answer is believed at least and at most, whatever its time to live."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
FRESH_S = 2.0
"""What an engine says of other entries waits so long for the addresses of names that are new."""
TRIES = 5
"""After so many failures a name that never had an address is no reason any more to keep what was named before."""


class _Host:
    """One name. ips: its addresses, as of the last good answer. failures: in a row."""

    def __init__(self, name: str, hold_s: float) -> None:
        self.name = name
        self.ips: list[str] = []
        self.asked = False
        self.busy = False
        self.due_at = 0.0
        self.fault = ""
        self.failures = 0
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._hold = Hold(hold_s)

    def took(self, ips: list[str], ttl_s: float, now: float) -> None:
        self.ips = [one.address for one in self._hold.take((Found(ip, 1) for ip in ips), now, MOST_OF_NAME)]
        held_s = self._hold.left_s(now)
        self.due_at = now + min(MOST_S, max(LEAST_S, ttl_s if held_s is None else min(ttl_s, held_s)))
        self.fault, self.failures = "", 0
        self._backoff.begin_anew()

    def failed(self, fault: str, now: float) -> None:
        self.fault, self.failures = fault, self.failures + 1
        self.due_at = now + self._backoff.next()


class Hosts:
    """The names of one source. A name that cannot be resolved any more keeps its last addresses, and is told of once."""

    def __init__(
        self,
        settings: SourceSettings,
        log: Callable[[str], None],
        about: str,
        on_shortage: Callable[[int, str], None] | None = None,
    ) -> None:
        self._family, self._hold_s = settings.family, settings.hold_ms / 1000
        self._resolver = Resolver(settings.server, on_shortage)
        self._hosts: dict[str, _Host] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._on_news: Callable[[], None] = lambda: None
        self._kept = Skips(log, about, "keeps its last addresses", "names keep their last addresses")

    @property
    def awaited(self) -> bool:
        """Is there a name without an address that may have one soon?"""
        return any(not host.ips and host.failures < TRIES for host in self._hosts.values())

    @property
    def lacking(self) -> bool:
        """Is there a name without an address?"""
        return any(not host.ips for host in self._hosts.values())

    @property
    def kept(self) -> str:
        """What is wrong with names that keep their last addresses, in a line; "": nothing is."""
        wrong = [host for host in self._hosts.values() if host.ips and host.fault]
        if not wrong:
            return ""
        more = f" and {len(wrong) - 1} more keep their" if len(wrong) > 1 else " keeps its"
        return f"{wrong[0].name}{more} last addresses: {wrong[0].fault}"

    def want(self, found: Iterable[Found]) -> None:
        """These are what the engine names now: IP addresses and names."""
        names = sorted({name_in(one.address) for one in found} - {""})[:MOST_NAMES]
        for name in set(self._hosts) - set(names):
            del self._hosts[name]
            self._resolver.forget(name)
        for name in names:
            if name not in self._hosts:
                self._hosts[name] = _Host(name, self._hold_s)

    async def first_answers(self, within_s: float = FRESH_S) -> None:
        """Ask for the names that are new, and wait for them, but not for long: they are asked for all the same."""
        for host in self._hosts.values():
            if not host.asked and not host.busy:
                self._ask(host)
        deadline = time.monotonic() + within_s
        while any(not host.asked for host in self._hosts.values()) and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.wait(set(self._under_way), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        self._woken.set()

    def with_addresses(self, answer: Answer) -> Answer:
        """The answer with the addresses of its names in their place. A name without any is skipped."""
        if not self._hosts:
            return answer
        skipped = dict(answer.skipped)
        found: dict[str, Found] = {}
        for one in answer.found:
            for address in self._addresses(one.address, skipped):
                found.setdefault(address, one._replace(address=address))
        taken = sorted(found.values())
        if len(taken) > MOST_ENTRIES:
            skipped["addresses"] = f"{len(taken):,} of them, only {MOST_ENTRIES:,} are taken"
            taken = taken[:MOST_ENTRIES]
        note = answer.note if taken or len(skipped) == len(answer.skipped) else "its names cannot be resolved"
        self._kept.tell({host.name: host.fault for host in self._hosts.values() if host.ips and host.fault})
        return Answer(taken, skipped, told=answer.told and not skipped, note=note)

    def _addresses(self, address: str, skipped: dict[str, str]) -> list[str]:
        name = name_in(address)
        if not name:
            return [address]
        host = self._hosts.get(name)
        if host is None:
            skipped[name] = f"more than {MOST_NAMES:,} names"
            return []
        if not host.ips:
            skipped[name] = host.fault or "its name is being resolved"
        port = parse_address(address)[1]
        return [join_host_port(ip, port) for ip in host.ips]

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self, on_news: Callable[[], None]) -> None:
        """Ask again when the time has come, until cancelled. on_news: called when there are other addresses."""
        self._on_news = on_news
        try:
            while True:
                now = time.monotonic()
                for host in list(self._hosts.values()):
                    if host.due_at <= now and not host.busy and host.asked:
                        self._ask(host)
                waiting = (host.due_at for host in self._hosts.values() if not host.busy and host.asked)
                pause_s = max(0.0, min(waiting, default=now + MOST_S) - now)
                self._woken.clear()
                await _wait(self._woken, pause_s)
        finally:
            await self.end()

    async def end(self) -> None:
        """Give up what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _ask(self, host: _Host) -> None:
        host.busy, host.due_at = True, time.monotonic() + LONGEST_PAUSE_S
        task = asyncio.create_task(self._look_up(host))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _look_up(self, host: _Host) -> None:
        before, late = (host.ips, host.fault), not host.asked
        try:
            async with self._turns:
                ips, ttl_s = await self._resolver.addresses(host.name, self._family)
            host.took([ip for ip in ips if _is_of_host(ip)] or _nothing(ips), ttl_s, time.monotonic())
        except DnsFailed as failure:
            host.failed(str(failure), time.monotonic())
        finally:
            host.busy, host.asked = False, True
            self._woken.set()
        if late or (host.ips, host.fault) != before or host.failures == TRIES:
            self._on_news()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """For it, or so long. wait_for of Python 3.11 loses a cancellation that comes together with the event."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _is_of_host(ip: str) -> bool:
    try:
        address_of(ip, 1)
    except ValueError:
        return False
    return True


def _nothing(ips: list[str]) -> list[str]:
    raise DnsFailed(f"{ips[0]} is not an address of a host" if ips else "it has no address")
