"""A TCP connection put back in time, by TCP_REPAIR of tcp(7): its sender sends again what it had sent."""

from __future__ import annotations

import socket
import struct

from harness import PATIENCE_S, SLOWER

REPAIR, REPAIR_QUEUE, QUEUE_SEQ, REPAIR_OPTIONS, TIMESTAMP, REPAIR_WINDOW = 19, 20, 21, 22, 24, 29  # of linux/tcp.h
RECEIVE_QUEUE, SEND_QUEUE = 1, 2
ON, OFF_WITHOUT_PROBE = 1, -1
SEGMENT_SIZE, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 2, 3, 4, 8  # TCPOPT_...
INFO_OPTIONS, INFO_WSCALE, INFO_SND_MSS = 5, 6, 16  # where they lie in struct tcp_info


def put_back(connection: socket.socket, count: int) -> socket.socket:
    """The same connection, as its sender was so many bytes ago (TCP_REPAIR)."""

    def option(sock: socket.socket, name: int, value: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, name, struct.pack("I", value & 0xFFFFFFFF))

    def number(name: int) -> int:
        return int(struct.unpack("I", connection.getsockopt(socket.IPPROTO_TCP, name, 4))[0])

    here, there = connection.getsockname(), connection.getpeername()
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    option(connection, REPAIR, ON)
    clock = number(TIMESTAMP)
    window = list(struct.unpack("5I", connection.getsockopt(socket.IPPROTO_TCP, REPAIR_WINDOW, 20)))
    sequence = {}
    for queue in (SEND_QUEUE, RECEIVE_QUEUE):
        option(connection, REPAIR_QUEUE, queue)
        sequence[queue] = number(QUEUE_SEQ)
    connection.close()

    again = socket.socket()
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    option(again, REPAIR, ON)
    again.bind(here)
    for queue, back in ((SEND_QUEUE, count), (RECEIVE_QUEUE, 0)):
        option(again, REPAIR_QUEUE, queue)
        option(again, QUEUE_SEQ, sequence[queue] - back)
    again.connect(there)
    scale = info[INFO_WSCALE] & 15 | info[INFO_WSCALE] >> 4 << 16
    options = [(SEGMENT_SIZE, struct.unpack_from("I", info, INFO_SND_MSS)[0]), (WINDOW_SCALE, scale), (SACK_PERMITTED, 0)]
    if info[INFO_OPTIONS] & 1:
        options.append((TIMESTAMPS, 0))
    again.setsockopt(socket.IPPROTO_TCP, REPAIR_OPTIONS, b"".join(struct.pack("II", *each) for each in options))
    option(again, TIMESTAMP, clock)
    again.setsockopt(socket.IPPROTO_TCP, REPAIR_WINDOW, struct.pack("5I", sequence[RECEIVE_QUEUE], *window[1:]))
    option(again, REPAIR, OFF_WITHOUT_PROBE)
    again.settimeout(PATIENCE_S * SLOWER)
    again.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return again
