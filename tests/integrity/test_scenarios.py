"""Random sizes and pauses, stalls, and every order in which the two sides may leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import read_exactly, totals
from hypothesis import given

from integrity.network import thin
from integrity.scenarios import CLOSE_ORDERS, Meeting, plays, simple
from integrity.stage import DATAPATHS, EPOLL, LOCAL, MODES, URING, bounded, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tls_peers import Authority


@pytest.mark.parametrize("datapath", DATAPATHS)
@pytest.mark.parametrize("mode", MODES)
def test_every_close_order(mode: str, datapath: str, authority: Authority, site: Path) -> None:
    with stage(mode, datapath, authority, site) as on:
        for size in (0, 1, 70_000, 400_000):
            on.play([Meeting(simple(client, size), simple(backend, size)) for client, backend in CLOSE_ORDERS])


@pytest.mark.parametrize("datapath", DATAPATHS)
@pytest.mark.parametrize("mode", MODES)
def test_whatever_the_two_sides_do(mode: str, datapath: str, authority: Authority, site: Path) -> None:
    with stage(mode, datapath, authority, site) as on:

        @bounded(25)
        @given(plays)
        def happens(meetings: list[Meeting]) -> None:
            on.play(meetings)

        happens()


@pytest.mark.parametrize("datapath", DATAPATHS)
@pytest.mark.parametrize("mode", ["tcp", "terminated"])
def test_whatever_they_do_where_writes_are_taken_in_part(mode: str, datapath: str, authority: Authority, site: Path) -> None:
    with thin(), stage(mode, datapath, authority, site) as on:

        @bounded(15)
        @given(plays)
        def happens(meetings: list[Meeting]) -> None:
            on.play(meetings)

        happens()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_bytes_move_as_was_asked(datapath: str, authority: Authority, site: Path) -> None:
    """Else the suite would look at another datapath than it says."""
    with stage("tcp", datapath, authority, site) as on:
        client, backend = on.door.sockets(on.balancer.address)
        with client, backend:
            for _ in range(300):
                client.sendall(b"hello")
                assert read_exactly(backend, 5) == b"hello"
                backend.sendall(b"world")
                assert read_exactly(client, 5) == b"world"
        talked = on.door.talked
        on.note(1, proper=1, bytes_in=talked + 1500, bytes_out=talked + 1500)
        on.check()
        status = on.balancer.status()
    figures = totals(status)
    if datapath in (EPOLL, URING):
        assert status["loop"] == status["workers"][0]["loop"] == datapath.rpartition(" ")[2]
    assert figures["bytes_spliced"] == (3000 if datapath == "splice" else 0)
    if datapath in ("offload", LOCAL):
        assert figures["offloads"] > 0, "the kernel was given no session"
    if datapath == LOCAL:
        assert figures["offloads_local"] > 0, "the kernel was given no session with a backend of this host"
