"""The access log: a record of each request and session, written where it is wanted; whatever its reader does, none waits."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import lines, logged
from harness import (
    SLOWER,
    Peer,
    balanced,
    command,
    dial,
    echo,
    free_port,
    is_refused,
    read_exactly,
    settled,
    small_disk,
    totals,
    wait_for,
)
from http_peers import Backend, Client, answering

from lbcore.config.settings import (
    BackendSettings,
    BalancerSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
    RouteSettings,
)
from lbcore.errors import ConfigError
from lbcore.observe import access_log, sinks
from lbcore.observe.lines import ENDS
from lbcore.observe.records import RING, Records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFF = ProbeSettings(kind="off")


@contextlib.contextmanager
def logging(path: Path, **options: Any) -> Iterator[Any]:
    """An http balancer with a log."""
    with balanced(listen="http://127.0.0.1:0", access_log=str(path), **options) as lb:
        yield lb


class Load:
    """Clients that ask one request after the other, and count what fails."""

    def __init__(self, address: tuple[str, int], clients: int = 4) -> None:
        self._address = address
        self._stop = threading.Event()
        self.good, self.bad = 0, list[str]()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        with Client(self._address) as client:
            while not self._stop.is_set():
                try:
                    answer = client.get("/some/path")
                except (OSError, AssertionError) as error:
                    self.bad.append(repr(error))
                    return
                if answer.status == 200:
                    self.good += 1
                else:
                    self.bad.append(str(answer.status))

    def flows(self, count: int) -> None:
        """Wait for so many more."""
        seen = self.good
        wait_for(lambda: self.bad or self.good >= seen + count, f"{count} more answers", 60)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_request_is_one_line_with_all_that_one_asks_for(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def slow(connection: socket.socket, head: bytes, body: bytes) -> None:
        time.sleep(0.03)
        connection.sendall(b"HTTP/1.1 201 Made\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.03)
        connection.sendall(b"done")

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
    assert sorted(ENDS) == list(range(13))


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
            time.sleep(0.05)
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


# --- where it goes ---------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"access_log: .*cannot be opened: No such file or directory"):
        with balanced(access_log=str(tmp_path / "none" / "log")):
            pass
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match=r"access_log: .*cannot be opened"):  # nobody reads it
        with balanced(access_log=str(tmp_path / "fifo")):
            pass
    with pytest.raises(ConfigError, match="access_log: "):
        with balanced(access_log="syslog:nonsense"):
            pass


def test_stdout_has_the_log_alone(tmp_path: Path) -> None:
    with Backend() as peer:
        flags = ("--listen", "http://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--access-log", "stdout")
        with command(tmp_path, *flags, "--access-log-format", "text") as running:
            with Client(running.address) as client:
                client.get("/here")
            assert running.process.stdout is not None
            assert select.select([running.process.stdout], [], [], 10 * SLOWER)[0]
            line = running.process.stdout.readline().split()
            assert line[2:3] + line[4:8] == ["http", "GET", "a.example", "/here", "200"]


def test_syslog_by_a_unix_socket_and_by_udp(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Backend())
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        unix.bind(str(tmp_path / "dev-log"))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        for reader, target, form in (
            (unix, f"syslog:{tmp_path}/dev-log", rb"<134>\w{3} [ \d]\d \d\d:\d\d:\d\d lbcore\[\d+\]: (\{.*\})"),
            (udp, f"syslog:127.0.0.1:{udp.getsockname()[1]}", rb"<134>1 \S+Z \S+ lbcore \d+ access - (\{.*\})"),
        ):
            reader.settimeout(10)
            with balanced(listen="http://127.0.0.1:0", backends=[peer.address], access_log=target) as lb:
                with Client(lb.address) as client:
                    client.get("/to-syslog")
                match = re.fullmatch(form, reader.recv(10_000))
                assert match
                assert json.loads(match[1])["path"] == "/to-syslog"


def test_syslogd_may_restart(tmp_path: Path) -> None:
    path = tmp_path / "dev-log"
    with Backend() as peer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(str(path))
        with balanced(listen="http://127.0.0.1:0", backends=[peer.address], access_log=f"syslog:{path}") as lb:
            with Client(lb.address) as client:
                client.get("/1")
                first.settimeout(10)
                assert b'"path":"/1"' in first.recv(10_000)
                first.close()
                path.unlink()
                client.get("/2")
                wait_for(lambda: totals(settled(lb))["records"] == 2, "it is recorded")
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
                    second.bind(str(path))
                    second.settimeout(10)
                    assert b'"path":"/2"' in second.recv(10_000)  # it waited


def test_logrotate_renames_and_sends_hup(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    with Backend() as peer:
        flags = ("--listen", "http://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--access-log", str(log))
        with command(tmp_path, *flags) as running, Load(running.address, 2) as load:
            for _ in range(3):
                load.flows(50)
                log.rename(old)
                kept = old.stat().st_ino
                running.process.send_signal(signal.SIGHUP)
                wait_for(log.exists, "it is opened anew")
                with open(tmp_path / "all", "ab") as whole:
                    wait_for(lambda: log.stat().st_size, "it is written to")
                    assert old.stat().st_ino == kept
                    whole.write(old.read_bytes())
        with open(tmp_path / "all", "ab") as whole:
            whole.write(log.read_bytes())
    assert load.bad == []
    assert len(lines(tmp_path / "all")) == load.good


def test_reload_changes_the_log(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with Backend() as peer:
        parts = {
            "workers": 1,
            "listeners": [ListenerSettings(bind=f"http://127.0.0.1:{free_port()}")],
            "pools": [PoolSettings(name="default", probe=OFF, backends=[BackendSettings(address=peer.address)])],
        }
        with balanced(settings=BalancerSettings(**parts)) as lb, Client(lb.address) as client:
            client.get("/0")
            lb.reload(BalancerSettings(**parts, access_log=str(one)))
            client.get("/1")
            assert logged(one)[0]["path"] == "/1"
            with pytest.raises(ConfigError):
                lb.reload(BalancerSettings(**parts, access_log=str(tmp_path / "none" / "x")))
            client.get("/2")
            assert logged(one, 2)[1]["path"] == "/2"
            lb.reload(BalancerSettings(**parts, access_log=str(two), access_log_format="text"))
            client.get("/3")
            wait_for(lambda: two.exists() and " /3 200 " in two.read_text(), "the other has it")
            lb.reload(BalancerSettings(**parts))
            seen = totals(settled(lb))["records"]
            client.get("/4")
            assert totals(settled(lb))["records"] == seen
        assert len(lines(one)) == 2
        assert two.read_text().count("\n") == 1


# --- when it cannot be written ---------------------------------------------------------------------------------------


def _figures(lb: Any) -> tuple[int, int]:
    found = lb.status()["access_log"]
    return found["written"], found["lost"]


def _all_is_told(lb: Any) -> bool:
    written, lost = _figures(lb)
    return written + lost == totals(settled(lb))["records"]


def _flood(lb: Any, load: Load) -> None:
    """More than the ring holds."""
    load.flows(RING + 500)


def test_a_full_disk_slows_no_request_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, Backend() as peer:
        log = disk / "log"
        with logging(log, backends=[peer.address]) as lb, Load(lb.address) as load:
            wait_for(lambda: log.stat().st_size > 60_000, "the disk is full")
            _flood(lb, load)
            assert load.bad == []
            wait_for(lambda: _figures(lb)[1] > 0, "lines are lost, and that is counted")
            written = _figures(lb)[0]
            os.truncate(log, 0)
            wait_for(lambda: _figures(lb)[0] > written, "it is written again")
            load.flows(100)
        assert load.bad == []
        assert "lbcore_access_log_lost_total" not in log.read_text()


@contextlib.contextmanager
def _blocked(kind: str, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """An access_log that nobody reads: its name, and the descriptor to read."""
    if kind == "fifo":
        os.mkfifo(tmp_path / "pipe")
        fd = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
        try:
            yield str(tmp_path / "pipe"), fd
        finally:
            os.close(fd)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "log.sock"))
        yield f"syslog:{tmp_path}/log.sock", made.fileno()


@contextlib.contextmanager
def _read_at_last(fd: int) -> Iterator[None]:
    """Somebody reads all that comes: a socket holds ten lines, so one who looks now and then would not get to the end."""
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if select.select([fd], [], [], 0.05)[0]:
                os.read(fd, 1 << 20)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()


@pytest.mark.parametrize("kind", ["fifo", "syslog"])
def test_a_reader_that_does_not_read_slows_no_request(tmp_path: Path, kind: str) -> None:
    with (
        _blocked(kind, tmp_path) as (target, fd),
        Backend() as peer,
        balanced(listen="http://127.0.0.1:0", backends=[peer.address], access_log=target) as lb,
    ):
        with Load(lb.address) as load:
            _flood(lb, load)
            assert load.bad == []
            wait_for(lambda: _figures(lb)[1] > 0, "lines are lost, and that is counted")
        with _read_at_last(fd):
            wait_for(lambda: _all_is_told(lb), "every record was written or counted as lost")


def test_stdout_that_nobody_reads_slows_no_request_and_no_stop(tmp_path: Path) -> None:
    with Backend() as peer:
        flags = ("--listen", "http://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--access-log", "stdout")
        with command(tmp_path, *flags) as running:
            with Load(running.address) as load:
                _flood(running, load)
                wait_for(lambda: running.status()["access_log"]["lost"] > 0, "lines are lost, and that is counted")
            assert load.bad == []
            began = time.monotonic()
        assert time.monotonic() - began < 8 * SLOWER


def test_each_record_is_written_once_over_many_rounds_of_the_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    with Backend() as peer, logging(log, backends=[peer.address]) as lb:
        with Load(lb.address) as load:
            load.flows(2 * RING + 100)
        wait_for(lambda: _all_is_told(lb), "all are written")
        assert _figures(lb) == (load.good, 0)
    assert load.bad == []
    found = lines(log)
    assert len(found) == len({line["id"] for line in found}) == load.good


def test_a_late_reader_counts_exactly_what_it_lost() -> None:
    with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        table = lb._running().table
        table.set_observed(1)
        reader = Records(table.segment, table.memory)
        with Load(lb.address) as load:
            load.flows(RING + 1000)
        wait_for(lambda: totals(settled(lb))["active"] == 0, "all is over")
        records, seen = totals(settled(lb))["records"], []
        while taken := reader.take():
            seen += [record.number for record in taken]
        assert seen == list(range(records - len(seen) + 1, records + 1))
        assert len(seen) + reader.lost == records
        assert len(seen) == RING - 1


def test_a_killed_worker_leaves_its_last_records(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as peer:
        flags = ("--listen", "http://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--access-log", str(log))
        with command(tmp_path, *flags) as running:
            for number in range(2):
                with Client(running.address) as client:
                    client.get(f"/{number}")
                pid = running.status()["workers"][0]["pid"]
                wait_for(lambda: totals(running.status())["requests_active"] == 0, "it is over")
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: running.status()["workers"][0]["pid"] != pid, "another serves")  # noqa: B023
            assert [line["path"] for line in logged(log, 2)] == ["/0", "/1"]


def test_a_stuck_sink_does_not_keep_the_log_from_following_another(tmp_path: Path) -> None:
    fifo, log = tmp_path / "pipe", tmp_path / "log"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address], access_log=str(fifo)) as lb:
            with Load(lb.address) as load:
                load.flows(1000)
                own = lb._running().recording.access_log
                assert own is not None
                own.follow(sinks.opened(str(log)), "json")
                load.flows(100)
            wait_for(lambda: _all_is_told(lb), "all are written or lost")
        assert lines(log)
    finally:
        os.close(fd)
    assert access_log.EVERY_S < 1
