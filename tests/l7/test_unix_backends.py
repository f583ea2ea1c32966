"""Backends behind unix sockets: real application servers, all modes, and what is said where a socket cannot be reached."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from access_lines import logged
from file_sources import of_file, write
from h2_backends import H2Backend
from harness import Command, Peer, balanced, command, dial, echo, read_all, wait_for
from http_balancers import backend_of, figure, http
from http_peers import Backend, Client, answering, field
from rings import needs_ring
from tls_peers import Authority, TlsBackend
from tls_peers import serving as serving_tls
from unix_servers import SERVERS, serving

from lbcore.client.admin_client import AdminClient
from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore import Balancer

LOOPS = ["epoll", pytest.param("uring", marks=needs_ring)]
NOT_MINE = 65534


@pytest.fixture
def site() -> Iterator[Path]:
    """A directory with a short name: a unix socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="lb-") as name:
        yield Path(name)


def state_of(lb: Any, address: str) -> str:
    return str(backend_of(lb, address)["state"])


def reason_of(lb: Any, address: str) -> str:
    return str(backend_of(lb, address)["reason"])


# --- real servers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("loop", LOOPS)
def test_application_server_behind_its_socket_comes_back(site: Path, server: str, loop: str) -> None:
    """Requests go through; while it is stopped its probe says why; it makes the socket anew, and requests go through again."""
    log = site / "log"
    probe = ProbeSettings(kind="http", path="/", interval="50ms", rise=1, fall=1)
    flags = {"loop": loop, "access_log": str(log)}
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(contextlib.ExitStack())
        address = running.enter_context(serving(server, site))
        lb = stack.enter_context(http(address, probe=probe, when_none="refuse", top=flags))
        wait_for(lambda: state_of(lb, address) == "up", "it is up")
        url = f"http://{lb.address[0]}:{lb.address[1]}/"
        with httpx.Client() as client:
            body = random.randbytes(300_000)
            assert client.post(url, content=body).json()["size"] == len(body)
            assert client.get(url).status_code == 200
            assert [line["backend"] for line in logged(log, 2)] == [address] * 2
            running.close()
            wait_for(lambda: state_of(lb, address) == "down", "it is down")
            wait_for(
                lambda: "no such file or directory" in reason_of(lb, address) or "connection refused" in reason_of(lb, address),
                "why",
            )
            assert client.get(url).status_code == 503
            stack.enter_context(serving(server, site))
            wait_for(lambda: state_of(lb, address) == "up", "it is up again")
            assert client.post(url, content=body).json()["size"] == len(body)


def test_restart_between_two_requests_costs_no_response(site: Path) -> None:
    """The socket of a server that restarts in place: connections that were kept have ended, and the new socket is found."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(contextlib.ExitStack())
        address = running.enter_context(serving("uvicorn", site))
        lb = stack.enter_context(http(address))
        url = f"http://{lb.address[0]}:{lb.address[1]}/"
        with httpx.Client() as client:
            for _ in range(3):
                assert client.get(url).status_code == 200
                running.close()
                running = stack.enter_context(contextlib.ExitStack())
                running.enter_context(serving("uvicorn", site))
                assert client.get(url).status_code == 200


# --- modes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("datapath", ["copy", "splice", "offload"])
def test_bytes_of_a_tcp_session_arrive_whole(site: Path, datapath: str, loop: str) -> None:
    content = random.randbytes(3_000_000)

    def reversing(connection: socket.socket) -> None:
        data = read_all(connection)
        connection.sendall(hashlib.sha256(data).digest() + data)

    listener = ListenerSettings(bind="tcp://127.0.0.1:0")
    with Peer(reversing, f"unix:{site}/tcp") as peer:
        pool = PoolSettings(backends=[peer.address], probe=ProbeSettings(kind="off"))
        settings = BalancerSettings(workers=1, datapath=datapath, loop=loop, listeners=[listener], pools=[pool])
        try:
            running = stack = contextlib.ExitStack()
            lb: Balancer = stack.enter_context(balanced(settings=settings))
        except ConfigError as error:
            pytest.skip(str(error))
        with running, dial(lb.address) as client:
            sender = threading.Thread(target=lambda: (client.sendall(content), client.shutdown(socket.SHUT_WR)))
            sender.start()
            answer = read_all(client)
            sender.join()
            assert answer == hashlib.sha256(content).digest() + content


def test_abstract_socket_and_one_among_backends_with_ports(site: Path) -> None:
    name = f"unix:@lbcore-test-{os.getpid()}"
    with Backend(name=b"abstract", host=name) as local, Backend(name=b"port") as remote:
        with http(local, remote) as lb, Client(lb.address) as client:
            assert {client.get().body for _ in range(4)} == {b"abstract", b"port"}
            assert state_of(lb, name) == "up"


def test_connection_is_kept_for_the_next_request(site: Path) -> None:
    with Backend(host=f"unix:{site}/kept") as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(10):
            assert client.get().status == 200
        assert backend.connections == 1


def test_http2_backend(site: Path) -> None:
    with H2Backend(host=f"unix:{site}/h2") as backend, http(backend, protocol="h2") as lb, Client(lb.address) as client:
        for _ in range(3):
            assert client.get().body == b"ok"
        assert backend.connections == 1


@pytest.mark.parametrize("verified", [True, False])
def test_tls_to_a_socket_is_verified_for_localhost(site: Path, verified: bool) -> None:
    authority = Authority(site)
    certificate = authority.issue("localhost" if verified else "else.test")
    with TlsBackend(serving_tls(certificate), host=f"unix:{site}/tls") as backend:
        with http(backend, tls=True, tls_ca=str(authority.cert), max_connect_failures=0) as lb, Client(lb.address) as client:
            assert client.get().status == (200 if verified else 502)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_proxy_header_tells_who_the_client_is(site: Path, version: str) -> None:
    with Peer(echo, f"unix:{site}/proxy") as peer:
        pool = PoolSettings(backends=[peer.address], send_proxy=version, probe=ProbeSettings(kind="off"))
        settings = BalancerSettings(workers=1, listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")], pools=[pool])
        with balanced(settings=settings) as lb, dial(lb.address) as client:
            client.sendall(b"hello")
            heard = client.recv(1000)
            while b"hello" not in heard:
                heard += client.recv(1000)
            ports = client.getsockname()[1], lb.address[1]
    if version == "v1":
        assert heard == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello" % ports
    else:
        assert heard.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")


def test_request_without_a_host_is_for_localhost(site: Path) -> None:
    with Backend(host=f"unix:{site}/host") as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.answer().status == 200
        assert field(backend.heads[0], b"Host") == b"localhost"


def test_half_a_response_is_no_whole_one(site: Path) -> None:
    half = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", end=True)
    with Backend(half, host=f"unix:{site}/half") as backend, http(backend) as lb, Client(lb.address) as client:
        with pytest.raises((ConnectionError, AssertionError, ValueError)):
            client.get()


# --- sockets that cannot be reached --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a socket to somebody else")
def test_refused_permission_is_named(site: Path) -> None:
    """Workers have no root's rights, whoever they run as; the control plane's probe alone would succeed."""
    with Backend(host=f"unix:{site}/theirs") as backend:
        os.chown(site / "theirs", NOT_MINE, NOT_MINE)
        os.chmod(site / "theirs", 0o600)
        flags = ("--listen", "http://127.0.0.1:0", "--backend", backend.address, "--health", "off")
        with command(site, *flags) as lb:
            for _ in range(3):
                with Client(lb.address) as client:
                    assert client.get().status in (502, 503)
            told = "permission denied: workers (root without capabilities) need write permission on the socket"
            wait_for(lambda: told in reason_of(lb, backend.address), "it is told")


def test_full_backlog_is_a_refusal_and_not_a_lack_of_ports(site: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf, contextlib.ExitStack() as stack:
        deaf.bind(f"{site}/deaf")
        deaf.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(f"{site}/deaf")
        with Backend() as other, http(f"unix:{site}/deaf", other, max_connect_failures=0) as lb, Client(lb.address) as client:
            assert {client.get().status for _ in range(4)} == {200}
            assert figure(lb, "connect_failures") >= 1
            assert figure(lb, "shortages") == 0
    probe = ProbeSettings(kind="tcp", interval="50ms", rise=1, fall=1)
    with http(f"unix:{site}/nobody", probe=probe, when_none="refuse") as lb:
        wait_for(lambda: state_of(lb, f"unix:{site}/nobody") == "down", "it is down")
        wait_for(lambda: "its server has not made the socket" in reason_of(lb, f"unix:{site}/nobody"), "why")


# --- where addresses come from -------------------------------------------------------------------------------------------


def test_operators_add_one_over_the_unix_socket_only(site: Path) -> None:
    with Backend(host=f"unix:{site}/added") as backend:
        (site / "token").write_text("secret-secret-secret")
        (site / "lb.toml").write_text(
            f'workers = 1\n[admin]\nlisten = "127.0.0.1:0"\ntoken_file = "{site}/token"\n'
            '[[listener]]\nbind = "http://127.0.0.1:0"\n[[pool]]\nname = "default"\n[pool.probe]\nkind = "off"\n'
        )
        lb = Command(site, "-c", str(site / "lb.toml"))
        try:
            remote = AdminClient(lb.admin, token="secret-secret-secret")
            code, answer = remote.call("POST", "/backends/add", {"address": backend.address})
            assert (code, "unix socket only" in str(answer)) == (403, True)
            done = lb.cli("backend", "add", f"unix:{site}/./added")
            assert done.returncode == 0, done.stderr
            with Client(lb.address) as client:
                assert client.get().body == b"backend"
            assert backend.address in lb.cli("status").stdout
            assert backend.address in lb.cli("why", "--json").stdout
            code, answer = remote.call("POST", "/register", {"server_ip": backend.address, "port": 80})
            assert code == 422, answer
            assert remote.call("POST", "/backends/drain", {"address": backend.address})[0] == 200
        finally:
            lb.stop()


def test_file_source_names_sockets(site: Path) -> None:
    with Backend(host=f"unix:{site}/a", name=b"a") as a, Backend(host=f"unix:{site}/b", name=b"b") as b:
        write(site / "list", f"{a.address} weight=3\n")
        with http(sources=[of_file(site / "list")]) as lb:
            wait_for(lambda: lb.status()["pools"][0]["backends"], "it is read")
            with Client(lb.address) as client:
                assert client.get().body == b"a"
            write(site / "list", f"{b.address}\n")
            wait_for(lambda: backend_states(lb) == {b.address}, "it is followed")
            with Client(lb.address) as client:
                assert client.get().body == b"b"


def backend_states(lb: Balancer) -> set[str]:
    return {entry["address"] for entry in lb.status()["pools"][0]["backends"] if entry["state"] == "up"}


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("unix:relative", "is not unix:/ABSOLUTE/PATH or unix:@NAME"),
        ("unix:", "is not unix:/ABSOLUTE/PATH or unix:@NAME"),
        ("unix:@", "is not unix:/ABSOLUTE/PATH or unix:@NAME"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/a b", "no spaces, quotes"),
        ('unix:/a"b', "no spaces, quotes"),
        ("unix:/\N{SNOWMAN}", "printable ASCII"),
        ("unix:/a\nb", "is not allowed"),
    ],
)
def test_bad_path_is_named(address: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        BackendSettings(address=address)


def test_one_spelling() -> None:
    assert BackendSettings(address="unix:///run//a/../app.sock").address == "unix:/run/app.sock"
    assert BackendSettings(address="unix:/" + "x" * 106).address == "unix:/" + "x" * 106


@pytest.mark.parametrize(
    ("bind", "probe", "word"),
    [
        ("udp://127.0.0.1:0", {"kind": "off"}, "backend unix:/a: not for listeners of mode udp"),
        ("tcp://127.0.0.1:0", {"kind": "http", "port": 80}, "probe.port: 80 is not for the unix socket unix:/a"),
        ("tcp://127.0.0.1:0", {"kind": "udp", "send": "x"}, "udp does not reach the unix socket unix:/a"),
    ],
)
def test_what_a_socket_cannot_do_is_refused(bind: str, probe: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        BalancerSettings(
            listeners=[ListenerSettings(bind=bind)],
            pools=[PoolSettings(backends=["unix:/a"], probe=ProbeSettings(**probe))],
        )
