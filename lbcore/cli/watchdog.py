"""What a service manager is told while we serve: how we are, and that we are alive."""

from __future__ import annotations

import threading

from lbcore.errors import LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.api.balancer import Balancer
    from lbcore.control.systemd import Notifier

STATUS_EVERY_S = 5.0
PINGS = 3
"""So many pings in the time that the watchdog gives: one that comes late ends nothing."""


class Watchdog:
    """A thread that tells STATUS when it changes, and pings the watchdog while the control plane and every worker turn."""

    def __init__(self, balancer: Balancer, notifier: Notifier) -> None:
        self._balancer, self._notifier = balancer, notifier
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lbcore-watchdog", daemon=True)
        self._last = ""

    def start(self) -> None:
        """Begin, if anybody listens."""
        if self._notifier.wanted:
            self._thread.start()

    def stop(self) -> None:
        """End; what is told from now on is the caller's."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        limit_s = self._notifier.watchdog_s / PINGS
        while not self._stop.wait(min(limit_s, STATUS_EVERY_S) if limit_s else STATUS_EVERY_S):
            try:
                held_up = self._balancer._running().supervisor.held_up(limit_s or STATUS_EVERY_S)
                status = f"hangs: {', '.join(held_up)}" if held_up else summary(self._balancer)
            except LbcoreError:  # it stops
                return
            if limit_s and not held_up:
                self._notifier.send("WATCHDOG=1")
            if status != self._last:
                self._notifier.send(f"STATUS={status}")
            self._last = status


def summary(balancer: Balancer) -> str:
    """One line for `systemctl status`."""
    status = balancer.status()
    backends = [backend for pool in status["pools"] for backend in pool["backends"]]
    up = sum(backend["state"] == "up" for backend in backends)
    active = sum(worker["active"] for worker in status["workers"])
    serving = sum(worker["state"] == "serving" for worker in status["workers"])
    return f"{up} of {len(backends)} backends up, {active} sessions, {serving} of {len(status['workers'])} workers serve"
