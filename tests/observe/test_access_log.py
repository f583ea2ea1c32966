"""The access log: what is recorded of each request and session."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from access_lines import OFF, lines, logged, logging
from harness import (
    Peer,
    balanced,
    dial,
    echo,
    free_port,
    is_refused,
    read_exactly,
    settled,
    totals,
    wait_for,
)
from http_peers import Backend, Client, answering
from pace import late

from lbcore.config.settings import (
    BackendSettings,
    BalancerSettings,
    ListenerSettings,
    PoolSettings,
    RouteSettings,
)
from lbcore.observe.lines import ENDS

if TYPE_CHECKING:
    from pathlib import Path


def test_a_request_is_one_line_with_all_that_one_asks_for(tmp_path: Path) -> None:
    log = tmp_path / "log"

    slow = late(0.03, b"HTTP/1.1 201 Made\r\nContent-Length: 4\r\n\r\n", b"done")
    with Backend(slow) as peer, logging(log, backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.send(b"POST /a/b?secret=1 HTTP/1.1\r\nHost: shop.example:80\r\nContent-Length: 5\r\n\r\nhello")
            assert client.answer().status == 201
            port = client.socket.getsockname()[1]
        (line,) = logged(log)
        sent = next(head for head in peer.heads)
        id = sent.partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0].decode()
    words = {key: line[key] for key in ("kind", "listener", "method", "host", "path", "status", "pool", "backend", "end", "by")}
    assert words == {
        "kind": "http",
        "listener": "listener-1",
        "method": "POST",
        "host": "shop.example:80",
        "path": "/a/b",
        "status": 201,
        "pool": "default",
        "backend": peer.address,
        "end": "done",
        "by": None,
    }
    assert line["client"] == f"127.0.0.1:{port}"
    assert line["id"] == id
    assert "secret" not in log.read_text()
    assert (line["reused"], line["tried"], line["tls"]) == (False, 1, False)
    assert line["bytes_in"] == len(b"POST /a/b?secret=1 HTTP/1.1\r\nHost: shop.example:80\r\nContent-Length: 5\r\n\r\nhello")
    assert line["bytes_out"] == len(b"HTTP/1.1 201 Made\r\nContent-Length: 4\r\n\r\ndone")
    assert 0 <= line["connect_ms"] <= line["first_ms"] <= line["total_ms"]
    assert line["first_ms"] >= 28
    assert line["total_ms"] - line["first_ms"] >= 25
    assert abs(time.time() - _unix(line["time"])) < 60


def _unix(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def test_the_second_request_of_a_connection_reuses_what_the_first_had(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as peer, logging(log, backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            for path in ("/1", "/2"):
                client.get(path)
        first, second = logged(log, 2)
        assert [(line["path"], line["reused"]) for line in (first, second)] == [("/1", False), ("/2", True)]
        assert second["accept_ms"] == 0


def test_our_own_answers_say_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as peer:
        dead = f"127.0.0.1:{free_port()}"
        pools = [
            PoolSettings(name="app", probe=OFF, backends=[BackendSettings(address=peer.address)], connect_timeout="1s"),
            PoolSettings(name="dead", probe=OFF, max_connect_failures=0, backends=[BackendSettings(address=dead)]),
            PoolSettings(name="empty", probe=OFF),
        ]
        routes = [RouteSettings(path_prefix=f"/{name}", pool=name) for name in ("app", "dead", "empty")]
        listener = ListenerSettings(bind="http://127.0.0.1:0", max_body=10)
        settings = BalancerSettings(workers=1, listeners=[listener], pools=pools, routes=routes, access_log=str(log))
        with balanced(settings=settings) as lb:
            for path in ("/nowhere", "/dead", "/empty"):
                with Client(lb.address) as client:
                    client.get(path)
            with Client(lb.address) as client:
                client.send(b"POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
                assert client.answer().status == 413
            with Client(lb.address) as client:
                client.send(b"what is this\r\n\r\n")
                assert client.answer().status == 400
            found = logged(log, 5)
    shown = [(line["status"], line["path"], line["pool"], line["backend"], line["reason"]) for line in found]
    assert shown == [
        (404, "/nowhere", None, None, "no matching route"),
        (502, "/dead", "dead", dead, "no backend could be reached"),
        (503, "/empty", "empty", None, "no backend can take the request"),
        (413, "/app", None, None, "the body is too large"),
        (400, "", None, None, "the request breaks the rules of HTTP"),
    ]
    assert {(line["end"], line["by"]) for line in found} == {("local_response", "balancer")}
    assert found[1]["connect_ms"] is None


def test_who_ended_it_client_or_backend(tmp_path: Path) -> None:
    log = tmp_path / "log"
    half = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", end=True)
    with Backend(half) as peer, logging(log, backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.send(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
            logged(log)
    silent = threading.Event()
    with Backend(lambda *_: silent.wait(10) and None) as peer, logging(log, backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.send(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: peer.heads, "it is asked")
        found = logged(log, 2)
        silent.set()
    assert [(line["path"], line["status"], line["end"], line["by"]) for line in found] == [
        ("/broken", 200, "backend_broke_off", "backend"),
        ("/left", None, "client_left", "client"),
    ]
    assert found[1]["first_ms"] is None


def test_every_end_has_a_word() -> None:
    assert sorted(ENDS) == [*range(13), 20, 21]  # between them: endings that are recorded as others


def test_sessions_of_tcp_say_which_side_finished(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def bye(connection: socket.socket) -> None:
        connection.sendall(b"bye")

    with Peer(echo) as peer, balanced(backends=[peer.address], access_log=str(log)) as lb:
        with dial(lb.address) as client:
            client.sendall(b"x" * 100)
            read_exactly(client, 100)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        (line,) = logged(log)
        assert (line["kind"], line["end"], line["by"], line["backend"]) == ("tcp", "done", "client", peer.address)
        assert (line["bytes_in"], line["bytes_out"]) == (100, 100)
        assert 0 <= line["connect_ms"] <= line["first_ms"] <= line["total_ms"]
        assert "status" not in line
    with Peer(bye) as peer, balanced(backends=[peer.address], access_log=str(log)) as lb:
        with dial(lb.address) as client:
            assert read_exactly(client, 4) == b"bye"
        line = logged(log, 2)[1]
        assert (line["end"], line["by"], line["bytes_out"]) == ("done", "backend", 3)
    with balanced(access_log=str(log)) as lb:
        assert is_refused(lb.address)
        line = logged(log, 3)[2]
        assert (line["end"], line["by"], line["backend"]) == ("no_backend", "balancer", None)


def test_udp_sessions_are_logged_at_their_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        backend = f"127.0.0.1:{server.getsockname()[1]}"
        settings = BalancerSettings(
            workers=1,
            listeners=[ListenerSettings(bind="udp://127.0.0.1:0", name="dns", responses=1)],
            pools=[PoolSettings(name="default", backends=[BackendSettings(address=backend)])],
            access_log=str(log),
        )
        with balanced(settings=settings) as lb, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"question", lb.address)
            _, whence = server.recvfrom(100)
            server.sendto(b"yes", whence)
            assert client.recv(10) == b"yes"
            (line,) = logged(log)
            assert line["client"] == f"127.0.0.1:{client.getsockname()[1]}"
    assert (line["kind"], line["listener"], line["backend"], line["end"]) == ("udp", "dns", backend, "done")
    assert (line["bytes_in"], line["bytes_out"]) == (8, 3)


def test_an_upgraded_connection_is_two_lines_of_one_client(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def upgrade(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        connection.sendall(connection.recv(100))
        return True

    with Backend(upgrade) as peer, logging(log, backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            assert client.get("/ws", b"Connection: Upgrade\r\nUpgrade: echo\r\n").status == 101
            client.send(b"hello")
            assert read_exactly(client.socket, 5) == b"hello"
        one, two = logged(log, 2)
    assert (one["status"], one["end"], two["kind"]) == (101, "done", "upgraded")
    assert one["client"] == two["client"]
    assert two["bytes_in"] == 5
    assert two["backend"] == peer.address


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_clients_send_cannot_make_a_second_line_or_another_field(tmp_path: Path, form: str) -> None:
    log = tmp_path / "log"
    evil = b'/"},{"x":"\\u000a%0a\\ \xc3\xa9|\x80\xff'.replace(b" ", b"")
    with Backend() as peer, logging(log, backends=[peer.address], access_log_format=form) as lb:
        with Client(lb.address) as client:
            client.send(b"GET " + evil + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            status = client.answer().status
            assert status in (200, 400)
        with Client(lb.address) as client:
            client.get("/next")
        wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") == 2, "both are written")
    data = log.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    if form == "json":
        if status == 200:
            assert lines(log)[0]["path"].encode("latin-1") == evil
        assert lines(log)[1]["path"] == "/next"
    else:
        words = [line.split(" ") for line in data.decode().splitlines()]
        assert words[1][4:8] == ["GET", "a.example", "/next", "200"]
        assert words[1][2] == "http"


def test_long_paths_are_cut_and_say_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as peer, logging(log, backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.get("/" + "x" * 4000, host=b"h" * 200)
        (line,) = logged(log)
    assert line["truncated"] is True
    assert line["host"] == "h" * 80
    assert 200 <= len(line["path"]) < 400
    assert line["path"].strip("x") == "/"
    assert len(line["id"]) == 32


def test_a_trusted_proxys_id_is_kept_and_a_strangers_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as peer:
        pools = [PoolSettings(name="p", probe=OFF, backends=[BackendSettings(address=peer.address)])]
        listeners = [
            ListenerSettings(bind="http://127.0.0.1:0", name="trusting", trusted_proxies=["127.0.0.0/8"]),
            ListenerSettings(bind="http://127.0.0.1:0", name="strange"),
        ]
        settings = BalancerSettings(workers=1, listeners=listeners, pools=pools, access_log=str(log))
        with balanced(settings=settings) as lb:
            for name in ("trusting", "strange"):
                with Client(lb.addresses[name]) as client:
                    client.get("/", b'X-Request-Id: their-"own"\r\n')
            one, two = logged(log, 2)
    assert one["id"] == 'their-"own"'
    assert len(two["id"]) == 32


def test_one_of_so_many_is_written_and_every_failure(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        status = 500 if b"/bad" in head.split(b"\r\n")[0] else 200
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    pools = {"backends": [BackendSettings(address="127.0.0.1:1")]}
    with Backend(script) as peer:
        pools["backends"] = [BackendSettings(address=peer.address)]
        settings = BalancerSettings(
            workers=1,
            listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
            pools=[PoolSettings(name="default", probe=OFF, max_failed_responses=0, **pools)],
            access_log=str(log),
            access_log_sample=10,
        )
        with balanced(settings=settings) as lb:
            with Client(lb.address) as client:
                for number in range(100):
                    client.get("/bad" if number % 20 == 7 else f"/{number}")
            wait_for(lambda: totals(settled(lb))["active"] == 0, "all is over")
    found = lines(log)
    assert sum(line["status"] == 500 for line in found) == 5
    assert sum(line["status"] == 200 for line in found) == 10


def test_off_means_that_nothing_is_recorded() -> None:
    with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.get()
        assert totals(settled(lb))["records"] == 0
        assert not any(thread.name == "lbcore-access-log" for thread in threading.enumerate())
