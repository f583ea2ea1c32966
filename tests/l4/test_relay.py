"""Bytes pass unchanged, in order, in both directions, however they come, on every datapath."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import threading
import time

import pytest
from harness import (
    PATIENCE_S,
    SLOWER,
    Peer,
    balanced,
    dial,
    echo,
    named,
    read_all,
    read_exactly,
    reset,
    settled,
    stays,
    totals,
    wait_for,
)
from pace import send_apart, sips

DATAPATHS = ("auto", "copy", "splice")
GIB = 1 << 30


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_echo_returns_what_was_sent(datapath: str) -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address], datapath=datapath) as lb, dial(lb.address) as client:
        for size in (1, 2, 1000, 65_535, 65_536, 65_537, 300_000):
            data = os.urandom(size)
            threading.Thread(target=client.sendall, args=(data,)).start()
            assert read_exactly(client, size) == data


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_one_byte_writes(datapath: str) -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address], datapath=datapath) as lb, dial(lb.address) as client:
        for number in range(300):
            client.sendall(bytes([number % 256]))
        assert read_exactly(client, 300) == bytes(number % 256 for number in range(300))


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_random_sizes_and_pauses_keep_their_order(datapath: str) -> None:
    chance = random.Random(7)
    data = os.urandom(4_000_000)

    def send(client: socket.socket) -> None:
        at = 0
        while at < len(data):
            size = chance.choice((1, 17, 1400, 20_000, 70_000, 400_000))
            send = send_apart if chance.random() < 0.1 else socket.socket.sendall
            send(client, data[at : at + size])
            at += size
        client.shutdown(socket.SHUT_WR)

    with Peer(echo) as peer, balanced(backends=[peer.address], datapath=datapath) as lb, dial(lb.address) as client:
        threading.Thread(target=send, args=(client,)).start()
        assert read_all(client) == data


@pytest.mark.parametrize("datapath", ["copy", "splice"])
def test_one_gibibyte_keeps_its_hash(datapath: str) -> None:
    total = GIB // (16 if SLOWER > 1 else 1)
    block = os.urandom(1 << 20)
    sent, received = hashlib.sha1(), hashlib.sha1()

    def serve(connection: socket.socket) -> None:
        for number in range(total >> 20):
            piece = number.to_bytes(8, "big") + block[8:]
            sent.update(piece)
            connection.sendall(piece)

    with Peer(serve) as peer, balanced(backends=[peer.address], datapath=datapath) as lb, dial(lb.address) as client:
        count = 0
        while piece := client.recv(1 << 20):
            received.update(piece)
            count += len(piece)
        assert count == total
        figures = totals(settled(lb))
    assert sent.digest() == received.digest()
    assert (figures["bytes_spliced"] > total / 2) == (datapath == "splice")


def test_auto_copies_messages_and_splices_streams() -> None:
    def serve(connection: socket.socket) -> None:
        while connection.recv(100):
            connection.sendall(bytes(20_000_000))

    with Peer(serve) as stream, Peer(echo) as small:
        with balanced(backends=[small.address]) as lb, dial(lb.address) as client:
            for _ in range(100):
                client.sendall(b"hello")
                read_exactly(client, 5)
            assert totals(settled(lb))["bytes_spliced"] == 0
        with balanced(backends=[stream.address]) as lb, dial(lb.address) as client:
            client.sendall(b"?")
            assert len(read_exactly(client, 20_000_000)) == 20_000_000
            assert totals(settled(lb))["bytes_spliced"] > 5_000_000
            wait_for(lambda: totals(settled(lb))["pipes"] == 0, "an idle session gives its pipe back")


def test_backend_speaks_first() -> None:
    with Peer(named(b"220 ready\r\n")) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        assert read_exactly(client, 11) == b"220 ready\r\n"


def test_client_half_closes() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"got " + str(len(read_all(connection))).encode())

    with Peer(serve) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        client.sendall(bytes(100_000))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"got 100000"


def test_backend_half_closes() -> None:
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    with Peer(serve) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        assert read_all(client) == b"bye"
        client.sendall(b"still here")
        client.shutdown(socket.SHUT_WR)
        assert wait_for(lambda: heard, "the backend hears the client out") == [b"still here"]


def test_backend_resets_before_an_answer() -> None:
    with Peer(reset) as peer, balanced(backends=[peer.address]) as lb:
        with pytest.raises(ConnectionResetError), dial(lb.address) as client:  # it may be there before the connect returns
            client.recv(1)
        # one that comes before the connect was seen to succeed is a failed connect
        endings = ("closed_backend_reset", "refused_connect")
        wait_for(lambda: sum(totals(settled(lb))[name] for name in endings) == 1, "the reset is counted")


def test_backend_resets_mid_response() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"half of the ans")
        assert came.wait(PATIENCE_S * SLOWER)
        reset(connection)

    came = threading.Event()
    with Peer(serve) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        client.sendall(b"?")
        assert read_exactly(client, 15) == b"half of the ans"
        came.set()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_backend_answers_then_closes_with_a_request_unread() -> None:
    """A 413 in the middle of an upload: the answer still comes through."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        send_apart(connection, b"413 too large")
        connection.close()  # with bytes unread: the kernel resets

    with Peer(serve) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        client.settimeout(5)
        client.sendall(bytes(200_000))
        assert read_exactly(client, 13) == b"413 too large"


def test_client_resets_and_the_backend_is_free_at_once() -> None:
    ended: list[float] = []

    def serve(connection: socket.socket) -> None:
        try:
            read_all(connection)
        finally:
            ended.append(time.monotonic())

    with Peer(serve) as peer, balanced(backends=[peer.address]) as lb:
        client = dial(lb.address)
        client.sendall(b"a request")
        wait_for(lambda: totals(settled(lb))["bytes_in"] == 9, "the request passes")
        left = time.monotonic()
        reset(client)
        assert wait_for(lambda: ended, "the backend is told")[0] - left < 0.5 * SLOWER
        wait_for(lambda: totals(settled(lb))["closed_client_reset"] == 1, "it is counted as the client's doing")


def test_client_leaves_while_the_backend_reads_nothing() -> None:
    """The client's bytes are stuck in the balancer; its reset must not wait behind them."""
    hold = threading.Event()
    with Peer(lambda connection: (hold.wait(20), None)[1]) as peer, balanced(backends=[peer.address]) as lb:
        client = dial(lb.address)
        client.setblocking(False)

        def bytes_are_held() -> bool:
            with contextlib.suppress(BlockingIOError):
                client.send(bytes(1 << 20))
            figures = totals(settled(lb))
            return figures["buffers"] + figures["pipes"] == 1

        wait_for(bytes_are_held, "bytes are held")
        reset(client)
        wait_for(lambda: totals(settled(lb))["active"] == 0, "the session ends", 2)
        hold.set()


def test_slow_reader_holds_at_most_one_buffer() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(bytes(50_000_000))

    with Peer(serve) as peer, balanced(backends=[peer.address], datapath="copy") as lb, dial(lb.address) as client:
        wait_for(lambda: totals(settled(lb))["buffers"] == 1, "back-pressure")
        before = totals(settled(lb))["bytes_out"]
        stays(lambda: totals(lb.status())["bytes_out"] == before, "nothing is read as long as nobody takes it", 0.3)
        assert len(read_exactly(client, 50_000_000)) == 50_000_000


def test_slow_reader_with_splice_gets_everything() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(bytes(20_000_000))

    with Peer(serve) as peer, balanced(backends=[peer.address], datapath="splice") as lb, dial(lb.address) as client:
        assert sum(len(piece) for piece in sips(client, 300_000, 0.002)) == 20_000_000


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_both_directions_at_once(datapath: str) -> None:
    size = 20_000_000
    data = os.urandom(size)
    heard = hashlib.sha1()

    def serve(connection: socket.socket) -> None:
        writer = threading.Thread(target=connection.sendall, args=(data,))
        writer.start()
        heard.update(read_exactly(connection, size))
        writer.join()

    with Peer(serve) as peer, balanced(backends=[peer.address], datapath=datapath) as lb, dial(lb.address) as client:
        writer = threading.Thread(target=client.sendall, args=(data,))
        writer.start()
        assert read_exactly(client, size) == data
        writer.join()
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
    assert heard.digest() == hashlib.sha1(data).digest()


def test_abort_storm() -> None:
    """Clients that connect, say something and reset at once, over and over, beside one that is served properly."""
    with Peer(echo) as peer, balanced(backends=[peer.address], workers=2) as lb:
        steady = dial(lb.address)
        for number in range(500):
            client = dial(lb.address)
            if number % 3:
                client.sendall(b"x" * (number % 7 * 1000))
            reset(client)
            if number % 50 == 0:
                steady.sendall(b"still?")
                assert read_exactly(steady, 6) == b"still?"
        steady.close()


def test_three_thousand_sessions_at_once() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address], workers=2) as lb:
        count = 3000 if SLOWER == 1 else 500
        clients = [dial(lb.address) for _ in range(count)]
        wait_for(lambda: totals(settled(lb))["active"] == count, "all are open", 30)
        for number, client in enumerate(clients):
            client.sendall(number.to_bytes(4, "big"))
        for number, client in enumerate(clients):
            assert read_exactly(client, 4) == number.to_bytes(4, "big")
        figures = totals(settled(lb))
        assert figures["buffers"] == figures["pipes"] == 0, "idle sessions hold nothing"
        for client in clients:
            client.close()


def test_ipv6_on_both_sides() -> None:
    with Peer(echo, host="::1") as peer, balanced(listen="tcp://[::1]:0", backends=[peer.address]) as lb:
        with socket.create_connection(lb.address) as client:
            client.sendall(b"six")
            assert read_exactly(client, 3) == b"six"


def test_nagle_backend_is_acknowledged_at_once() -> None:
    """Kludex/uvicorn #3149: an answer in two small writes with Nagle on takes 44 ms behind a balancer that delays its ACKs."""

    def serve(connection: socket.socket) -> None:
        while connection.recv(1000):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.sendall(b"ok")

    with Peer(serve) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        took = []
        for _ in range(100):
            began = time.monotonic()
            client.sendall(b"GET")
            read_exactly(client, 21)
            took.append(time.monotonic() - began)
        assert totals(settled(lb))["quickacks"] >= 100
    assert sorted(took)[50] < 0.03, "the median answer waited for a delayed acknowledgement"


def test_backends_that_answer_in_one_write_soon_cost_no_acknowledgement() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        for _ in range(1500):
            client.sendall(b"x")
            read_exactly(client, 1)
        assert totals(settled(lb))["quickacks"] <= 600
