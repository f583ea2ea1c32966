"""The PROXY header before requests: a backend connection begins with one client's, and carries only that client's requests."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from certificates import make_certificate
from harness import Peer, balanced, dial, free_port, wait_for
from http_balancers import GET, OFF, OK, figure, http
from http_peers import Backend, Client, Reader, answering
from real_peers import needs, running

from lbcore import _engine
from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, RouteSettings

if TYPE_CHECKING:
    from lbcore import Balancer

V2 = b"\r\n\r\n\0\r\nQUIT\n"
TOLD = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
ACCEPTING = {"accept_proxy": True, "trusted_proxies": ["127.0.0.0/8"]}
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


def tell(connection: socket.socket, head: bytes, header: bytes) -> None:
    """Answers with the header that the connection began with."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(header), header))


class Told(Backend):
    """Takes a header off each connection, answers with it. `good`: after so many requests of a connection, the next is met with
    the connection's end; 0: never. headers: one a connection."""

    def __init__(self, script: Any = None, good: int = 0) -> None:
        self.good = good
        self.headers: list[bytes] = []
        self.ends = 0
        super().__init__(script or tell)

    def _header(self, reader: Reader) -> bytes:
        first = reader.exactly(16)
        if first.startswith(V2):
            return first + reader.exactly(struct.unpack("!H", first[14:])[0])
        while first and not first.endswith(b"\r\n"):
            first += reader.exactly(1)
        return first

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        reader = Reader(connection)
        header = self._header(reader)
        if header:
            self.headers.append(header)
        answered = 0
        try:
            while (head := reader.head()) is not None and (not self.good or answered < self.good):
                self.heads.append(head)
                self.bodies.append(reader.body(head))
                self.script(connection, head, header)
                answered += 1
        finally:
            self.ends += 1


def v1_of(client: Client, lb: Balancer) -> bytes:
    """The header of a client that came by itself."""
    ip, port = client.socket.getsockname()[:2]
    family = 6 if ":" in ip else 4
    return f"PROXY TCP{family} {ip} {client.socket.getpeername()[0]} {port} {lb.address[1]}\r\n".encode()


# --- whose it is -----------------------------------------------------------------------------------------------------


def test_backend_is_told_whose_requests_come() -> None:
    with Told() as backend, http(backend, send_proxy="v1") as lb, Client(lb.address) as client:
        assert client.get().body == v1_of(client, lb)
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in backend.heads[0]


def test_over_ipv6() -> None:
    with Told() as backend:
        pools = [PoolSettings(backends=[backend.address], probe=OFF, send_proxy="v1")]
        settings = BalancerSettings(workers=1, listeners=[ListenerSettings(bind="http://[::1]:0")], pools=pools)
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            assert client.get().body == v1_of(client, lb)


def test_version_2() -> None:
    with Told() as backend, http(backend, send_proxy="v2") as lb, Client(lb.address) as client:
        told = _engine.read_proxy(client.get().body)
        assert told is not None
        assert (told["source"], told["target"]) == (client.socket.getsockname(), lb.address)


def test_client_that_a_header_named_is_named_again() -> None:
    """Not the proxy before us, from whose socket it came."""
    with Told() as backend, http(backend, listener=ACCEPTING, send_proxy="v1") as lb, Client(lb.address) as client:
        client.send(TOLD)
        assert client.get().body == client.get().body == TOLD


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", V2 + b"\x20\x00\0\0"], ids=["v1", "v2"])
def test_proxy_that_speaks_for_itself_is_named(header: bytes) -> None:
    with Told() as backend, http(backend, listener=ACCEPTING, send_proxy="v1") as lb, Client(lb.address) as client:
        client.send(header)
        assert client.get().body == v1_of(client, lb)


# --- and nobody else's -----------------------------------------------------------------------------------------------


def test_kept_connection_is_never_another_clients() -> None:
    with Told() as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h") as lb, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(lb.address)) for _ in range(5)]
        for _ in range(10):
            for client in clients:
                assert client.get().body == v1_of(client, lb)
        assert backend.connections == 5
        assert figure(lb, "connections_reused") == 45


def test_pipelined_requests_stay_on_their_clients_connection() -> None:
    with Told() as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h") as lb:
        with Client(lb.address) as one, Client(lb.address) as other:
            for _ in range(3):
                one.send(5 * GET)
                other.send(5 * GET)
                for client in (one, other):
                    assert [client.answer().body for _ in range(5)] == 5 * [v1_of(client, lb)]
        assert backend.connections == 2


def test_connection_ends_with_its_client() -> None:
    """The next client, which gets its place in memory, does not get its connection."""
    with Told() as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h") as lb:
        for number in range(1, 6):
            with Client(lb.address) as client:
                assert client.get().body == v1_of(client, lb)
            wait_for(lambda number=number: backend.ends == number, "the backend's connection ends")
        wait_for(lambda: figure(lb, "active") == 0, "the client's end is seen")
        assert figure(lb, "connections_kept") == 0


def test_connection_of_a_client_that_says_farewell_is_not_kept() -> None:
    with Told() as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        assert client.get(extra=b"Connection: close\r\n").status == 200
        wait_for(lambda: backend.ends == 1, "the backend's connection ends")
        assert figure(lb, "connections_kept") == 0


def test_client_that_leaves_in_the_middle_takes_its_connections_along() -> None:
    asked = threading.Event()

    def answers_the_first(connection: socket.socket, head: bytes, header: bytes) -> None:
        if b"/stay" in head:
            asked.set()
        else:
            connection.sendall(OK)

    with Told(answers_the_first) as one, Told(answers_the_first) as other:
        with http(one, other, send_proxy="v1", backend_idle_timeout="1h") as lb, Client(lb.address) as client:
            client.get()
            client.get()
            client.send(GET.replace(b"/ ", b"/stay "))
            asked.wait(10)
            client.close()
            wait_for(lambda: one.ends + other.ends == 2, "both connections end")


def test_client_keeps_a_few_connections_only() -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Told()) for _ in range(7)]
        with http(*backends, send_proxy="v1", backend_idle_timeout="1h") as lb, Client(lb.address) as client:
            for _ in range(21):
                assert client.get().body == v1_of(client, lb)
            assert figure(lb, "connections_kept") <= 4
            assert figure(lb, "connections_reused") > 0


def test_pools_that_tell_and_pools_that_do_not_keep_apart() -> None:
    with Told() as told, Backend() as plain:
        settings = BalancerSettings(
            workers=1,
            drain_timeout="2s",
            listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
            pools=[
                PoolSettings(name="told", backends=[told.address], probe=OFF, send_proxy="v1", backend_idle_timeout="1h"),
                PoolSettings(name="plain", backends=[plain.address], probe=OFF, backend_idle_timeout="1h"),
            ],
            routes=[RouteSettings(path_prefix="/told", pool="told"), RouteSettings(path_prefix="/", pool="plain")],
        )
        with balanced(settings=settings) as lb, Client(lb.address) as one, Client(lb.address) as other:
            for _ in range(4):
                for client in (one, other):
                    assert client.get("/told").body == v1_of(client, lb)
                    assert client.get("/").body == b"backend"
            assert (told.connections, plain.connections) == (2, 1)


def test_reload_that_begins_to_tell_leaves_old_connections_alone() -> None:
    """What was kept before began without a header; and what began with one is nobody else's afterwards."""
    with Told() as backend:
        port = free_port()

        def settings(send_proxy: str) -> BalancerSettings:
            pool = PoolSettings(backends=[backend.address], probe=OFF, send_proxy=send_proxy, backend_idle_timeout="1h")
            return BalancerSettings(workers=1, listeners=[ListenerSettings(bind=f"http://127.0.0.1:{port}")], pools=[pool])

        with balanced(settings=settings("v1")) as lb, Client(lb.address) as one, Client(lb.address) as other:
            assert one.get().body == v1_of(one, lb)
            lb.reload(settings("off"))
            other.send(GET)
            assert other.answer().body == b"GET / HTTP/1.1\r\n"  # which that backend takes for the header
            lb.reload(settings("v1"))
            for client in (one, other, one, other):
                assert client.get().body == v1_of(client, lb)
            assert backend.connections == 3


# --- TLS that ends here ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["https", "tls"])
@pytest.mark.parametrize("shows", [True, False], ids=["with a certificate", "without one"])
def test_backend_is_told_what_was_agreed_on(tmp_path: Path, mode: str, shows: bool) -> None:
    cert, key = make_certificate(tmp_path, "site.test")
    own, own_key = make_certificate(tmp_path, "client.test")
    certificates = [CertificateSettings(cert=str(cert), key=str(key))]
    asks = {"client_cert": "optional", "client_ca": str(own)} | ({"alpn": ["http/1.1"]} if mode == "tls" else {})
    listener = ListenerSettings(bind=f"{mode}://127.0.0.1:0", certificates=certificates, **asks)
    context = ssl.create_default_context(cafile=str(cert))
    context.set_alpn_protocols(["h3", "http/1.1"])
    if shows:
        context.load_cert_chain(own, own_key)
    with Told() as backend:
        kept = {} if mode == "tls" else {"backend_idle_timeout": "1h"}
        pools = [PoolSettings(backends=[backend.address], probe=OFF, send_proxy="v2", **kept)]
        settings = BalancerSettings(workers=1, listeners=[listener], pools=pools, drain_timeout="2s")
        with balanced(settings=settings) as lb:
            for _ in range(2):  # not the connection that was
                with context.wrap_socket(dial(lb.address), server_hostname="site.test") as client:
                    source = client.getsockname()
                    for _ in range(2):
                        client.sendall(GET)
                        reader = Reader(client)
                        head = reader.head()
                        assert head is not None
                        told = _engine.read_proxy(header := reader.body(head))
                        assert told is not None
                        assert (told["source"], told["target"]) == (source, lb.address)
                        assert (told["authority"], told["alpn"], told["tls"]) == (b"site.test", b"http/1.1", True)
                        version = b"\x21\0\x07TLSv1.3"
                        name = b"\x22\0\x0bclient.test"
                        flags = b"\x05\0\0\0\0" if shows else b"\x01\0\0\0\x01"
                        assert header.endswith(flags + version + (name if shows else b""))
            assert backend.connections == 2


# --- when something fails --------------------------------------------------------------------------------------------


def test_replay_begins_with_the_header_again() -> None:
    with Told(good=1) as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h", retry_budget=100) as lb:
        with Client(lb.address) as client:
            for _ in range(5):
                assert client.get().body == v1_of(client, lb)
            assert backend.headers == 5 * [v1_of(client, lb)]
            assert figure(lb, "replays") == 4


def test_post_on_a_connection_that_closes_is_never_sent_twice() -> None:
    with Told(good=1) as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        statuses = []
        for _ in range(2):
            client.send(POST)
            statuses.append(client.answer().status)
        assert statuses == [200, 502]
        assert figure(lb, "replays") == 0


def test_backend_that_refuses_is_not_the_only_one_to_be_told() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with Told() as alive, http(dead, alive, max_connect_failures=0, send_proxy="v1") as lb, Client(lb.address) as client:
        for _ in range(4):
            assert client.get().body == v1_of(client, lb)
        assert figure(lb, "retries") > 0


def test_backend_that_closes_when_it_reads_the_header_is_502() -> None:
    def slam(connection: socket.socket) -> None:
        connection.recv(4)

    with Peer(slam) as peer, http(peer.address, send_proxy="v1", max_failed_responses=0) as lb, Client(lb.address) as client:
        assert client.get().status == 502
        assert client.get().status == 502


def test_connections_that_close_at_random_moments_never_mix_clients() -> None:
    dice = random.Random(7)

    def script(connection: socket.socket, head: bytes, header: bytes) -> None:
        tell(connection, head, header)
        if dice.random() < 0.2:
            connection.shutdown(socket.SHUT_RDWR)

    wrong: list[object] = []

    def ask(lb: Balancer) -> None:
        for _ in range(10):
            with Client(lb.address) as client:
                for _ in range(dice.randrange(1, 12)):
                    answer = client.get()
                    if answer.status == 200 and answer.body != v1_of(client, lb):
                        wrong.append(answer)
                    if answer.status != 200 and answer.status != 502:
                        wrong.append(answer)

    with Told(script) as one, Told(script) as other:
        with http(
            one,
            other,
            send_proxy="v1",
            backend_idle_timeout="1h",
            max_failed_responses=0,
            max_connect_failures=0,
            retry_budget=100,
        ) as lb:
            threads = [threading.Thread(target=ask, args=(lb,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not wrong
            assert len(one.headers + other.headers) >= 80


def test_queued_request_is_told_for_its_own_client() -> None:
    go = threading.Event()

    def script(connection: socket.socket, head: bytes, header: bytes) -> None:
        go.wait(10)
        tell(connection, head, header)

    with Told(script) as backend, http(backend, send_proxy="v1", max_active=1, queue=10) as lb:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(lb.address)) for _ in range(4)]
            for client in clients:
                client.send(GET)
            wait_for(lambda: figure(lb, "queued") == 3, "three wait")
            go.set()
            for client in clients:
                assert client.answer().body == v1_of(client, lb)


def test_upgraded_connection_began_with_the_header() -> None:
    def switch(connection: socket.socket, head: bytes, header: bytes) -> None:
        connection.sendall(b"HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n" + header)

    with Told(switch) as backend, http(backend, send_proxy="v1") as lb, Client(lb.address) as client:
        client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert client.answer().status == 101
        expected = v1_of(client, lb)
        assert client.reader.exactly(len(expected)) == expected


def test_kept_connections_make_room_for_others() -> None:
    """At the bound of connections, the eldest idle one goes, whoever's it is."""
    with Told() as backend, http(backend, send_proxy="v1", backend_idle_timeout="1h", top={"max_sessions": 8}) as lb:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(lb.address)) for _ in range(8)]
            for _ in range(3):
                for client in clients:
                    assert client.get().body == v1_of(client, lb)


def test_pools_without_it_share_as_before() -> None:
    with Backend(answering(OK)) as backend, http(backend, backend_idle_timeout="1h") as lb:
        for _ in range(5):
            with Client(lb.address) as client:
                assert client.get().status == 200
        assert backend.connections == 1


# --- real peers ------------------------------------------------------------------------------------------------------


@needs("nginx")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_before_nginx(tmp_path: Path, version: str) -> None:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\n"
        "events { worker_connections 200; }\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port} proxy_protocol; location / {{ default_type text/plain;"
        ' return 200 "$proxy_protocol_addr $proxy_protocol_port $connection_requests"; } } }\n'
    )
    with running(["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], port, tmp_path):
        with http(f"127.0.0.1:{port}", send_proxy=version, backend_idle_timeout="1h") as lb:
            with Client(lb.address) as one, Client(lb.address) as other:
                for number in (1, 2, 3):
                    for client in (one, other):
                        ip, source = client.socket.getsockname()
                        assert client.get().body == f"{ip} {source} {number}".encode()


@needs("haproxy")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_before_haproxy(tmp_path: Path, version: str) -> None:
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"frontend it\n bind 127.0.0.1:{port} accept-proxy\n"
        ' http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst_port]"\n'
    )
    with running(["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")], port, tmp_path):
        with http(f"127.0.0.1:{port}", listener=ACCEPTING, send_proxy=version, backend_idle_timeout="1h") as lb:
            with dial(lb.address) as connection:
                connection.sendall(TOLD)
                reader = Reader(connection)
                for _ in range(3):
                    connection.sendall(GET)
                    head = reader.head()
                    assert head is not None
                    assert reader.body(head) == b"192.0.2.7:4711 443"
