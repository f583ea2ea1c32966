"""Random sizes and pauses, stalls, and every order in which the two sides may leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from integrity.network import thin
from integrity.scenarios import CLOSE_ORDERS, Meeting, plays, simple
from integrity.stage import DATAPATHS, MODES, bounded, stage

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
