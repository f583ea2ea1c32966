"""python -m soak MINUTES [--seed N] [--loop epoll]: a line a minute, then a verdict.

Exit code 0: all is as at the start; 1: not; 2: usage.

The order: load and trouble until all is warm; a rest, and what is held is read; load and trouble for most of the time; trouble
ends, and from then on no polite client may fail; a rest, and what is held is compared.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from certificates import make_certificate
from harness import Command, check_idle, check_ledger, totals

from soak import books
from soak.clients import Clients, Tally
from soak.crew import STATIC, Trouble, servers
from soak.settings import PORTS, Configuration

WARM_SHARE, MOST_WARM_S = 0.25, 120.0
CALM_S = 10.0
"""How long load goes on after the last trouble, without one failure."""
SETTLE_S = 30.0
"""How long the last sessions, kept connections and descriptors may take until they are gone."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/soak", description="Mixed load, faults and changes; then all must be as before."
    )
    parser.add_argument("minutes", type=float, help="how long; 0.3 is the least that makes sense")
    parser.add_argument("--seed", type=int, default=None, help="of the lots that are drawn; it is printed")
    parser.add_argument("--loop", choices=("auto", "epoll", "uring"), default="auto", help="by which workers serve sockets")
    given = parser.parse_args()
    if given.minutes < 0.3:
        parser.error("minutes: 0.3 or more")
    seed = secrets.randbelow(1 << 30) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory(prefix="lbcore-soak-") as directory:
        return Soak(Path(directory), given.minutes * 60, seed, given.loop).run()


class Soak:
    """One run. problems: what is not as it should be, in words."""

    def __init__(self, directory: Path, seconds: float, seed: int, loop: str) -> None:
        self._directory, self._seconds, self._seed, self._loop = directory, seconds, seed, loop
        self._began = time.monotonic()
        self._told = 0
        self._tally = Tally()
        self.problems: list[str] = []

    def run(self) -> int:
        """All of it: the exit code."""
        network = f"127.{60 + os.getpid() % 60}.{os.getpid() // 60 % 250}"
        token = secrets.token_hex()
        pem = make_certificate(self._directory, "soak.example") if shutil.which("openssl") else None
        print(
            f"soak: {self._seconds / 60:g} minutes, seed {self._seed}{'' if pem else ', without https: no openssl'}", flush=True
        )
        with servers(network) as backends:
            configuration = Configuration(self._directory, network, token, pem, self._loop)
            balancer = Command(self._directory, "-c", str(configuration.path))
            try:
                self._soak(balancer, Trouble(balancer, configuration, backends, token, self._seed, self._seconds / 6))
                self._read_log(balancer)
            finally:
                code = balancer.stop()
            self._check(code == 0, f"lbcore run ended with exit code {code}")
        for problem in self.problems:
            print(f"soak: WRONG: {problem}")
        print(
            f"soak: {'failed' if self.problems else 'passed'} after {time.monotonic() - self._began:.0f} s, seed {self._seed}"
        )
        return int(bool(self.problems))

    def _check(self, good: bool, problem: str) -> None:
        if not good:
            self.problems.append(problem)

    # --- the order of things -------------------------------------------------------------------------------------

    def _soak(self, balancer: Command, trouble: Trouble) -> None:
        addresses = {url.partition("://")[0]: _host_port(url) for url in balancer.listens}
        self._await_up(balancer)
        self._spell(balancer, trouble, addresses, min(MOST_WARM_S, self._seconds * WARM_SHARE))
        before = self._rest(balancer)
        clients = Clients(addresses, self._tally, self._seed + 1000)
        clients.start()
        trouble.start()
        self._watch(balancer, trouble, self._seconds - (time.monotonic() - self._began) - CALM_S)
        trouble.stop()
        self._await_up(balancer)
        _, failed = self._tally.totals()
        self._watch(balancer, trouble, CALM_S)
        good, later = self._tally.totals()
        for kind, count in sorted((later - failed).items()):
            self.problems.append(f"{count} of {kind} failed after the last trouble: {self._tally.last[kind]}")
        clients.stop()
        self._tell(balancer, trouble)
        for kind in (*addresses, "upgrade", "rude"):
            self._check(good[kind] > 0, f"no {kind} client succeeded at all")
        self.problems += self._tally.wrong + trouble.problems
        self._check(trouble.kills > 0, "no worker was killed")
        self._compare(balancer, before)

    def _spell(self, balancer: Command, trouble: Trouble, addresses: dict[str, tuple[str, int]], seconds: float) -> None:
        """Load and trouble for a while, so that all is warm."""
        clients = Clients(addresses, self._tally, self._seed)
        clients.start()
        trouble.start()
        self._watch(balancer, trouble, seconds)
        trouble.stop()
        clients.stop()

    def _watch(self, balancer: Command, trouble: Trouble, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if now - self._began >= 60 * (self._told + 1):
                self._tell(balancer, trouble)
            time.sleep(0.2)

    def _tell(self, balancer: Command, trouble: Trouble) -> None:
        self._told += 1
        good, failed = self._tally.totals()
        figures = " ".join(f"{kind} {good[kind]}{f'-{failed[kind]}' if failed[kind] else ''}" for kind in sorted(good))
        held = [books.holding(worker["pid"]) for worker in balancer.status()["workers"][1:]]
        now = f"worker {sum(held[0].descriptors.values())} descriptors {held[0].memory_kb / 1024:.1f} MB"
        control = books.holding(balancer.pid).memory_kb / 1024
        troubles = f"{sum(trouble.done.values())} troubles"
        line = f"{figures} (good-failed); {troubles}; {now}; control {control:.1f} MB"
        print(f"minute {(time.monotonic() - self._began) / 60:.1f}: {line}", flush=True)

    def _await_up(self, balancer: Command) -> None:
        """Until exactly the backends of the configuration are there, and up."""

        def fault() -> str:
            pools = {pool["name"]: pool["backends"] for pool in balancer.status()["pools"]}
            states = {f"{name} {backend['address']}": backend["state"] for name in PORTS for backend in pools[name]}
            wrong = {address: state for address, state in states.items() if state != "up"}
            return "" if not wrong and len(states) == STATIC * len(PORTS) else f"backends: {wrong or states}"

        self._settle(fault)

    def _settle(self, fault: Any) -> None:
        """Wait until nothing is wrong any more; what still is after SETTLE_S is a problem."""
        deadline = time.monotonic() + SETTLE_S
        while (problem := fault()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._check(not problem, f"after {SETTLE_S:.0f} s: {problem}")

    # --- books ---------------------------------------------------------------------------------------------------

    def _rest(self, balancer: Command) -> dict[str, books.Holding]:
        """Without load nothing is under way, and what is held is what it takes to be there."""
        self._settle(lambda: "" if totals(balancer.status())["active"] == 0 else f"under way: {_under_way(balancer)}")
        time.sleep(3)  # connections that are kept for a second, and the admin server's
        status = balancer.status()
        for check in (check_ledger, check_idle):
            try:
                check(status)
            except AssertionError as error:
                self.problems.append(f"{check.__name__}: {error}")
        return self._held(balancer)

    def _held(self, balancer: Command) -> dict[str, books.Holding]:
        found = {f"worker {worker['id']}": books.holding(worker["pid"]) for worker in balancer.status()["workers"]}
        return {**found, "control plane": books.holding(balancer.pid)}

    def _compare(self, balancer: Command, before: dict[str, books.Holding]) -> None:
        self._rest(balancer)

        def more() -> str:
            held = self._held(balancer)
            found = {name: books.more_descriptors(before[name], held[name]) for name in held}
            return "; ".join(f"{name} holds {what}" for name, what in found.items() if what)

        self._settle(more)  # a probe may be under way in any one moment
        if self.problems:
            print(f"soak: the control plane's sockets: {books.connections(balancer.pid)}")
        held = self._held(balancer)
        for name, now in held.items():
            control = name == "control plane"
            # a worker that was killed began anew, and is measured by the one that was not
            like = [name] if control else [other for other in before if other != "control plane"]
            start_kb = max(before[other].memory_kb for other in like)
            limits = (books.CONTROL_KB, books.CONTROL_SHARE) if control else (books.WORKER_KB, books.WORKER_SHARE)
            allowed = books.allowed_kb(start_kb, *limits)
            self._check(
                now.memory_kb <= allowed, f"{name} holds {now.memory_kb} KiB, at the start {start_kb}, allowed {allowed}"
            )
            self._check(now.pipes <= books.MOST_PIPE_ENDS, f"{name} holds {now.pipes} ends of pipes")
            then = before[name]
            descriptors = f"descriptors {sum(then.descriptors.values())} -> {sum(now.descriptors.values())}"
            pipes = f"pipes {then.pipes // 2} -> {now.pipes // 2}"
            print(f"soak: {name}: {descriptors}, {pipes}, memory {start_kb} -> {now.memory_kb} KiB (allowed {allowed})")

    def _read_log(self, balancer: Command) -> None:
        """What the balancer logged: every worker that was lost must have been killed, and nothing else went wrong."""
        lines = balancer.stderr.read_text().splitlines()
        lost = [line for line in lines if "is gone (" in line]
        odd = [line for line in lost if "killed by signal 9" not in line]
        odd += [line for line in lines if "Traceback" in line or "tick failed" in line or "Error" in line]
        self.problems += [f"in its log: {line}" for line in odd[:20]]
        kinds = Counter(" ".join(line.split()[2:5]) for line in lines)
        print(f"soak: its log: {len(lines)} lines, most: {kinds.most_common(3)}")


def _under_way(balancer: Command) -> str:
    figures = totals(balancer.status())
    return ", ".join(
        f"{name} {value}" for name, value in figures.items() if value and name in ("active", "requests_active", "queued")
    )


def _host_port(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    sys.exit(main())
