"""`python -m bench.cluster`: three nodes and three etcd members on this machine. Writes bench/results/cluster.md.

How soon a registration at one node is used at another, what heartbeats cost nodes and etcd, and how soon a node starts that
finds many registrations in etcd. etcd writes to the disk of this machine, with fsync.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench import machine, ready
from bench.discovery import ask, backend, post
from bench.measure import cpu_ns
from bench.serving import ROOT

PAGE = ROOT / "bench" / "results" / "cluster.md"
PREFIX = "/lbcore/bench/"
CONFIG = """
name = "{name}"
workers = 1
max_backends = 20000
[admin]
listen = "127.0.0.1:0"
rate = 0
[[listener]]
bind = "http://127.0.0.1:0"
[[pool]]
[pool.probe]
kind = "off"
[pool.lease]
heartbeat = "5s"
[cluster]
endpoints = {endpoints}
prefix = "{prefix}"
trust = "reports"
node = "{name}"
"""
HEAD = """\
# A cluster: three nodes, three members of etcd

`python -m bench.cluster`, {when}, on {machine}. etcd {etcd}. All of it on one machine, which other
work shared (load average {load:.0f}).

"""


def free_ports(count: int) -> list[int]:
    """Of this moment."""
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in bound]


class Members:
    """Three of etcd."""

    def __init__(self, folder: Path, program: str) -> None:
        clients, peers = free_ports(3), free_ports(3)
        self.urls = [f"http://127.0.0.1:{port}" for port in clients]
        cluster = ",".join(f"m{at}=http://127.0.0.1:{port}" for at, port in enumerate(peers))
        self.processes = []
        for at, url in enumerate(self.urls):
            peer = f"http://127.0.0.1:{peers[at]}"
            line = [
                program, "--name", f"m{at}", "--data-dir", str(folder / f"m{at}"), "--listen-client-urls", url,
                "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", cluster,
            ]  # fmt: skip
            self.processes.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def await_health(self) -> None:
        """Raises SystemExit."""
        deadline = time.monotonic() + 60
        for url in self.urls:
            while True:
                with contextlib.suppress(OSError):
                    if urllib.request.urlopen(f"{url}/health", timeout=2).status == 200:
                        break
                if time.monotonic() > deadline:
                    raise SystemExit("etcd did not start")
                time.sleep(0.1)

    def figure(self, name: str) -> float:
        """Of the first member's metrics."""
        with urllib.request.urlopen(f"{self.urls[0]}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


class Node:
    """`lbcore run`. started_s: until its ready line."""

    def __init__(self, folder: Path, name: str, urls: list[str]) -> None:
        config = folder / f"{name}.toml"
        config.write_text(CONFIG.format(name=name, endpoints=json.dumps(urls), prefix=PREFIX))
        command = [sys.executable, "-m", "lbcore", "run", "-c", str(config)]
        environment = {**os.environ, "LBCORE_RUNTIME_DIR": str(folder)}
        began = time.perf_counter()
        with (folder / f"{name}.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=environment)
        words = ready.words(self.process)
        self.started_s = time.perf_counter() - began
        self.pid = int(words["pid"])
        self.address, self.admin = ready.address(words["listen"]), ready.address(words["admin"])

    def cluster(self) -> dict[str, Any]:
        """Of its status."""
        with urllib.request.urlopen(f"http://{self.admin[0]}:{self.admin[1]}/status", timeout=20) as answer:
            found: dict[str, Any] = json.loads(answer.read())["cluster"]
            return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()


@contextlib.contextmanager
def running(program: str) -> Iterator[tuple[Members, list[Node], Path]]:
    """All of it."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        members = Members(folder, program)
        stack.callback(members.stop)
        members.await_health()
        nodes = []
        for number in range(3):
            nodes.append(Node(folder, f"n{number}", members.urls[number:] + members.urls[:number]))
            stack.callback(nodes[-1].stop)
        yield members, nodes, folder


def register_to_request(nodes: list[Node], times: int) -> list[float]:
    """Milliseconds from the call of /register at one node to the first request that another one sends to the new backend."""
    found = []
    with backend() as (_, port):
        for turn in range(times):
            at, other = nodes[turn % 3], nodes[(turn + 1) % 3]
            began = time.perf_counter()
            post(at.admin, "/register", server_ip="127.0.0.1", port=port, status="ready")
            while not ask(other.address):
                if time.perf_counter() > began + 10:
                    raise SystemExit("no request was answered within 10 s of the registration")
            found.append((time.perf_counter() - began) * 1e3)
            post(at.admin, "/deregister", server_ip="127.0.0.1", port=port)
            while any(ask(node.address) for node in nodes):
                time.sleep(0.01)
            time.sleep(0.05)
    return found


class Beats:
    """Backends that beat every 5 s over kept connections. moves: each heartbeat goes to the next node; else a backend stays
    with one. loads: each heartbeat reports another load than the one before. lost: leases that were over."""

    def __init__(self, nodes: list[Node], count: int, *, moves: bool, loads: bool = False) -> None:
        self.nodes, self.count, self.moves, self.loads, self.lost = nodes, count, moves, loads, 0
        self._connections = [[socket.create_connection(node.admin, timeout=30) for _ in range(100)] for node in nodes]

    def beat(self, path: str, at: int, turn: int) -> None:
        node = (at + (turn if self.moves else 0)) % len(self.nodes)
        connection = self._connections[node][at % 100]
        said = {"server_ip": f"127.1.{at >> 8}.{at & 255}", "port": 8000, "status": "ready"}
        if self.loads:
            said |= {"load": 0.2 + 0.5 * (turn % 2), "in_flight": 5 + 20 * (turn % 2)}
        body = json.dumps(said)
        fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}".encode())
        status = int(connection.recv(4096).split(b" ", 2)[1])
        if status == 404:  # this program was late: on a busy machine registering takes longer than a lease
            self.lost += 1
            self.beat("/register", at, turn)
        elif status not in (200, 201):
            raise SystemExit(f"{path} was answered with {status}")

    def register(self) -> None:
        for at in range(self.count):
            self.beat("/register", at, 0)

    def go_on(self, seconds: float, sent: int = 0) -> int:
        """At an even rate; the number of the next."""
        began, first, rate = time.perf_counter(), sent, self.count / 5
        while (age := time.perf_counter() - began) < seconds:
            while sent - first < age * rate:
                self.beat("/heartbeat", sent % self.count, sent // self.count)
                sent += 1
            time.sleep(0.001)
        return sent

    def close(self) -> None:
        for connections in self._connections:
            for connection in connections:
                connection.close()


def heartbeats(members: Members, nodes: list[Node], count: int, seconds: float, *, moves: bool, loads: bool = False) -> str:
    """A row."""
    beats = Beats(nodes, count, moves=moves, loads=loads)
    beats.register()
    sent = beats.go_on(20)
    while any(node.cluster()["registrations"] != count or node.cluster()["unwritten"] for node in nodes):
        sent = beats.go_on(1, sent)
    pids = [node.pid for node in nodes]
    before = [cpu_ns([pid]) for pid in pids]
    etcd_before = [cpu_ns([process.pid]) for process in members.processes]
    applied, revision, began = (
        members.figure("etcd_server_proposals_applied_total"),
        nodes[0].cluster()["revision"],
        time.perf_counter(),
    )
    lost = beats.lost
    beats.go_on(seconds, sent)
    if beats.lost != lost:
        raise SystemExit(f"{beats.lost - lost} heartbeats came too late: the machine is too busy")
    took = time.perf_counter() - began
    cores = [(cpu_ns([pid]) - was) / took / 1e9 for pid, was in zip(pids, before, strict=True)]
    of_etcd = [(cpu_ns([process.pid]) - was) / took / 1e9 for process, was in zip(members.processes, etcd_before, strict=True)]
    writes = (members.figure("etcd_server_proposals_applied_total") - applied) / took
    transactions = (nodes[0].cluster()["revision"] - revision) / took
    beats.close()
    how = "each to the next node" if moves else "each backend to one node"
    how += ", with a load that jumps each time" if loads else ""
    return f"| {count:,} | {how} | {max(cores):.2f} | {max(of_etcd):.2f} | {transactions:.1f} | {writes:.1f} |"


def starts(members: Members, nodes: list[Node], folder: Path, count: int, times: int) -> list[tuple[float, float]]:
    """Of another node: seconds until its ready line, when it knows all, and CPU seconds until then."""
    found = []
    for number in range(times):
        beats = Beats(nodes, count, moves=False)
        beats.register()
        beats.close()
        node = Node(folder, f"late{number}", members.urls)
        found.append((node.started_s, cpu_ns([node.pid]) / 1e9))
        told = node.cluster()
        node.stop()
        if not told["connected"] or told["registrations"] != count:
            raise SystemExit(f"the node began with {told['registrations']} registrations")
        print(f"a node started in {found[-1][0]:.2f} s, CPU {found[-1][1]:.2f} s", flush=True)
    return found


def page(program: str, count: int, seconds: float, times: int) -> str:
    """Measured now."""
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    text = HEAD.format(when=time.strftime("%Y-%m-%d"), machine=machine.machine()["cpu"], load=os.getloadavg()[0], etcd=version)
    with running(program) as (members, nodes, folder):
        found = register_to_request(nodes, times)
        p99 = quantiles(found, n=100)[98]
        text += (
            f"From a registration at one node to the first request that another node sends to the backend, {times} times:"
            f" p50 **{median(found):.0f} ms**, p99 **{p99:.0f} ms**, longest {max(found):.0f} ms.\n\n"
        )
        print(text, flush=True)
        rows = [heartbeats(members, nodes, count, seconds, moves=moves) for moves in (False, True)]
        rows.append(heartbeats(members, nodes, count, seconds, moves=False, loads=True))
        text += (
            f"Heartbeats every 5 s, for {seconds:.0f} s. CPU in cores, of the busiest control plane and of the busiest member."
            " Writes: transactions of the store, and entries of etcd's log that a member applied, leases included."
            ' All nodes have `trust = "reports"`.\n\n'
            "| backends | heartbeats go | control plane | etcd | transactions/s | log entries/s |\n"
            "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n\n"
        )
        print("\n".join(rows), flush=True)
        walls, cpus = zip(*starts(members, nodes, folder, count, 5), strict=True)
        text += (
            f"A node that starts and finds {count:,} registrations in etcd says that it is ready, and has them all, after"
            f" **{median(walls):.2f} s** ({min(walls):.2f}..{max(walls):.2f}). It computes for **{median(cpus):.2f} s**"
            f" ({min(cpus):.2f}..{max(cpus):.2f}) of them, the interpreter's start included.\n"
        )
    return text


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser("python -m bench.cluster", description=__doc__)
    parser.add_argument("--backends", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--etcd", default=shutil.which("etcd"), help="the program (default: the one on PATH)")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    if arguments.etcd is None:
        raise SystemExit("etcd is not installed")
    arguments.out.write_text(page(arguments.etcd, arguments.backends, arguments.seconds, arguments.times))
    print(f"written: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
