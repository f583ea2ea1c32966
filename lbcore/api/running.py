"""A balancer that runs: its parts, made in order with what they need, started in that order, stopped in reverse."""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

from lbcore.api.clustering import cookie_secret, make_cluster
from lbcore.api.following import Issuing, Probing, Scraping, Sourcing
from lbcore.api.picks import Picking, PickPool
from lbcore.api.readiness import Readiness
from lbcore.api.showing import Showing
from lbcore.config.settings import split_host_port
from lbcore.control import loops
from lbcore.control.listening import Listening
from lbcore.control.supervisor import Supervisor
from lbcore.discovery.loop_guard import LoopGuard
from lbcore.discovery.membership import Membership
from lbcore.observe.recording import Recording
from lbcore.table import Table
from lbcore.tls.store import Store
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.admin.server import AdminServer
    from lbcore.api.options import Options
    from lbcore.cluster.cluster import Cluster
    from lbcore.config.settings import BalancerSettings, RouteSettings
    from lbcore.control.adoption import Adoption
    from lbcore.control.runtime import Instance
    from lbcore.discovery.names import Names
    from lbcore.discovery.state_file import StateFile


def _nothing() -> None:
    return


class Part(NamedTuple):
    """What is done with a part. leave: where the workers are left to another control plane; None: as to stop it."""

    stop: Callable[[], object] = _nothing
    start: Callable[[], object] = _nothing
    leave: Callable[[], object] | None = None
    disown: Callable[[], object] = _nothing


class Running:
    """All parts. `start` and `stop` are called once each."""

    def __init__(self, settings: BalancerSettings, options: Options, reload: Callable[[], None]) -> None:
        """Raises ConfigError, NameTaken, LbcoreError or OSError with nothing left behind."""
        self.settings: BalancerSettings = settings
        self._options, self._log = options, options.log
        self.serves: bool = False
        self.leaving: bool = False
        self._drain_s = 0.0
        self._parts: list[Part] = []
        self.adoption: Adoption | None = None
        self.admin: AdminServer | None = None
        try:
            self._make_memory()
            self._make_control()
            self._make_discovery(reload)
        except BaseException:
            self.give_up()
            raise

    # --- made in order -------------------------------------------------------------------------------------------

    def _make_memory(self) -> None:
        """The name, what another control plane of that name has left, and the table."""
        settings, options = self.settings, self._options
        self.instance: Instance | None = None
        if options.control:
            from lbcore.control.runtime import Instance

            self.instance = Instance.claim(options.succeeds or settings.name)
            self._parts.append(Part(self.instance.release, leave=_nothing, disown=self.instance.disown))
        self.adoption = self._find_adoption()
        self.table: Table = Table(
            name=self.name,
            version=VERSION,
            workers=settings.workers or len(os.sched_getaffinity(0)),
            max_backends=settings.max_backends,
            datapath=settings.datapath,
            loop=loops.choose(settings),
            memory=self.adoption.take_segment() if self.adoption else None,
            secret=cookie_secret(settings.cluster),
        )
        self._parts.append(Part(self.table.close, disown=self.table.disown))
        self.picking: Picking = Picking(self.table.memory)
        self._parts.append(Part(self.picking.close))

    def _find_adoption(self) -> Adoption | None:
        if self.instance is None or not self._options.processes:
            return None
        from lbcore.control.adoption import find

        return find(self.instance.stem, self._log)

    def _make_control(self) -> None:
        """Listeners, backends, what is recorded, and the workers."""
        settings, table, log = self.settings, self.table, self._log
        store = Store(log)
        self.listening: Listening = Listening(table, table.workers, self._options.inherited, store.expires_s)
        self.guard: LoopGuard = LoopGuard(settings, table, lambda: self.listening.addresses)
        self.membership: Membership = self._make_membership()
        self._parts.append(Part(disown=self.membership.disown))
        self.cluster: Cluster | None = make_cluster(
            settings.cluster, self.membership, self._admin_address, lambda: self.settings.ticket_rotation_ms, log
        )
        if self.cluster:
            start = functools.partial(self.cluster.start, takes_over=self.adoption is not None)
            self._parts.append(Part(self.cluster.stop, start=start, leave=self.cluster.leave))
        self.sourcing: Sourcing = Sourcing(self.membership, log)
        self.scraping: Scraping = Scraping(self.membership, log)
        self.recording: Recording = Recording(table, self.name, log)
        self._parts.append(Part(self.recording.close, start=lambda: self.recording.begin(settings)))
        self.supervisor: Supervisor = Supervisor(
            table,
            settings,
            store,
            self.listening,
            self.membership,
            processes=self._options.processes,
            tick=self._tick,
            log=log,
            on_workers=self.publish,
            adoption_socket=self._adoption_socket if self.instance and self._options.processes else None,
            adoption=self.adoption,
            shared_keys=self.cluster.ticket_keys if self.cluster else tuple,
        )
        self.issuing: Issuing = Issuing(self._put_first, log)
        self.showing: Showing = Showing(
            table,
            self.supervisor,
            self.recording,
            self.cluster,
            self.sourcing.standings,
            self.scraping.standings,
            self.issuing.status,
        )
        self.readiness: Readiness = Readiness(
            table, self.membership, self.supervisor, lambda: self.settings.ready_when, self.cluster
        )
        of_supervisor = self.supervisor
        self._parts.append(
            Part(of_supervisor.stop, start=of_supervisor.start, leave=of_supervisor.leave, disown=of_supervisor.disown)
        )

    def _put_first(self, routes: list[RouteSettings]) -> None:
        self.supervisor.listeners.put_first(routes)
        self.supervisor.wake_workers()

    def _make_membership(self) -> Membership:
        """With the backends that the settings name, and those of an adoption."""
        settings, adoption = self.settings, self.adoption
        pools = {pool.name: pool for pool in settings.pools}
        membership = Membership(
            self.table, pools, drain_ms=settings.drain_timeout_ms, log=self._log, leads_back=self.guard.leads_back
        )
        if adoption:
            count = membership.restart.recall(self._claims_of)
            self._log(f"{len(adoption.orphans)} workers ran on without a control plane: adopted, with {count} backends")
        membership.changes.apply(pools, settings.drain_timeout_ms)
        return membership

    def _claims_of(self, pool: str, source: str) -> set[str]:
        """Who may still name a backend that came from this source."""
        if source in ("config", "lease", "api"):
            return {source}
        return {claim for of, claim in self._source_claims if of == pool and claim.startswith(f"{source}:")}

    @functools.cached_property
    def _source_claims(self) -> list[tuple[str, str]]:
        """(pool, claim) of the sources that there are at the start."""
        from lbcore.discovery.sources import made

        return [(entry.pool, entry.claim) for entry in made(self.settings.pools, self._log)]

    def _make_discovery(self, reload: Callable[[], None]) -> None:
        """What calls from outside change, and what looks for changes by itself."""
        self.admin = self._make_admin(reload)
        if self.admin:
            self._parts.append(Part(self.admin.stop, start=self.admin.start, disown=self.admin.disown))
        self._parts.append(Part(lambda: self.supervisor.ending.drain(self._drain_s), leave=_nothing))
        self.probing: Probing = Probing(self.membership, self._log)
        self._parts.append(Part(self.probing.stop, start=lambda: self.probing.follow(self.settings)))
        self.names: Names = self._make_names()
        self._parts.append(Part(self.names.stop, start=self.names.poke))
        self._parts.append(Part(self.scraping.stop, start=lambda: self.scraping.follow(self.settings)))
        self._parts.append(Part(self.sourcing.stop, start=lambda: self.sourcing.follow(self.settings)))
        self._parts.append(Part(self.issuing.stop, start=lambda: self.issuing.follow(self.settings)))
        self.state: StateFile | None = self._make_state()
        if self.state:
            self._parts.append(Part(self.state.close, start=self.state.start))

    def _make_admin(self, reload: Callable[[], None]) -> AdminServer | None:
        if self.settings.admin is None and self.instance is None:
            return None
        from lbcore.admin.server import AdminServer

        return AdminServer(
            self.settings.admin,
            control_path=self.instance.control_path if self.instance else None,
            membership=self.membership,
            status=self.showing.status,
            metrics=self.showing.metrics,
            ready=lambda: self.readiness.now(leaving=self.leaving),
            reload=reload,
            upgrade=self._options.on_upgrade,
            drain_node=self.cluster.drain_node if self.cluster else None,
            pick=lambda pool, key, cost: self.pick_pool(pool).pick(key, cost),
            own=self._own_addresses,
            log=self._log,
        )

    def _make_names(self) -> Names:
        from lbcore.discovery.names import Names

        return Names(self.membership, self._log)

    def _make_state(self) -> StateFile | None:
        """Begin with the backends that the state file knows, unless they are here, and keep it true from now on."""
        path = self.settings.state_file
        if path is None:
            return None
        from lbcore.discovery.state_file import StateFile, load

        entries = load(path, self._log)
        if self.adoption:
            self.membership.restart.restore_drains(entries)
        elif count := self.membership.restart.restore(entries, self._claims_of):
            self._log(f"state_file: {count} backends are back, on probation")
        state = StateFile(path, self.membership.restart.snapshot, self._log)
        self.membership.on_change.subscribe(state.changed)
        return state

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind, start workers, and serve. Raises PortTaken, ConfigError, WorkerFailed or OSError with nothing left behind."""
        try:
            for part in self._parts:
                part.start()
            self.publish(self.supervisor.pids)
        except BaseException:
            self.give_up()
            raise
        self.adoption = None
        self.serves = True

    def give_up(self) -> None:
        """It could not begin. What was found and could not be taken over goes on as it was, for another try."""
        if self.adoption is None:
            self.stop(0)
            return
        self.leave()
        self.adoption.release()
        if self.instance:
            self.instance.leave()

    def stop(self, drain_s: float) -> None:
        """Stop accepting, let sessions finish for drain_s seconds, then end all."""
        self._drain_s = drain_s
        for part in reversed(self._parts):
            part.stop()

    def leave(self) -> None:
        """Let go of everything but the name and the workers, which serve on and wait for another control plane."""
        self.leaving = True  # the admin server, which is waited for, has threads that wait for a lock of their caller's
        for part in reversed(self._parts):
            (part.leave or part.stop)()

    def disown(self) -> None:
        """In a forked child: all of this is its parent's."""
        for part in self._parts:
            part.disown()

    # --- meanwhile -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.instance.name if self.instance else self.settings.name

    @property
    def segment_path(self) -> str:
        """Where other processes can map the segment."""
        return f"/proc/{os.getpid()}/fd/{self.table.fd}"

    def publish(self, workers: list[int]) -> None:
        """Leave word of ourselves where commands look for it."""
        if self.instance and self.admin:
            self.instance.publish(
                segment=self.segment_path,
                admin=self.admin.address,
                workers=workers,
                sources=any(pool.sources for pool in self.settings.pools),
                cluster=self.cluster is not None,
            )

    def tell_upgrade(self, **told: Any) -> None:
        """Leave word for commands of how an upgrade goes: `done`, or `error`."""
        if self.instance:
            self.instance.upgrade = told
            self.publish(self.supervisor.pids)

    def pick_pool(self, name: str) -> PickPool:
        """To pick from a pool in this process. Takes no lock of the balancer's."""
        return PickPool(self.picking, name, lambda: self.table.pool_rows()[name])

    def _admin_address(self) -> str:
        """Where other nodes' operators find this one; "" before it is there."""
        return (self.admin.address if self.admin else None) or ""

    def _own_addresses(self) -> list[tuple[str, int]]:
        """Where this balancer listens itself."""
        found = list(self.listening.addresses.values())
        address = self.admin.address if self.admin else None
        if address is not None and address.startswith("http://"):
            found.append(split_host_port(address.removeprefix("http://")))
        return found

    def _adoption_socket(self, number: int) -> str:
        """Where a worker of ours waits when we are gone."""
        from lbcore.control.adoption import adoption_path

        assert self.instance is not None
        return adoption_path(self.instance.stem, number)

    def _tick(self, now: float) -> float | None:
        """What is due; and whether this balancer is ready, where listeners tell it."""
        wanted = self.membership.tick(now)
        if not any(listener.health_path for listener in self.settings.listeners):
            return wanted
        return self.readiness.tell(now, wanted, leaving=self.leaving)
