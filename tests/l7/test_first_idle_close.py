"""When a backend closes idle connections is learned from its closes; a POST is not lost to the first of them."""

from __future__ import annotations

import socket
import time

import pytest
from http_balancers import POST, figure, http, path_of, told
from http_peers import Backend, Client, Reader
from pace import paced

GAP_S = 0.7
"""Longer than every server is known to keep an idle connection, halved; shorter than these backends do."""


class StalledAtItsFirstClose(Backend):
    """Serves a connection until it was idle for a while. What comes then is not read: the connection is closed already."""

    def _talk(self, connection: socket.socket) -> None:
        reader, since = Reader(connection), time.monotonic()
        while head := reader.head():
            reader.body(head)
            self.heads.append(head)
            if time.monotonic() - since > GAP_S / 2:
                return
            told(connection, path_of(head))
            since = time.monotonic()


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
def test_post_at_the_first_idle_close_of_a_stalled_backend(method: bytes) -> None:
    with StalledAtItsFirstClose() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        for _ in paced(2, GAP_S):
            client.send(method + POST[4:])
            assert client.answer().status == 200
        assert figure(lb, "connections_stale") == 0


def test_posts_take_idle_connections_again_once_older_ones_are_seen_to_stay_open() -> None:
    with (
        Backend(lambda connection, head, body: told(connection, path_of(head))) as backend,
        http(backend, backend_idle_timeout="1h") as lb,
        Client(lb.address) as client,
    ):
        connections = []
        for _ in paced(6, GAP_S):
            client.send(POST)
            assert client.answer().status == 200
            connections.append(backend.connections)
        assert connections[:2] == [1, 2]
        assert connections[3:] == connections[3:4] * 3
        assert connections[-1] <= 4


def test_gets_take_idle_connections_of_any_age() -> None:
    """They may be sent again, and so they show for how long a backend keeps a connection."""
    with (
        Backend(lambda connection, head, body: told(connection, path_of(head))) as backend,
        http(backend, backend_idle_timeout="1h") as lb,
        Client(lb.address) as client,
    ):
        for _ in paced(3, GAP_S):
            assert client.get("/own").status == 200
        assert backend.connections == 1
