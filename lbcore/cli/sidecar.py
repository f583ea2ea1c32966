"""The sidecar: runs a command, registers when it listens, says goodbye and drains before the command hears of its end.

Also as process 1 of a container: orphans are reaped, and the command does not outlive the sidecar.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from lbcore.cli.wakeup import Wakeup
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.client.registration import Registration

PR_SET_PDEATHSIG = 1
LOOK_EVERY_S = 0.1
WATCH_EVERY_S = 2.0
FALL = 3
"""Checks in a row that must fail until the balancer is told that the command is not ready."""
ENDING = (signal.SIGTERM, signal.SIGINT)
PASSED_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGQUIT)


class Watch:
    """Whether the command serves: health is a path for GET, "tcp" for a connect, "off". host: None: all of this machine's."""

    def __init__(self, host: str | None, port: int, health: str) -> None:
        """Raises ConfigError."""
        if not health.startswith("/") and health not in ("tcp", "off"):
            raise ConfigError(f"health: {health!r} is not allowed (allowed: a path such as /health, tcp, off)")
        self._hosts = _own_addresses() if host is None else [host]
        self._port = port
        self._health = health

    @property
    def goes_on(self) -> bool:
        """Is it looked at after the start, too? A connect tells little of a server that is up."""
        return self._health.startswith("/")

    def is_well(self) -> bool:
        """Look now."""
        return self._health == "off" or any(self._is_well_at(host) for host in self._hosts)

    def _is_well_at(self, host: str) -> bool:
        try:
            if self._health == "tcp":
                with socket.create_connection((host, self._port), 1):
                    return True
            connection = http.client.HTTPConnection(host, self._port, timeout=1)
            try:
                connection.request("GET", self._health)
                return 200 <= connection.getresponse().status < 400
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            return False


def _own_addresses() -> list[str]:
    """Where a command may listen: loopback first."""
    found = ["127.0.0.1", "::1"]
    with contextlib.suppress(OSError):
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)]
    return list(dict.fromkeys(found))


class Sidecar:
    """A command and its registration. drain_s, start_s: limits in seconds; start_s 0: none."""

    def __init__(
        self,
        registration: Registration,
        watch: Watch,
        command: list[str],
        drain_s: float,
        start_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._registration = registration
        self._watch = watch
        self._command = command
        self._drain_s = drain_s
        self._start_s = start_s
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._signals: list[int] = []
        self._wake = Wakeup()

    def run(self) -> int:
        """Until the command ends, or without one until a signal: the exit code. Raises ConfigError."""
        for number in (*ENDING, *PASSED_ON, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        if not self._command:
            return self._alone()
        try:
            self._child = subprocess.Popen(self._command, preexec_fn=_die_with_parent)
        except OSError as error:
            raise ConfigError(f"command: {self._command[0]!r} cannot be run: {error.strerror}") from None
        if not self._comes_up():
            return self._end_unready()
        self._registration.start()
        code = self._beside(self._child)
        self._registration.stop()
        return code

    def _on_signal(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _alone(self) -> int:
        with self._registration:
            while not any(number in ENDING for number in self._signals):
                self._wake.wait()
        return 0

    def _comes_up(self) -> bool:
        """Wait until the command serves; False when it ended, is told to, or takes too long."""
        assert self._child is not None
        began = time.monotonic()
        while self._child.poll() is None:
            if self._watch.is_well():
                return True
            if self._pass_on():
                return False
            if self._start_s and time.monotonic() > began + self._start_s:
                self._say(f"command: {self._command[0]!r} does not serve within {self._start_s:g} s")
                return False
            self._wake.wait(LOOK_EVERY_S)
        return False

    def _end_unready(self) -> int:
        """It never served: it was never registered, and nobody need be told."""
        assert self._child is not None
        given_up = self._child.poll() is None and not self._signals
        if self._child.poll() is None:
            for number in self._signals or [signal.SIGTERM]:
                self._child.send_signal(number)
        code = _code_of(self._child.wait())
        return 1 if given_up else code

    def _pass_on(self) -> bool:
        """Pass on what is not for us: is there a signal that ends us?"""
        assert self._child is not None
        for number in [number for number in self._signals if number in PASSED_ON]:
            self._signals.remove(number)
            self._child.send_signal(number)
        return bool(self._signals)

    def _beside(self, child: subprocess.Popen[bytes]) -> int:
        look_at, failures = time.monotonic() + WATCH_EVERY_S, 0
        while child.poll() is None:
            if self._pass_on():
                return self._leave(child)
            if self._watch.goes_on and time.monotonic() >= look_at:
                look_at = time.monotonic() + WATCH_EVERY_S
                failures = 0 if self._watch.is_well() else failures + 1
                self._registration.starting() if failures >= FALL else self._registration.ready()
            self._wake.wait(min(1.0, max(0.01, look_at - time.monotonic())))
            _reap_orphans(child.pid)
        return _code_of(child.wait())

    def _leave(self, child: subprocess.Popen[bytes]) -> int:
        """The goodbye and the drain come before the command hears of the signal; a second signal ends the waiting."""
        number = self._signals.pop(0)
        leaving = threading.Thread(target=self._registration.stop, kwargs={"drain_timeout": self._drain_s}, daemon=True)
        leaving.start()
        while leaving.is_alive() and not self._signals and child.poll() is None:
            leaving.join(0.05)
        if self._signals:  # the one that ends the waiting goes in the first one's stead: to many servers, two are a kill
            number = self._signals.pop(0)
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)
        while child.poll() is None:
            for again in self._signals[:]:
                self._signals.remove(again)
                child.send_signal(again)
            self._wake.wait(0.2)
        return _code_of(child.wait())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _reap_orphans(own: int) -> None:
    """As process 1, what was orphaned is ours to bury; the command's own end is left to its handle."""
    if os.getpid() != 1:
        return
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != own:
            os.waitpid(found.si_pid, 0)


def _code_of(code: int) -> int:
    return code if code >= 0 else 128 - code
