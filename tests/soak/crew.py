"""The backends of the soak as processes, and the faults and changes that happen to them and to the balancer."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lbcore import Registration
from lbcore.errors import LbcoreError
from soak.backend import ECHO_PORT, HTTP_PORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Command

    from soak.settings import Configuration

STATIC, GUESTS = 3, 2
"""Backends that the configuration names, and further ones that register, are added, or stand in the file of a source."""


class Server:
    """A backend as a process, on an address that no other program uses: the whole of 127.0.0.0/8 is this machine."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.well = True
        self._start()

    def _start(self) -> None:
        line = [sys.executable, str(Path(__file__).with_name("backend.py")), self.host]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", f"the backend on {self.host} did not start"

    def tell(self, mode: str) -> None:
        """Have it behave like that."""
        self.well = mode == "good"
        assert self.process.stdin is not None
        self.process.stdin.write(f"{mode}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it without a word."""
        self.well = False
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            assert end is not None
            end.close()

    def hang(self) -> None:
        """Have it stop in the middle of what it does."""
        self.well = False
        self.process.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        """Well again, whatever was."""
        if self.process.poll() is not None:
            self._start()
        self.process.send_signal(signal.SIGCONT)
        self.tell("good")


class Trouble:
    """Things that happen, each drawn by lot. done: how often each did. kills: of workers, which are missed otherwise."""

    def __init__(
        self, balancer: Command, configuration: Configuration, servers: list[Server], token: str, seed: int, kill_every_s: float
    ) -> None:
        self._balancer, self._configuration, self._token = balancer, configuration, token
        self._static, self._guests = servers[:STATIC], servers[STATIC:]
        self._dice = random.Random(seed)
        self._kill_every_s = kill_every_s
        self._next_kill = time.monotonic() + kill_every_s / 2
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._registrations: dict[str, Registration] = {}
        self._silent: list[Registration] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.done: Counter[str] = Counter()
        self.kills = 0
        self.problems: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._stop.clear()
        self._next_kill = time.monotonic() + self._kill_every_s / 2
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, heal all, and have the configuration be what it was."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._heal(everything=True)
        for server in (*self._static, *self._guests):
            server.heal()
        for registration in self._registrations.values():
            registration.stop()
        self._registrations.clear()
        self._bury_silent()
        self._configuration.write()
        self._configuration.write_source([])
        self._reload()
        for server in self._static:
            for pool, port in (("tcp", ECHO_PORT), ("http", HTTP_PORT), ("udp", ECHO_PORT)):
                self._order("ready", f"{server.host}:{port}", pool)
                self._order("weight", f"{server.host}:{port}", pool, weight=1)
        for server in self._guests:
            for pool, port in (("tcp", ECHO_PORT), ("http", HTTP_PORT), ("udp", ECHO_PORT)):
                self._order("remove", f"{server.host}:{port}", pool)

    def _run(self) -> None:
        acts = [
            self._hurt, self._hurt, self._hurt, self._register, self._register, self._weight, self._drain, self._add,
            self._source, self._change,
        ]  # fmt: skip
        while not self._stop.wait(self._dice.uniform(0.1, 0.9)):
            self._heal()
            act: Callable[[], None] = self._dice.choice(acts)
            if time.monotonic() >= self._next_kill:
                act = self._kill_worker
            try:
                act()
            except (OSError, LbcoreError, AssertionError) as error:
                self.problems.append(f"{act.__name__[1:]}: {error!r}")

    def _heal(self, everything: bool = False) -> None:
        now = time.monotonic()
        due = [entry for entry in self._due if everything or entry[0] <= now]
        self._due = [entry for entry in self._due if entry not in due]
        for _, act in due:
            act()

    def _later(self, act: Callable[[], None], at_least: float = 0.5, at_most: float = 3.0) -> None:
        self._due.append((time.monotonic() + self._dice.uniform(at_least, at_most), act))

    # --- faults --------------------------------------------------------------------------------------------------

    def _hurt(self) -> None:
        """A backend falls ill, one at least stays well."""
        well = [server for server in self._static if server.well]
        if len(well) < 2:
            return
        server, what = self._dice.choice(well), self._dice.choice(("kill", "hang", "reset", "slow", "failing"))
        if what == "kill":
            server.kill()
        elif what == "hang":
            server.hang()
        else:
            server.tell(what)
        self.done[f"backend {what}"] += 1
        self._later(server.heal)

    def _kill_worker(self) -> None:
        """Always worker 0: the other lives through it all, and shows what it keeps."""
        self._next_kill = time.monotonic() + self._kill_every_s
        pid = self._balancer.status()["workers"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        self.kills += 1
        self.done["worker kill"] += 1

    # --- changes -------------------------------------------------------------------------------------------------

    def _order(self, verb: str, address: str, pool: str, **more: int) -> None:
        code, answer = self._balancer.call(f"/backends/{verb}", address=address, pool=pool, **more)
        unknown = "is not in pool" in str(answer) or "already" in str(answer)
        if code >= 300 and not unknown:  # an address that a source or an operator took away meanwhile is none
            self.problems.append(f"{verb} {address} in {pool}: {code} {answer}")

    def _any(self) -> tuple[str, str]:
        """An address of the configuration, and its pool."""
        pool, port = self._dice.choice((("tcp", ECHO_PORT), ("http", HTTP_PORT), ("udp", ECHO_PORT)))
        return f"{self._dice.choice(self._static).host}:{port}", pool

    def _weight(self) -> None:
        address, pool = self._any()
        self._order("weight", address, pool, weight=self._dice.randrange(1, 20))
        self.done["weight"] += 1

    def _drain(self) -> None:
        address, pool = self._any()
        self._order("drain", address, pool)
        self._later(lambda: self._order("ready", address, pool), 0.2, 1.0)
        self.done["drain"] += 1

    def _add(self) -> None:
        pool, port = self._dice.choice((("tcp", ECHO_PORT), ("udp", ECHO_PORT)))
        address = f"{self._dice.choice(self._guests).host}:{port}"
        self._order("add", address, pool, weight=2)
        self._later(lambda: self._order("remove", address, pool))
        self.done["add and remove"] += 1

    def _register(self) -> None:
        """One comes, or one goes: with a word, or silently, so that its lease ends."""
        server = self._dice.choice(self._guests)
        known = self._registrations.pop(server.host, None)
        if known is None:
            admin, mine = self._balancer.admin, {"server_ip": server.host, "token": self._token, "pool": "http"}
            self._registrations[server.host] = Registration(admin, HTTP_PORT, load=self._dice.random, **mine).start()
            self.done["register"] += 1
        elif self._dice.random() < 0.5:
            known.stop()
            self.done["deregister"] += 1
        else:
            with known.wake:  # as if its host were gone: no more beats, and no goodbye
                known._running = False
                known.wake.notify_all()
            self._silent.append(known)
            self.done["silent"] += 1

    def _bury_silent(self) -> None:
        """What was kept with the balancer by those who fell silent ends: it would keep them longer than we rest."""
        for registration in self._silent:
            for link in registration._links:
                link.join()
                link.close()
        self._silent.clear()

    def _source(self) -> None:
        guests = [server for server in self._guests if self._dice.random() < 0.5]
        self._configuration.write_source([f"{server.host}:{HTTP_PORT}" for server in guests])
        self.done["source"] += 1

    def _change(self) -> None:
        """The file says something else, and is read again."""
        policies = {"tcp": ("least_conn", "p2c", "maglev"), "http": ("p2c", "ewma", "round_robin"), "udp": ("maglev", "random")}
        chosen = {pool: self._dice.choice(names) for pool, names in policies.items()}
        self._configuration.write(policies=chosen, further_listener=self._dice.random() < 0.5)
        self._reload()
        self.done["reload"] += 1

    def _reload(self) -> None:
        code, answer = self._balancer.call("/reload")
        if code != 200:
            self.problems.append(f"reload: {code} {answer}")


@contextlib.contextmanager
def servers(network: str):  # type: ignore[no-untyped-def]
    """All backends, on NETWORK.1 and so on."""
    made: list[Server] = []
    try:
        for number in range(STATIC + GUESTS):
            made.append(Server(f"{network}.{number + 1}"))
        yield made
    finally:
        for server in made:
            if server.process.poll() is None:
                server.kill()
