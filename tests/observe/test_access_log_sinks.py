"""Where the access log is written, and when it cannot be: whatever its reader does, no request waits."""

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
from access_lines import OFF, lines, logged, logging
from disks import small_disk
from harness import (
    SLOWER,
    balanced,
    command,
    free_port,
    settled,
    totals,
    wait_for,
)
from http_peers import Backend, Client

from lbcore.config.settings import (
    BackendSettings,
    BalancerSettings,
    ListenerSettings,
    PoolSettings,
)
from lbcore.errors import ConfigError
from lbcore.observe import access_log, sinks
from lbcore.observe.lines import as_json
from lbcore.observe.records import RING, Records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
                own.follow(sinks.opened(str(log)), as_json)
                load.flows(100)
            wait_for(lambda: _all_is_told(lb), "all are written or lost")
        assert lines(log)
    finally:
        os.close(fd)
    assert access_log.EVERY_S < 1
