"""The balancer: the object that users hold. What it is made of while it runs stands in `running`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

from lbcore import forked, locks
from lbcore.api.options import Options
from lbcore.api.pool import Pool
from lbcore.api.reloading import Reloading
from lbcore.config.settings import DEFAULT_POOL, BalancerSettings, simple
from lbcore.control import loops
from lbcore.control.offload import local_refusal, refusal
from lbcore.errors import ConfigError, LbcoreError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Self

    from lbcore.api.running import Running
    from lbcore.config.settings import AdminSettings, BackendSettings
    from lbcore.control.systemd import Inherited


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
        self._log = log or _log
        self._options = Options(self._log, processes=isolation == "processes", control=control, inherited=inherited)
        self._lock = locks.rlock("balancer")
        self._reloading = Reloading(self._log)
        self._current: Running | None = None
        self._hurried = threading.Event()
        self._of_parent: list[Running] = []
        forked.watch(self)

    def disown(self) -> None:
        """This is a forked child: the balancer is its parent's. Here it is one that was never started."""
        if self._current:
            self._current.disown()
            self._of_parent.append(self._current)  # nothing is to be closed because nobody has it any more
        self._lock = locks.rlock("balancer")
        self._reloading = Reloading(self._log)
        self._current = None

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
            if self._current is None:
                self._check_machine()
                for line in self._settings.advice():
                    self._log(line)
                from lbcore.api.running import Running  # what a balancer that is not started needs not

                self._hurried.clear()
                self._current = Running(self._settings, self._run_options(), self.reload)
                try:
                    self._current.start()
                except BaseException:
                    self._current = None
                    raise
        return self

    def _run_options(self) -> Options:
        """How it is run, beside its settings."""
        return self._options

    def _check_machine(self) -> None:
        """Raises ConfigError when the settings want what this machine does not offer."""
        settings = self._settings
        if settings.datapath == "offload" and (reason := refusal()):
            raise ConfigError(f"datapath: 'offload' is not available here: {reason}")
        if settings.offload_local and (reason := local_refusal(settings.datapath)):
            raise ConfigError(f"offload_local: it is not available here: {reason}")
        if settings.loop == "uring" and (reason := loops.unfit(settings)):
            raise ConfigError(f"loop: 'uring' is not available here: {reason}")

    def stop(self, drain_timeout: float | None = None) -> None:
        """Stop accepting, let sessions finish for drain_timeout seconds (default: the configured time), then end all.

        With `drain_delay` it first goes on serving for that long while readyz says 503. Calling it on a stopped balancer does
        nothing.
        """
        running = self._current
        if running:
            running.leaving = True  # readyz is 503 from now on, and no reload waits for its turn any more
            running.readiness.say(leaving=True)
            if drain_timeout is None:
                self._delay_leave()
        with self._lock:
            running, drain_s = self._current, self._settings.drain_timeout_ms / 1000 if drain_timeout is None else drain_timeout
            if running:
                running.stop(drain_s)
                self._current = None

    def _delay_leave(self) -> None:
        """Whoever looks at readyz has the time to send clients elsewhere."""
        delay_s = self._settings.drain_delay_ms / 1000
        if delay_s:
            self._log(f"leaving: readyz is 503, accepting for {delay_s:g} s more")
            self._hurried.wait(delay_s)

    def hurry(self) -> None:
        """End a drain that another thread's, or the interrupted, `stop()` is waiting for."""
        self._hurried.set()
        running = self._current
        if running:
            running.supervisor.ending.hurry()

    def _abdicate(self) -> None:
        """Let go of everything but the workers, which serve on and wait for another control plane of this name (or for this
        process, once it has become one). Only of a balancer whose workers are processes."""
        running = self._current
        if running:
            running.leaving = True
            with self._lock:
                running.leave()

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

        Changes backends, weights, policies, probes, listeners and time limits. A change of some keys requires a restart, and is
        an error: the page of options marks them. Keys and certificates are read and the access log is opened anew. Raises
        ConfigError, PortTaken or NotRunning with the old settings still in force.
        """
        running = self._running()
        try:
            self._settings = self._reloading.reload(running, lambda: settings or self._read_again(), self._turn)
        except (LbcoreError, ValueError, OSError):
            running.table.counts.add("reloads_refused")
            raise
        running.table.counts.add("reloads_taken")
        self._log("reloaded")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Running]:
        """The lock, for the admin server's threads: not while `stop`, which has it, waits for them. Raises NotRunning."""
        while not self._lock.acquire(timeout=0.1):
            if self._running().leaving:
                raise NotRunning("the balancer is stopping")
        try:
            yield self._running()
        finally:
            self._lock.release()

    def _read_again(self) -> BalancerSettings:
        if self._settings.path is None:
            raise ConfigError("reload: this balancer was started without a configuration file")
        from lbcore.config.toml import load

        return load(self._settings.path)

    def _reopen(self) -> None:
        """Open the access log anew, as after it was renamed. Raises ConfigError with the old one still in use."""
        with self._turn() as running:
            running.recording.reopen(running.settings)

    def pool(self, name: str = DEFAULT_POOL) -> Pool:
        """A pool by name; without one: the default pool, or the only one. Raises KeyError or NotRunning."""
        running = self._running()
        membership = running.membership
        names = membership.pools()
        if name == DEFAULT_POOL and name not in names and len(names) == 1:
            name = names[0]
        if name not in names:
            raise KeyError(f"no pool {name!r} (known: {', '.join(names)})")
        return Pool(membership, running.table, name, running.pick_pool)

    # --- looking -------------------------------------------------------------------------------------------------

    def _running(self) -> Running:
        """Its parts. Raises NotRunning."""
        running = self._current
        if running is None:
            raise NotRunning("the balancer is not running")
        return running

    @property
    def running(self) -> bool:
        """Is it started?"""
        return self._current is not None

    @property
    def name(self) -> str:
        """The instance's name."""
        return self._current.name if self._current else self._settings.name

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
        return self._running().listening.addresses

    @property
    def admin_address(self) -> str | None:
        """ "http://HOST:PORT" or "unix:PATH" of the admin server; None without one."""
        admin = self._current.admin if self._current else None
        return admin.address if admin else None

    def status(self) -> dict[str, Any]:
        """The status document. Raises NotRunning."""
        return self._running().showing.status()

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        """What `GET /metrics` responds. Raises NotRunning."""
        return self._running().showing.metrics(openmetrics)

    def __repr__(self) -> str:
        return f"<Balancer {self.name} {'running' if self.running else 'stopped'}>"


def _log(line: str) -> None:
    """Embedded, lines go to the logger "lbcore"; it is loaded with the first of them."""
    import logging

    logging.getLogger("lbcore").info(line)


if sys.platform != "linux":
    raise ImportError("lbcore needs Linux: its engine is built on epoll and splice")
