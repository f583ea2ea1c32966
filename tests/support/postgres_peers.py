"""Real PostgreSQL: a primary and standbys on loopback addresses, what Patroni would say of each, and a client."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import PATIENCE_S, SLOWER, free_port, read_exactly, wait_for
from http_peers import Backend

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = shutil.which("postgres")
BIN = Path(os.path.realpath(SERVER)).parent if SERVER else Path("/nowhere")
_AS_USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


class Session:
    """A client's session: PostgreSQL's protocol, version 3, simple queries alone."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Raises OSError."""
        self.socket = socket.create_connection(address, PATIENCE_S * SLOWER)
        try:
            parameters = b"user\0postgres\0database\0postgres\0\0"
            self.socket.sendall(struct.pack("!ii", len(parameters) + 8, 196608) + parameters)
            self._until_ready()
        except BaseException:
            self.socket.close()
            raise

    def _until_ready(self) -> list[list[str]]:
        rows: list[list[str]] = []
        while True:
            kind, length = struct.unpack("!ci", read_exactly(self.socket, 5))
            body = read_exactly(self.socket, length - 4)
            if kind == b"E":
                raise ConnectionError(body.decode(errors="replace"))
            if kind == b"D":
                rows.append(_row(body))
            if kind == b"Z":
                return rows

    def ask(self, query: str) -> list[list[str]]:
        """The rows of its answer. Raises OSError."""
        text = query.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        return self._until_ready()

    def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(OSError):
            self.socket.sendall(b"X\0\0\0\4")
        self.socket.close()


def _row(body: bytes) -> list[str]:
    found, at = [], 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        (length,) = struct.unpack_from("!i", body, at)
        found.append(body[at + 4 : at + 4 + max(0, length)].decode())
        at += 4 + max(0, length)
    return found


class Node:
    """A server, and the endpoint that says what it is. role: "primary" or "replica"; demoted_at: when it first said that it is
    the primary no more."""

    def __init__(self, host: str, data: Path, role_port: int) -> None:
        self.host, self.data = host, data
        self.role = "replica"
        self.told_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self.endpoint = Backend(self._tell, host=host, port=role_port)

    def _tell(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        with self._lock:
            good = head.split()[1].startswith(f"/{self.role}".encode())
        status = b"200 OK" if good else b"503 Service Unavailable"
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        self.told_at.setdefault(f"{head.split()[1].decode()} {status[:3].decode()}", time.monotonic())
        return True

    def become(self, role: str) -> None:
        """What it says from now on."""
        with self._lock:
            self.role = role
            self.told_at.clear()


class Cluster:
    """Three nodes, the first of them the primary."""

    def __init__(self, nodes: list[Node], port: int, role_port: int) -> None:
        self.nodes, self.port, self.role_port = nodes, port, role_port

    def promote(self, node: Node) -> None:
        """Make a standby the primary."""
        _run("pg_ctl", "-D", str(node.data), "-w", "promote")


def _run(program: str, *arguments: str) -> None:
    subprocess.run([*_AS_USER, str(BIN / program), *arguments], check=True, stdout=subprocess.DEVNULL, timeout=60)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """It runs until the end of the block."""
    directory = Path(tempfile.mkdtemp(prefix="lbcore-postgres-"))
    if _AS_USER:
        shutil.chown(directory, "postgres", "postgres")
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    port, role_port = free_port(), free_port()
    data = [directory / host for host in hosts]
    nodes = [Node(host, at, role_port) for host, at in zip(hosts, data, strict=True)]
    try:
        _run("initdb", "-D", str(data[0]), "-A", "trust", "-U", "postgres", "--no-sync", "-N", "--no-instructions")
        for at in data[1:]:
            subprocess.run([*_AS_USER, "cp", "-a", str(data[0]), str(at)], check=True, timeout=60)
            (at / "standby.signal").touch()
        for at, host in zip(data, hosts, strict=True):
            _configure(at, host, port, f"host={hosts[0]} port={port} user=postgres")
        for at in data:
            _run("pg_ctl", "-D", str(at), "-l", str(at / "log"), "-W", "start")
        wait_for(lambda: all(_takes_sessions((host, port)) for host in hosts), "PostgreSQL runs", 60)
        nodes[0].become("primary")
        yield Cluster(nodes, port, role_port)
    finally:
        for node in nodes:
            node.endpoint.close()
        for at in data:
            with contextlib.suppress(subprocess.SubprocessError):
                _run("pg_ctl", "-D", str(at), "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory, ignore_errors=True)


def _takes_sessions(address: tuple[str, int]) -> bool:
    try:
        Session(address).close()
    except (OSError, AssertionError):
        return False
    return True


def _configure(data: Path, host: str, port: int, primary: str) -> None:
    with (data / "postgresql.conf").open("a") as file:
        file.write(
            f"listen_addresses = '{host}'\nport = {port}\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 16MB\n"
            f"primary_conninfo = '{primary}'\nwal_level = replica\n"
        )
