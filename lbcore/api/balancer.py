"""The balancer: the object that users hold. Puts table, membership, supervisor, prober and admin server together."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

from lbcore import forked
from lbcore.api.picks import Picking
from lbcore.api.pool import Pool
from lbcore.config.settings import DEFAULT_POOL, BalancerSettings, simple, split_host_port
from lbcore.config.settings.loops import leads_back, places_of
from lbcore.control.offload import local_refusal, refusal
from lbcore.control.supervisor import Supervisor
from lbcore.discovery.membership import Membership
from lbcore.errors import ConfigError, LbcoreError, NotRunning
from lbcore.observe.recording import Recording
from lbcore.table import Table
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Self

    from lbcore.admin.bodies import UpgradeCall
    from lbcore.admin.server import AdminServer
    from lbcore.api.picks import PickPool
    from lbcore.config.settings import AdminSettings, BackendSettings, PoolSettings
    from lbcore.control.adoption import Adoption
    from lbcore.control.runtime import Instance
    from lbcore.control.systemd import Inherited
    from lbcore.discovery.found import Found
    from lbcore.discovery.names import Names
    from lbcore.discovery.prober import Prober
    from lbcore.discovery.sources import Sources
    from lbcore.discovery.state_file import StateFile

READY_EVERY_S = 0.25
"""How soon health_path of listeners tells what readyz tells."""


class Balancer:
    """A load balancer in this process.

    listen: "tcp://HOST:PORT" or several; port 0 asks the kernel for one. backends: "HOST:PORT" or "HOST:PORT,weight=N".
    policy: round_robin, least_conn, p2c (default), ewma, random or maglev. health: "tcp" (default; with udp listeners alone
    "off"), "off", or a path such as "/health" for http probes. admin: "HOST:PORT" or "unix:PATH" to serve the admin endpoints
    (off by default). certificate, key: PEM files, for listeners of modes https and tls; without key it is in the certificate's
    file. limits: of all listeners' clients, such as {"max_client_sessions": 100}. workers: data-path threads; default: the
    cores this process may use. Further keys of the configuration's top level may be given (name, datapath, drain_timeout,
    max_sessions, max_backends, pin), or all of it at once as `settings`. Raises ConfigError.

    A context manager. `start()` and `stop()` may be called any number of times in turn; nothing is left behind by `stop()`.
    Starting raises the soft limit of open descriptors to the hard one.
    """

    def __init__(
        self,
        listen: str | Iterable[str] | None = None,
        backends: Iterable[str | BackendSettings] = (),
        *,
        policy: str | None = None,
        health: str | None = None,
        admin: str | AdminSettings | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        limits: Mapping[str, Any] | None = None,
        settings: BalancerSettings | None = None,
        isolation: str = "threads",
        control: bool = False,
        log: Callable[[str], None] | None = None,
        inherited: Inherited | None = None,
        **top: Any,
    ) -> None:
        if isolation not in ("threads", "processes"):
            raise ConfigError(f"isolation: {isolation!r} is not allowed (allowed: threads, processes)")
        pem = {"certificate": certificate, "key": key}
        shown = {name: os.fspath(path) for name, path in pem.items() if path is not None}
        given = shown | {"limits": limits} | top
        self._settings = settings or simple(listen, backends, policy=policy, health=health, admin=admin, **given)
        self._processes = isolation == "processes"
        self._control = control
        self._inherited = inherited
        self._log = log or _log
        self._make_locks()
        self._table: Table | None = None
        self._membership: Membership | None = None
        self._supervisor: Supervisor | None = None
        self._prober: Prober | None = None
        self._admin: AdminServer | None = None
        self._instance: Instance | None = None
        self._state: StateFile | None = None
        self._sources: Sources | None = None
        self._names: Names | None = None
        self._picking: Picking | None = None
        self._adoption: Adoption | None = None
        self._recording: Recording | None = None
        self._coming: BalancerSettings | None = None  # what a reload is about to put in force
        self._leaving = False
        self._hurried = threading.Event()
        self._succeeds: str | None = None
        """The name of the instance that it goes on as; None: it takes one as its settings say."""
        self._on_upgrade: Callable[[UpgradeCall], str] | None = None
        """What an operator's call for an upgrade, or for a step of it, does; returns what comes. Raises LbcoreError."""

        self._of_parent: list[Any] = []
        forked.watch(self)

    def _make_locks(self) -> None:
        self._lock = threading.RLock()
        self._reloading = threading.Lock()  # one after the other; taken before _lock

    def disown(self) -> None:
        """This is a forked child: the balancer is its parent's. Here it is one that was never started."""
        supervisor, admin, instance, table = self._supervisor, self._admin, self._instance, self._table
        if supervisor:
            supervisor.disown()
        if admin:
            admin.disown()
        if instance:
            instance.disown()
        if table:
            table.disown()
        if self._membership:
            self._membership.disown()
        parts = (supervisor, admin, table, self._membership, self._prober, self._sources, self._recording, self._state)
        self._of_parent += [part for part in parts if part]  # nothing is to be closed because nobody has it any more
        self._make_locks()
        self._forget()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """The balancer that a TOML file describes. Raises ConfigError or OSError."""
        from lbcore.config.toml import load

        return cls(settings=load(path), **options)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], **options: Any) -> Self:
        """The balancer that a document describes: a dict with the keys of a TOML file. Raises ConfigError.

        File names in it are relative to the current directory. It is read once: `reload()` takes new settings, not the dict.
        """
        from copy import deepcopy

        from lbcore.config.toml import from_document

        return cls(settings=from_document(deepcopy(dict(document))), **options)

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Bind, start workers, and serve. Raises PortTaken, ConfigError, WorkerFailed or OSError with nothing left behind."""
        with self._lock:
            if self._table is not None:
                return self
            try:
                self._start()
            except BaseException:
                if self._adoption:
                    self._leave_be()
                else:
                    self._stop(0)
                raise
        return self

    def _start(self) -> None:
        settings = self._settings
        self._check_offload()
        self._give_advice(settings)
        if self._control:
            from lbcore.control.runtime import Instance

            self._instance = Instance.claim(self._succeeds or settings.name)
        self._adoption = adoption = self._find_adoption()
        table = self._open_table(adoption)
        membership = self._fill_table(table, adoption)
        supervisor = self._make_supervisor(table, membership, adoption)
        self._leaving = False
        self._hurried.clear()
        self._restore(membership, fresh=adoption is None)
        self._recording = Recording(table, self.name, self._log)
        self._recording.follow(settings, self._recording.open(settings))
        supervisor.start(settings)
        self._start_admin()
        self._follow_probes()
        self._follow_names()
        if any(pool.sources for pool in settings.pools):
            self._follow_sources()
        self._publish(supervisor.pids)
        self._adoption = None

    def _give_advice(self, settings: BalancerSettings) -> None:
        for line in settings.advice():
            self._log(line)

    def _check_offload(self) -> None:
        """Raises ConfigError when the settings want what this machine does not offer."""
        settings = self._settings
        if settings.datapath == "offload" and (reason := refusal()):
            raise ConfigError(f"datapath: 'offload' is not available here: {reason}")
        if settings.offload_local and (reason := local_refusal(settings.datapath)):
            raise ConfigError(f"offload_local: it is not available here: {reason}")

    def _open_table(self, adoption: Adoption | None) -> Table:
        settings = self._settings
        self._table = table = Table(
            name=self.name,
            version=VERSION,
            workers=settings.workers or len(os.sched_getaffinity(0)),
            max_backends=settings.max_backends,
            datapath=settings.datapath,
            memory=adoption.take_segment() if adoption else None,
        )
        self._picking = Picking(table.memory)
        return table

    def _fill_table(self, table: Table, adoption: Adoption | None) -> Membership:
        """The backends that the settings name, and those of an adoption."""
        settings = self._settings
        pools = {pool.name: pool for pool in settings.pools}
        self._membership = membership = Membership(table, pools, drain_ms=settings.drain_timeout_ms, log=self._log)
        membership.leads_back = self._leads_back
        if adoption:
            count = membership.recall(self._claims_of)
            self._log(f"{len(adoption.orphans)} workers ran on without a control plane: adopted, with {count} backends")
        membership.apply(pools, settings.drain_timeout_ms)
        return membership

    def _make_supervisor(self, table: Table, membership: Membership, adoption: Adoption | None) -> Supervisor:
        self._supervisor = supervisor = Supervisor(
            table,
            self._settings,
            workers=table.workers,
            processes=self._processes,
            tick=lambda now: self._tick(membership, now),
            on_failing=membership.failing,
            on_shortage=membership.shortage,
            log=self._log,
            on_workers=self._publish,
            inherited=self._inherited,
            adoption_socket=self._adoption_socket if self._instance and self._processes else None,
            adoption=adoption,
        )
        membership.sooner = supervisor.poke
        table.on_cut = supervisor.wake_workers
        return supervisor

    def _tick(self, membership: Membership, now: float) -> float | None:
        """What is due; and whether this balancer is ready, where listeners tell it."""
        wanted = membership.tick(now)
        if not any(listener.health_path for listener in self._settings.listeners):
            return wanted
        self._tell_ready()
        return now + READY_EVERY_S if wanted is None else min(wanted, now + READY_EVERY_S)

    def _tell_ready(self) -> None:
        if self._table:
            self._table.set_ready(self._readiness()[0])

    def _leave_be(self) -> None:
        """What was found could not be taken over: it goes on as it was, for another try."""
        assert self._adoption is not None
        self._abdicate()
        self._adoption.release()
        if self._instance:
            self._instance.leave()
        self._forget()

    def _find_adoption(self) -> Adoption | None:
        """What another control plane of our name has left, if anything."""
        if self._instance is None or not self._processes:
            return None
        from lbcore.control.adoption import find

        return find(self._instance.stem, self._log)

    def _adoption_socket(self, number: int) -> str:
        """Where a worker of ours waits when we are gone."""
        from lbcore.control.adoption import adoption_path

        assert self._instance is not None
        return adoption_path(self._instance.stem, number)

    def _claims_of(self, pool: str, source: str) -> set[str]:
        """Who may still name a backend that came from this source."""
        if source in ("config", "lease", "api"):
            return {source}
        from lbcore.discovery.sources import made

        claims = ((entry.pool, entry.claim) for entry in made(self._settings.pools, self._log))
        return {claim for of, claim in claims if of == pool and claim.startswith(f"{source}:")}

    def _restore(self, membership: Membership, *, fresh: bool) -> None:
        """Begin with the backends that the state file knows, unless they are here, and keep it true from now on."""
        path = self._settings.state_file
        if path is None:
            return
        from lbcore.discovery.state_file import StateFile, load

        entries = load(path, self._log)
        count = membership.restore(entries) if fresh else 0
        if not fresh:
            membership.restore_drains(entries)
        if count:
            self._log(f"state_file: {count} backends are back, on probation")
        self._state = StateFile(path, membership.snapshot, self._log)
        membership.on_change = self._state.changed
        self._state.start()

    def _reopen(self) -> None:
        """Open the access log anew, as after it was renamed. Raises ConfigError with the old one still in use."""
        with self._turn():
            self._running()
            if self._recording:
                self._recording.reopen(self._settings)

    def _publish(self, workers: list[int]) -> None:
        """Leave word of ourselves where commands look for it."""
        if self._instance and self._admin and self._table:
            self._instance.publish(segment=self._segment_path, admin=self._admin.address, workers=workers)

    @property
    def _segment_descriptor(self) -> int:
        """The descriptor of the segment, the balancer's own. Raises NotRunning."""
        return self._running()[0].fd

    @property
    def _segment_path(self) -> str:
        """Where other processes can map the segment. Raises NotRunning."""
        return f"/proc/{os.getpid()}/fd/{self._running()[0].fd}"

    def _start_admin(self) -> None:
        settings = self._settings.admin
        if settings is None and self._instance is None:
            return
        from lbcore.admin.server import AdminServer

        assert self._membership is not None
        self._admin = AdminServer(
            settings,
            control_path=self._instance.control_path if self._instance else None,
            membership=self._membership,
            status=self.status,
            metrics=lambda openmetrics: self.metrics(openmetrics=openmetrics),
            ready=self._readiness,
            reload=self.reload,
            upgrade=self._on_upgrade,
            pick=lambda pool, key, cost: self._pick_pool(pool).pick(key, cost),
            own=self._own_addresses,
            log=self._log,
        )
        self._admin.start()

    def _leads_back(self, pool: str, ip: str, port: int) -> str:
        """The listener of ours that this is, if sessions of the pool would come back to it from there; else ""."""
        settings, bound = self._coming or self._settings, self._supervisor.addresses if self._supervisor else {}
        places = places_of(settings.listeners, settings.routes, bound)

        def backends(name: str) -> list[tuple[str, int]]:
            return [(row.ip, row.port) for row in self._table.rows(name) if not row.leaving] if self._table else []

        return leads_back(places, pool, ip, port, backends)

    def _own_addresses(self) -> list[tuple[str, int]]:
        """Where this balancer listens itself."""
        found = list(self.addresses.values())
        admin = self.admin_address
        if admin is not None and admin.startswith("http://"):
            found.append(split_host_port(admin.removeprefix("http://")))
        return found

    def _pick_pool(self, name: str) -> PickPool:
        """Takes no lock of ours: the admin server asks, which `stop` waits for while it holds it. Raises NotRunning."""
        from lbcore.api.picks import PickPool

        table, picking = self._running()[0], self._picking
        if picking is None:
            raise NotRunning("the balancer is not running")
        return PickPool(picking, name, lambda: table.pool_rows()[name])

    def _follow_probes(self) -> None:
        """Have a prober while some pool wants probes."""
        wanted = any(pool.probe.kind != "off" for pool in self._settings.pools)
        if wanted and self._prober is None:
            from lbcore.discovery.prober import Prober

            assert self._membership is not None
            self._prober = Prober(self._membership, log=self._log)
            self._membership.on_new = self._prober.poke
            self._membership.on_suspect = self._prober.hurry
            self._prober.start()

    def _follow_names(self) -> None:
        """Keep backends with host names at the addresses that these have."""
        from lbcore.discovery.names import Names

        assert self._membership is not None
        self._names = Names(self._membership, self._log)
        self._membership.on_name = self._names.poke
        self._names.poke()

    def _follow_sources(self) -> None:
        """Run the sources that the pools name; what only a source named that is not there any more goes."""
        from lbcore.discovery.sources import Sources, made

        before: set[tuple[str, str]] = set()
        if self._sources:
            before = self._sources.claims
            self._sources.stop()
        assert self._membership is not None
        known, told = self._membership.claimed, self._membership.shortages.lookup
        self._sources = Sources(made(self._settings.pools, self._log, known, told), self._found, self._log)
        for pool, claim in before - self._sources.claims:
            self._found(pool, claim, [])
        self._sources.start()

    def _found(self, pool: str, claim: str, found: list[Found]) -> None:
        membership = self._membership
        if membership is not None and pool in membership.pools():
            membership.follow_source(pool, claim, found)

    def stop(self, drain_timeout: float | None = None) -> None:
        """Stop accepting, let sessions finish for drain_timeout seconds (default: the configured time), then end all.

        With `drain_delay` it first goes on serving for that long while readyz says 503. Calling it on a stopped balancer does
        nothing.
        """
        if self.running:
            self._leaving = True  # readyz is 503 from now on, and no reload waits for its turn any more
            self._tell_ready()
            if drain_timeout is None:
                self._delay_leave()
        with self._lock:
            self._stop(self._settings.drain_timeout_ms / 1000 if drain_timeout is None else drain_timeout)

    def _delay_leave(self) -> None:
        """Whoever looks at readyz has the time to send clients elsewhere."""
        delay_s = self._settings.drain_delay_ms / 1000
        if delay_s:
            self._log(f"leaving: readyz is 503, accepting for {delay_s:g} s more")
            self._hurried.wait(delay_s)

    def _stop(self, drain_s: float) -> None:
        if self._state:
            self._state.close()
        if self._sources:
            self._sources.stop()
        if self._names:
            self._names.stop()
        if self._prober:
            self._prober.stop()
        if self._supervisor:
            self._supervisor.stop(drain_s)
        if self._admin:
            self._admin.stop()
        self._close_table()
        if self._instance:
            self._instance.release()
        self._forget()

    def _close_table(self) -> None:
        """The table, and who reads it."""
        if self._recording:
            self._recording.close()
        if self._picking:
            self._picking.close()
        if self._table:
            self._table.close()

    def _forget(self) -> None:
        self._state = self._picking = self._sources = self._names = self._recording = self._adoption = None
        self._prober = self._supervisor = self._admin = self._table = self._membership = self._instance = None

    def _abdicate(self) -> None:
        """Let go of everything but the workers, which serve on and wait for another control plane of this name (or for this
        process, once it has become one). Only of a balancer whose workers are processes."""
        self._leaving = True  # the admin server, which is waited for, has threads that wait for the lock
        with self._lock:
            for part in (self._sources, self._names, self._prober, self._admin):
                if part:
                    part.stop()
            if self._state:
                self._state.close()
            if self._supervisor:
                self._supervisor.abandon()
            self._close_table()

    def _check_places(self) -> None:
        """Raises StillDraining while a worker cannot be replaced, since the one before it has sessions left."""
        self._running()[2].check_places(self._settings.drain_timeout_ms)

    def _tell_upgrade(self, **told: Any) -> None:
        """Leave word for commands of how an upgrade goes: `done`, or `error`."""
        if self._instance and self._supervisor:
            self._instance.upgrade = told
            self._publish(self._supervisor.pids)

    def _replace_workers(self) -> None:
        """Put a new worker in the place of each, one after the other: it begins to serve, then the old one drains.

        Raises WorkerFailed with the old ones still serving, or NotRunning.
        """
        self._running()[2].replace_workers(self._settings.drain_timeout_ms)

    @property
    def _worker_count(self) -> int:
        """How many workers it has. Raises NotRunning."""
        return self._running()[0].workers

    def _replace_worker(self, number: int) -> None:
        """Likewise one of them, by its number. Raises LbcoreError when there is no such worker."""
        self._running()[2].replace_worker(number, self._settings.drain_timeout_ms)

    def hurry(self) -> None:
        """End a drain that another thread's, or the interrupted, `stop()` is waiting for."""
        self._hurried.set()
        supervisor = self._supervisor
        if supervisor:
            supervisor.hurry()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        """Start, and leave the event loop free meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.to_thread(self.stop)

    # --- steering ------------------------------------------------------------------------------------------------

    def reload(self, settings: BalancerSettings | None = None) -> None:
        """Follow new settings, or the file again. No session is cut that still has a place.

        Changes backends, weights, policies, probes, listeners and time limits. name, workers, datapath, offload_local,
        max_backends, max_sessions, max_handshakes, pin, user, group, seccomp and admin take a restart: changing them is an
        error. Keys and certificates are read and the access log is opened again. Raises ConfigError, PortTaken or NotRunning
        with the old settings still in force.
        """
        try:
            self._reload_now(settings)
        except (LbcoreError, ValueError, OSError):
            self._count("reloads_refused")
            raise
        self._count("reloads_taken")
        self._log("reloaded")

    def _count(self, name: str) -> None:
        if self._table:
            self._table.counts.add(name)

    def _reload_now(self, settings: BalancerSettings | None) -> None:
        """Hosts are looked up before the lock is taken: `stop` and a worker that dies meanwhile wait for no name server."""
        with self._reloading:
            _, membership, supervisor = self._running()
            if self._leaving:
                raise NotRunning("the balancer is stopping")  # whatever its file says
            fresh = settings or self._read_again()
            self._refuse_fixed(fresh)
            self._give_advice(fresh)
            supervisor.look_up(fresh)
            self._follow_settings(fresh, membership.look_up(_by_name(fresh), lambda: self._leaving))

    def _follow_settings(self, fresh: BalancerSettings, resolved: dict[tuple[str, int], Any]) -> None:
        with self._turn():
            table, membership, supervisor = self._running()
            recording = self._recording
            assert recording is not None
            pools = _by_name(fresh)
            outlets = recording.open(fresh)
            new = [pool for name, pool in pools.items() if name not in membership.pools()]
            self._coming = fresh
            try:
                for pool in new:
                    table.set_pool(pool)
                supervisor.apply(fresh, lambda: membership.admit(pools, fresh.drain_timeout_ms, resolved))
            except (LbcoreError, ValueError):
                recording.discard(outlets)
                for pool in new:
                    if pool.name not in membership.pools() and pool.name in table.pools():
                        table.drop_pool(pool.name)
                self._coming = None
                raise
            membership.dismiss(pools)
            recording.follow(fresh, outlets)
            before, after = ({p.name: p.sources for p in one.pools} for one in (self._settings, fresh))
            self._settings, self._coming = fresh, None
            self._follow_probes()
            if before != after:
                self._follow_sources()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock, for the admin server's threads: not while `stop`, which has it, waits for them. Raises NotRunning."""
        while not self._lock.acquire(timeout=0.1):
            if self._leaving:
                raise NotRunning("the balancer is stopping")
        try:
            yield
        finally:
            self._lock.release()

    def _read_again(self) -> BalancerSettings:
        if self._settings.path is None:
            raise ConfigError("reload: this balancer was started without a configuration file")
        from lbcore.config.toml import load

        return load(self._settings.path)

    def _refuse_fixed(self, fresh: BalancerSettings) -> None:
        problems = self._settings.restarts_for(fresh)
        if problems:
            raise ConfigError(problems)

    def pool(self, name: str = DEFAULT_POOL) -> Pool:
        """A pool by name; without one: the default pool, or the only one. Raises KeyError or NotRunning."""
        table, membership, _ = self._running()
        names = membership.pools()
        if name == DEFAULT_POOL and name not in names and len(names) == 1:
            name = names[0]
        if name not in names:
            raise KeyError(f"no pool {name!r} (known: {', '.join(names)})")
        return Pool(membership, table, name, self._pick_pool)

    # --- looking -------------------------------------------------------------------------------------------------

    def _running(self) -> tuple[Table, Membership, Supervisor]:
        if self._table is None or self._membership is None or self._supervisor is None:
            raise NotRunning("the balancer is not running")
        return self._table, self._membership, self._supervisor

    @property
    def running(self) -> bool:
        """Is it started?"""
        return self._table is not None

    @property
    def name(self) -> str:
        """The instance's name."""
        return self._instance.name if self._instance else self._settings.name

    @property
    def settings(self) -> BalancerSettings:
        """The settings in force."""
        return self._settings

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) where the first listener really listens. Raises NotRunning."""
        first = next(iter(self.addresses.values()), None)
        if first is None:
            raise NotRunning("the balancer has no listener")
        return first

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """(host, port) of every listener, by name. Raises NotRunning."""
        return self._running()[2].addresses

    @property
    def admin_address(self) -> str | None:
        """ "http://HOST:PORT" or "unix:PATH" of the admin server; None without one."""
        return self._admin.address if self._admin else None

    def status(self) -> dict[str, Any]:
        """The status document. Raises NotRunning."""
        from lbcore.observe.status import document

        table = self._running()[0]
        with table.lock:
            if table.closed:  # stopped by another thread, between the two lines above
                raise NotRunning("the balancer is not running")
            return document(table.segment)

    def _held_up(self, limit_s: float) -> list[str]:
        """Which parts did not move within so many seconds although asked to, in words. Raises NotRunning."""
        return self._running()[2].held_up(limit_s)

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        """What `GET /metrics` answers. Raises NotRunning."""
        from lbcore.observe.control import costs, figures
        from lbcore.observe.metrics import render
        from lbcore.observe.status import document
        from lbcore.observe.timings import all_timings

        table, _, supervisor = self._running()
        spent = costs(supervisor.processes)
        with table.lock:
            if table.closed:
                raise NotRunning("the balancer is not running")
            status, timings = document(table.segment), all_timings(table.segment)
            control = figures(table.counts, spent)
        if not (self._recording and self._recording.traces):
            del control["spans_sent"], control["spans_lost"]
        return render(status, timings, control, openmetrics=openmetrics)

    def _readiness(self) -> tuple[bool, str, dict[str, Any]]:
        """Whether clients should be sent here, why not, and what else there is to know."""
        try:
            table, membership, supervisor = self._running()
        except LbcoreError:
            return False, "not running", {}
        hanging = supervisor.hanging
        known = {"outage": membership.outages(), "hanging": hanging}
        if self._leaving or table.segment.head.draining:
            return False, "draining", known
        if len(hanging) == table.workers:
            return False, "every worker hangs", known
        if not membership.usable():
            return False, "no pool has a usable backend", known
        return True, "ready", known

    def __repr__(self) -> str:
        return f"<Balancer {self.name} {'running' if self.running else 'stopped'}>"


def _by_name(settings: BalancerSettings) -> dict[str, PoolSettings]:
    return {pool.name: pool for pool in settings.pools}


def _log(line: str) -> None:
    """Embedded, lines go to the logger "lbcore"; it is loaded with the first of them."""
    import logging

    logging.getLogger("lbcore").info(line)


if sys.platform != "linux":
    raise ImportError("lbcore needs Linux: its engine is built on epoll and splice")
