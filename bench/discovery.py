"""`python -m bench.discovery`: how soon membership follows, and what heartbeats cost. Writes bench/results/discovery.md.

No rival is in it: none of them takes registrations. Times are this machine's.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine, ready
from bench.serving import ROOT

PAGE = ROOT / "bench" / "results" / "discovery.md"
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
CONFIG = """
[admin]
listen = "127.0.0.1:0"
rate = 0
[[listener]]
bind = "http://127.0.0.1:0"
[[pool]]
[pool.probe]
kind = "{probe}"
path = "/"
interval = "500ms"
timeout = "250ms"
[pool.lease]
heartbeat = "5s"
"""


class Run:
    """A balancer with its control plane's process id and addresses."""

    def __init__(self, directory: Path, probe: str) -> None:
        config = directory / "lb.toml"
        config.write_text(CONFIG.format(probe=probe))
        command = [sys.executable, "-m", "lbcore", "run", "-c", str(config), "--workers", "1", "--name", f"bench-{os.getpid()}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        words = ready.words(self.process)
        self.pid = int(words["pid"])
        self.address = ready.address(words["listen"])
        self.admin = ready.address(words["admin"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def running(probe: str = "http") -> Iterator[Run]:
    """A fresh balancer."""
    with tempfile.TemporaryDirectory() as directory:
        run = Run(Path(directory), probe)
        try:
            yield run
        finally:
            run.stop()


@contextmanager
def backend() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def post(admin: tuple[str, int], path: str, **body: Any) -> int:
    """A call on a connection of its own: the status."""
    connection = http.client.HTTPConnection(*admin, timeout=5)
    try:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def ask(address: tuple[str, int]) -> bool:
    """One request on a connection of its own: was it answered well?"""
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.read() == b"ok" and answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def register_to_request() -> float:
    """Milliseconds from the call of /register to the first request that the new, probed backend answers."""
    with running() as lb, backend() as (_, port):
        began = time.perf_counter()
        post(lb.admin, "/register", server_ip="127.0.0.1", port=port, status="ready")
        while not ask(lb.address):
            if time.perf_counter() > began + 10:
                raise SystemExit("no request was answered within 10 s of the registration")
        return (time.perf_counter() - began) * 1e3


def kill_to_last_failure() -> tuple[float, int, int]:
    """Of two backends one is killed (SIGKILL) under the load of 4 clients: milliseconds from the kill to the last request that
    failed (0: none did), failed requests, all requests."""
    with running() as lb, backend() as (victim, first), backend() as (_, second):
        for port in (first, second):
            post(lb.admin, "/register", server_ip="127.0.0.1", port=port, status="ready")
        while not all(ask(lb.address) for _ in range(10)):
            time.sleep(0.05)
        failed: list[float] = []
        count = [0, 0, 0, 0]
        stop = threading.Event()

        def load(number: int) -> None:
            while not stop.is_set():
                if not ask(lb.address):
                    failed.append(time.perf_counter())
                count[number] += 1

        threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        killed = time.perf_counter()
        os.kill(victim.pid, signal.SIGKILL)
        time.sleep(2.5)
        stop.set()
        for thread in threads:
            thread.join()
        return max([(at - killed) * 1e3 for at in failed], default=0.0), len(failed), sum(count)


def _cpu_s(pid: int) -> float:
    """Of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def heartbeats(count: int, seconds: float) -> dict[str, float]:
    """`count` leased backends, each beating once in 5 s over 1,000 kept connections: CPU of the control plane, in cores; and
    the rate that one core could take."""
    with running("off") as lb:
        connections = [socket.create_connection(lb.admin, timeout=10) for _ in range(1000)]
        bodies = [
            json.dumps({"server_ip": "127.0.0.1", "port": 10_000 + at, "status": "ready", "load": 0.5}) for at in range(count)
        ]

        def beat(path: str, at: int) -> int:
            connection, body = connections[at % len(connections)], bodies[at]
            fields = f"Host: lb\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            connection.sendall(f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}".encode())
            return int(connection.recv(4096).split(b" ", 2)[1])

        for at in range(count):
            beat("/register", at)
        wanted, sent = count / 5, 0
        began, before = time.perf_counter(), _cpu_s(lb.pid)
        while (age := time.perf_counter() - began) < seconds:
            while sent < age * wanted:
                status = beat("/heartbeat", sent % count)
                if status != 200:
                    raise SystemExit(f"a heartbeat was answered with {status}")
                sent += 1
            time.sleep(0.001)
        took, cpu = time.perf_counter() - began, _cpu_s(lb.pid) - before
        for connection in connections:
            connection.close()
        return {"backends": count, "rate": sent / took, "wanted": wanted, "cores": cpu / took, "per_core": sent / cpu}


def page(rounds: int, seconds: float) -> str:
    """Measure, and tell."""
    joins = [register_to_request() for _ in range(rounds)]
    kills = [kill_to_last_failure() for _ in range(rounds)]
    beats = [heartbeats(count, seconds) for count in (1000, 10_000)]
    facts = machine.machine()
    lines = [
        "<!-- Generated by `python -m bench.discovery`; do not edit. -->",
        "# How soon membership follows, and what it costs",
        "",
        f"{facts['cores']} cores of {facts['cpu']}, Linux {facts['kernel']}; commit `{machine.commit()['sha'][:12]}`;"
        f" {rounds} rounds; median (least..greatest).",
        "",
        "| | |",
        "| --- | --- |",
        f"| from `POST /register` to the first request answered by the new backend, probed by HTTP | {_spread(joins)} ms |",
        f"| from SIGKILL of one of two backends to the last failed request, 4 clients, new connections | "
        f"{_spread([at for at, _, _ in kills])} ms |",
        f"| failed requests, of {sum(count for _, _, count in kills):,} in all rounds | {sum(bad for _, bad, _ in kills)} |",
    ]
    for found in beats:
        met = "kept up" if found["rate"] > 0.98 * found["wanted"] else f"fell behind: {found['wanted']:,.0f} were due"
        lines.append(
            f"| {found['backends']:,.0f} backends that beat every 5 s, each with a load: {found['rate']:,.0f} heartbeats "
            f"a second ({met}) | {found['cores']:.2f} cores of the control plane; {found['per_core']:,.0f} a second and core |"
        )
    lines += ["", f"`python -m bench.discovery --rounds {rounds} --seconds {seconds:g}`"]
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"**{median(values):.0f}** ({min(values):.0f}..{max(values):.0f})"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser("python -m bench.discovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    socket.setdefaulttimeout(10)
    PAGE.write_text(page(arguments.rounds, arguments.seconds))
    print(PAGE.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
