"""Few local ports: connections to backends that are not kept must leave none of them in TIME_WAIT."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from certificates import make_certificate
from http_balancers import POST, backend_of, figure, http, path_of, told
from http_peers import Backend, Client, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

PORTS = 100
REQUESTS = 400
NEW_NETWORK = 0x40000000  # CLONE_NEWNET


def _few_ports() -> None:
    """This thread, and those that it starts, live in a network of their own that has a hundred local ports."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK):
        pytest.skip("no network of its own can be made here")
    with socket.socket() as asked:
        fcntl.ioctl(asked, 0x8914, struct.pack("16sh14x", b"lo", 0x1))  # SIOCSIFFLAGS: up
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"30000 {30000 + PORTS - 1}")


def with_few_ports(run: Callable[[], None]) -> None:
    """Run it in a thread that has few local ports; what it raises is raised."""
    raised: list[BaseException] = []

    def inside() -> None:
        try:
            _few_ports()
            run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


class Closing(Backend):
    """Answers with the path. Closes when a request says close (polite), waits for our end whatever was said (deaf), or says
    close itself and closes a moment later (late)."""

    def __init__(self, manner: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self.manner, self.context = manner, context
        super().__init__(port=port)

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = self.context.wrap_socket(connection, server_side=True) if self.context else connection
        reader = Reader(secure)
        while (head := reader.head()) is not None:
            reader.body(head)
            if head.startswith(b"HEAD"):
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            elif path_of(head) == b"/304":
                secure.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            elif self.manner == "late":
                secure.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n/")
            else:
                told(secure, path_of(head))
            if self.manner != "deaf" and (self.manner == "late" or b"\r\nConnection: close" in head):
                if self.manner == "late":
                    time.sleep(0.001)  # a moment in which the response may have been passed on already, or not
                secure.close()
                return


def check(manner: str, ask: Callable[[Client], int], context: ssl.SSLContext | None = None, **options: Any) -> None:
    """Four times as many requests as there are ports: all of them get their response."""

    def run() -> None:
        with Closing(manner, 40000, context) as backend, http(backend, max_connect_failures=0, **options) as lb:
            with Client(lb.address) as client:
                statuses = [ask(client) for _ in range(REQUESTS)]
            assert set(statuses) <= {200, 304}
            assert figure(lb, "connects") >= REQUESTS
            entry = backend_of(lb, backend.address)
            assert (entry["state"], entry["failures"]) == ("up", 0)

    with_few_ports(run)


def get(client: Client) -> int:
    """A GET's status."""
    return client.get().status


def post(client: Client) -> int:
    """A POST's status."""
    client.send(POST)
    return client.answer().status


@pytest.mark.parametrize("manner", ["polite", "deaf", "late"])
@pytest.mark.parametrize("ask", [get, post])
@pytest.mark.parametrize("limits", [{"backend_idle_timeout": "0s"}, {"max_idle_connections": 0}])
def test_connections_that_are_not_kept_use_up_no_ports(
    manner: str, ask: Callable[[Client], int], limits: dict[str, Any]
) -> None:
    check(manner, ask, **limits)


@pytest.mark.parametrize("manner", ["polite", "deaf"])
@pytest.mark.parametrize("what", ["head", "304"])
def test_responses_without_a_body_use_up_no_ports(manner: str, what: str) -> None:
    check(manner, lambda client: client.get(method=b"HEAD").status if what == "head" else client.get("/304").status)


def test_backend_that_says_close_to_each_request_uses_up_no_ports() -> None:
    check("late", get)


@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_tls_connections_that_are_not_kept_use_up_no_ports(tmp_path: Path, manner: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "backend.example"))
    check(manner, get, context, backend_idle_timeout="0s", tls=True, tls_verify=False)
