"""A pool of which exactly one backend may serve: before its first probe, while nobody is good, and as the role moves."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import (
    PATIENCE_S,
    SLOWER,
    Peer,
    balanced,
    command,
    dial,
    echo,
    free_port,
    is_refused,
    named,
    read_exactly,
    settled,
    totals,
    wait_for,
)
from http_peers import Backend, Client
from postgres_peers import SERVER, Cluster, Node, Session, cluster

from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.config.toml import from_document
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore.api.balancer import Balancer

EXAMPLE = Path(__file__).parents[2] / "tools" / "docs" / "examples" / "postgres.toml"
RULES = {"initial": "down", "when_none": "refuse", "on_down": "cut"}


# --- real PostgreSQL -------------------------------------------------------------------------------------------------


def example_for(found: Cluster, tmp_path: Path) -> Path:
    """The example, with the addresses, ports and times of the test."""
    text = EXAMPLE.read_text()
    for at, node in enumerate(found.nodes):
        text = text.replace(f"10.0.0.{5 + at}:5432", f"{node.host}:{found.port}")
    for old, new in (
        ("127.0.0.1:5432", "127.0.0.1:0"),
        ("127.0.0.1:5433", "127.0.0.1:0"),
        ("port = 8008", f"port = {found.role_port}"),
        ('interval = "1s"', 'interval = "100ms"'),
    ):
        assert old in text
        text = (
            text.replace(old, new)
            if old != "127.0.0.1:5432"
            else text.replace(f'bind = "tcp://{old}"', f'bind = "tcp://{new}"')
        )
    path = tmp_path / "postgres.toml"
    path.write_text(text)
    return path


class Writers:
    """Clients that open a session, ask which node it is on, and close it, over and over."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.seen: list[tuple[float, float, str]] = []
        self.refused = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                session = Session(self.address)
                [[host]] = session.ask("select host(inet_server_addr())")
                session.close()
                self.seen.append((began, time.monotonic(), host))
            except (OSError, AssertionError):
                self.refused += 1
            self._over.wait(0.02)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def sits_on(address: tuple[str, int], node: Node) -> bool:
    try:
        session = Session(address)
        [[host]] = session.ask("select host(inet_server_addr())")
        session.close()
    except (OSError, AssertionError):
        return False
    return bool(host == node.host)


def is_lost(session: Session) -> bool:
    """Does a write fail?"""
    try:
        session.ask("insert into t values (1)")
    except (OSError, AssertionError):
        return True
    return False


@pytest.mark.skipif(SERVER is None, reason="needs PostgreSQL")
def test_no_session_reaches_a_node_that_says_503_through_a_failover(tmp_path: Path) -> None:
    with cluster() as found, command(tmp_path, "-c", str(example_for(found, tmp_path))) as lb:
        write = lb.addresses[0]
        old, new, other = found.nodes
        writers = Writers(write)
        wait_for(lambda: any(host == old.host for *_, host in writers.seen), "writes reach the primary")
        lasting = Session(write)
        lasting.ask("create table t (n int)")
        old.become("replica")  # and it takes sessions as before: only what it says of itself has changed
        wait_for(lambda: is_lost(lasting), "the session on it ends")
        lasting.socket.close()
        cut_at = time.monotonic()
        count = writers.refused
        wait_for(lambda: writers.refused > count + 3, "while there is no primary, sessions are refused")
        found.promote(new)
        promoted_at = time.monotonic()
        new.become("primary")
        wait_for(lambda: sits_on(write, new), "writes reach the new primary")
        writers.stop()
        told_at = old.told_at["/primary 503"]
        late = [(began, ended) for began, ended, host in writers.seen if host == old.host and began > told_at + 0.2 * SLOWER]
        assert not late, (told_at, late)
        assert cut_at - told_at < 1 * SLOWER, "the session on the demoted node was cut as soon as that said so"
        assert all(began > promoted_at or ended > promoted_at for began, ended, host in writers.seen if host == new.host)
        assert not [host for *_, host in writers.seen if host == other.host]
        status = lb.status()
        assert [pool["outage"] for pool in status["pools"]] == [False, False]


# --- before the first probe ------------------------------------------------------------------------------------------


def _naming(host: str, port: int) -> Peer:
    return Peer(named(host.encode().ljust(12)), host, port)


class Roles:
    """Backends in front of which somebody else says who may serve: status by host."""

    def __init__(self, *hosts: str, make: Any = None) -> None:
        self.port, self.role_port = free_port(), free_port()
        self.status = dict.fromkeys(hosts, b"503 No")
        self.peers: dict[str, Peer] = {host: (make or _naming)(host, self.port) for host in hosts}
        self.asked = dict.fromkeys(hosts, 0)
        self.endpoints = [Backend(self._script(host), host=host, port=self.role_port) for host in hosts]

    def _script(self, host: str) -> Any:
        def tell(connection: socket.socket, head: bytes, body: bytes) -> bool:
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.status[host])
            self.asked[host] += 1
            return True

        return tell

    def only(self, host: str | None) -> None:
        """Who is good from now on."""
        self.status.update({other: b"200 OK" if other == host else b"503 No" for other in self.status})

    def settings(self, mode: str = "tcp", **rules: Any) -> BalancerSettings:
        probe = ProbeSettings(kind="http", path="/", port=self.role_port, interval="50ms", timeout="1s", rise=1, fall=1)
        named_ = [BackendSettings(address=f"{host}:{self.port}") for host in self.status]
        pool = PoolSettings(probe=probe, backends=named_, **(RULES | rules))
        return BalancerSettings(listeners=[ListenerSettings(bind=f"{mode}://127.0.0.1:0")], pools=[pool], workers=1)

    def __enter__(self) -> Roles:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in (*self.peers.values(), *self.endpoints):
            peer.close()


def states(lb: Balancer) -> dict[str, str]:
    return {
        backend["address"].partition(":")[0]: backend["state"] for pool in lb.status()["pools"] for backend in pool["backends"]
    }


@pytest.fixture
def roles() -> Iterator[Roles]:
    with Roles("127.0.0.1", "127.0.0.2", "127.0.0.3") as made:
        yield made


def who(lb: Balancer) -> str:
    """Whom a new session reaches."""
    try:
        with dial(lb.address) as client:
            return read_exactly(client, 12).decode().strip()
    except (OSError, AssertionError):
        return "refused"


def test_sessions_before_the_first_probe_are_refused(roles: Roles) -> None:
    """Of three, one may serve; nobody knows which before it was asked."""
    roles.only("127.0.0.2")
    with balanced(settings=roles.settings()) as lb:
        found = []
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            found.append(who(lb))
        assert set(found) <= {"refused", "127.0.0.2"}
        wait_for(lambda: who(lb) == "127.0.0.2", "the one that is good serves")
        assert [peer.connections for host, peer in roles.peers.items() if host != "127.0.0.2"] == [0, 0]


def test_backends_begin_up_unless_told_otherwise(roles: Roles) -> None:
    with balanced(settings=roles.settings(initial="up")) as lb:
        assert {host for host, state in states(lb).items() if state == "up"} <= set(roles.status)
        wait_for(lambda: set(states(lb).values()) == {"down"}, "the probes' verdict")


def test_initial_down_without_probes_is_refused() -> None:
    for rules in ({"kind": "off"}, None):
        mode = "tcp" if rules else "udp"
        pool: dict[str, Any] = {"initial": "down", "backend": [{"address": "127.0.0.1:9"}]}
        if rules:
            pool["probe"] = rules
        with pytest.raises(ConfigError, match="initial: 'down' requires probes"):
            from_document({"listener": [{"bind": f"{mode}://127.0.0.1:0"}], "pool": [pool]})


# --- nobody is good --------------------------------------------------------------------------------------------------


def test_nobody_that_was_never_good_is_kept(roles: Roles) -> None:
    with balanced(settings=roles.settings(when_none="keep", initial="up")) as lb:
        wait_for(lambda: set(states(lb).values()) == {"down"}, "all are down")
        assert is_refused(lb.address)
        assert lb.status()["pools"][0]["outage"]


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_when_none_says_what_becomes_of_the_last_good_one(mode: str) -> None:
    make = None if mode == "tcp" else lambda host, port: Backend(name=host.encode(), host=host, port=port)
    for when_none, served in (("keep", True), ("refuse", False)):
        with Roles("127.0.0.1", "127.0.0.2", make=make) as roles:
            roles.only("127.0.0.1")
            with balanced(settings=roles.settings(mode, when_none=when_none, on_down="keep")) as lb:
                wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
                roles.only(None)
                wait_for(lambda: lb.status()["pools"][0]["outage"], "nobody is")
                assert states(lb) == {"127.0.0.1": "up" if served else "down", "127.0.0.2": "down"}
                if mode == "tcp":
                    assert is_refused(lb.address) is not served
                else:
                    with Client(lb.address) as client:
                        assert client.get().status == (200 if served else 503)


# --- sessions of a backend that goes down ------------------------------------------------------------------------------


def test_sessions_on_a_demoted_node_are_reset(roles: Roles) -> None:
    roles.only("127.0.0.1")
    with balanced(settings=roles.settings()) as lb:
        wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
        clients = [dial(lb.address) for _ in range(5)]
        for client in clients:
            read_exactly(client, 12)
        roles.only("127.0.0.2")
        for client in clients:
            with pytest.raises(ConnectionResetError):
                assert client.recv(1), "an end would mean that all is said"
            client.close()
        wait_for(lambda: who(lb) == "127.0.0.2", "the new one serves")
        assert totals(settled(lb))["closed_cut"] == 5


def test_sessions_go_on_where_on_down_is_keep(roles: Roles) -> None:
    roles.only("127.0.0.1")
    for host, peer in list(roles.peers.items()):
        peer.close()
        roles.peers[host] = Peer(echo, host, roles.port)
    with balanced(settings=roles.settings(on_down="keep")) as lb:
        wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
        with dial(lb.address) as client:
            client.sendall(b"one")
            read_exactly(client, 3)
            roles.only("127.0.0.2")
            wait_for(lambda: states(lb)["127.0.0.1"] == "down", "it is not any more")
            client.sendall(b"two")
            assert read_exactly(client, 3) == b"two"
            fresh = lb.settings.pools[0].replace(on_down="cut")
            lb.reload(lb.settings.replace(pools=[fresh]))  # a reload may say otherwise: that holds at once
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_sessions_that_are_picked_as_the_verdict_falls_are_cut(roles: Roles) -> None:
    """Sessions come all the time while the role goes round: none survives on a node whose turn is over."""
    hosts = list(roles.status)
    roles.only(hosts[0])
    with balanced(settings=roles.settings().replace(workers=2)) as lb:
        held: list[tuple[str, socket.socket]] = []
        for turn in range(6):
            host = hosts[turn % 3]
            roles.only(host)
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                with contextlib.suppress(OSError, AssertionError):
                    client = dial(lb.address)
                    held.append((read_exactly(client, 12).decode().strip(), client))
        last = hosts[5 % 3]
        wait_for(lambda: states(lb) == {host: "up" if host == last else "down" for host in hosts}, "the last turn's verdict")
        settled(lb)
        alive = set()
        for host, client in held:
            client.settimeout(0.0)
            try:
                client.recv(1)
            except BlockingIOError:
                alive.add(host)
            except OSError:
                pass
            client.close()
        assert alive <= {last}
        wait_for(lambda: not any(peer.open for host, peer in roles.peers.items() if host != last), "their ends are seen")


def http_roles(script: Any) -> Roles:
    return Roles("127.0.0.1", "127.0.0.2", make=lambda host, port: Backend(script, host=host, port=port))


def test_a_request_without_an_answer_is_told_502_when_its_backend_goes_down() -> None:
    asked = threading.Event()

    def never(connection: socket.socket, head: bytes, body: bytes) -> bool:
        asked.set()
        while connection.recv(1):
            pass
        return True

    with http_roles(never) as roles:
        roles.only("127.0.0.1")
        with balanced(settings=roles.settings("http")) as lb:
            wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
            with Client(lb.address) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
                assert asked.wait(PATIENCE_S)
                roles.only(None)
                assert client.answer().status == 502
            wait_for(lambda: not any(peer.open for peer in roles.peers.values()), "its connection is closed")


def test_half_an_answer_of_a_backend_that_goes_down_is_reset() -> None:
    def half(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        while connection.recv(1):
            pass
        return True

    with http_roles(half) as roles:
        roles.only("127.0.0.1")
        with balanced(settings=roles.settings("http")) as lb:
            wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
            with dial(lb.address) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                found = b""
                while b"half" not in found:
                    found += client.recv(4096)
                roles.only(None)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


def test_idle_connections_and_tunnels_of_a_backend_that_goes_down_are_cut() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool | None:
        if b"Upgrade:" in head:
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            echo(connection)
            return True
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return None

    with http_roles(script) as roles:
        roles.only("127.0.0.1")
        settings = roles.settings("http", backend_idle_timeout="1m")
        with balanced(settings=settings) as lb:
            wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
            with Client(lb.address) as plain, dial(lb.address) as tunnel:
                tunnel.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping")
                found = b""
                while not found.endswith(b"ping"):
                    found += tunnel.recv(4096)
                assert plain.get().body == b"ok"
                wait_for(lambda: totals(lb.status())["connections_kept"] == 1, "an idle connection is kept")
                roles.only("127.0.0.2")
                with pytest.raises(ConnectionResetError):
                    tunnel.recv(1)
                wait_for(lambda: not totals(lb.status())["connections_kept"], "it is dropped")
                wait_for(lambda: states(lb)["127.0.0.2"] == "up", "the other one is good")
                assert plain.get().body == b"ok", "the client's own connection lives"


def test_datagrams_of_a_backend_that_went_down_reach_nobody() -> None:
    with Roles("127.0.0.1", "127.0.0.2") as roles:
        servers = {}
        for host in roles.status:
            servers[host] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            servers[host].bind((host, roles.port))
            servers[host].settimeout(PATIENCE_S)
        roles.only("127.0.0.1")
        settings = roles.settings("udp")
        settings = settings.replace(listeners=[settings.listeners[0].replace(idle_timeout_ms=1000)])
        with balanced(settings=settings) as lb, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            wait_for(lambda: states(lb)["127.0.0.1"] == "up", "one is good")
            client.settimeout(PATIENCE_S)
            client.sendto(b"one", lb.address)
            asked, us = servers["127.0.0.1"].recvfrom(100)
            servers["127.0.0.1"].sendto(b"yes", us)
            assert (asked, client.recv(100)) == (b"one", b"yes")
            roles.only("127.0.0.2")
            wait_for(lambda: totals(settled(lb))["closed_cut"] == 1, "the session is cut")
            wait_for(lambda: states(lb)["127.0.0.2"] == "up", "the other one is good")
            servers["127.0.0.1"].sendto(b"late", us)
            client.sendto(b"two", lb.address)
            asked, us = servers["127.0.0.2"].recvfrom(100)
            servers["127.0.0.2"].sendto(b"new", us)
            assert (asked, client.recv(100)) == (b"two", b"new")
        for server in servers.values():
            server.close()
