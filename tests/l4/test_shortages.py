"""What this host lacks (source ports, descriptors) is no backend's fault: another backend is tried, nothing is held against
anybody, and the log says once what to raise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import re
import resource
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import Command, Peer, balanced, command, dial, echo, named, read_exactly, settled, totals, wait_for
from http_peers import Backend, Client
from networks import PORTS, few_ports, fill_towards, fill_udp, from_elsewhere
from pace import paced

from lbcore.config.settings import (
    BackendSettings,
    BalancerSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
    SourceSettings,
)
from lbcore.discovery.dns import DnsSource
from lbcore.discovery.resolver import DnsFailed
from lbcore.discovery.shortages import EVERY_S, Shortages, advice, is_shortage
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore.api.balancer import Balancer

OFF = ProbeSettings(kind="off")


def settings(bind: str, *backends: str, **pool: object) -> BalancerSettings:
    rules = {"probe": OFF, "policy": "round_robin"} | pool
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind=bind, idle_timeout="1s")],
        pools=[PoolSettings(name="default", backends=[BackendSettings(address=address) for address in backends], **rules)],
    )


@contextlib.contextmanager
def told(lines: list[str], config: BalancerSettings) -> Iterator[Balancer]:
    """A balancer whose log is kept."""
    from harness import check_idle, check_ledger, is_quiet

    from lbcore.api.balancer import Balancer

    with Balancer(settings=config, log=lines.append) as lb:
        yield lb
        wait_for(lambda: is_quiet(lb.status()), "all sessions end")
        check_ledger(lb.status())
        check_idle(lb.status())


def check_nobody_blamed(lb: Balancer) -> dict[str, int]:
    status = settled(lb)
    figures = totals(status)
    assert figures["connect_failures"] == figures["connect_timeouts"] == 0, figures
    for backend in status["pools"][0]["backends"]:
        assert (backend["state"], backend["failures"]) == ("up", 0), backend
    return figures


# --- traffic ---------------------------------------------------------------------------------------------------------


def test_tcp_takes_another_backend_when_no_port_is_left_towards_one() -> None:
    lines: list[str] = []
    with (
        few_ports(),
        Peer(named(b"A"), port=9001) as a,
        Peer(named(b"B"), port=9002) as b,
        told(lines, settings("tcp://127.0.0.1:9000", a.address, b.address, retries=0)) as lb,
        contextlib.ExitStack() as stack,
    ):
        fill_towards(stack, ("127.0.0.1", a.port))
        for serial in range(PORTS):
            client = stack.enter_context(from_elsewhere(serial, lb.address))
            assert read_exactly(client, 1) == b"B"
        with pytest.raises(ConnectionResetError):
            stack.enter_context(from_elsewhere(PORTS, lb.address)).recv(1)
        figures = check_nobody_blamed(lb)
        assert figures["refused_resource"] == figures["refused"] == 1
        assert figures["shortages"] > PORTS // 2
        assert figures["retries"] == figures["retries_denied"] == 0  # no backend was asked twice
        wait_for(lambda: lines, "it is told")
        assert "ip_local_port_range" in lines[0]
        assert a.address in lines[0] or b.address in lines[0]
        assert len(lines) == 1
        outcomes = {seen["outcome"] for seen in decisions(lb._running().table.segment)}
        assert outcomes >= {"open", "no port, descriptor or memory here"}


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_http_takes_another_backend_when_no_port_is_left_towards_one(method: bytes) -> None:
    release = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/hold" in head:
            release.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nB")

    with (
        few_ports(),
        Backend(name=b"A", port=9001) as a,
        Backend(script, port=9002) as b,
        balanced(settings=settings("http://127.0.0.1:9000", a.address, b.address, retries=0, backend_idle_timeout="0s")) as lb,
        contextlib.ExitStack() as stack,
    ):
        fill_towards(stack, ("127.0.0.1", a.port))
        client, held = stack.enter_context(Client(lb.address)), stack.enter_context(Client(lb.address))
        extra = b"Content-Length: 0\r\n" if method == b"POST" else b""
        for _ in range(4):
            assert client.get(method=method, extra=extra).body == b"B"
        held.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")  # else the balancer's own port is free again each time
        wait_for(lambda: any(b"/hold" in head for head in b.heads), "it holds a port")
        fill_towards(stack, ("127.0.0.1", b.port))
        answer = client.get(method=method, extra=extra)
        assert (answer.status, b"no connection left" in answer.body) == (503, True)
        release.set()
        assert held.answer().status == 200
        assert check_nobody_blamed(lb)["shortages"] > 2


def test_https_backends_and_headers_to_them_know_a_shortage_too() -> None:
    """What is said on a fresh connection is part of connecting."""
    assert is_shortage(errno.ENOKEY)  # the rules of a pool's TLS have not come to a worker yet
    assert not is_shortage(errno.EPROTO)
    assert not is_shortage(errno.EKEYREJECTED)


def test_udp_session_waits_for_a_port_without_blame() -> None:
    lines: list[str] = []
    with few_ports(), contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for server in servers:
            server.bind(("127.0.0.1", 9001 + servers.index(server)))
            threading.Thread(target=answer_datagrams, args=(server,), daemon=True).start()
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.bind(("127.0.0.1", 9100))
        client.settimeout(0.2)
        names = ["127.0.0.1:9001", "127.0.0.1:9002"]
        lb = stack.enter_context(told(lines, settings("udp://127.0.0.1:9000", *names)))
        with contextlib.ExitStack() as taken:
            fill_udp(taken)
            client.sendto(b"lost", lb.address)
            wait_for(lambda: totals(lb.status())["refused_resource"] == 1, "no port is left")
        client.sendto(b"hello", lb.address)
        assert client.recv(100) == b"hello"
        figures = check_nobody_blamed(lb)
        assert figures["shortages"] == 2  # each backend was tried
        assert "ip_local_port_range" in lines[0]
        assert len(lines) == 1


def answer_datagrams(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, sender = server.recvfrom(2048)
            server.sendto(data, sender)


@contextlib.contextmanager
def descriptors_left(pid: int, left: int) -> Iterator[None]:
    """A process that may open so many more descriptors."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    opened = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    for _ in paced(30, 0.01):  # a probe's is there for moments only
        opened &= {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = (number for number in itertools.count() if number not in opened)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(itertools.islice(free, left, None)), before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def worker_with(running: Command, left: int) -> Iterator[None]:
    """The only worker may open so many more descriptors."""
    with descriptors_left(running.status()["workers"][0]["pid"], left):
        yield


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_a_worker_without_descriptors_blames_nobody(mode: str, tmp_path: Path) -> None:
    with Peer(echo) as a, Peer(echo) as b:
        flags = ["--listen", f"{mode}://127.0.0.1:0", "--backend", a.address, "--backend", b.address, "--health", "off"]
        with command(tmp_path, *flags) as running:
            with worker_with(running, left=1):
                for _ in range(6):  # more than max_connect_failures
                    with contextlib.suppress(ConnectionResetError):
                        with dial(running.address) as client:
                            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                            assert client.recv(100).startswith(b"HTTP/1.1 503") or mode == "tcp"
                wait_for(lambda: "open files" in running.stderr.read_text(), "it is told")
            status = settled(running)
            figures = totals(status)
            assert figures["shortages"] >= 6
            assert figures["connect_failures"] == 0
            assert [(backend["state"], backend["failures"]) for backend in status["pools"][0]["backends"]] == [("up", 0)] * 2
            assert running.stderr.read_text().count("LimitNOFILE") == 1


def test_a_worker_that_cannot_accept_says_what_to_raise(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer:
        flags = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off"]
        with command(tmp_path, *flags) as running:
            with worker_with(running, left=0):
                client = dial(running.address)
                wait_for(lambda: "LimitNOFILE" in running.stderr.read_text(), "it is told")
            with client:
                assert read_exactly(client, 2) == b"hi"


def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    """Without a descriptor for another backend, an idle connection is closed."""
    with Backend(name=b"A") as a, Backend(name=b"B") as b:
        flags = ["--listen", "http://127.0.0.1:0", "--backend", a.address, "--backend", b.address, "--health", "off"]
        with command(tmp_path, *flags, "--policy", "round_robin") as running, Client(running.address) as client:
            assert client.get().status == 200
            with worker_with(running, left=0):
                assert {client.get().body for _ in range(4)} == {b"A", b"B"}
            assert totals(settled(running))["shortages"] == 0


# --- probes ----------------------------------------------------------------------------------------------------------


def unsent(lb: Balancer) -> float:
    found = re.search(rb'^lbcore_shortages_total{what="probe"} ([0-9.]+)$', lb.metrics(), re.MULTILINE)
    assert found
    return float(found[1])


@pytest.mark.parametrize("kind", ["tcp", "http", "grpc"])
def test_probes_without_a_port_do_not_count(kind: str) -> None:
    probe = ProbeSettings(kind=kind, interval="50ms", timeout="300ms", fall=2, rise=1)
    lines: list[str] = []
    with few_ports(), Backend(port=9001) as a, contextlib.ExitStack() as stack:
        fill_towards(stack, ("127.0.0.1", a.port))
        with told(lines, settings("tcp://127.0.0.1:9000", a.address, probe=probe)) as lb:
            wait_for(lambda: unsent(lb) >= 5, "five probes could not be sent")
            backend = lb.status()["pools"][0]["backends"][0]
            assert (backend["state"], backend["reason"]) == ("up", "configured, not probed yet")
            assert b'lbcore_probes_total{result="bad"} 0.0' in lb.metrics()
            assert len(lines) == 1
            assert "ip_local_port_range" in lines[0]
            assert a.address in lines[0]


def test_udp_probes_without_a_port_do_not_count() -> None:
    probe = ProbeSettings(kind="udp", interval="50ms", timeout="300ms", fall=2, rise=1, send="hi")
    lines: list[str] = []
    with few_ports(), contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind(("127.0.0.1", 9000))
        fill_udp(stack)
        with told(lines, settings("udp://127.0.0.1:9001", "127.0.0.1:9000", probe=probe)) as lb:
            wait_for(lambda: unsent(lb) >= 5, "five probes could not be sent")
            assert lb.status()["pools"][0]["backends"][0]["state"] == "up"


@pytest.mark.parametrize("kind", ["tcp", "http", "grpc"])
def test_probes_without_descriptors_do_not_count(kind: str, tmp_path: Path) -> None:
    # grpc is not spoken here: its probes end at once
    with Backend() if kind != "grpc" else Peer(lambda connection: None) as a:
        config = tmp_path / "lb.toml"
        config.write_text(
            '[admin]\nlisten = "off"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\npool = "p"\n[[pool]]\nname = "p"\n'
            f'probe = {{ kind = "{kind}", interval = "100ms", timeout = "150ms", fall = 2 }}\n'
            f'backend = [{{ address = "{a.address}" }}]\n'
        )
        with command(tmp_path, "-c", str(config)) as running:
            unprobed = "configured, not probed yet"
            wait_for(lambda: running.status()["pools"][0]["backends"][0]["reason"] != unprobed, "it is probed")
            good = running.status()["pools"][0]["backends"][0]["state"]
            with descriptors_left(running.pid, 0):
                wait_for(lambda: "open files" in running.stderr.read_text(), "it is told")
                time.sleep(0.5)  # more than `fall` probes cannot be sent, and no call can ask for it meanwhile
            assert running.status()["pools"][0]["backends"][0]["state"] == good
            assert running.stderr.read_text().count("LimitNOFILE") == 1


def test_a_backend_of_a_family_without_an_address_is_down() -> None:
    """EADDRNOTAVAIL is not always a want of ports: this one can never be reached."""
    probe = ProbeSettings(kind="tcp", interval="50ms", timeout="300ms", fall=2)
    with few_ports(), Peer(echo, port=9002) as other:
        Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("1")
        with balanced(settings=settings("tcp://127.0.0.1:9001", "[::1]:9000", other.address, probe=probe)) as lb:
            wait_for(
                lambda: lb.status()["pools"][0]["backends"][0]["state"] == "down" or None,
                "no way leads there",
            )


# --- look-ups --------------------------------------------------------------------------------------------------------


def test_a_look_up_without_a_port_keeps_the_last_answer_and_is_told() -> None:
    found: list[tuple[int, str]] = []
    source = SourceSettings(kind="dns", name="web.example", port=80, server="127.0.0.1:5353")

    async def ask() -> None:
        await DnsSource("web", source, lambda line: None, None, lambda error, name: found.append((error, name))).ask()

    with few_ports(), contextlib.ExitStack() as stack:
        fill_udp(stack)
        with pytest.raises(DnsFailed, match="ip_local_port_range"):
            asyncio.run(ask())
    assert found
    assert found[0][1] == "web.example"


# --- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.ENOKEY],
)
def test_what_this_host_lacks_has_advice(number: int) -> None:
    assert is_shortage(number)
    assert is_shortage(OSError(number, "x"))
    assert advice(number) != os.strerror(number).lower()


@pytest.mark.parametrize(
    "number", [0, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO]
)
def test_what_a_backend_does_is_no_shortage(number: int) -> None:
    assert not is_shortage(number)


def test_memory_and_other_errors() -> None:
    assert is_shortage(MemoryError())
    assert not is_shortage(ValueError())
    assert not is_shortage(None)


def test_a_shortage_is_told_once_in_a_while() -> None:
    lines: list[str] = []
    now = [100.0]
    counted: list[str] = []
    shortages = Shortages(lines.append, counted.append, lambda: now[0])
    for _ in range(1000):
        shortages.probe(errno.EMFILE, "10.0.0.1:80")
    shortages.lookup(errno.EADDRNOTAVAIL, "web.example")
    assert len(lines) == 2
    assert "LimitNOFILE" in lines[0]
    now[0] += EVERY_S
    shortages.tell(errno.EMFILE, "10.0.0.2:80")
    assert len(lines) == 3
    assert (counted.count("shortages_probe"), counted.count("shortages_lookup")) == (1000, 1)
