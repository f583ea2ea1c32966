"""Sessions to backends of this host, whose bytes go from socket to socket (offload_local), and what may go wrong there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, SLOWER, Peer, balanced, command, dial, echo, read_all, read_exactly, reset, totals, wait_for
from held_ends import Backend, Ends
from hellos import client_hello
from http_peers import Reader
from integrity.openings import AGREE, ASK
from integrity.stage import LOCAL, need
from pace import paced_for, sips
from tcp_repair import put_back

from lbcore import _engine
from lbcore.api.balancer import Balancer
from lbcore.control import workers
from lbcore.control.worker import OFFLOAD_LOCAL
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


TALKS = 8
"""Requests and answers that get a session handed over and use it."""
MOST_HELD = 64 << 20
"""Bytes that no socket's buffers on the way hold; a redirect without a bound takes gigabytes."""


@pytest.fixture(autouse=True)
def offloads() -> None:
    need(LOCAL)


def talk(ends: Ends, times: int = TALKS) -> None:
    for number in range(times):
        for one, other in (ends, reversed(ends)):
            one.sendall(b"%04d" % number)
            assert read_exactly(other, 4) == b"%04d" % number


def handed_over(lb: Balancer, sessions: int = 1) -> None:
    figures = totals(lb.status())
    assert figures["offloads_local"] == figures["offloads"] == sessions, figures


@contextlib.contextmanager
def meeting(**options: object) -> Iterator[tuple[Balancer, Ends]]:
    """A balancer, and a session of it that was handed over."""
    with Backend() as backend, balanced(backends=[backend.address], offload_local=True, **options) as lb:
        with backend.meets(lb.address) as ends:
            talk(ends)
            handed_over(lb)
            yield lb, ends


def fill(connection: socket.socket, data: bytes) -> int:
    """Send it again and again until nothing more is taken for a while: how much was."""
    connection.setblocking(False)
    sent = 0
    while sent <= MOST_HELD and select.select([], [connection], [], 0.5)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += connection.send(data[sent % len(data) :])
    connection.settimeout(PATIENCE_S * SLOWER)
    return sent


def is_reset(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) not in (b"", b"x")
    except ConnectionResetError:
        return True


# --- which sessions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datapath", ["auto", "offload"])
def test_small_messages_go_from_socket_to_socket(datapath: str) -> None:
    with Backend() as backend, balanced(backends=[backend.address], datapath=datapath, offload_local=True) as lb:
        with backend.meets(lb.address) as ends:
            talk(ends)
            turns = totals(lb.status())["turns"]
            talk(ends, 500)
            assert totals(lb.status())["turns"] - turns < 100, "the worker has seen them"
            handed_over(lb)
        wait_for(lambda: not totals(lb.status())["active"], "the session ends")
        figures = totals(lb.status())
    assert figures["bytes_in"] == figures["bytes_out"] == 4 * (TALKS + 500)
    assert figures["bytes_offloaded"] >= 2 * 4 * 500


@pytest.mark.parametrize("host", ["::1", "127.0.0.2"])
def test_whatever_address_the_backend_has(host: str) -> None:
    with (
        Backend(host) as backend,
        balanced(backends=[backend.address], offload_local=True) as lb,
        backend.meets(lb.address) as ends,
    ):
        talk(ends)
        handed_over(lb)


def test_clients_of_ipv6_and_a_backend_of_ipv4() -> None:
    with Backend() as backend, balanced(listen="tcp://[::1]:0", backends=[backend.address], offload_local=True) as lb:
        with backend.meets(lb.address[:2]) as ends:
            talk(ends)
            handed_over(lb)


def test_tls_that_is_passed_through() -> None:
    with Backend() as backend, balanced(listen="tls://127.0.0.1:0", backends=[backend.address], offload_local=True) as lb:
        with backend.meets(lb.address, greets=client_hello("a.test")) as ends:
            talk(ends)
            handed_over(lb)


def test_http_that_was_upgraded() -> None:
    with Backend() as backend, balanced(listen="http://127.0.0.1:0", backends=[backend.address], offload_local=True) as lb:
        with dial(lb.address) as client:
            client.sendall(ASK)
            connection, _ = backend.listener.accept()
            with connection:
                connection.settimeout(PATIENCE_S * SLOWER)
                assert Reader(connection).head()
                connection.sendall(AGREE)
                assert Reader(client).head()
                talk(Ends(client, connection))
                handed_over(lb)


def test_without_the_option_nothing_is_handed_over() -> None:
    with Backend() as backend, balanced(backends=[backend.address]) as lb, backend.meets(lb.address) as ends:
        talk(ends)
        handed_over(lb, 0)


def test_large_messages_are_not_handed_over() -> None:
    message = os.urandom(100_000)
    with Peer(echo) as peer, balanced(backends=[peer.address], offload_local=True) as lb, dial(lb.address) as client:
        for _ in range(TALKS):
            threading.Thread(target=client.sendall, args=(message,)).start()
            assert read_exactly(client, len(message)) == message
        handed_over(lb, 0)


def test_a_backend_that_sleeps_in_recv_is_left_alone() -> None:
    """Such a call would end with EAGAIN at times."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(None)
        echo(connection)

    with Peer(serve) as peer, balanced(backends=[peer.address], offload_local=True) as lb, dial(lb.address) as client:
        for _ in range(100):
            client.sendall(b"hello")
            assert read_exactly(client, 5) == b"hello"
        handed_over(lb, 0)


def test_a_full_map_leaves_sessions_to_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "offload_of", lambda *_: _engine.Offload(1, OFFLOAD_LOCAL))
    with Backend() as backend, balanced(backends=[backend.address], offload_local=True) as lb:
        with backend.meets(lb.address) as ends:
            talk(ends)
            with backend.meets(lb.address) as others:
                talk(others)
                handed_over(lb)
        wait_for(lambda: totals(lb.status())["active"] == 0, "both end")
        with backend.meets(lb.address) as ends:
            talk(ends)
            handed_over(lb, 2)


# --- order, and limits -----------------------------------------------------------------------------------------------------


def test_a_backend_that_speaks_unasked() -> None:
    with meeting() as (_, ends):
        for number in range(200):
            ends.backend.sendall(b"%06d" % number)
        assert read_exactly(ends.client, 1200) == b"".join(b"%06d" % number for number in range(200))


def test_both_at_once_keep_their_order() -> None:
    with meeting() as (lb, ends):
        chance = random.Random(3)
        data = [os.urandom(3_000_000), os.urandom(3_000_000)]

        def send(connection: socket.socket, whole: bytes) -> None:
            at = 0
            while at < len(whole):
                size = chance.choice((1, 100, 1500, 9000, 200_000))
                connection.sendall(whole[at : at + size])
                at += size
            connection.shutdown(socket.SHUT_WR)

        senders = [threading.Thread(target=send, args=pair) for pair in zip(ends, data, strict=True)]
        came: list[bytes] = [b"", b""]

        def receive(which: int) -> None:
            came[which] = read_all(ends[not which])

        readers = [threading.Thread(target=receive, args=(which,)) for which in (0, 1)]
        for thread in (*senders, *readers):
            thread.start()
        for thread in (*senders, *readers):
            thread.join()
        assert came == data
        wait_for(lambda: totals(lb.status())["closed_done"] == 1, "the session ends")
        figures = totals(lb.status())
        assert figures["bytes_in"] == figures["bytes_out"] == 3_000_000 + 4 * TALKS


@pytest.mark.parametrize("reader", ["client", "backend"])
def test_who_does_not_read_bounds_who_sends(reader: str) -> None:
    data = os.urandom(1_000_003)
    with meeting() as (_, ends):
        slow, fast = (ends.client, ends.backend) if reader == "client" else (ends.backend, ends.client)
        sent = fill(fast, data)
        assert sent <= MOST_HELD
        came = read_exactly(slow, sent)
        assert came == (data * (sent // len(data) + 1))[:sent]
        talk(ends)  # and it goes on as before


def test_a_retransmission_brings_no_byte_twice() -> None:
    """A segment that begins with bytes that were there before, and goes on with new ones."""
    data = os.urandom(10_000)
    with meeting() as (lb, ends):
        ends.client.sendall(data[:5000])
        assert read_exactly(ends.backend, 5000) == data[:5000]
        with put_back(ends.client, 700) as client:
            client.sendall(data[4300:])
            assert read_exactly(ends.backend, 5000) == data[5000:]
            talk(Ends(client, ends.backend))
            handed_over(lb)


# --- ends ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["client", "backend"])
def test_one_ends_and_the_other_goes_on(first: str) -> None:
    with meeting() as (lb, ends):
        one, other = ends if first == "client" else reversed(ends)
        one.sendall(b"last words")
        one.shutdown(socket.SHUT_WR)
        assert read_all(other) == b"last words"
        other.sendall(b"x" * 20_000)
        other.shutdown(socket.SHUT_WR)
        assert read_all(one) == b"x" * 20_000
        wait_for(lambda: totals(lb.status())["closed_done"] == 1, "the session ends")


def test_an_end_comes_after_what_a_slow_reader_has_not_read() -> None:
    with meeting() as (_, ends):
        data = os.urandom(60_000)
        ends.client.sendall(data)
        ends.client.shutdown(socket.SHUT_WR)
        assert b"".join(sips(ends.backend, 1000, 0.001)) == data


@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_reset_passes_through(first: str) -> None:
    with meeting() as (lb, ends):
        one, other = ends if first == "client" else reversed(ends)
        reset(one)
        assert is_reset(other)
        wait_for(lambda: totals(lb.status())[f"closed_{first}_reset"] == 1, "the session ends")


def test_a_session_that_uses_the_kernel_is_not_idle_and_one_that_does_not_is() -> None:
    with Backend() as backend, balanced(settings=quick(backend.address)) as lb, backend.meets(lb.address) as ends:
        talk(ends)
        handed_over(lb)
        for _ in paced_for(1.2, 0.02):  # twice its idle time-out
            talk(ends, 1)
        assert totals(lb.status())["active"] == 1
        assert read_all(ends.client) == b""
        assert totals(lb.status())["closed_idle"] == 1


def quick(backend: str) -> object:
    """Settings with an idle time-out that is over soon."""
    from tls_peers import settings_of

    return settings_of("tcp://127.0.0.1:0", backend, listener={"idle_timeout": "600ms"}, top={"offload_local": True})


def test_a_drain_waits_for_it() -> None:
    with Backend() as backend:
        lb = Balancer(listen="tcp://127.0.0.1:0", backends=[backend.address], health="off", workers=1, offload_local=True)
        lb.start()
        with backend.meets(lb.address) as ends:
            talk(ends)
            handed_over(lb)
            stopping = threading.Thread(target=lb.stop, args=(PATIENCE_S,))
            stopping.start()
            talk(ends, 50)
            ends.client.sendall(b"the end")
            ends.client.shutdown(socket.SHUT_WR)
            assert read_all(ends.backend) == b"the end"
        stopping.join()


def test_a_worker_is_killed() -> None:
    """Both ends learn of it, and who comes next is served."""
    import tempfile

    with Backend() as backend, tempfile.TemporaryDirectory() as directory:
        line = ["--listen", "tcp://127.0.0.1:0", "--backend", backend.address, "--health", "off", "--offload-local"]
        with command(Path(directory), *line) as lb:
            with backend.meets(lb.address) as ends:
                talk(ends)
                assert totals(lb.status())["offloads_local"] == 1
                os.kill(lb.status()["workers"][0]["pid"], signal.SIGKILL)
                for end in ends:
                    assert end.recv(1) == b"" or is_reset(end)
            wait_for(lambda: totals(lb.status())["closed_lost"] == 1, "it is counted")
            wait_for(lambda: lb.status()["workers"][0]["state"] == "serving", "the next worker serves")
            with backend.meets(lb.address) as ends:
                talk(ends)
            wait_for(lambda: totals(lb.status())["offloads_local"] == 2, "the next worker hands over")


KERNEL = 0xFFFF_8000_0000_0000
"""Addresses from there on are the kernel's."""
BPF = {"x86_64": 321, "aarch64": 280}
"""The system call's number."""


def maps_of_ours(kind: int, value_bytes: int) -> list[int]:
    """Descriptors of this process, whose thread is the worker."""
    found = []
    for entry in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            facts = dict(line.split(":\t", 1) for line in entry.read_text().splitlines() if ":\t" in line)
            if (facts.get("map_type"), facts.get("value_size")) == (str(kind), str(value_bytes)):
                found.append(int(entry.name))
    return found


def test_a_worker_learns_no_address_of_the_kernel() -> None:
    """Who takes a worker over could have its program look at any memory, by an address that it may write."""
    with meeting() as (lb, ends):
        talk(ends, 50)
        handed_over(lb)
        (lanes,) = maps_of_ours(kind=2, value_bytes=128)  # BPF_MAP_TYPE_ARRAY of struct lb_slot_lane
        with mmap.mmap(lanes, 2 * 128) as memory:
            numbers = struct.unpack("32Q", memory[:])
        assert any(numbers)
        assert [hex(number) for number in numbers if number >= KERNEL and number % 8 == 0] == []


@pytest.mark.skipif(os.uname().machine not in BPF, reason="how to call bpf(2) here is not known")
def test_a_worker_cannot_say_where_answers_go() -> None:
    """What is kept of a backend's socket is written by programs alone, of sockets that the worker holds, too."""
    with meeting() as (lb, ends):
        handed_over(lb)
        (answers,) = maps_of_ours(kind=24, value_bytes=24)  # BPF_MAP_TYPE_SK_STORAGE of struct lb_local_answer
        key, value = struct.pack("i", ends.backend.fileno()), ctypes.create_string_buffer(24)
        holder = ctypes.create_string_buffer(key)
        request = struct.pack("=IIQQQ", answers, 0, ctypes.addressof(holder), ctypes.addressof(value), 0)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(BPF[os.uname().machine], 2, request, len(request)) == -1  # bpf(BPF_MAP_UPDATE_ELEM)
        assert ctypes.get_errno() == errno.EPERM
        talk(ends, 5)


# --- where it is not to be had -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datapath", ["copy", "splice"])
def test_it_goes_with_auto_and_offload_only(datapath: str) -> None:
    with pytest.raises(ConfigError, match=f"offload_local: .*not with {datapath}"):
        Balancer(listen="tcp://127.0.0.1:0", backends=["127.0.0.1:9"], datapath=datapath, offload_local=True).start()


def test_without_privileges_it_is_one_clear_line(tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "lbcore",
        "run",
        "--listen",
        "tcp://127.0.0.1:0",
        "--backend",
        "127.0.0.1:9",
        "--admin",
        "127.0.0.1:0",
        "--offload-local",
    ]
    done = subprocess.run(
        ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", *line],
        env={**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * SLOWER * 3,
    )
    assert done.returncode == 2, done
    assert done.stderr.strip().endswith("it takes the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"), done.stderr
    assert "\n" not in done.stderr.strip()
