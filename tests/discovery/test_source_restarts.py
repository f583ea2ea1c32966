"""Sources over a restart and a reload: an engine that is away then empties no pool either."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import engine_peers
import pytest
from consul_peer import ConsulPeer
from file_sources import of_file, settings
from harness import Peer, balanced, dial, named, read_exactly, stays, wait_for
from source_sites import hurry

from lbcore.config.settings import SourceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore.api.balancer import Balancer

ONE, TWO = "10.0.0.1:8000", "10.0.0.2:8000"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def consul() -> Iterator[ConsulPeer]:
    peer = ConsulPeer()
    yield peer
    peer.close()


def of_consul(peer: ConsulPeer, **values: Any) -> SourceSettings:
    return SourceSettings(kind="consul", **({"service": "shop", "endpoints": [peer.url]} | values))


def addresses(lb: Balancer) -> set[str]:
    return {backend.address for backend in lb.pool().backends()}


def test_a_start_while_the_engine_is_away_begins_with_the_state_file(consul: ConsulPeer, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with Peer(named(b"one")) as peer:
        consul.set(peer.address, TWO)
        with balanced(settings=settings(of_consul(consul)).replace(state_file=state)) as lb:
            wait_for(lambda: len(addresses(lb)) == 2, "both come")
        consul.stop()
        with balanced(settings=settings(of_consul(consul)).replace(state_file=state)) as lb:
            assert addresses(lb) == {peer.address, TWO}
            assert {backend.source for backend in lb.pool().backends()} == {"consul"}
            lb.pool().get(TWO).drain()
            with dial(lb.address) as session:
                assert read_exactly(session, 3) == b"one"
            consul.set(peer.address)
            consul.start()
            wait_for(lambda: addresses(lb) == {peer.address}, "what Consul says counts as soon as it answers")


def test_what_a_source_named_that_is_not_configured_any_more_stays_away(consul: ConsulPeer, tmp_path: Path) -> None:
    state = tmp_path / "state"
    consul.set(ONE)
    with balanced(settings=settings(of_consul(consul)).replace(state_file=str(state))) as lb:
        wait_for(lambda: addresses(lb) == {ONE}, "it comes")
    assert "consul:shop" in state.read_text()
    other = of_consul(consul, service="other")
    with balanced(settings=settings(other).replace(state_file=str(state))) as lb:
        assert addresses(lb) == set()


@pytest.mark.parametrize("claims", [None, "consul:shop", [1, None], ["consul:shop"] * 1000])
def test_a_state_file_that_somebody_wrote_is_read_with_care(consul: ConsulPeer, tmp_path: Path, claims: Any) -> None:
    state = tmp_path / "state"
    consul.set(ONE)
    with balanced(settings=settings(of_consul(consul)).replace(state_file=str(state))) as lb:
        wait_for(lambda: addresses(lb) == {ONE}, "it comes")
    document = json.loads(state.read_text())
    text = json.dumps(document).replace('["consul:shop"]', json.dumps(claims))
    state.write_text(text)
    consul.stop()
    with balanced(settings=settings(of_consul(consul)).replace(state_file=str(state))) as lb:
        assert addresses(lb) == ({ONE} if claims == ["consul:shop"] * 1000 else set())


def test_a_pool_whose_source_changes_is_never_empty(consul: ConsulPeer, tmp_path: Path) -> None:
    """From a file to Consul, which takes its time."""
    path = tmp_path / "backends"
    path.write_text(f"{ONE}\n")
    consul.set(TWO)
    consul.mode = engine_peers.HANGS
    with balanced(settings=settings(of_file(path))) as lb:
        wait_for(lambda: addresses(lb) == {ONE}, "it comes")
        lb.reload(settings(of_consul(consul, timeout="200ms")))
        stays(lambda: addresses(lb) == {ONE}, "what the file named stays while Consul says nothing", 0.3)
        lb.reload(settings(of_consul(consul, timeout="300ms")))
        assert addresses(lb) == {ONE}
        consul.mode = engine_peers.WELL
        wait_for(lambda: addresses(lb) == {TWO}, "it leaves when Consul has answered")


def test_of_two_sources_both_must_answer_before_a_third_is_forgotten(consul: ConsulPeer, tmp_path: Path) -> None:
    path, other = tmp_path / "backends", tmp_path / "other"
    path.write_text(f"{ONE}\n")
    consul.set(TWO)
    with balanced(settings=settings(of_file(path))) as lb:
        wait_for(lambda: addresses(lb) == {ONE}, "it comes")
        lb.reload(settings(of_consul(consul), of_file(other)))
        wait_for(lambda: addresses(lb) == {ONE, TWO}, "Consul answers, and there is no file yet")
        other.write_text("")
        wait_for(lambda: addresses(lb) == {TWO}, "the file is there")
