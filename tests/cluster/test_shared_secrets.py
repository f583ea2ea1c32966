"""What nodes share that nobody else may read: keys of TLS tickets in the store, and the secret of cookies."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import nodes
from etcd_members import etcd, needs_etcd
from harness import wait_for
from http_peers import Backend
from hypothesis import given
from hypothesis import strategies as st
from tls_balancers import HTTPS, V12, V13, resumes, ticket_of
from tls_peers import shown, trusting

from lbcore.api.clustering import cookie_secret
from lbcore.cluster.seal import opened, sealed
from lbcore.cluster.ticket_ring import SharedKey, TicketRing
from lbcore.cluster.words import NotOurs
from lbcore.config.settings import ClusterSettings, ListenerSettings
from lbcore.tls.tickets import KEY_BYTES

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tls_peers import Authority

SECRET = b"of 32 characters or more, and secret"
HOUR_MS = 3_600_000
T0 = 1_700_000_000_000


@given(data=st.binary(max_size=300), at=st.integers(0, 10_000), bit=st.integers(0, 5))
def test_a_sealed_value_is_opened_only_as_it_was_sealed(data: bytes, at: int, bit: int) -> None:
    value = sealed(SECRET, "tickets", data)
    assert opened(SECRET, "tickets", value) == data
    assert len(data) < 4 or data not in value
    changed = bytearray(value)
    changed[at % len(value)] ^= 1 << bit
    for secret, purpose, text in (
        (b"another", "tickets", value),
        (SECRET, "cookies", value),
        (SECRET, "tickets", bytes(changed)),
    ):
        with pytest.raises(NotOurs):
            opened(secret, purpose, text)


def ring(first: int) -> TicketRing:
    numbers = itertools.count(first)
    return TicketRing(SECRET, lambda: next(numbers).to_bytes(KEY_BYTES, "big"))


def test_nodes_that_begin_together_find_the_same_keys() -> None:
    one, other = ring(1), ring(100)
    one.rotate(T0, HOUR_MS, leads=True)
    other.rotate(T0 + 5, HOUR_MS, leads=False)
    first, second = one.value(), other.value()
    one.changed(second, T0)
    other.changed(first, T0)
    assert one.keys == other.keys
    assert len(one.keys) == 2
    assert one.write  # the store has less
    one.changed(one.value(), T0)
    assert not one.write


def test_keys_change_once_though_all_nodes_look() -> None:
    one, other = ring(1), ring(100)
    one.rotate(T0, HOUR_MS, leads=True)
    other.changed(one.value(), T0)
    other.rotate(T0 + HOUR_MS, HOUR_MS, leads=False)
    assert len(other.keys) == 1  # the other's turn
    one.rotate(T0 + HOUR_MS, HOUR_MS, leads=True)
    assert [key.born_ms for key in one.keys] == [T0 + HOUR_MS, T0]
    other.rotate(T0 + 2 * HOUR_MS, HOUR_MS, leads=False)  # who leads is away for long
    assert [key.born_ms for key in other.keys] == [T0 + 2 * HOUR_MS, T0]


@pytest.mark.parametrize(
    "plain", [b"[]x", b"[[1]]", b'[[1, "zz"]]', b'[[1, "00"]]', b'[[9999999999999, "%s"]]' % (b"00" * KEY_BYTES)]
)
def test_keys_that_cannot_be_used(plain: bytes) -> None:
    mine = ring(1)
    mine.rotate(T0, HOUR_MS, leads=True)
    before = mine.keys
    with pytest.raises(NotOurs):
        mine.changed(sealed(SECRET, "tickets", plain), T0)
    assert mine.keys == before


def test_cookies_have_one_secret_where_nodes_share_one() -> None:
    settings = ClusterSettings(endpoints=["http://h:1"], secret=None)
    assert cookie_secret(settings) is None
    assert cookie_secret(None) is None


@needs_etcd
def test_nodes_share_ticket_keys(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    with etcd(tmp_path) as servers, nodes(servers.urls, secret_file=str(file)) as made:
        rings = [node.lb._running().cluster._view.tickets for node in made]  # type: ignore[union-attr]
        wait_for(lambda: all(ring is not None and ring.keys for ring in rings), "all have a key")
        wait_for(lambda: len({ring.keys for ring in rings if ring}) == 1, "the same")
        assert isinstance(rings[0].keys[0], SharedKey)  # type: ignore[union-attr]
        (tmp_path / "other").write_text("of 32 characters or more, but another\n")
        with nodes(servers.urls, 1, node="odd", secret_file=str(tmp_path / "other")) as odd:
            wait_for(lambda: odd[0].cluster["ignored"] >= 1, "it cannot read them")


@needs_etcd
@pytest.mark.parametrize("version", [V12, V13])
def test_a_session_of_tls_is_resumed_at_another_node(
    tmp_path: Path, authority: Authority, site: Path, version: ssl.TLSVersion
) -> None:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    context = trusting(authority, version=version)
    listeners = [ListenerSettings(bind=HTTPS, certificates=shown(site))]
    with etcd(tmp_path) as servers, Backend() as backend:
        options = {"listeners": listeners, "secret_file": str(tmp_path / "secret")}
        with nodes(servers.urls, 2, pool={"backends": [backend.address]}, **options) as made:
            session = ticket_of(made[0].lb, context)
            wait_for(lambda: resumes(made[1].lb, context, session), "resumed there")
