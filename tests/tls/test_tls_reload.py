"""Certificates, listeners and rules of TLS that change while clients are served."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, wait_for
from http_balancers import figure
from http_peers import Backend
from tls_balancers import HTTPS, TLS, https
from tls_peers import (
    Authority,
    TlsClient,
    TlsPeer,
    der_of,
    serving,
    settings_of,
    shown,
    trusting,
)

from lbcore import Balancer, ConfigError
from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def renewed(authority: Authority, tmp_path: Path) -> Iterator[tuple[Balancer, Path, list[bytes], list[str]]]:
    """A balancer under load of short and of kept connections: where its certificate lies, which ones were seen, its log."""
    place = tmp_path / "site.pem"
    place.write_bytes(authority.issue("a.test").read_bytes())
    stop = threading.Event()
    faults: list[Exception] = []
    certificates: list[bytes] = []
    log: list[str] = []
    context = trusting(authority)

    def short(lb: Balancer) -> None:
        while not stop.is_set():
            with TlsClient(lb.address, context) as client:
                certificates.append(client.socket.getpeercert(binary_form=True) or b"")
                assert client.get().body == b"backend"

    def kept(lb: Balancer) -> None:
        with TlsClient(lb.address, context) as client:
            while not stop.is_set():
                assert client.get().body == b"backend"

    def guarded(load: Any, lb: Balancer) -> None:
        try:
            load(lb)
        except Exception as fault:
            faults.append(fault)

    with Backend() as backend:
        settings = settings_of(HTTPS, backend, listener={"certificates": shown(place)}, top={"workers": 2})
        lb = Balancer(settings=settings, log=log.append)
        with lb:
            threads = [threading.Thread(target=guarded, args=(load, lb)) for load in (short, short, kept)]
            for thread in threads:
                thread.start()
            try:
                wait_for(lambda: len(certificates) > 20, "load flows")
                yield lb, place, certificates, log
                seen = len(certificates)
                wait_for(lambda: faults or len(certificates) > seen + 20, "load flows on")
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            assert not faults
            wait_for(lambda: figure(lb, "active") == 0, "all are over")
            assert figure(lb, "refused") == 0


def comes_into_force(certificates: list[bytes], fresh: Path) -> None:
    """New connections are shown this one, soon and from then on."""
    wait_for(lambda: certificates[-1] == der_of(fresh), "new connections see it")
    seen = len(certificates)
    wait_for(lambda: len(certificates) > seen + 30, "load flows")
    assert set(certificates[seen + 5 :]) == {der_of(fresh)}


def test_certificate_renewed_by_reload(authority: Authority, tmp_path: Path) -> None:
    with renewed(authority, tmp_path) as (lb, place, certificates, _):
        for _ in range(4):
            fresh = authority.issue("a.test")
            place.write_bytes(fresh.read_bytes())
            lb.reload(lb.settings)
            comes_into_force(certificates, fresh)


def test_certificate_renewed_on_disk(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken is refused with one line, whatever the order in which files are written."""
    monkeypatch.setattr("lbcore.tls.publisher.LOOK_EVERY_S", 0.05)
    with renewed(authority, tmp_path) as (_, place, certificates, log):
        fresh = authority.issue("a.test")
        for text in (fresh.read_bytes()[:300], b"", Path(f"{fresh}.crt").read_bytes() + Path(f"{place}").read_bytes()[-200:]):
            before = len(log)
            place.write_bytes(text)
            wait_for(lambda before=before: len(log) > before, "it is told")
            assert str(place) in log[-1]
            assert log[-1].endswith("what was read before stays in force")
        assert der_of(fresh) not in certificates
        (tmp_path / "new.pem").write_bytes(fresh.read_bytes())
        (tmp_path / "new.pem").replace(place)
        comes_into_force(certificates, fresh)
        assert "are in force" in log[-1]


def test_broken_files_refuse_a_reload(authority: Authority, tmp_path: Path) -> None:
    with renewed(authority, tmp_path) as (lb, place, certificates, _):
        good = place.read_bytes()
        for text in (
            b"",
            good[:200],
            authority.issue("a.test").read_bytes()[:-100],
            good.replace(b"-----BEGIN P", b"-----BEGIN Q"),
        ):
            place.write_bytes(text)
            with pytest.raises(ConfigError, match=r"site\.pem"):
                lb.reload(lb.settings)
        place.unlink()
        with pytest.raises(ConfigError, match=r"site\.pem"):
            lb.reload(lb.settings)
        place.write_bytes(good)
        assert len(set(certificates)) == 1
        lb.reload(lb.settings)


def test_listeners_that_come_and_go(authority: Authority, site: Path) -> None:
    other = authority.issue("b.test")
    with Backend() as backend, https(site, backend) as lb:
        first = lb.settings.listeners[0]
        pools = list(lb.settings.pools)

        def now(*listeners: ListenerSettings) -> list[tuple[str, int]]:
            lb.reload(BalancerSettings(workers=1, drain_timeout="2s", listeners=list(listeners), pools=pools))
            return list(lb.addresses.values())

        with TlsClient(lb.address, trusting(authority)) as kept:
            assert kept.get().status == 200
            for turn in range(3):
                bind = ("https://127.0.0.2:0", "tls://127.0.0.2:0")[turn % 2]
                second = ListenerSettings(bind=bind, name=f"second-{turn}", certificates=shown(other))
                addresses = now(first, second)
                with TlsClient(addresses[1], trusting(authority), "b.test") as client:
                    assert client.get().status == 200
                    assert client.socket.getpeercert(binary_form=True) == der_of(other)
                with TlsClient(addresses[0], trusting(authority)) as client:
                    assert client.get().status == 200
                now(first)
                with pytest.raises(OSError, match=r"refused|reset|EOF"), TlsClient(addresses[1], trusting(authority), "b.test"):
                    pass
            assert kept.get().status == 200
        assert figure(lb, "tls_refused") == 0


def test_a_listener_that_begins_and_ceases_to_end_tls(authority: Authority, site: Path) -> None:
    """The same address leads to the backend's own TLS, and back."""
    other = authority.issue("a.test")
    with TlsPeer(serving(other), lambda connection: connection.sendall(b"theirs")) as peer:

        def settings(certificates: list[CertificateSettings], over: bool) -> BalancerSettings:
            return settings_of(TLS, peer, listener={"certificates": certificates}, tls=over, tls_verify=not over)

        with balanced(settings=settings([], False)) as lb:
            for turn in range(4):
                ends = turn % 2 == 1
                lb.reload(settings(shown(site) if ends else [], ends))
                with TlsClient(lb.address, trusting(authority)) as client:
                    assert client.socket.recv(6) == b"theirs"
                    assert client.socket.getpeercert(binary_form=True) == der_of(site if ends else other)
