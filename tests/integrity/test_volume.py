"""Much at once: a gibibyte each way, hashed, and ten thousand short sessions."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import socket
import struct
import threading
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, SLOWER, dial, read_exactly, reset, totals, wait_for

from integrity.pattern import Stream
from integrity.stage import DATAPATHS, EPOLL, URING, stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tls_peers import Authority

MIB = 1 << 20
FULL = os.environ.get("LBCORE_INTEGRITY") == "full"
EACH_WAY = {
    datapath: (1024 if FULL or datapath in (EPOLL, URING) else 256) * MIB // (32 if SLOWER > 1 else 1) for datapath in DATAPATHS
}
SESSIONS = 10_000 // (20 if SLOWER > 1 else 1)
AT_ONCE = 4


# --- a gibibyte ------------------------------------------------------------------------------------------------------


def pour(connection: socket.socket, stream: Stream, total: int) -> int:
    """Send so much of the stream, then FIN: its CRC."""
    crc = at = 0
    while at < total:
        piece = stream.piece(at, min(MIB, total - at))
        crc, at = zlib.crc32(piece, crc), at + len(piece)
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)
    return crc


def drain(connection: socket.socket, stream: Stream) -> tuple[int, int]:
    """Take everything, and look where each byte belongs: how much it was, and its CRC."""
    buffer = bytearray(MIB)
    view = memoryview(buffer)
    crc = at = 0
    while count := connection.recv_into(buffer):
        crc = zlib.crc32(view[:count], crc)
        stream.check(at, view[:count])
        at += count
    return at, crc


class Running(threading.Thread):
    """A call in a thread. result(): what it returned; raises what it raised."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        super().__init__(daemon=True)
        self._call, self._arguments = call, arguments
        self._outcome: queue.Queue[tuple[object, BaseException | None]] = queue.Queue()
        self.start()

    def run(self) -> None:
        try:
            self._outcome.put((self._call(*self._arguments), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self) -> object:
        value, error = self._outcome.get(timeout=60 * SLOWER)
        self.join()
        if error:
            raise error
        return value


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_gibibyte_each_way_at_once(datapath: str, authority: Authority, site: Path) -> None:
    """256 MiB but for one datapath, unless LBCORE_INTEGRITY=full."""
    total = EACH_WAY[datapath]
    up, down = Stream(1, "client"), Stream(2, "backend")
    with stage("tcp", datapath, authority, site) as on:
        client, backend = on.door.sockets(on.balancer.address)
        with client, backend:
            running = [
                Running(pour, client, up, total),
                Running(pour, backend, down, total),
                Running(drain, backend, up),
                Running(drain, client, down),
            ]
            sent_up, sent_down, came_up, came_down = (each.result() for each in running)
        assert (came_up, came_down) == ((total, sent_up), (total, sent_down))
        talked = on.door.talked
        on.note(1, proper=1, bytes_in=talked + total, bytes_out=talked + total)
        on.check()
        spliced = totals(on.balancer.status())["bytes_spliced"]
        if datapath in ("copy", "splice"):
            assert (spliced == 2 * total) == (datapath == "splice")


# --- ten thousand sessions -------------------------------------------------------------------------------------------

HEAD = struct.Struct("!BIHH")
"""What a client says first: kind, number of the session, bytes that it sends, bytes that it wants."""
ENDINGS = (
    "client_finishes_first",
    "backend_finishes_first",
    "backend_closes_after_its_answer",
    "client_closes_after_the_answer",
    "client_resets_after_the_answer",
    "backend_resets_instead_of_an_answer",
    "client_resets_at_once",
)
DONE = frozenset(ENDINGS[:4])


def visit(address: tuple[str, int], number: int, kind: str, asks: int, wants: int) -> None:
    """One short session, from the client's side."""
    with dial(address) as client:
        if kind == "client_resets_at_once":
            return reset(client)
        client.sendall(HEAD.pack(ENDINGS.index(kind), number, asks, wants) + Stream(2 * number).bytes_at(0, asks))
        if kind == "client_finishes_first":
            client.shutdown(socket.SHUT_WR)
        if kind == "backend_resets_instead_of_an_answer":
            with pytest.raises(ConnectionResetError):
                assert client.recv(1), "a reset became an end"
            return None
        answer = read_exactly(client, wants)
        Stream(2 * number + 1, f"backend {number}").check(0, answer)
        assert len(answer) == wants, kind
        if kind == "client_resets_after_the_answer":
            return reset(client)
        if kind != "client_closes_after_the_answer":
            assert client.recv(1) == b"", kind
    return None


def receive(connection: socket.socket) -> None:
    """The same from the backend's side."""
    head = read_exactly(connection, HEAD.size)
    if not head:
        raise AssertionError("a reset became an end")
    index, number, asks, wants = HEAD.unpack(head)
    kind = ENDINGS[index]
    asked = read_exactly(connection, asks)
    Stream(2 * number, f"client {number}").check(0, asked)
    assert len(asked) == asks, kind
    if kind == "client_finishes_first":
        assert connection.recv(1) == b"", kind
    if kind == "backend_resets_instead_of_an_answer":
        return reset(connection)
    connection.sendall(Stream(2 * number + 1).bytes_at(0, wants))
    if kind == "backend_finishes_first":
        connection.shutdown(socket.SHUT_WR)
    if kind == "client_resets_after_the_answer":
        with pytest.raises(ConnectionResetError):
            assert connection.recv(1), "a reset became an end"
    elif kind != "backend_closes_after_its_answer":
        assert connection.recv(1) == b"", kind
    return None


class Backend:
    """Threads that accept and serve, one connection at a time each. faults: what went wrong."""

    def __init__(self, listener: socket.socket, threads: int) -> None:
        self.faults: list[BaseException] = []
        self._listener = listener
        listener.settimeout(None)
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE_S * SLOWER)
            with connection:
                try:
                    receive(connection)
                except ConnectionResetError:
                    pass  # of one that resets at once
                except BaseException as fault:
                    self.faults.append(fault)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_ten_thousand_short_sessions(datapath: str, authority: Authority, site: Path) -> None:
    chance = random.Random(0x1B)
    visits = [(number, chance.choice(ENDINGS), chance.randrange(4000), chance.randrange(1, 4000)) for number in range(SESSIONS)]
    kinds = Counter(kind for _, kind, _, _ in visits)
    with stage("tcp", datapath, authority, site) as on:
        backend = Backend(on.door.listener, 2 * AT_ONCE)
        shares = [visits[first::AT_ONCE] for first in range(AT_ONCE)]
        clients = [Running(lambda share=share: [visit(on.balancer.address, *one) for one in share]) for share in shares]
        for each in clients:
            each.result()
        wait_for(lambda: totals(on.balancer.status())["active"] == 0, "all sessions end")
        backend.close()
        assert not backend.faults
        on.note(SESSIONS, proper=sum(kinds[kind] for kind in DONE))
        on.check()
        figures = totals(on.balancer.status())
    assert figures["closed_done"] == sum(kinds[kind] for kind in DONE)
    assert figures["closed_backend_reset"] == kinds["backend_resets_instead_of_an_answer"]
    left = kinds["client_resets_after_the_answer"] + kinds["client_resets_at_once"]
    assert figures["closed_client_reset"] + figures["refused_client_aborts"] == left
