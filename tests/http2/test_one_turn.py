"""What comes in one turn of the loop: many responses in one read, with the end of their connection behind them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from h2_backends import Call, H2Backend, h2
from h2_frames import DATA, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, H2Client, frame, settings, window_update
from harness import wait_for
from http_balancers import GET, http
from http_peers import Backend, Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore import Balancer


def asked(lb: Balancer, held: list[Call], count: int) -> list[Client]:
    """So many clients of HTTP/1, one after the other: the backend has their requests in this order."""
    clients = []
    for number in range(count):
        clients.append(Client(lb.address))
        clients[-1].send(GET.replace(b" / ", b" /%d " % number))
        wait_for(lambda number=number: len(held) == number + 1, "the request comes")
    return clients


def test_responses_and_the_end_of_their_connection_come_at_once() -> None:
    held: list[Call] = []
    with H2Backend(held.append) as backend, h2(backend) as lb:
        clients = asked(lb, held, 3)
        talk = held[0].talk
        parts = [
            talk.head(call.stream, (":status", "200"), ("content-length", "2"))
            + frame(DATA, END_STREAM, call.stream, call.head[":path"].encode())
            for call in held
        ]
        talk.send(*parts)
        talk.sock.shutdown(socket.SHUT_RDWR)
        for number, client in enumerate(clients):
            assert client.answer().body == b"/%d" % number
            client.close()


def test_of_responses_before_an_end_the_whole_ones_arrive() -> None:
    held: list[Call] = []
    with H2Backend(held.append) as backend, h2(backend) as lb, H2Client(lb.address) as client:
        for stream in (1, 3, 5):
            client.ask(stream, f"/{stream}")
        wait_for(lambda: len(held) == 3, "all requests come")
        talk = held[0].talk
        parts = [talk.head(call.stream, (":status", "200"), ("x-path", call.head[":path"])) for call in held]
        talk.send(
            *parts,
            *(frame(DATA, END_STREAM, call.stream, b"whole") for call in held[:2]),
            frame(DATA, 0, held[2].stream, b"ha"),
        )
        talk.sock.shutdown(socket.SHUT_RDWR)
        client.until(lambda got: got.kind == RST_STREAM)
        ended = [got.stream for got in client.all_of(DATA) if got.flags & END_STREAM]
        assert sorted(ended) == sorted(int(call.head[":path"][1:]) for call in held[:2])
        assert [got.stream for got in client.all_of(RST_STREAM)] == [int(held[2].head[":path"][1:])]
        assert client.ping()


@pytest.mark.parametrize("order", [lambda calls: calls, lambda calls: calls[::-1], lambda calls: calls[1::2] + calls[::2]])
def test_responses_come_in_any_order_and_belong_to_their_requests(order: Callable[[list[Call]], list[Call]]) -> None:
    held: list[Call] = []
    with H2Backend(held.append) as backend, h2(backend) as lb, H2Client(lb.address) as client:
        streams = range(1, 181, 2)
        client.send(*(frame(HEADERS, 5, stream, client.head(f"/{stream}")) for stream in streams))
        wait_for(lambda: len(held) == len(streams), "all requests come")
        held[0].talk.send(
            *(
                held[0].talk.head(call.stream, (":status", "200"))
                + frame(DATA, END_STREAM, call.stream, call.head[":path"].encode())
                for call in order(held)
            )
        )
        client.until(lambda got: len([data for data in client.all_of(DATA) if data.flags & END_STREAM]) == len(streams))
        bodies = {stream: b"".join(got.payload for got in client.all_of(DATA) if got.stream == stream) for stream in streams}
        assert bodies == {stream: b"/%d" % stream for stream in streams}


@pytest.mark.parametrize("speaks", ["http/1.1", "h2"])
def test_long_bodies_of_several_streams_arrive_as_they_were(speaks: str) -> None:
    """Pieces go out uncopied while the socket takes them, and are cut where it does not."""
    size = 1_000_000 if speaks == "http/1.1" else 60_000  # what our windows allow

    def body_of(path: bytes) -> bytes:
        return (b"%s %d " % (path, size)).ljust(64, path[-1:]) * (size // 64)

    def answer(connection: socket.socket, head: bytes, body: bytes) -> None:
        text = body_of(head.split(b" ")[1])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def answer_by_frames(call: Call) -> None:
        text = body_of(call.head[":path"].encode())
        pieces = [frame(DATA, 0, call.stream, text[at : at + 16384]) for at in range(0, len(text), 16384)]
        call.talk.send(call.talk.head(call.stream, (":status", "200")), *pieces, frame(DATA, END_STREAM, call.stream))

    window = ((INITIAL_WINDOW_SIZE, 1 << 24),)
    made = Backend(answer) if speaks == "http/1.1" else H2Backend(answer_by_frames)
    with made as backend, http(backend.address, protocol=speaks) as lb, H2Client(lb.address, *window) as client:
        client.send(window_update(0, 1 << 30), settings(*window))
        for stream in (1, 3, 5, 7):
            client.ask(stream, f"/{stream}")
        client.until(lambda got: len([data for data in client.all_of(DATA) if data.flags & END_STREAM]) == 4)
        for stream in (1, 3, 5, 7):
            whole = b"".join(got.payload for got in client.all_of(DATA) if got.stream == stream)
            assert whole == body_of(b"/%d" % stream)
