"""A source that follows an engine: from endpoint to endpoint, with pauses. It never believes that silence means nobody."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from lbcore.backoff import Backoff
from lbcore.discovery.engines.entries import Skips
from lbcore.discovery.engines.hosts import Hosts
from lbcore.discovery.found import SourceFailed, plain
from lbcore.discovery.resolver import LIMIT_S as NAMES_S
from lbcore.discovery.standing import LATE_S, Standing
from lbcore.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from lbcore.config.settings import SourceSettings
    from lbcore.discovery.found import Answer, Found, Publish

    class Ear(Protocol):
        """Whom an engine tells what it hears."""

        def heard(self, revision: str) -> None:
            """The engine spoke. revision: what all that was said is as of."""

        def changed(self, answer: Callable[[], Answer]) -> None:
            """There is something new; it is computed when its time has come."""

    class Engine(Protocol):
        """How one kind of engine is asked. what: the prefix, service or bucket."""

        what: str

        def endpoints(self) -> list[str]:
            """Where it is asked. Raises SourceFailed."""

        def follow(self, at: str, ear: Ear) -> Awaitable[None]:
            """Tell what there is, and each change, until this endpoint fails: raises SourceFailed."""

        def ask(self, at: str) -> Awaitable[Answer]:
            """What there is now. Raises SourceFailed."""


FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
PROVEN_S = 10.0
"""An endpoint that served for so long was well: after it the pauses begin anew."""
MOST_LOSSES = 3
"""A connection that is lost is told of once the next fails too, or once so many in a row are lost soon after they answered."""
GATHER_S = 0.05
"""Changes within so long after one are told as one: each costs a look at the whole pool."""


class EngineSource:
    """Follows an engine. What it named last stays true while no endpoint answers, and while an answer is empty that may come
    from an engine that lost its data (`when_empty`). known: what a source, by pool and claim, named before this began."""

    def __init__(
        self,
        pool: str,
        settings: SourceSettings,
        engine: Engine,
        log: Callable[[str], None],
        known: Callable[[str, str], list[Found]] | None = None,
        on_shortage: Callable[[int, str], None] | None = None,
    ) -> None:
        """on_shortage: called with an errno and a name that this host lacked something to look up."""
        self.pool = pool
        self.claim: str = f"{settings.kind}:{engine.what}"
        self.standing: Standing = Standing(
            pool, settings.kind, engine.what, (settings.resync_ms * 17 / 16 + settings.timeout_ms) / 1000 + LATE_S
        )
        self._engine = engine
        self._keeps = settings.when_empty == "keep"
        about = f"pool {pool}: {settings.kind} {engine.what}"
        self._trouble = LogOnce(log, about, over="well again")
        self._emptiness = LogOnce(log, about)
        self._skips = Skips(log, about)
        self._hosts = Hosts(settings, log, about, on_shortage)
        self._known = known or (lambda pool, claim: [])
        self._before: list[Found] = []  # what was named before this began, as long as names of now are not resolved
        self._last: list[Found] | None = None
        self._pending: Callable[[], Answer] | None = None
        self._changed = asyncio.Event()
        self._answered = False
        self._began = 0.0  # when the endpoint of now was asked first
        self._losses = 0  # connections in a row that gave an answer and were lost before they were proven

    # --- what the engine says ------------------------------------------------------------------------------------

    def heard(self, revision: str) -> None:
        """See Ear."""
        self.standing.heard(revision)
        self._answered = True
        if time.monotonic() - self._began > PROVEN_S:
            self._losses = 0
        if self._losses < MOST_LOSSES:
            self._trouble.tell("")

    def changed(self, answer: Callable[[], Answer]) -> None:
        """See Ear."""
        self._pending = answer
        self._changed.set()

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self, publish: Publish) -> None:
        """Until cancelled."""
        self._last, self._pending = None, None
        self._changed.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish(publish))
                group.create_task(self._follow())
                group.create_task(self._hosts.run(self._changed.set))
        except ExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None

    async def examine(self) -> Answer:
        """What the first endpoint that answers says. Raises SourceFailed with what is wrong at each."""
        faults = []
        for at in self._engine.endpoints():
            try:
                return await self._resolved(await self._engine.ask(at))
            except SourceFailed as failure:
                faults.append(f"{at}: {plain(str(failure))}")
        raise SourceFailed("; ".join(faults))

    async def _resolved(self, answer: Answer) -> Answer:
        """With addresses for its names, each of which is asked for once."""
        self._hosts.want(answer.found)
        try:
            await self._hosts.first_answers(2 * NAMES_S)
        finally:
            await self._hosts.end()
        return self._hosts.with_addresses(answer)

    async def _follow(self) -> None:
        """Endpoint after endpoint, with a pause once none of them answers. `faults`: of those that failed lately."""
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        faults: dict[str, str] = {}
        at = 0
        while True:
            try:
                endpoints = self._engine.endpoints()
            except SourceFailed as failure:
                self.standing.failed(str(failure))
                self._trouble.tell(f"the last answer is kept: {failure}")
                await asyncio.sleep(backoff.next())
                continue
            endpoint = endpoints[at % len(endpoints)]
            fault, lived_s, wait_s = await self._serve(endpoint)
            at += 1
            if lived_s > PROVEN_S:
                backoff.begin_anew()
                self._losses = 0
            if self._answered:
                self._losses += 1
                faults = faults if self._losses >= MOST_LOSSES else {}
            if not self._answered or self._losses >= MOST_LOSSES:
                faults[endpoint] = fault
            if len(faults) >= len(endpoints):
                self._tell(faults)
                faults = {}
                await asyncio.sleep(max(wait_s, backoff.next()))
            elif self._losses >= len(endpoints):
                await asyncio.sleep(max(wait_s, backoff.next()))

    async def _serve(self, endpoint: str) -> tuple[str, float, float]:
        """Follow one endpoint until it fails: why, after how many seconds, and for how many it asks to be left alone."""
        self._answered = False
        self._began, fault, wait_s = time.monotonic(), "it ended", 0.0
        try:
            await self._engine.follow(endpoint, self)
        except SourceFailed as failure:
            fault, wait_s = plain(str(failure)), failure.wait_s
        self.standing.failed(f"{endpoint}: {fault}")
        return fault, time.monotonic() - self._began, wait_s

    def _tell(self, faults: dict[str, str]) -> None:
        self._trouble.tell("the last answer is kept: " + "; ".join(f"{at}: {why}" for at, why in sorted(faults.items())))

    # --- what is made of it --------------------------------------------------------------------------------------

    async def _publish(self, publish: Publish) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            assert self._pending is not None
            answer = self._pending()
            self._hosts.want(answer.found)
            await self._hosts.first_answers()
            self._settle(self._hosts.with_addresses(answer), publish)
            await asyncio.sleep(GATHER_S)

    def _settle(self, answer: Answer, publish: Publish) -> None:
        self._skips.tell(answer.skipped)
        if self._last is None:
            self._before = self._known(self.pool, self.claim)
        if self._hosts.awaited:
            answer = _beside(answer, self._before)
        elif self._last is not None:
            self._before = []
        before = self._last if self._last is not None else self._before
        if not answer.found and before and not answer.told and (self._keeps or self._hosts.lacking):
            why = "" if self._hosts.lacking else " (when_empty)"
            kept = f"it names no backend: the last {len(before)} are kept{why}{_noted(answer)}"
            self._emptiness.tell(kept)
            self.standing.took(len(before), len(answer.skipped), kept)
            return
        self._emptiness.tell("" if answer.found else f"it names no backend{_noted(answer)}")
        self.standing.took(len(answer.found), len(answer.skipped), self._hosts.kept)
        if answer.found != self._last:
            self._last = answer.found
            publish(answer.found)


def _beside(answer: Answer, before: list[Found]) -> Answer:
    """A restart while DNS is away loses nobody: a name that is not resolved yet may mean any of those before."""
    named = {one.address for one in answer.found}
    return answer._replace(found=sorted([*answer.found, *(one for one in before if one.address not in named)]))


def _noted(answer: Answer) -> str:
    return f": {answer.note}" if answer.note else ""
