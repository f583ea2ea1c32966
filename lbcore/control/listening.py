"""Who listens where: each listener's row in the table, its settings and its sockets. The supervisor's lock guards it."""

from __future__ import annotations

from lbcore.config.settings import is_unix, join_host_port
from lbcore.control.parting import Parting, Removed
from lbcore.control.sockets import ListenerSockets, where_all
from lbcore.errors import ConfigError, LbcoreError, PortTaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence

    from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
    from lbcore.control.adoption import Adoption
    from lbcore.control.credential_files import Sets
    from lbcore.control.sockets import Asked, Where
    from lbcore.control.systemd import Inherited
    from lbcore.control.worker_slots import WorkerSlot
    from lbcore.table import Table

NO_ROUTES = 72
"""Bytes of an empty routes table: its head, all zero."""
MOST_ROWS = 1 << 16


class Listening:
    """The listeners of a table, by row.

    workers: each has a socket of its own. inherited: sockets that are bound already, for those listeners that they fit.
    expires_s: of a listener's name, when the first of its certificates expires, Unix time; 0: it has none.
    """

    def __init__(self, table: Table, workers: int, inherited: Inherited | None, expires_s: Callable[[str], int]) -> None:
        self._table, self._workers = table, workers
        self._inherited, self._expires_s = inherited, expires_s
        self._rows: dict[int, tuple[ListenerSettings, ListenerSockets]] = {}
        self._looked_up: dict[Asked, Where | ValueError] = {}
        self.parting: Parting = Parting()

    @property
    def rows(self) -> list[int]:
        """The rows that are taken."""
        return list(self._rows)

    @property
    def by_name(self) -> dict[str, int]:
        """The row of each, by its name."""
        return {str(listener.name): row for row, (listener, _) in self._rows.items()}

    def name_of(self, row: int) -> str:
        """Of the listener of a row, also of one that has just been closed."""
        held = self._rows.get(row)
        return str(held[0].name) if held else "?"

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each really listens, by name."""
        return {str(listener.name): (bound.host, bound.port) for listener, bound in self._rows.values()}

    def socket_of(self, row: int, worker: int) -> socket.socket | None:
        """What a worker serves of a listener; None: another one serves it alone, or it is closed."""
        return self._rows[row][1].of_worker(worker)

    def is_of_datagrams(self, row: int) -> bool:
        """Is it a listener of mode udp?"""
        held = self._rows.get(row)
        return held is not None and held[0].mode == "udp"

    def is_own(self, row: int) -> bool:
        """Has each worker a socket of its own, which we have bound?"""
        held = self._rows.get(row)
        return held is not None and not held[1].shared

    def rows_of(self, worker: int) -> set[int]:
        """The rows that a worker serves."""
        held = dict(self._rows)  # asked without the lock, too
        return {row for row, (_, sockets) in held.items() if sockets.of_worker(worker)}

    # --- to begin with -------------------------------------------------------------------------------------------

    def open_all(self, settings: BalancerSettings, adoption: Adoption | None) -> None:
        """Those that another control plane left keep their rows, sockets and queues; the rest is bound.

        Raises PortTaken or ConfigError.
        """
        left = adoption.rows if adoption else set()
        rest = []
        for listener in settings.listeners:
            row = next((row for row in left - set(self._rows) if self._is_row_of(row, listener)), None)
            if row is None:
                rest.append(listener)
                continue
            assert adoption is not None
            self._go_on(row, listener, settings, adoption.sockets(row))
        self._looked_up = where_all(rest)
        for listener in rest:
            self._open(listener, settings, left)

    def _is_row_of(self, row: int, listener: ListenerSettings) -> bool:
        """Is that what this listener was called and where it listened?"""
        name, mode, host, port = self._table.listener_at(row)
        if mode != listener.mode:
            return False
        if is_unix(host) or is_unix(listener.host):
            return host == listener.host
        return (host, port) == (listener.host, listener.port) or (name == listener.name and listener.port in (0, port))

    def _go_on(self, row: int, listener: ListenerSettings, settings: BalancerSettings, by_section: dict[int, int]) -> None:
        by_worker = {section % self._workers: fd for section, fd in by_section.items()}
        passed = self._inherited.find(listener) if self._inherited else None
        if passed:
            passed.close()  # what the workers have is the same one
        pool, is_passed = _pool_of(listener, settings), passed is not None
        self._rows[row] = listener, ListenerSockets.inherited(listener, pool, self._workers, by_worker, passed=is_passed)
        self.write(row)

    def _open(self, listener: ListenerSettings, settings: BalancerSettings, reserved: Iterable[int] = ()) -> int:
        taken = {*self._rows, *reserved, *self.parting.rows}
        row = next(row for row in range(MOST_ROWS) if row not in taken)
        passed = self._inherited.find(listener) if self._inherited else None
        at = None if passed else self._looked_up.get((listener.host, listener.port, listener.mode))
        if isinstance(at, ValueError):
            raise at
        try:
            sockets = ListenerSockets(listener, _pool_of(listener, settings), self._workers, passed, at)
        except PortTaken as error:
            raise self._explained(listener, error) from None
        self._rows[row] = (listener, sockets)
        self.write(row)
        return row

    def _explained(self, listener: ListenerSettings, error: PortTaken) -> PortTaken:
        """Is it in use by one of ours that was removed?"""
        removed = self.parting.holder(listener.port) if listener.mode == "udp" else None
        if removed is None:
            return error
        return PortTaken(
            f"listener {listener.name}: {listener.url}: clients of {removed.url}, which was removed, are still served, each "
            f"until it has been silent for {removed.idle_s:g} s (idle_timeout): try again then, or keep that listener"
        )

    def _take_back(self, listener: ListenerSettings, retiring: list[WorkerSlot]) -> tuple[int, Removed] | None:
        """One of the same URL was removed a while ago, and has clients still."""
        found = self.parting.take(listener.url, retiring) if listener.mode == "udp" and listener.port else None
        if found is not None:
            row, removed = found
            assert removed.sockets is not None
            self._rows[row] = (listener, removed.sockets)
            self.write(row)
        return found

    # --- other settings ------------------------------------------------------------------------------------------

    def look_up(self, settings: BalancerSettings) -> None:
        """The addresses of hosts that listeners name, for `open_fresh`. Raises ConfigError when one has none."""
        held = {known.url for known, _ in list(self._rows.values())}
        found = where_all(one for one in settings.listeners if one.url not in held)
        failed = [str(error) for error in found.values() if isinstance(error, ValueError)]
        if failed:
            raise ConfigError(failed)
        self._looked_up = found

    def open_fresh(self, settings: BalancerSettings, retiring: list[WorkerSlot], sets: Sets) -> tuple[list[int], bytes]:
        """Bind what the settings have and we have not: the rows of these, and the packed routes with all of them.

        retiring: whose workers drain. sets: the credentials that the settings ask for. Raises PortTaken or ConfigError, with
        nothing changed.
        """
        heirs = self._heirs(settings)
        known = {id(listener) for listener in heirs.values()}
        opened: list[int] = []
        back: dict[int, Removed] = {}
        try:
            for listener in settings.listeners:
                if id(listener) in known:
                    continue
                if found := self._take_back(listener, retiring):
                    back[found[0]] = found[1]
                    opened.append(found[0])
                else:
                    opened.append(self._open(listener, settings))
            for row, heir in heirs.items():
                self._rows[row][1].restrict(heir)
            return opened, self.packed_routes(settings, sets)
        except LbcoreError:
            for row in opened:
                _, sockets = self._rows.pop(row)
                self._table.set_listener(row, None)
                if row in back:
                    self.parting.put(row, back[row])
                else:
                    sockets.close(ends=True)
            raise

    def follow(self, settings: BalancerSettings) -> dict[int, tuple[ListenerSettings, ListenerSockets]]:
        """Give those who stay their new settings. Returns those who leave with their sockets, by the row that they had."""
        heirs = self._heirs(settings)
        leaving = {row: held for row, held in self._rows.items() if row not in heirs}
        self._rows = {row: (heirs[row], sockets) for row, (_, sockets) in self._rows.items() if row in heirs}
        return leaving

    def _heirs(self, settings: BalancerSettings) -> dict[int, ListenerSettings]:
        """Whose settings each row goes on with: those of the same URL, and of the same name where several have it (port 0)."""
        heirs: dict[int, ListenerSettings] = {}
        for strict in (True, False):
            for listener in settings.listeners:
                if any(listener is heir for heir in heirs.values()):
                    continue
                for row, (known, _) in self._rows.items():
                    if row not in heirs and known.url == listener.url and (known.name == listener.name or not strict):
                        heirs[row] = listener
                        break
        return heirs

    def part(self, row: int, posts: set[WorkerSlot]) -> None:
        """One that another control plane has left and that nobody wants any more: the workers of these posts serve it."""
        _, mode, host, port = self._table.listener_at(row)
        if mode == "udp":
            idle_s = self._table.segment.listener(row).idle_timeout_ms / 1000
            self.parting.put(row, Removed(f"udp://{join_host_port(host, port)}", port, idle_s, None, posts))

    def close_sockets(self, *, ends: bool) -> None:
        """Close our copies of all of them. ends: nobody is to connect any more."""
        for _, sockets in self._rows.values():
            sockets.close(ends=ends)
        self.parting.close()

    # --- what the table says -------------------------------------------------------------------------------------

    def write(self, row: int) -> None:
        """Have a row say what the listener's settings say."""
        listener, sockets = self._rows[row]
        address = f"{listener.mode}://{sockets.host_port}"
        self._table.set_listener(row, listener, address, self._expires_s(str(listener.name)))

    def packed_routes(
        self, settings: BalancerSettings, sets: Sets, since_us: int | None = None, first: Sequence[RouteSettings] = ()
    ) -> bytes:
        """The routes of the settings, and the credentials that they ask for, for the table. since_us: as of `pack`. first:
        further routes, before all others.

        Raises ConfigError.
        """
        heirs = self._heirs(settings)
        guarded = {row: heir for row, heir in heirs.items() if heir.is_guarded}
        routes = [*first, *settings.routes]
        if not routes and not guarded and not settings.edited:
            self._table.set_models([])
            return bytes(NO_ROUTES)
        from lbcore.table.routes import models_of, pack

        rows: dict[str, list[int]] = {}
        for row, heir in heirs.items():
            rows.setdefault(heir.group, []).append(row)
        models = self._table.set_models(models_of(routes))
        pools = self._table.pool_rows()
        return pack(routes, rows, pools, since_us, models, edited=settings.edited, guarded=guarded, sets=sets)


def _pool_of(listener: ListenerSettings, settings: BalancerSettings) -> PoolSettings:
    return next((pool for pool in settings.pools if pool.name == listener.pool), settings.pools[0])
