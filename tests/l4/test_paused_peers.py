"""Peers that pause and peers that are gone: user_timeout is for those that acknowledge nothing, and for no others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from harness import PATIENCE_S, Peer, balanced, connections, deafen, dial, read_exactly, stays, wait_for
from http_balancers import GET, backend_of, figure, http
from http_peers import Backend, Client, Reader
from kernels import needs_kernel
from pace import paced, send_paced
from tls_peers import Authority, trusting

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OFF = ProbeSettings(kind="off")
BLOCK = os.urandom(1 << 16)
SIZE = 200 * len(BLOCK)
"""More than sockets hold."""
DIGEST = hashlib.sha256(BLOCK * (SIZE // len(BLOCK))).hexdigest()
TIMEOUT_S = 0.8
PAUSE_S = 2.6
"""More than three times as long."""
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE


def pour(connection: socket.socket) -> None:
    """Send SIZE bytes."""
    for _ in range(SIZE // len(BLOCK)):
        connection.sendall(BLOCK)


def digest_with_a_pause(connection: socket.socket) -> str:
    """Read a little, nothing for a while, then on: what SIZE bytes were, or how many came."""
    found = hashlib.sha256(read_exactly(connection, 1000))
    time.sleep(PAUSE_S)  # a reader's pause, which is what is tested
    got = 1000
    while got < SIZE and (data := connection.recv(min(1 << 20, SIZE - got))):
        found.update(data)
        got += len(data)
    return found.hexdigest() if got == SIZE else f"{got} bytes"


def read_head(connection: socket.socket) -> None:
    """Up to the empty line, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)


class Taking(Peer):
    """A backend that takes an upload after a pause, and answers with its digest. first: what comes before it."""

    def __init__(self, first: bytes = b"", *, head: bool = False) -> None:
        self._first, self._head = first, head
        super().__init__(self._take)

    def _take(self, connection: socket.socket) -> None:
        if self._head:
            read_head(connection)
        connection.sendall(self._first)
        digest = digest_with_a_pause(connection).encode()
        if self._head and not self._first:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(digest))
        connection.sendall(digest)
        while connection.recv(1 << 16):
            pass


class Pouring(Peer):
    """A backend that sends SIZE bytes behind what it says first, to each connection that sends a head, or at once."""

    def __init__(self, first: bytes = b"") -> None:
        self._first = first
        super().__init__(self._pour)

    def _pour(self, connection: socket.socket) -> None:
        if self._first:
            read_head(connection)
        connection.sendall(self._first)
        pour(connection)
        while connection.recv(1 << 16):
            pass


def download(
    address: tuple[str, int], request: bytes = b"", wrap: Callable[[socket.socket], socket.socket] | None = None
) -> str:
    """Its digest."""
    with dial(address, 30) as plain, wrap(plain) if wrap else contextlib.nullcontext(plain) as client:
        if request:
            client.sendall(request)
            read_head(client)
        return digest_with_a_pause(client)


def upload(address: tuple[str, int], request: bytes = b"", *, switches: bool = False) -> str:
    """The digest that the backend tells."""
    with dial(address, 30) as client:
        client.sendall(request)
        if switches:
            read_head(client)
        pour(client)
        if request and not switches:
            reader = Reader(client)
            head = reader.head()
            assert head is not None
            return reader.body(head).decode()
        return read_exactly(client, len(DIGEST)).decode()


@pytest.mark.parametrize("datapath", ["copy", "splice", pytest.param("offload", marks=needs_kernel)])
def test_who_reads_nothing_for_longer_than_user_timeout_and_acknowledges_is_not_ended(tmp_path: Path, datapath: str) -> None:
    authority = Authority(tmp_path)
    shown = CertificateSettings(cert=str(authority.issue("a.example", "DNS:a.example")))
    peers: dict[str, Peer] = {
        "tcp-down": Pouring(),
        "tcp-up": Taking(),
        "http-down": Pouring(LONG),
        "http-up": Taking(head=True),
        "ws-down": Pouring(SWITCHING),
        "ws-up": Taking(SWITCHING, head=True),
        "https-down": Pouring(LONG),
    }
    pools = [
        PoolSettings(name=name, probe=OFF, user_timeout=f"{TIMEOUT_S}s", backends=[peer.address])
        for name, peer in peers.items()
    ]
    listeners = [
        ListenerSettings(
            name=name,
            pool=name,
            bind=f"{'http' if name.startswith('ws') else name.partition('-')[0]}://127.0.0.1:0",
            certificates=[shown] if name.startswith("https") else [],
        )
        for name in peers
    ]
    log = tmp_path / "log"
    settings = BalancerSettings(workers=1, listeners=listeners, pools=pools, datapath=datapath, access_log=str(log))
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(len(peers)) as threads:
        for peer in peers.values():
            stack.enter_context(peer)
        lb = stack.enter_context(balanced(settings=settings))
        at = {entry["name"]: ("127.0.0.1", int(entry["address"].rpartition(":")[2])) for entry in lb.status()["listeners"]}

        def over_tls(plain: socket.socket) -> ssl.SSLSocket:
            return trusting(authority).wrap_socket(plain, server_hostname="a.example")

        found = {
            "tcp-down": threads.submit(download, at["tcp-down"]),
            "tcp-up": threads.submit(upload, at["tcp-up"]),
            "http-down": threads.submit(download, at["http-down"], GET),
            "http-up": threads.submit(upload, at["http-up"], POST),
            "ws-down": threads.submit(download, at["ws-down"], UPGRADE),
            "ws-up": threads.submit(upload, at["ws-up"], UPGRADE, switches=True),
            "https-down": threads.submit(download, at["https-down"], GET, over_tls),
        }
        assert {name: future.result() for name, future in found.items()} == dict.fromkeys(peers, DIGEST)
        for pool in lb.status()["pools"]:
            assert pool["backends"][0]["failures"] == 0


def test_an_end_behind_bytes_that_the_kernel_holds_reaches_who_pauses() -> None:
    """All is in the client's socket, and closed on our side: the kernel goes on by itself."""

    def short(connection: socket.socket) -> None:
        connection.sendall(BLOCK * 8)

    settings = BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(probe=OFF, user_timeout="500ms")],
    )
    with Peer(short) as peer, balanced(settings=settings) as lb:
        lb.pool().add(peer.address)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.settimeout(PATIENCE_S)
            client.connect(lb.address)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1000)
            wait_for(lambda: figure(lb, "closed") == 1, "the session is over for us")
            time.sleep(1.5)  # its pause: three times user_timeout
            got = 1000
            while data := client.recv(1 << 16):
                got += len(data)
            assert got == len(BLOCK) * 8


def test_who_reads_slowly_is_not_idle_while_the_kernel_has_bytes_for_it() -> None:
    """No byte passes through us, for all lie in the client's socket; its acknowledgements go on."""
    size = 40 * 8192

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(bytes(size))
        connection.recv(1)

    listener = ListenerSettings(bind="tcp://127.0.0.1:0", idle_timeout="800ms")
    settings = BalancerSettings(workers=1, listeners=[listener], pools=[PoolSettings(probe=OFF)])
    with Peer(serve) as peer, balanced(settings=settings) as lb:
        lb.pool().add(peer.address)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.settimeout(PATIENCE_S)
            client.connect(lb.address)
            client.sendall(b"x")
            began = time.monotonic()
            for _ in paced(40, 0.06):
                assert len(read_exactly(client, 8192)) == 8192
            assert time.monotonic() - began > 2
            assert figure(lb, "active") == 1, "it was taken for idle"
        wait_for(lambda: figure(lb, "closed") == 1, "it ends")


# --- who is gone ----------------------------------------------------------------------------------------------------------


class Held(Peer):
    """A backend whose connections the test holds."""

    def __init__(self, first: bytes = b"") -> None:
        self.over = threading.Event()
        self.heads: list[bytes] = []
        self._first = first
        super().__init__(self._hold)

    def _hold(self, connection: socket.socket) -> None:
        if self._first:
            reader = Reader(connection)
            self.heads.append(reader.head() or b"")
            connection.sendall(self._first)
        self.over.wait(PATIENCE_S)

    def only(self) -> socket.socket:
        """The backend's end of the only connection."""
        wait_for(lambda: len(self.open) == 1, "a connection is open")
        return next(iter(self.open))

    def close(self) -> None:
        self.over.set()
        super().close()


def dead_within(lb: Any, name: str, began: float) -> None:
    """It is ended for this, in time."""
    wait_for(lambda: figure(lb, name) >= 1, f"{name} is counted", 5)
    assert time.monotonic() - began >= TIMEOUT_S * 0.9, "it had its time"


def tcp_settings(peer: Peer, log: Path, **listener: Any) -> BalancerSettings:
    """One backend, and a log."""
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0", **listener)],
        pools=[PoolSettings(probe=OFF, user_timeout=f"{TIMEOUT_S}s", backends=[peer.address])],
        access_log=str(log),
    )


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize("much", [10, 20_000_000])
def test_who_acknowledges_nothing_is_ended_and_named(tmp_path: Path, who: str, much: int) -> None:
    """A little that is lost on its way, or so much that the window is shut."""
    log = tmp_path / "log"
    with Held() as peer, balanced(settings=tcp_settings(peer, log)) as lb, dial(lb.address) as client:
        backend = peer.only()
        dead, alive = (client, backend) if who == "client" else (backend, client)
        alive.settimeout(0.3)
        if much > 10:
            with contextlib.suppress(TimeoutError):
                alive.sendall(bytes(much))
        deafen(dead)
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            alive.sendall(b"x" * 10)
        dead_within(lb, f"closed_{who}_reset", began)
        (line,) = logged(log)
        assert line["by"] == who


@pytest.mark.parametrize("who", ["client", "backend"])
def test_who_is_gone_is_found_in_a_tunnel_of_http(who: str) -> None:
    with Held(SWITCHING) as peer, http(peer.address, user_timeout=f"{TIMEOUT_S}s") as lb, Client(lb.address) as client:
        client.send(UPGRADE)
        assert client.answer().status == 101
        dead, alive = (client.socket, peer.only()) if who == "client" else (peer.only(), client.socket)
        deafen(dead)
        began = time.monotonic()
        alive.sendall(b"hello")
        dead_within(lb, f"closed_{who}_reset", began)


def test_a_client_that_is_gone_ends_a_stream_that_says_little(tmp_path: Path) -> None:
    """Nothing is held here: the kernel takes what there is."""
    log = tmp_path / "log"

    def events(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        send_paced(connection, 0.05, *[b"x"] * 80)
        return True

    with Backend(events) as backend, http(backend, user_timeout=f"{TIMEOUT_S}s", top={"access_log": str(log)}) as lb:
        with Client(lb.address) as client:
            client.send(GET)
            assert client.reader.head()
            deafen(client.socket)
            dead_within(lb, "requests_client_aborts", time.monotonic())
        assert backend_of(lb, backend.address)["failures"] == 0
        (line,) = logged(log)
        assert (line["end"], line["by"]) == ("client_left", "client")


def test_a_backend_that_is_gone_is_502_before_response_timeout() -> None:
    with Held(b"HTTP/1.1 100 Continue\r\n\r\n") as peer, http(peer.address, user_timeout=f"{TIMEOUT_S}s") as lb:
        with Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
            assert client.answer().status == 100
            deafen(peer.only())
            began = time.monotonic()
            client.send(b"x" * 10)
            assert client.answer().status == 502
            assert TIMEOUT_S * 0.9 <= time.monotonic() - began < 3 * TIMEOUT_S
        assert backend_of(lb, peer.address)["failures"] == 1


def test_an_idempotent_request_on_a_kept_connection_to_a_host_that_is_gone_is_sent_again() -> None:
    with Backend() as backend, http(backend, user_timeout=f"{TIMEOUT_S}s") as lb, Client(lb.address) as client:
        client.get()
        deafen(next(iter(backend.open)))
        assert client.get().status == 200
        assert figure(lb, "replays") == 1


def test_a_half_closed_session_does_not_wait_for_who_is_gone(tmp_path: Path) -> None:
    with Held() as peer, balanced(settings=tcp_settings(peer, tmp_path / "log")) as lb, dial(lb.address) as client:
        deafen(peer.only())
        began = time.monotonic()
        client.shutdown(socket.SHUT_WR)
        dead_within(lb, "closed_backend_reset", began)


def test_user_timeout_of_0_ends_nobody(tmp_path: Path) -> None:
    settings = tcp_settings(peer := Held(), tmp_path / "log")
    with peer, balanced(settings=settings.replace(pools=[settings.pools[0].replace(user_timeout="0s")])) as lb:
        with dial(lb.address) as client:
            deafen(peer.only())
            client.sendall(b"x")
            stays(lambda: figure(lb, "active") == 1, "it is not ended", TIMEOUT_S)
            peer.over.set()


def test_keep_alive_probes_are_the_kernels_and_counted_by_it(tmp_path: Path) -> None:
    """TCP_USER_TIMEOUT would overrule their count (tcp(7))."""
    with Held() as peer, balanced(settings=tcp_settings(peer, tmp_path / "log")) as lb, dial(lb.address):
        peer.only()
        with connections() as found:
            of_clients = [each for each in found if each.getsockname() == lb.address]
            assert len(of_clients) == 1
            for each in found:
                assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
            assert of_clients[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert of_clients[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert of_clients[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        peer.over.set()
