"""lbcore run: settings from a file and flags, a balancer, and the signals that steer it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading

from lbcore import locks
from lbcore.api.balancer import Balancer
from lbcore.cli import upgrade
from lbcore.cli.log import Lines
from lbcore.cli.wakeup import Wakeup
from lbcore.cli.watchdog import Watchdog, summary
from lbcore.config.settings import (
    join_host_port,
)
from lbcore.control import signals
from lbcore.control.systemd import Inherited, Notifier
from lbcore.errors import ConfigError, LbcoreError
from lbcore.observe.sinks import opened
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from lbcore.admin.bodies import UpgradeCall
    from lbcore.api.options import Options
    from lbcore.cli.flags import Flags
    from lbcore.config.settings import BalancerSettings

RELOAD, REOPEN, UPGRADE = "reload", "reopen", "upgrade"
_ORDERS: dict[int, str] = {signal.SIGHUP: RELOAD, signal.SIGUSR1: REOPEN, signal.SIGUSR2: UPGRADE}
HURRY_S = 0.2
"""How often a drain looks whether a second signal was handled that it has heard of."""


def main(config: Path | None, flags: Flags) -> int:
    """Serve until a signal ends it: the exit code. Raises what start() raises."""
    _hold_outputs()
    if config is None:
        settings = flags.alone()
        _give_up_root(settings)
    else:
        from lbcore.config.toml import load

        settings = flags.lay(load(config))
        if _give_up_root(settings):
            settings = flags.lay(load(config))  # what this user cannot read is said now, not by the first reload
    if upgrade.ASKED in os.environ:
        return upgrade.say_so(os.environ[upgrade.ASKED], settings)
    if config is not None:
        return Command(settings, flags.lay).run()
    return Command(settings).run()


def check_services(settings: BalancerSettings) -> None:
    """What the settings of a file need beside themselves: a listener, and the extras that they use. Raises ConfigError."""
    if not settings.listeners:
        raise ConfigError("listener: missing (give [[listener]], or --listen MODE://HOST:PORT with lbcore run)")
    if settings.traces != "off":
        from lbcore.observe.traces import check_extra

        check_extra()


def _hold_outputs() -> None:
    """What was closed for us (`>&-`) leads nowhere: else the next file that is opened would have its number, and our lines."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _give_up_root(settings: BalancerSettings) -> bool:
    """Become the user that the settings name, if root is who we are. Raises ConfigError, LbcoreError or OSError."""
    from lbcore.control import privileges, runtime

    account = privileges.wanted(settings)
    if account is None:
        privileges.rest()
        return False
    runtime.settle(account.uid, account.gid)
    privileges.become(account, offloads=settings.offloads)
    return True


class Announced(Balancer):
    """A balancer whose service manager hears of each reload, whoever asked for it.

    lay: lays the flags over settings: they hold for a file that is read again, too. succeeds: the name of the instance that
    it goes on as; None: it takes one as its settings say. on_upgrade: what an operator's call for an upgrade does.
    """

    def __init__(
        self,
        notifier: Notifier,
        lay: Callable[[BalancerSettings], BalancerSettings],
        succeeds: str | None,
        on_upgrade: Callable[[UpgradeCall], str],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._notifier, self._lay, self._succeeds, self._on_upgrade = notifier, lay, succeeds, on_upgrade

    def _run_options(self) -> Options:
        return super()._run_options()._replace(succeeds=self._succeeds, on_upgrade=self._on_upgrade)

    def check_places(self) -> None:
        """Raises StillDraining while a worker cannot be replaced, since the one before it has sessions left."""
        self._running().supervisor.replacement.check_places(self.settings.drain_timeout_ms)

    def replace_worker(self, number: int) -> None:
        """Put a new worker in the place of one, by its number. Raises LbcoreError with the old one still serving."""
        self._running().supervisor.replacement.replace_worker(number, self.settings.drain_timeout_ms)

    def _read_again(self) -> BalancerSettings:
        return self._lay(super()._read_again())

    def reload(self, settings: BalancerSettings | None = None) -> None:
        """Likewise."""
        self._notifier.reloading()
        try:
            super().reload(settings)
        finally:
            self._notifier.ready(summary(self))


class Command:
    """A balancer run as a command."""

    def __init__(
        self, settings: BalancerSettings, lay: Callable[[BalancerSettings], BalancerSettings] = lambda read: read
    ) -> None:
        self._log = Lines(settings.log_format, settings.name)
        self._notifier = Notifier()
        self._inherited = Inherited.receive()
        self._before = upgrade.Predecessor()
        self._balancer = Announced(
            self._notifier,
            lay,
            self._before.name,
            self._on_upgrade,
            settings=settings,
            isolation="processes",
            control=True,
            log=self._log,
            inherited=self._inherited,
        )
        self._watchdog = Watchdog(self._balancer, self._notifier)
        self._wake = Wakeup()
        self._ends = 0
        self._upgrade = self._alone = False
        self._wanted = dict.fromkeys((RELOAD, REOPEN, UPGRADE), False)
        self._orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._upgrading = locks.lock("upgrade")

    def run(self) -> int:
        """Start, say so, and follow signals until one ends it."""
        for number in signals.STEERING:
            signal.signal(number, self._on_signal)
        with signals.held():
            threading.Thread(target=self._follow_orders, name="lbcore-orders", daemon=True).start()
        signals.release()
        before = self._before
        self._ends += before.ended
        self._balancer.start()
        try:
            for left in self._inherited.unused():
                self._log(f"a socket was passed that no listener uses: {left}")
            self._say_ready()
            self._notifier.ready(summary(self._balancer))
            self._watchdog.start()
        except BaseException:  # the last descriptor is gone, perhaps: workers that nobody knows of must not stay
            if before.name is None:
                self._balancer.stop(0)
            else:
                self._balancer._abdicate()
            raise
        if before.version is not None and not self._ends:
            with self._upgrading:
                self._renew(before.version, before.alone)
        while not self._ends:
            self._wake.wait()
            if self._upgrade and not self._ends:
                self._log("the control plane is replaced by the installed version")
                self._watchdog.stop()
                self._notifier.reloading()
                self._notifier.restore()
                self._inherited.restore()
                upgrade.become(self._balancer, lambda: self._ends > 0, self._alone)
            self._pass_on()
        self._log("draining")
        self._watchdog.stop()
        self._notifier.stopping("draining")
        threading.Thread(target=self._hurry_when_told, name="lbcore-hurry", daemon=True).start()
        self._balancer.stop()
        self._inherited.close()
        self._log("stopped")
        return 0

    def _say_ready(self) -> None:
        """On stdout, whose reader may have gone with the first line, or be stuck: after an upgrade there is another.

        Where the access log goes to stdout it is all that is there, for programs that read it: then on stderr.
        """
        line = f"{ready_line(self._balancer)}\n".encode()
        try:
            out = opened("stderr" if self._balancer.settings.access_log == "stdout" else "stdout")
        except OSError:
            return  # there is none
        try:
            taken = out.write(line) == len(line)
        except OSError:
            taken = False
        finally:
            out.close()
        if not taken:
            self._log("the ready line could not be written: nobody reads stdout")

    def _on_signal(self, number: int, frame: object) -> None:
        """Takes no lock: the thread that it interrupts may hold it. `Wakeup` hears of signals by itself."""
        if number in _ORDERS:
            self._wanted[_ORDERS[number]] = True
        else:
            self._ends += 1

    def _hurry_when_told(self) -> None:
        """A second signal ends the drain. On a thread of its own, which may be woken before the handler has run."""
        while self._ends < 2:
            self._wake.wait(HURRY_S)
        self._balancer.hurry()

    def _on_upgrade(self, order: UpgradeCall) -> str:
        """An operator asks for it, or for a step: what comes. Raises LbcoreError."""
        if order.worker is not None:
            self._balancer.replace_worker(order.worker)
            return VERSION
        if order.step == "check":
            with self._between_upgrades():
                return self._next_version(places=True)
        return self._succeed(alone=order.step == "control")

    def _succeed(self, *, alone: bool) -> str:
        """Have the main thread make way for the version that is installed now. Raises LbcoreError when that cannot be."""
        with self._between_upgrades():
            version = self._next_version(places=not alone)
            self._upgrade, self._alone = True, alone
        self._wake.call()
        return version

    def _next_version(self, *, places: bool) -> str:
        if places:
            self._balancer.check_places()
        return upgrade.can_succeed(self._balancer)

    @contextlib.contextmanager
    def _between_upgrades(self) -> Iterator[None]:
        if self._upgrade or not self._upgrading.acquire(blocking=False):
            raise LbcoreError("an upgrade is under way")
        try:
            yield
        finally:
            self._upgrading.release()

    def _renew(self, before: str, alone: bool) -> None:
        """We have come in another version's place: the workers are still its own."""
        self._log(f"version {VERSION} in the place of {before}")
        if alone:
            self._log("its workers keep serving until they are replaced")
            return
        count = self._balancer._running().table.workers
        for number in range(count):
            if self._ends:
                return
            try:
                self._balancer.replace_worker(number)
            except LbcoreError as error:
                self._log(f"{count - number} of {count} workers of version {before} serve on: {error}")
                self._balancer._running().tell_upgrade(error=str(error), left=count - number)
                return
        self._balancer._running().tell_upgrade(done=True)

    def _pass_on(self) -> None:
        """Orders that came as signals go to the thread that carries them out."""
        for order in [name for name, wanted in self._wanted.items() if wanted]:
            self._wanted[order] = False
            self._orders.put(order)

    def _follow_orders(self) -> None:
        """On a thread of its own: hosts that are slow to be resolved keep nobody from being heard who wants us to end."""
        while True:
            order = self._orders.get()
            if order == RELOAD:
                self._reload_now()
            elif order == REOPEN:
                self._reopen_now()
            else:
                self._upgrade_now()

    def _reopen_now(self) -> None:
        try:
            self._balancer._reopen()
            self._log("the access log is opened again")
        except (LbcoreError, OSError) as error:
            self._log(f"the access log could not be opened again: {error}")

    def _upgrade_now(self) -> None:
        try:
            self._succeed(alone=False)
        except LbcoreError as error:
            self._log(f"not upgraded: {error}")

    def _reload_now(self) -> None:
        try:
            settings = self._balancer.settings
            if settings.path is None and settings.access_log != "off":
                self._balancer._reopen()  # there is nothing to read again, but the log may have been renamed
            else:
                self._balancer.reload()
        except ConfigError as error:
            for problem in error.problems:
                self._log(f"not reloaded: {problem}")
        except (LbcoreError, OSError) as error:
            self._log(f"not reloaded: {error}")


def ready_line(balancer: Balancer) -> str:
    """The one line on stdout that says where everything is."""
    status = balancer.status()
    modes = {listener["name"]: listener["mode"] for listener in status["listeners"]}
    listens = " ".join(f"listen={modes[name]}://{join_host_port(*address)}" for name, address in balancer.addresses.items())
    return (
        f"lbcore ready name={balancer.name} {listens} admin={balancer.admin_address or 'off'} "
        f"workers={len(status['workers'])} datapath={balancer.settings.datapath} loop={status['loop']} pid={os.getpid()}"
    )
