"""Limits per client address: connections, new ones a second, requests a second; over all workers, and for nobody else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import (
    Command,
    Peer,
    balanced,
    check_ledger,
    command,
    dial,
    echo,
    is_refused,
    read_exactly,
    settled,
    totals,
    wait_for,
)
from http_peers import Backend, Client, field
from refusals import fails
from tls_peers import Authority, trusting

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


def settings(
    backend: str, mode: str = "tcp", *, workers: int = 2, host: str = "127.0.0.1", **listener: Any
) -> BalancerSettings:
    """One listener with limits, one backend without probes. Two workers: a limit holds for their sum."""
    return BalancerSettings(
        workers=workers,
        listeners=[ListenerSettings(bind=f"{mode}://{host}:0", **listener)],
        pools=[PoolSettings(probe=ProbeSettings(kind="off"), backends=[backend])],
    )


def dial_from(source: str, address: tuple[str, int]) -> socket.socket:
    """A connection from another address of this host."""
    return socket.create_connection(address, 10, (source, 0))


def serves(client: socket.socket) -> bool:
    """Does a byte come back?"""
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except ConnectionError:
        return False


def opened(address: tuple[str, int], count: int, source: str = "127.0.0.1") -> tuple[list[socket.socket], int]:
    """So many connections are tried: those that are served, and how many were refused."""
    kept = []
    for _ in range(count):
        with contextlib.suppress(ConnectionError):  # a reset may come before connect has returned
            client = dial_from(source, address)
            if serves(client):
                kept.append(client)
            else:
                client.close()
    return kept, count - len(kept)


def test_open_connections_of_one_address_are_bounded_over_all_workers() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, max_client_sessions=5)) as lb:
        kept, refused = opened(lb.address, 30)
        assert (len(kept), refused) == (5, 25)
        others, none = opened(lb.address, 5, "127.0.0.2")
        assert (len(others), none) == (5, 0), "another address has a limit of its own"
        figures = totals(settled(lb))
        assert (figures["refused_client_sessions"], figures["clients_counted"]) == (25, 10)
        kept.pop().close()
        wait_for(lambda: totals(settled(lb))["clients_counted"] == 9, "its place is free")
        with dial(lb.address) as client:
            assert serves(client)
        for client in [*kept, *others]:
            client.close()
        assert lb.status()["listeners"][0]["tally"]["limited"] == 25


def test_new_connections_a_second_are_paced_after_a_burst() -> None:
    limits = {"client_session_rate": 1, "client_session_burst": 4}
    with Peer(echo) as peer, balanced(settings=settings(peer.address, **limits)) as lb:
        kept, refused = opened(lb.address, 12)
        assert 4 <= len(kept) <= 6, "a burst of four, and what a slow test lets in by the second"
        for client in kept:
            client.close()
        assert totals(settled(lb))["refused_client_rate"] == refused
        wait_for(lambda: not is_refused_by_echo(lb.address), "a second later there is room for one", 5)


def is_refused_by_echo(address: tuple[str, int]) -> bool:
    """Is a client turned away?"""
    try:
        with dial(address) as client:
            return not serves(client)
    except ConnectionError:
        return True


def test_requests_a_second_are_answered_429_and_the_connection_goes_on() -> None:
    limits = {"client_request_rate": 1, "client_request_burst": 3}
    with Backend() as backend, balanced(settings=settings(backend.address, "http", **limits)) as lb:
        with Client(lb.address) as client:
            answers = [client.get() for _ in range(6)]
            statuses = [answer.status for answer in answers]
            assert statuses[:3] == [200, 200, 200]
            assert statuses.count(429) >= 2
            refused = next(answer for answer in answers if answer.status == 429)
            assert field(refused.head, b"Retry-After") == b"1"
            assert field(refused.head, b"Connection") == b"keep-alive"
            assert b"429 Too Many Requests: too many requests come from this client" in refused.body
            time.sleep(1.1)  # as it was told: a client that keeps asking is disconnected
            assert client.get("/again").status == 200
        figures = totals(settled(lb))
        assert figures["requests_limited"] == figures["requests_refused"] == lb.status()["listeners"][0]["tally"]["limited"]
        assert len(backend.heads) == figures["requests_done"], "what was refused reached no backend"


def test_who_does_not_wait_after_429_loses_the_connection() -> None:
    limits = {"client_request_rate": 1, "client_request_burst": 1}
    with Backend() as backend, balanced(settings=settings(backend.address, "http", **limits)) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 30)
            answers = []
            with contextlib.suppress(AssertionError, ConnectionError):
                while True:
                    answers.append(client.answer())
            assert [answer.status for answer in answers][:2] == [200, 429]
            assert field(answers[-1].head, b"Connection") == b"close"
            assert len(answers) < 14


def test_a_request_with_a_body_that_is_refused_ends_its_connection_cleanly() -> None:
    limits = {"client_request_rate": 1, "client_request_burst": 1}
    with (
        Backend() as backend,
        balanced(settings=settings(backend.address, "http", **limits)) as lb,
        Client(lb.address) as client,
    ):
        assert client.get().status == 200
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + bytes(200_000))
        answer = client.answer()
        assert (answer.status, field(answer.head, b"Connection")) == (429, b"close")


def test_the_client_is_the_one_that_a_proxy_header_names() -> None:
    limits = {"max_client_sessions": 2, "accept_proxy": True, "trusted_proxies": ["127.0.0.1/32"]}

    def named(ip: str) -> socket.socket:
        client = dial(lb.address)
        client.sendall(f"PROXY TCP4 {ip} 127.0.0.1 1000 80\r\n".encode())
        return client

    with Peer(echo) as peer, balanced(settings=settings(peer.address, **limits)) as lb:
        clients = [named("192.0.2.1") for _ in range(4)] + [named("192.0.2.2") for _ in range(2)]
        assert sum(serves(client) for client in clients) == 4
        for client in clients:
            client.close()
        assert totals(settled(lb))["refused_client_sessions"] == 2


def test_a_trusted_proxy_speaks_for_many_and_is_not_limited() -> None:
    limits = {"max_client_sessions": 1, "client_request_rate": 1, "trusted_proxies": ["127.0.0.1/32"]}
    with Backend() as backend, balanced(settings=settings(backend.address, "http", **limits)) as lb:
        clients = [Client(lb.address) for _ in range(4)]
        assert [client.get().status for client in clients for _ in range(5)] == [200] * 20
        for client in clients:
            client.close()


def test_an_ipv6_client_is_its_first_64_bits() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, host="[::1]", max_client_sessions=1)) as lb:
        with dial(lb.address) as first:
            assert serves(first)
            assert is_refused(lb.address)


def test_udp_sessions_of_one_address_are_bounded() -> None:
    def answer(server: socket.socket) -> None:
        while (got := server.recvfrom(100))[0] != b"end":
            server.sendto(*got)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        backend = f"127.0.0.1:{server.getsockname()[1]}"
        with balanced(settings=settings(backend, "udp", max_client_sessions=3, idle_timeout="300ms")) as lb:
            clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(8)]
            for client in clients:
                client.sendto(b"x", lb.address)
            wait_for(lambda: totals(settled(lb))["datagrams_dropped"] == 5, "five are refused")
            served = 0
            for client in clients:
                client.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    served += client.recv(10) == b"x"
            assert served == 3
            assert totals(settled(lb))["refused_client_sessions"] == 5
        clients[0].sendto(b"end", server.getsockname())
        thread.join(10)


@pytest.mark.parametrize("mode", ["https", "tls"])
def test_connections_are_refused_before_their_handshake(mode: str, authority: Authority, site: Path) -> None:
    shown = CertificateSettings(cert=str(site))
    with Backend() as backend:
        wanted = settings(backend.address, mode, max_client_sessions=2, certificates=[shown])
        with balanced(settings=wanted) as lb:
            context = trusting(authority)
            clients = [context.wrap_socket(dial(lb.address), server_hostname="a.test") for _ in range(2)]
            assert is_refused(lb.address)
            for client in clients:
                client.close()
        assert not backend.heads


def test_the_access_log_says_who_was_refused_and_why(tmp_path: Path) -> None:
    path = tmp_path / "log"
    limits = {"max_client_sessions": 1, "client_request_rate": 1, "client_request_burst": 1}
    with Backend() as backend:
        wanted = settings(backend.address, "http", **limits).replace(access_log=str(path))
        with balanced(settings=wanted) as lb:
            with Client(lb.address) as client:
                assert [client.get().status for _ in range(2)] == [200, 429]
                assert is_refused(lb.address)
            wait_for(lambda: path.read_text().count("\n") == 3, "three lines")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    refused = next(line for line in lines if line["end"] == "client_limited")
    assert (refused["by"], refused["kind"], refused["pool"], refused["backend"]) == ("balancer", "http", None, None)
    assert refused["client"].startswith("127.0.0.1:")
    late = next(line for line in lines if line.get("status") == 429)
    assert (late["end"], late["by"], late["reason"]) == (
        "local_response",
        "balancer",
        "too many requests come from this client",
    )


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[Command, Path]]:
    """`lbcore run` from a file, which allows one address five connections."""
    path = tmp_path / "lb.toml"
    with Peer(echo) as peer:
        path.write_text(
            f'workers = 2\n[[listener]]\nbind = "tcp://127.0.0.1:0"\nmax_client_sessions = 5\n'
            f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{peer.address}"\n'
        )
        with command(tmp_path, "-c", str(path), "--workers", "2") as lb:
            yield lb, path


def test_a_dead_workers_connections_are_not_counted_any_more(limited: tuple[Command, Path]) -> None:
    lb, _ = limited
    kept, _ = opened(lb.address, 12)
    assert len(kept) == 5
    for worker in lb.status()["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    wait_for(lambda: totals(settled(lb))["clients_counted"] == 0, "the dead are buried")
    wait_for(lambda: all(worker["state"] == "serving" for worker in lb.status()["workers"]), "there are new ones")
    for client in kept:
        client.close()
    kept, refused = opened(lb.address, 12)
    assert (len(kept), refused) == (5, 7)
    for client in kept:
        client.close()


def test_reload_changes_limits_of_who_is_there(limited: tuple[Command, Path]) -> None:
    lb, path = limited
    kept, _ = opened(lb.address, 8)
    assert len(kept) == 5
    path.write_text(path.read_text().replace("max_client_sessions = 5", "max_client_sessions = 7"))
    assert lb.cli("reload").returncode == 0
    more, refused = opened(lb.address, 6)
    assert (len(more), refused) == (2, 4), "the five are counted still"
    path.write_text(path.read_text().replace("max_client_sessions = 7\n", ""))
    assert lb.cli("reload").returncode == 0
    rest, refused = opened(lb.address, 6)
    assert (len(rest), refused) == (6, 0)
    for client in [*kept, *more, *rest]:
        client.close()
    assert "refused by the limits per client address" in lb.cli("status").stdout


def test_a_request_limit_that_comes_with_a_reload_holds_for_open_connections() -> None:
    with Backend() as backend:
        before = settings(backend.address, "http")
        with balanced(settings=before) as lb, Client(lb.address) as client:
            assert [client.get().status for _ in range(5)] == [200] * 5
            limits = {"client_request_rate": 1, "client_request_burst": 2}
            lb.reload(before.replace(listeners=[before.listeners[0].replace(**limits)]))
            assert [client.get().status for _ in range(5)].count(200) in (2, 3)
            client.close()
            wait_for(lambda: totals(settled(lb))["clients_counted"] == 0, "nothing is counted any more")


def test_an_upgraded_connection_stays_counted_until_it_ends() -> None:
    def upgrade(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        echo(connection)
        return True

    with Backend(upgrade) as backend, balanced(settings=settings(backend.address, "http", max_client_sessions=1)) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            assert client.answer().status == 101
            client.send(b"hello")
            assert read_exactly(client.socket, 5) == b"hello"
            assert totals(settled(lb))["clients_counted"] == 1
            assert is_refused(lb.address)


def test_without_limits_nothing_is_counted() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address)) as lb:
        with dial(lb.address) as client:
            assert serves(client)
            assert totals(settled(lb))["clients_counted"] == 0
        check_ledger(lb.status())


def test_metrics_say_how_many_were_refused() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, max_client_sessions=1)) as lb:
        kept, refused = opened(lb.address, 4)
        assert refused == 3
        text = lb.metrics().decode()
        assert 'lbcore_listener_limited_total{listener="listener-1"} 3.0' in text
        found = re.findall(r'lbcore_worker_refused_client_sessions_total\{worker="\d+"\} (\d+)', text)
        assert sum(map(int, found)) == 3
        for client in kept:
            client.close()


@pytest.mark.parametrize(
    ("listener", "says"),
    [
        ({"bind": "tcp://:0", "client_request_rate": 5}, "client_request_rate: only for mode http or https, this is tcp"),
        ({"bind": "http://:0", "client_request_burst": 5}, "client_request_burst: requires client_request_rate"),
        ({"bind": "tcp://:0", "client_session_burst": 5}, "client_session_burst: requires client_session_rate"),
        ({"bind": "tcp://:0", "max_client_sessions": -1}, "max_client_sessions: -1 is not allowed"),
        ({"bind": "http://:0", "client_request_rate": 1, "client_request_burst": 0}, "client_request_burst: 0 is not allowed"),
    ],
)
def test_limits_that_cannot_be_are_one_clear_line(listener: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ListenerSettings(**{**listener, "bind": listener["bind"].replace("//:", "//127.0.0.1:")})
    assert [problem for problem in caught.value.problems if says in problem]


# --- as flags ---------------------------------------------------------------------------------------------------------

FLAGS = ["--max-client-sessions", "5", "--client-session-rate", "90", "--client-session-burst", "100"]
OF_REQUESTS = ["--client-request-rate", "1", "--client-request-burst", "2"]


def test_limits_can_be_given_as_flags(tmp_path: Path) -> None:
    listen = ["--listen", "http://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"]
    with Backend() as backend:
        flags = [*listen, "--backend", backend.address, "--health", "off", "--workers", "2", *FLAGS, *OF_REQUESTS]
        with command(tmp_path, *flags) as lb:
            with Client(lb.addresses[0]) as client:
                assert [client.get().status for _ in range(4)].count(429) >= 1
            with contextlib.ExitStack() as held:
                clients = [held.enter_context(Client(lb.addresses[1])) for _ in range(5)]
                assert [client.get().status for client in clients] == [200] * 5, "of connections nobody counts the requests"
                assert is_refused(lb.addresses[1])


def test_flags_of_limits_are_laid_over_the_file_and_hold_when_it_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    with Peer(echo) as peer:
        file.write_text(
            '[[listener]]\nbind = "tcp://127.0.0.1:0"\nmax_client_sessions = 1000\n'
            f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{peer.address}"\n'
        )
        with command(tmp_path, "-c", str(file), *FLAGS) as lb:
            for _ in range(2):
                kept, refused = opened(lb.address, 8)
                assert (len(kept), refused) == (5, 3)
                for client in kept:
                    client.close()
                wait_for(lambda: not totals(settled(lb))["active"], "all have ended")
                assert lb.cli("reload").returncode == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--max-client-sessions", "many"], "max_client_sessions: 'many' is not allowed (allowed: a whole number from 0 to"),
        (["--client-session-burst", "5"], "client_session_burst: requires client_session_rate"),
        (OF_REQUESTS, "client_request_rate: only for mode http or https, this is tcp"),
    ],
)
@pytest.mark.parametrize("filed", [False, True])
def test_flags_of_limits_that_cannot_be_are_one_clear_line(tmp_path: Path, flags: list[str], says: str, filed: bool) -> None:
    file = tmp_path / "lb.toml"
    file.write_text('[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
    code, line = fails(tmp_path, "run", *(["-c", str(file)] if filed else ["--listen", "tcp://127.0.0.1:0"]), *flags)
    faults = 2 if flags is OF_REQUESTS else 1  # a line for each key
    assert (code, says in line, len(line.splitlines())) == (2, True, faults), line


def test_limits_are_given_to_an_embedded_balancer() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address], limits={"max_client_sessions": 3}) as lb:
        kept, refused = opened(lb.address, 5)
        assert (len(kept), refused) == (3, 2)
        for client in kept:
            client.close()


def test_limits_are_forgotten_as_time_passes() -> None:
    """A row of the table is anybody's once it says nothing: here a whole /16 comes and goes."""
    with Peer(echo) as peer, balanced(settings=settings(peer.address, max_client_sessions=1)) as lb:
        began = time.monotonic()
        for number in range(300):
            with dial_from(f"127.1.{number // 250}.{1 + number % 250}", lb.address) as client:
                assert serves(client)
        assert time.monotonic() - began < 30
        assert totals(settled(lb))["clients_uncounted"] == 0
