"""Sessions that the kernel forwards: nothing is lost, doubled or out of order, whatever peers do, and the books are true."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S, Peer, balanced, command, dial, echo, read_all, read_exactly, reset, totals, wait_for
from kernels import needs_kernel
from tcp_repair import put_back
from tls_peers import settings_of

from lbcore import _engine
from lbcore.cli import show
from lbcore.control import workers
from lbcore.control.worker import OFFLOAD_ANY
from lbcore.observe import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore.api.balancer import Balancer


FLOOD = 96 << 20
"""More than sockets may hold."""


class Origin:
    """A backend whose connections the test holds in its own hands."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE_S)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def meet(self, lb: Balancer) -> tuple[socket.socket, socket.socket]:
        """A session: the client's end and the backend's."""
        client = dial(lb.address)
        backend, _ = self.socket.accept()
        backend.settimeout(PATIENCE_S)
        backend.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, backend


def figure(lb: Balancer, name: str) -> int:
    return totals(lb.status())[name]


def talk(one: socket.socket, other: socket.socket, times: int = 1) -> int:
    """They say something in turn: so many bytes each."""
    for number in range(times):
        for speaker, listener in ((one, other), (other, one)):
            speaker.sendall(b"%07d\n" % number)
            assert read_exactly(listener, 8) == b"%07d\n" % number
    return 8 * times


def attach(lb: Balancer, one: socket.socket, other: socket.socket) -> None:
    """Talk until the kernel has it."""
    before = figure(lb, "offloads")
    for _ in range(50):
        talk(one, other)
        if figure(lb, "offloads") > before:
            talk(one, other, 3)
            return
    pytest.fail("the kernel was given no session")


@contextlib.contextmanager
def attached(**listener: Any) -> Iterator[tuple[Balancer, socket.socket, socket.socket]]:
    """A balancer, and a client and a backend whose session the kernel forwards."""
    origin = Origin()
    settings = settings_of("tcp://127.0.0.1:0", origin.address, listener=listener, top={"datapath": "offload"})
    with balanced(settings=settings) as lb:
        client, backend = origin.meet(lb)
        with origin.socket, client, backend:
            attach(lb, client, backend)
            yield lb, client, backend


def is_reset(connection: socket.socket) -> bool:
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


# --- what passes -----------------------------------------------------------------------------------------------------


@needs_kernel
def test_messages_pass_in_the_kernel_and_are_counted() -> None:
    with attached() as (lb, client, backend):
        before, turns = figure(lb, "bytes_offloaded"), figure(lb, "turns")
        passed = 2 * talk(client, backend, 500)
        wait_for(lambda: figure(lb, "bytes_offloaded") - before >= passed, "what was forwarded is counted")
        assert figure(lb, "turns") - turns < 100, "the worker was woken"


@needs_kernel
@pytest.mark.parametrize(
    ("bind", "host"), [("tcp://[::1]:0", "::1"), ("tcp://127.0.0.1:0", "::1"), ("tcp://[::1]:0", "127.0.0.1")]
)
def test_ipv6_and_from_one_family_to_the_other(bind: str, host: str) -> None:
    with Peer(echo, host) as peer, balanced(settings=settings_of(bind, peer, top={"datapath": "offload"})) as lb:
        with dial(lb.address) as client:
            greet(client, 200)
        wait_for(lambda: figure(lb, "active") == 0, "it ends")
        assert figure(lb, "bytes_offloaded") > 1500


@needs_kernel
@pytest.mark.parametrize("size", [1, 1000, 65_537, 3_000_000])
def test_an_answer_comes_while_the_session_is_handed_over(size: int) -> None:
    """The backend goes on sending all the time: what was queued before passes first."""
    data = os.urandom(size)
    with Peer(lambda connection: [connection.sendall(data[at : at + 1400]) for at in range(0, size, 1400)]) as peer:
        with balanced(backends=[peer.address], datapath="offload") as lb:
            for _ in range(10):
                with dial(lb.address) as client:
                    assert read_all(client) == data


@needs_kernel
def test_all_at_once_both_ways() -> None:
    up, down = os.urandom(20_000_000), os.urandom(20_000_000)
    with attached() as (_, client, backend):
        got: dict[str, bytes] = {}
        threads = [
            threading.Thread(target=client.sendall, args=(up,)),
            threading.Thread(target=backend.sendall, args=(down,)),
            threading.Thread(target=lambda: got.update(up=read_exactly(backend, len(up)))),
        ]
        for thread in threads:
            thread.start()
        got["down"] = read_exactly(client, len(down))
        for thread in threads:
            thread.join()
    assert got == {"up": up, "down": down}


# --- who does not read -----------------------------------------------------------------------------------------------


def fill(connection: socket.socket, block: bytes) -> int:
    """Send until nothing more is taken for a while."""
    sent = 0
    connection.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while sent < FLOOD:
            sent += connection.send(block[sent % len(block) :])
    connection.settimeout(PATIENCE_S)
    return sent


@needs_kernel
@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_reader_that_does_not_read_stops_the_sender(who: str) -> None:
    block = os.urandom(1 << 20)
    with attached() as (_, client, backend):
        reader, writer = (client, backend) if who == "client" else (backend, client)
        sent = fill(writer, block)
        assert sent < FLOOD, "nothing stopped it"
        got = read_exactly(reader, sent)
        assert got == (block * (sent // len(block) + 1))[:sent]
        talk(reader, writer, 5)


@needs_kernel
def test_a_side_that_does_not_read_may_still_send() -> None:
    """The kernel queues what a socket is to send and what it has received as one: the second must not wait for the first."""
    data = os.urandom(30_000_000)
    with attached() as (_, client, backend):
        unread = fill(client, b"?" * 65536)
        sending = threading.Thread(target=backend.sendall, args=(data,))
        sending.start()
        assert read_exactly(client, len(data)) == data
        sending.join()
        assert read_exactly(backend, unread) == b"?" * unread


# --- a segment that comes again --------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("back", [1, 100, 2048, 5000])
def test_a_segment_that_comes_again_is_cut(back: int) -> None:
    old, new = os.urandom(back), os.urandom(3000)
    with attached() as (_, client, backend):
        client.sendall(old)
        assert read_exactly(backend, back) == old
        with put_back(client, back) as sender:
            sender.sendall(old + new)
            assert read_exactly(backend, len(new)) == new
            talk(sender, backend, 5)


# --- bytes that are lost in the kernel -------------------------------------------------------------------------------


NEXT, BROKEN, OPEN = 40, 52, 72  # in struct lb_slot_lane
LANE_BYTES = 128


@contextlib.contextmanager
def lane_of_first_session(from_backend: bool) -> Iterator[memoryview]:
    """What the program and the worker, a thread of ours, share of that direction."""
    for entry in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            facts = dict(line.split(":\t", 1) for line in entry.read_text().splitlines() if ":\t" in line)
            if (facts.get("map_type"), facts.get("value_size")) == ("2", str(LANE_BYTES)):  # BPF_MAP_TYPE_ARRAY
                with mmap.mmap(int(entry.name), 2 * LANE_BYTES) as memory, memoryview(memory) as both:
                    with both[LANE_BYTES * from_backend : LANE_BYTES * (1 + from_backend)] as lane:
                        yield lane
                        return
    pytest.fail("no map of lanes")


@needs_kernel
@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_gap_resets_the_session_and_delivers_nothing_wrong(who: str) -> None:
    """TCP itself leaves none: the program is made to expect an earlier byte, as if an skb before this one had vanished."""
    with attached() as (lb, client, backend):
        sender, receiver = (client, backend) if who == "client" else (backend, client)
        with lane_of_first_session(who == "backend") as lane:
            struct.pack_into("I", lane, NEXT, (struct.unpack_from("I", lane, NEXT)[0] - 5) & 0xFFFFFFFF)
        sender.sendall(b"after the gap")
        with pytest.raises(ConnectionResetError):
            receiver.recv(100)
        assert is_reset(sender)
        wait_for(lambda: figure(lb, "closed_backend_reset") == 1, "the session ends")


@needs_kernel
@pytest.mark.parametrize("idle", ["1h", "300ms"])
def test_lost_bytes_of_which_no_note_came_reset_the_session(idle: str) -> None:
    """The ring of notes was full: it is seen when the worker looks at all, and an idle session has no plain end."""
    with attached(idle_timeout=idle) as (lb, client, backend):
        with lane_of_first_session(from_backend=False) as lane:
            struct.pack_into("I", lane, OPEN, 0)
            struct.pack_into("I", lane, BROKEN, 1)
        assert is_reset(client)
        assert is_reset(backend)
        wait_for(lambda: figure(lb, "closed") == 1, "the session ends")


# --- ends ------------------------------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("first", ["client", "backend"])
def test_one_side_ends_and_the_other_goes_on(first: str) -> None:
    words = os.urandom(500_000)
    with attached() as (lb, client, backend):
        one, other = (client, backend) if first == "client" else (backend, client)
        one.sendall(b"last")
        one.shutdown(socket.SHUT_WR)
        assert read_all(other) == b"last"
        sending = threading.Thread(target=lambda: (other.sendall(words), other.shutdown(socket.SHUT_WR)))
        sending.start()
        assert read_all(one) == words
        sending.join()
        wait_for(lambda: figure(lb, "closed_done") == 1, "the session ends")


@needs_kernel
@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_reset_passes_through(who: str) -> None:
    with attached() as (lb, client, backend):
        leaver, other = (client, backend) if who == "client" else (backend, client)
        reset(leaver)
        assert is_reset(other)
        wait_for(lambda: figure(lb, f"closed_{who}_reset") == 1, "the session ends")


@needs_kernel
def test_what_is_sent_to_a_backend_that_is_gone_ends_the_session() -> None:
    with attached() as (lb, client, backend):
        backend.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        client.sendall(b"unread")
        wait_for(lambda: backend.recv(1, socket.MSG_PEEK), "it is there")
        backend.close()  # with something unread: a reset
        with contextlib.suppress(OSError):
            client.sendall(b"more")
        wait_for(lambda: figure(lb, "active") == 0, "the session ends")


@needs_kernel
def test_idle_sessions_end_and_busy_ones_do_not() -> None:
    with attached(idle_timeout="400ms") as (lb, client, backend):
        for _ in range(12):
            talk(client, backend)
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):  # a pause
                client.recv(1)
            client.settimeout(PATIENCE_S)
        assert figure(lb, "closed") == 0
        assert client.recv(1) == b""
        wait_for(lambda: figure(lb, "closed_idle") == 1, "it was idle")


def greet(client: socket.socket, times: int) -> None:
    """Through an echo."""
    for _ in range(times):
        client.sendall(b"hello")
        assert read_exactly(client, 5) == b"hello"


# --- the worker ------------------------------------------------------------------------------------------------------


@needs_kernel
def test_a_full_map_leaves_sessions_to_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "offload_of", lambda *_: _engine.Offload(1, OFFLOAD_ANY))
    origin = Origin()
    with origin.socket, balanced(backends=[origin.address], datapath="offload") as lb:
        one, other = origin.meet(lb)
        with one, other:
            attach(lb, one, other)
            another, its = origin.meet(lb)
            with another, its:
                talk(another, its, 50)
                assert (figure(lb, "offloads"), figure(lb, "offload_misses")) == (1, 1)
        wait_for(lambda: figure(lb, "active") == 0, "both end")
        again_one, again_other = origin.meet(lb)
        with again_one, again_other:
            attach(lb, again_one, again_other)


@needs_kernel
def test_a_worker_whose_program_cannot_be_loaded_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It serves as others do; status, `lbcore status` and metrics say which one it is."""
    loads = workers.offload_of
    monkeypatch.setattr(workers, "offload_of", lambda worker, *rest: None if worker == 1 else loads(worker, *rest))
    with Peer(echo) as peer, balanced(backends=[peer.address], datapath="offload", workers=2) as lb:
        with dial(lb.address) as client:
            greet(client, 20)
        status = lb.status()
        assert [worker["forwards"] for worker in status["workers"]] == [True, False]
        show._print({**status, "admin": None})
        pid = status["workers"][1]["pid"]
        assert f"worker 1 (pid {pid}): the kernel forwards nothing for it: " in capsys.readouterr().out
        said = metrics.render(status).decode()
        assert re.findall(r'lbcore_worker_forwards\{worker="(.)"\} (\S+)', said) == [("0", "1.0"), ("1", "0.0")]


def test_nothing_is_said_of_the_kernel_where_it_was_not_asked() -> None:
    with balanced(backends=[]) as lb:
        assert lb.status()["workers"][0]["forwards"] is None


@needs_kernel
def test_a_killed_worker_takes_its_sessions_along_and_another_offloads(tmp_path: Path) -> None:
    """Worker processes: their rights and system calls are gone when they serve."""
    with Peer(echo) as peer:
        arguments = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--datapath", "offload"]
        with command(tmp_path, *arguments) as lb:
            assert "datapath=offload" in lb.ready_line
            with dial(lb.address) as client:
                greet(client, 20)
                wait_for(lambda: totals(lb.status())["offloads"] == 1, "the kernel has it")
                worker = lb.status()["workers"][0]["pid"]
                os.kill(worker, signal.SIGKILL)
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
            wait_for(lambda: lb.status()["workers"][0]["pid"] not in (0, worker), "there is another")
            wait_for(lambda: lb.status()["workers"][0]["state"] == "serving", "it serves")
            with dial(lb.address) as client:
                greet(client, 20)
                wait_for(lambda: totals(lb.status())["offloads"] == 2, "the kernel has the next one")


@needs_kernel
def test_a_drain_waits_for_sessions_in_the_kernel(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        arguments = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--datapath", "offload"]
        with command(tmp_path, *arguments, "--drain-timeout", "20s") as lb:
            with dial(lb.address) as client:
                greet(client, 10)
                wait_for(lambda: totals(lb.status())["offloads"], "the kernel has it")
                lb.process.send_signal(signal.SIGTERM)
                wait_for(lambda: lb.status()["workers"][0]["state"] == "draining", "it drains")
                greet(client, 10)
            assert lb.process.wait(PATIENCE_S) == 0


def test_without_the_rights_it_is_refused_by_name() -> None:
    program = (
        "import runpy, sys; from lbcore import _engine; _engine.shed_privileges();"
        "sys.argv = ['lbcore', 'run', '--listen', 'tcp://127.0.0.1:0', '--admin', 'off', '--datapath', 'offload'];"
        "runpy.run_module('lbcore', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done
    assert "datapath: 'offload' is not available here: it takes the capabilities CAP_BPF" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_kernel
def test_the_trial_leaves_nothing_behind() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    assert _engine.offload_selftest() is None
    assert sorted(os.listdir("/proc/self/fd")) == before
