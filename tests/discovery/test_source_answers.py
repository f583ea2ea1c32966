"""Engines whose answers are slow, broken, huge or not theirs: the pool stays as it was, and one line says why."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import engine_peers
import pytest
from certificates import authority_with_peers, make_authority
from consul_peer import ConsulPeer, instance
from dns_faults import following
from harness import wait_for
from source_sites import SITES, Site, hurry

from lbcore.config.settings import PoolSettings, SourceSettings
from lbcore.discovery.sources import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE, TWO = "10.0.0.1:8000", "10.0.0.2:8000"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture(params=["consul", "kubernetes"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = SITES[request.param](tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (engine_peers.HANGS, "no answer within 0.2 s"),
        (engine_peers.GARBAGE, "the answer is no JSON: is the endpoint right?"),
        (engine_peers.REDIRECTS, "HTTP 307: redirects are not followed: name the right endpoint"),
        (engine_peers.CUT, "the answer broke off"),
        (engine_peers.HUGE, "the answer is larger than 16 MiB"),
        (engine_peers.OVERLOADED, "HTTP 503: overloaded"),
    ],
)
def test_an_answer_that_cannot_be_used_changes_nothing(site: Any, mode: str, words: str) -> None:
    site.set(ONE)
    with following(lambda log: site.source(log, timeout="200ms")) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
        site.peer.mode = mode
        site.lose()
        site.recover()
        site.set(TWO)
        told = wait_for(lambda: [line for line in followed.told if words in line], f"{words}: {followed.told}")
        assert told[0].startswith(f"pool web: {site.kind} shop: the last answer is kept: http://127.0.0.1:")
        assert followed.addresses == [ONE]
        site.peer.mode = engine_peers.WELL
        wait_for(lambda: followed.addresses == [TWO], "it is well again")
    assert not any("elsewhere" in path for path, _ in site.peer.asked)


def test_a_source_ends_at_once_while_its_engine_hangs(site: Site) -> None:
    site.peer.mode = engine_peers.HANGS  # type: ignore[attr-defined]
    with following(site.source):  # which looks at the time
        wait_for(lambda: site.peer.asked, "it is asked")  # type: ignore[attr-defined]


def test_what_an_engine_says_does_not_spoil_the_log(tmp_path: Path) -> None:
    peer = ConsulPeer()
    try:
        peer.token = "x"
        peer.tell({"a": instance("10.0.0.1:80") | {"Service": {"ID": "a\nlbcore: all is lost\x1b[31m" * 50}}})
        source = source_of(peer.url, token="x")
        with following(source) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.isprintable()
        assert len(line) < 300
    finally:
        peer.close()


# --- TLS ------------------------------------------------------------------------------------------------------------------


def source_of(url: str, **values: Any) -> Callable[[Callable[[str], None]], Any]:
    settings = SourceSettings(kind="consul", service="shop", endpoints=[url], **values)
    return lambda log: made([PoolSettings(name="web", sources=[settings])], log)[0]


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[ConsulPeer, Path]]:
    """A peer that wants certificates of clients, and the folder of all keys."""
    context = authority_with_peers(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    peer = ConsulPeer(context)
    peer.set(ONE)
    yield peer, tmp_path
    peer.close()


def test_an_engine_is_asked_over_tls_with_a_certificate(secured: tuple[ConsulPeer, Path]) -> None:
    peer, keys = secured
    files = {"ca": str(keys / "ca.crt"), "cert": str(keys / "client.crt"), "key": str(keys / "client.key")}
    with following(source_of(peer.url, **files)) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")


def test_a_certificate_of_another_authority_is_refused(secured: tuple[ConsulPeer, Path]) -> None:
    peer, keys = secured
    make_authority(keys, "other")
    files = {"ca": str(keys / "other.crt"), "cert": str(keys / "client.crt"), "key": str(keys / "client.key")}
    with following(source_of(peer.url, **files)) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert "its certificate is refused: " in line
        assert followed.addresses is None
    assert peer.asked == []


def test_without_its_certificate_a_client_is_told_so(secured: tuple[ConsulPeer, Path]) -> None:
    peer, keys = secured
    with following(source_of(peer.url, ca=str(keys / "ca.crt"))) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("it closed the connection; it may want another client certificate (cert)"), line


def test_a_key_that_is_none_is_named(secured: tuple[ConsulPeer, Path]) -> None:
    peer, keys = secured
    (keys / "odd.crt").write_text("no certificate\n")
    with following(source_of(peer.url, cert=str(keys / "odd.crt"))) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert f"cert: {str(keys / 'odd.crt')!r} cannot be used" in line
