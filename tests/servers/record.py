"""All measurements of one server: its record, which is what the page's JSON file holds of it."""

from __future__ import annotations

import contextlib
import datetime
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from servers import environments, measurements
from servers.fronts import that_keep
from servers.kinds import ALL
from servers.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from servers.fronts import Address, Front
    from servers.kinds import Kind
    from servers.pace import Pace

Addresses = dict[str, "Address"]
T = TypeVar("T")


class Recorder:
    """Measures one kind. record: what came of it; a measurement that went wrong is named in record["failed"].

    wanted: measurements; of these the kind takes part in some.
    """

    def __init__(self, kind: Kind, python: str, fronts: Sequence[Front], pace: Pace, wanted: frozenset[str] = ALL) -> None:
        self._kind, self._python, self._fronts, self._pace = kind, python, fronts, pace
        self._wanted = wanted & kind.measurements
        self.record: dict[str, Any] = {
            "measured": datetime.date.today().isoformat(),
            "versions": environments.versions(kind, python),
            "fronts": {front.name: front.version() for front in fronts},
            "command": shlex.join(kind.command("python", 8000)),
            "idle_watched_s": pace.idle,
            "failed": {},
        }

    def run(self) -> dict[str, Any]:
        """All of them: the record."""
        with ThreadPoolExecutor(1) as pool:
            idle = pool.submit(self._attempt, "idle", self._idle)  # it only waits, so all else goes on beside it
            if self._wanted & {"head", "early", "websocket"}:
                self._attempt("one server", self._one_server)
            for name, measure in (("stopping", self._stopping), ("recycling", self._recycling)):
                self._each(name, {front.name: front for front in self._fronts}, measure)
            idle.result()
        self._attempt("POSTs at the idle close", self._at_idle)
        return self.record

    def _attempt(self, name: str, measure: Callable[[], None]) -> None:
        try:
            measure()
        except Exception as error:  # a server may fail in any way; the others go on
            self.record["failed"][name] = f"{type(error).__name__}: {error}"[:400]

    def _each(self, name: str, over: Mapping[str, T], measure: Callable[[T], dict[str, Any]]) -> None:
        """A measurement for each of these, where it is wanted."""
        if name not in self._wanted:
            return
        found = self.record.setdefault(name, {})
        for at, what in over.items():
            self._attempt(f"{name}, {at}", lambda at=at, what=what: found.update({at: measure(what)}))  # type: ignore[misc]

    def _server(self, options: tuple[str, ...] = (), **values: float) -> Server:
        if self._pace.keep is not None:
            options, values = (*options, *self._kind.keep), values | {"keep": self._pace.keep}
        if self._pace.grace is not None:
            options, values = (*options, *self._kind.grace), values | {"grace": self._pace.grace}
        return Server(self._kind, self._python, options, **values)

    def _idle(self) -> None:
        if "idle" in self._wanted:
            with self._server() as server:
                self.record["idle_s"] = measurements.idle_close(server.wait(), self._pace.idle)

    def _one_server(self) -> None:
        """What one server, which all fronts stand before, can show; the end of its WebSockets comes last."""
        pace = self._pace
        with self._server() as server, behind(self._fronts, [server.wait().address]) as addresses:
            everywhere = {"direct": server.address} | addresses
            if "head" in self._wanted:
                self.record["body_behind_head"] = measurements.body_behind_head(server)
            self._each("head", addresses, lambda at: measurements.exchanges_after_head(at, pace.head))
            self._each("early", everywhere, lambda at: measurements.early_responses(at, pace.early))
            if "websocket" in self._wanted:
                self._attempt("websocket", lambda: self._websocket(server, everywhere))

    def _websocket(self, server: Server, addresses: Addresses) -> None:
        self.record["websocket"] = measurements.websocket_ends(server, addresses, self._pace.socket)

    def _stopping(self, front: Front) -> dict[str, Any]:
        return measurements.summed([self._stopped_once(front) for _ in range(self._pace.terms)])

    def _stopped_once(self, front: Front) -> dict[str, Any]:
        with self._server() as one, self._server() as two:
            with behind([front], [one.wait().address, two.wait().address]) as addresses:
                return measurements.stopped_under_load(addresses[front.name], one, self._pace)

    def _recycling(self, front: Front) -> dict[str, Any]:
        options, requests = self._kind.recycle, self._pace.recycle_after
        with self._server(options, requests=requests) as one, self._server(options, requests=requests) as two:
            with behind([front], [one.wait().address, two.wait().address]) as addresses:
                return measurements.recycled_under_load(addresses[front.name], self._kind, self._pace)

    def _at_idle(self) -> None:
        """Only where the idle time can be waited for a few times, and where connections are kept at all."""
        idle_s, rounds = self.record.get("idle_s"), self._pace.at_idle_rounds
        if not idle_s or idle_s > measurements.SHORT_IDLE_S or not rounds:
            return
        with self._server() as server, behind(that_keep(self._fronts), [server.wait().address]) as addresses:
            with ThreadPoolExecutor(len(addresses)) as pool:
                waiting = {
                    name: pool.submit(measurements.posts_at_idle_close, address, self._kind, idle_s, rounds)
                    for name, address in addresses.items()
                }
                self.record["at_idle"] = {name: future.result() for name, future in waiting.items()}


@contextlib.contextmanager
def behind(fronts: Sequence[Front], backends: list[Address]) -> Iterator[Addresses]:
    """Each front before the same backends: where it listens."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbcore-servers-")))
        addresses = {}
        for front in fronts:
            directory = root / front.name
            directory.mkdir()
            addresses[front.name] = stack.enter_context(front.serve(directory, backends))
        yield addresses
