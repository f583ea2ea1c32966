"""The origins behind every target: nginx with fixed answers, `uvicorn --workers 2`, and an echo of datagrams."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.certificate import Certificate, made_in
from bench.children import Child, ChildFailed, running
from bench.load import DATAGRAMS, TIMEOUT_S, Address, LoadFailed, client_threads, compiled, get
from bench.programs import Missing, find

SMALL_PATH = "/"
MEDIUM_PATH = "/medium"
BIG_PATH = "/big"
TAKE_PATH = "/take"
"""A request's body is read to its end before anything is answered."""

SIZES = (4 * 1024, 64 * 1024, 1024 * 1024)
"""Answers at /SIZE, in bytes."""

MOST_BACKENDS = 1000
_FILES = {MEDIUM_PATH: 64 * 1024, BIG_PATH: 10_000_000} | {f"/{size}": size for size in SIZES}
START_S = 15.0

_NGINX = """\
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 2147483647;
    keepalive_timeout 1h;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    open_file_cache max=16;
    server {{
        {listens}
        listen 127.0.0.1:{plain} backlog=4096;
        {certificate}
        root {directory};
        location = / {{ return 200 "ok"; }}
        location = /take {{
            client_max_body_size 16m;
            client_body_buffer_size 2m;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_method GET;
            proxy_pass http://127.0.0.1:{plain}/;
        }}
        location / {{ }}
    }}
}}
"""


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descriptors() -> int:
    """How many descriptors a process of this run may have."""
    return min(os.sysconf("SC_OPEN_MAX"), 65536)


def nginx_user() -> str:
    """As root, nginx workers stay root: the run's directory is closed to others."""
    return "user root;" if os.geteuid() == 0 else ""


def get_datagram(address: Address) -> None:
    """One datagram and its answer. Raises LoadFailed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(TIMEOUT_S / 10)
        try:
            asking.connect(address)
            asking.send(b"?")
            asking.recv(16)
        except OSError as error:
            raise LoadFailed(f"no datagram comes back from {address[0]}:{address[1]}: {error}") from None


def wait_ready(child: Child, address: Address, kind: str = "http") -> None:
    """Until `address` answers: http, tls or udp. Raises ChildFailed when the child ends or START_S passes."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            get_datagram(address) if kind == "udp" else get(address, SMALL_PATH, tls=kind == "tls")
            return
        except LoadFailed as error:
            child.check()
            if time.monotonic() > deadline:
                raise ChildFailed(f"not ready within {START_S:g} s: {error}; {child.last_words()}") from None
        time.sleep(0.02)


class Origin:
    """A running origin: the addresses on which it listens and the processes that it consists of."""

    def __init__(self, child: Child, addresses: list[Address], text: str) -> None:
        self.child = child
        self.addresses = addresses
        self.text = text


def nginx_certificate(made: Certificate) -> str:
    """nginx's lines for a certificate."""
    return f"ssl_certificate {made.certificate}; ssl_certificate_key {made.key};"


@contextlib.contextmanager
def secured(directory: Path) -> Iterator[Origin]:
    """The same over TLS. Raises Missing, ChildFailed."""
    with static(directory, speaks="ssl") as origin:
        yield origin


@contextlib.contextmanager
def http2(directory: Path) -> Iterator[Origin]:
    """The same by HTTP/2, without TLS. Raises Missing, ChildFailed."""
    with static(directory, speaks="http2") as origin:
        yield origin


@contextlib.contextmanager
def waiting(directory: Path) -> Iterator[Origin]:
    """bench/waiting.py answers `/` and nothing else. Raises ChildFailed."""
    directory.mkdir()
    address = ("127.0.0.1", free_port())
    command = [sys.executable, "-m", "bench.waiting", str(address[1])]
    with running(command, directory / "log", cwd=Path(__file__).resolve().parent.parent) as child:
        wait_ready(child, address)
        yield Origin(child, [address], " ".join(command))


@contextlib.contextmanager
def many(directory: Path) -> Iterator[Origin]:
    """The same on MOST_BACKENDS addresses. Raises Missing, ChildFailed."""
    with static(directory, count=MOST_BACKENDS) as origin:
        yield origin


def loopback(count: int, port: int) -> list[Address]:
    """So many addresses of the loopback network with this port, 127.0.0.1 first."""
    return [(f"127.0.{number // 250}.{number % 250 + 1}", port) for number in range(count)]


@contextlib.contextmanager
def static(directory: Path, *, speaks: str = "", count: int = 1) -> Iterator[Origin]:
    """nginx on `count` addresses: 2 bytes at /, 64 KiB at /medium, 10 MB at /big, SIZES. Raises Missing, ChildFailed.

    speaks: nginx's word for what else than HTTP/1.1: ssl, http2.
    """
    program = find("nginx", " (it is the origin; apt-get install nginx)")
    directory.mkdir()
    for name, size in _FILES.items():
        (directory / name.strip("/")).write_bytes(os.urandom(1000) * (size // 1000) + bytes(size % 1000))
    addresses = loopback(count, free_port())
    listen = f"listen {{}}:{{}} {speaks} backlog=4096;"
    plain = ("127.0.0.1", free_port())
    text = _NGINX.format(
        user=nginx_user(),
        workers=client_threads(),
        descriptors=descriptors(),
        connections=min(16384, descriptors() - 100),
        directory=directory,
        listens="\n        ".join(listen.format(*address) for address in addresses),
        certificate=nginx_certificate(made_in(directory)) if speaks == "ssl" else "",
        plain=plain[1],
    )
    config = directory / "nginx.conf"
    config.write_text(text)
    with running([program, "-p", str(directory), "-c", str(config), "-e", "stderr"], directory / "log") as child:
        wait_ready(child, plain)
        yield Origin(child, addresses, text)


@contextlib.contextmanager
def uvicorn(directory: Path) -> Iterator[Origin]:
    """`uvicorn --workers 2` on the plain asyncio loop with h11. Raises Missing, ChildFailed."""
    import importlib.util

    if importlib.util.find_spec("uvicorn") is None:
        raise Missing("uvicorn is not installed (pip install uvicorn)")
    directory.mkdir()
    port = free_port()
    where = f"--host 127.0.0.1 --port {port}"
    options = f"--workers 2 --loop asyncio --http h11 --lifespan off {where} --log-level warning --no-access-log"
    command = [sys.executable, "-m", "uvicorn", "bench.uvicorn_app:app", *options.split()]
    root = Path(__file__).resolve().parent.parent
    with running(command, directory / "log", cwd=root) as child:
        wait_ready(child, ("127.0.0.1", port))
        yield Origin(child, [("127.0.0.1", port)], " ".join(command))


@contextlib.contextmanager
def datagrams(directory: Path) -> Iterator[Origin]:
    """bench/datagrams.c sends back what it gets. Raises ChildFailed, LoadFailed."""
    directory.mkdir()
    with running([str(compiled(DATAGRAMS)), "echo"], directory / "log") as child:
        yield Origin(child, [("127.0.0.1", int(child.read_line(START_S)))], "datagrams echo (bench/datagrams.c)")


KINDS = {
    "static": static,
    "many": many,
    "secured": secured,
    "http2": http2,
    "waiting": waiting,
    "uvicorn": uvicorn,
    "datagrams": datagrams,
}
