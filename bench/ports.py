"""`python -m bench.ports`: requests whose connections to the backend are not kept, with 1,000 local ports: how many fail?

A network of its own (it takes root, and `unshare` and `ip`), nginx as the backend, and HAProxy beside lbcore where it is
installed. A connection that leaves its port in TIME_WAIT for a minute uses up all of them within a second.
Exit codes: 0 lbcore answered all with 200, 1 it did not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.children import running
from bench.origin import wait_ready

ORIGIN, FRONT = 45_000, 45_001
INSIDE = "--inside"
CLIENTS = 4
NGINX = """\
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000; server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}
"""
HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse never
listen front
  bind 127.0.0.1:{front}
  server origin 127.0.0.1:{port} pool-max-conn 0
"""
LBCORE = """\
workers = 1
[[listener]]
bind = "http://127.0.0.1:{front}"
[[pool]]
backend_idle_timeout = "0s"
[pool.probe]
kind = "off"
[[pool.backend]]
address = "127.0.0.1:{port}"
"""


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A server, from its first response to the end. Raises ChildFailed."""
    with running(command, log) as child:
        wait_ready(child, ("127.0.0.1", port))
        yield


def ask(count: int, found: Counter[str]) -> None:
    """So many requests on one kept connection, one after the other: by status."""
    client = None
    for _ in range(count):
        try:
            if client is None:
                client = socket.create_connection(("127.0.0.1", FRONT), 10)
            client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            head = client.recv(4096)
            found[head[9:12].decode()] += 1
            if not head or b"close" in head.partition(b"\r\n\r\n")[0].lower():
                client.close()
                client = None
        except OSError:
            found["no response"] += 1
            client = None
    if client:
        client.close()


def time_waits() -> int:
    """Local ports that rest after a connection to the origin; one may be of the look whether it serves."""
    states = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[3] == "06" and line.split()[2].endswith(f":{ORIGIN:04X}") for line in states)


def measure(requests: int) -> str:
    """All requests through whoever listens: a line."""
    results = [Counter[str]() for _ in range(CLIENTS)]
    threads = [threading.Thread(target=ask, args=(requests // CLIENTS, result)) for result in results]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - began
    total = sum(results, Counter[str]())
    shown = ", ".join(f"{status}: {count:,}" for status, count in sorted(total.items()))
    return f"{total.total():,} requests in {took_s:.1f} s: {shown}; {time_waits()} local ports in TIME_WAIT at the end"


def inside(requests: int) -> int:
    """In a network of its own."""
    good = True
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ["LBCORE_RUNTIME_DIR"] = name
        for file, text in (("nginx.conf", NGINX), ("haproxy.cfg", HAPROXY), ("lb.toml", LBCORE)):
            (directory / file).write_text(text.format(directory=directory, port=ORIGIN, front=FRONT))
        with serving(["nginx", "-c", str(directory / "nginx.conf")], ORIGIN, directory / "nginx.log"):
            command = [sys.executable, "-m", "lbcore", "run", "-c", str(directory / "lb.toml")]
            with serving(command, FRONT, directory / "lbcore.log"):
                line = measure(requests)
                good = f"200: {requests // CLIENTS * CLIENTS:,};" in line
                print(f"lbcore, backend_idle_timeout = 0s: {line}")
            if shutil.which("haproxy"):
                with serving(["haproxy", "-db", "-f", str(directory / "haproxy.cfg")], FRONT, directory / "haproxy.log"):
                    print(f"haproxy, http-reuse never: {measure(requests)}")
    return 0 if good else 1


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        "python -m bench.ports", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=28_500)
    parser.add_argument("--ports", type=int, default=1_000)
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return inside(arguments.requests)
    last = 30_000 + arguments.ports - 1
    script = f'ip link set lo up && echo 30000 {last} > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"'
    own = [sys.executable, "-m", "bench.ports", INSIDE, "--requests", str(arguments.requests)]
    return subprocess.run(["unshare", "--net", "--", "sh", "-c", script, "alone", *own]).returncode


if __name__ == "__main__":
    sys.exit(main())
