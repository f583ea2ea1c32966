"""Certificates by ACME, from a small authority of our own that looks at the proofs as a real one does."""

from __future__ import annotations

import re
import socket
import ssl
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from acme_authority import Authority
from cryptography import x509
from harness import balanced, wait_for
from http_balancers import OFF
from http_peers import Backend, Client

from lbcore.acme import keeper
from lbcore.config.settings import (
    AcmeSettings,
    BalancerSettings,
    CertificateSettings,
    ListenerSettings,
    PoolSettings,
    RouteSettings,
)
from lbcore.config.toml import load
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

NAMES = ["shop.example.com", "www.shop.example.com"]


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with Authority(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.2)
    monkeypatch.setattr(keeper, "PATIENCE_S", 0.5)


def acme_of(authority: Authority, tmp_path: Path, **more: Any) -> AcmeSettings:
    own = {
        "directory": f"{authority.url}/directory",
        "agree_tos": True,
        "folder": str(tmp_path / "acme"),
        "ca": str(authority.ca),
    }
    return AcmeSettings(**{**own, "email": "admin@shop.example.com", **more})


def settings_of(acme: AcmeSettings | None, backend: str, *, names: list[str] | None = None, **http: Any) -> BalancerSettings:
    return BalancerSettings(
        workers=2,
        listeners=[
            ListenerSettings(bind="http://127.0.0.1:0", name="plain", **http),
            ListenerSettings(bind="https://127.0.0.1:0", name="tls", certificates=[CertificateSettings(acme=names or NAMES)]),
        ],
        routes=[
            RouteSettings(listener="plain", path_prefix="/", redirect="https://{host}{path}{query}"),
            RouteSettings(listener="tls", path_prefix="/", pool="app"),
        ],
        pools=[PoolSettings(name="app", probe=OFF, backends=[backend])],
        acme=acme,
    )


def addresses(lb: Balancer) -> dict[str, tuple[str, int]]:
    found = {}
    for listener in lb.status()["listeners"]:
        host, _, port = listener["address"].removeprefix("https://").removeprefix("http://").rpartition(":")
        found[listener["name"]] = (host, int(port))
    return found


def shown(address: tuple[str, int], name: str = NAMES[0]) -> x509.Certificate:
    """What a client sees."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, 10) as raw, context.wrap_socket(raw, server_hostname=name) as secure:
        data = secure.getpeercert(binary_form=True)
        assert data is not None
        return x509.load_der_x509_certificate(data)


def issuer(address: tuple[str, int], name: str = NAMES[0]) -> str:
    return str(shown(address, name).issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def state(lb: Balancer) -> dict[str, Any]:
    found: dict[str, Any] = lb.status()["acme"][0]
    return found


def test_certificate_is_issued_and_shown(authority: Authority, tmp_path: Path) -> None:
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        where = addresses(lb)
        authority.looks_at = where["plain"]
        assert issuer(where["tls"]) in ("lbcore stand-in", "authority.test")
        wait_for(lambda: issuer(where["tls"]) == "authority.test", "it is issued, and workers show it", 30)
        names = shown(where["tls"]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == NAMES
        assert {name for name, _ in authority.seen} >= set(NAMES)
        assert state(lb)["state"] == "issued"
        assert state(lb)["renews"] < state(lb)["expires"] - (90 * 86400) / 3 + 100
        token = authority.token_of(next(iter(authority.orders)), NAMES[0])
        with Client(where["plain"]) as client:  # the proof is gone: the route answers as ever
            client.send(f"GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.answer().status == 301
        for entry in (tmp_path / "acme").rglob("*"):
            mode = stat.S_IMODE(entry.stat().st_mode)
            assert mode == (0o700 if entry.is_dir() else 0o600), entry
        assert authority.contacts[0]["contact"] == ["mailto:admin@shop.example.com"]
        assert authority.contacts[0]["termsOfServiceAgreed"] is True


def test_account_and_certificate_are_kept(authority: Authority, tmp_path: Path) -> None:
    with Backend() as app:
        for _ in range(2):
            with balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
                authority.looks_at = addresses(lb)["plain"]
                wait_for(lambda: issuer(addresses(lb)["tls"]) == "authority.test", "it is shown", 30)
        assert (len(authority.accounts), len(authority.orders)) == (1, 1)


def test_renewed_before_a_third_of_its_life_is_left(authority: Authority, tmp_path: Path) -> None:
    authority.begun_s, authority.life_s = 61.0, 90.0
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: len(authority.orders) >= 1 and state(lb)["state"] == "issued", "the first is issued", 30)
        authority.begun_s, authority.life_s = 0.0, 90 * 86400.0
        wait_for(lambda: state(lb)["expires"] > time.time() + 86400, "and renewed at once", 30)
        assert len(authority.accounts) == 1


def test_guards_and_redirects_do_not_hide_the_proof(authority: Authority, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("shop: k-0123456789abcdef\n")
    keys.chmod(0o600)
    guard: dict[str, Any] = {"api_keys": str(keys), "allow_clients": ["10.0.0.0/8"]}
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address, **guard)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: state(lb)["state"] == "issued", "it is issued", 30)
        with Client(addresses(lb)["plain"]) as client:
            client.send(b"GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer().status == 403


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((429, "rateLimited", "too many certificates for shop.example.com"), "rateLimited: too many certificates"),
        ((403, "userActionRequired", "new terms"), "userActionRequired: new terms"),
        ((400, "rejectedIdentifier", "policy forbids"), "rejectedIdentifier: policy forbids"),
        ((500, "serverInternal", "sorry"), "serverInternal: sorry"),
        ((400, "badSignatureAlgorithm", "x" * 3000), "badSignatureAlgorithm: x"),
    ],
)
def test_refusal_is_told_and_tried_again(authority: Authority, tmp_path: Path, fault: tuple[int, str, str], said: str) -> None:
    authority.faults = [fault]
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: said in state(lb)["fault"] or state(lb)["state"] == "issued", "it is told", 30)
        assert "\n" not in state(lb)["fault"]
        wait_for(lambda: state(lb)["state"] == "issued", "and issued in the end", 30)
        assert state(lb)["fault"] == ""


def test_nonce_of_before_is_none_to_worry(authority: Authority, tmp_path: Path) -> None:
    authority.faults = [(400, "badNonce", "old")]
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: state(lb)["state"] == "issued", "it is issued", 30)
        assert len(authority.orders) == 1


def test_proof_that_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    authority.refuses = True
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: "shop.example.com: unauthorized: the proof is wrong" in state(lb)["fault"], "it is told", 30)
        assert issuer(addresses(lb)["tls"]) == "lbcore stand-in"
        authority.refuses = False
        wait_for(lambda: state(lb)["state"] == "issued", "and issued in the end", 30)


def test_failed_renewal_leaves_what_is_there(authority: Authority, tmp_path: Path) -> None:
    authority.begun_s, authority.life_s = 61.0, 90.0
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: state(lb)["state"] == "issued", "it is issued", 30)
        authority.refuses = True
        wait_for(lambda: state(lb)["fault"], "its renewal fails", 30)
        assert state(lb)["state"] == "issued"


def test_authority_that_offers_other_proofs(authority: Authority, tmp_path: Path) -> None:
    authority.strange = True
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        wait_for(lambda: "offers no http-01 for shop.example.com" in state(lb)["fault"], "it is told", 30)


def test_names_that_are_proved_already(authority: Authority, tmp_path: Path) -> None:
    authority.valid_already = set(NAMES)
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        wait_for(lambda: state(lb)["state"] == "issued", "it is issued", 30)
        assert authority.seen == []


def test_authority_is_away(authority: Authority, tmp_path: Path) -> None:
    acme = acme_of(authority, tmp_path)
    with (
        Backend() as app,
        balanced(settings=settings_of(acme.replace(directory="https://127.0.0.1:1/directory"), app.address)) as lb,
    ):
        wait_for(lambda: state(lb)["fault"], "it is told", 30)
        assert issuer(addresses(lb)["tls"]) == "lbcore stand-in"


def test_stop_does_not_wait_for_the_authority(authority: Authority, tmp_path: Path) -> None:
    authority.pending = True
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)):
        wait_for(lambda: authority.orders, "an order is under way", 30)
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "lbcore-acme"], "its thread has ended")


def test_names_that_a_reload_brings(authority: Authority, tmp_path: Path) -> None:
    with Backend() as app, balanced(settings=settings_of(acme_of(authority, tmp_path), app.address)) as lb:
        authority.looks_at = addresses(lb)["plain"]
        wait_for(lambda: state(lb)["state"] == "issued", "the first is issued", 30)
        lb.reload(settings_of(lb.settings.acme, app.address, names=["other.example.com"]))
        wait_for(lambda: state(lb)["names"] == ["other.example.com"] and state(lb)["state"] == "issued", "so is the next", 30)
        authority.looks_at = addresses(lb)["plain"]


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["*.example.com"], "'*.example.com' is not allowed: certificates of that kind require dns-01"),
        (["127.0.0.1"], "'127.0.0.1' is not allowed (allowed: names such as shop.example.com)"),
        (["localhost"], "'localhost' is not allowed"),
        (["a..example.com"], "'a..example.com' is not allowed"),
        (["a_b.example.com"], "'a_b.example.com' is not allowed"),
        ([], "acme: [] is not allowed"),
        ([f"{n}.example.com" for n in range(101)], "101 names"),
    ],
)
def test_names_that_no_authority_takes(names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        CertificateSettings(acme=names)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "agree_tos: true is required"),
        ({"agree_tos": True}, "folder: missing"),
        ({"agree_tos": True, "folder": "/etc/passwd"}, "folder: '/etc/passwd' is no folder"),
        ({"agree_tos": True, "folder": "/etc/passwd/acme"}, "folder: '/etc/passwd' is no folder"),
        ({"agree_tos": True, "folder": "/tmp", "directory": "http://a/"}, "directory: 'http://a/' is not allowed"),
        ({"agree_tos": True, "folder": "/tmp", "email": "a b"}, "email: 'a b' is not allowed"),
        ({"agree_tos": True, "folder": "/tmp", "eab_key_id": "a"}, "eab_key_id: requires eab_hmac_file"),
    ],
)
def test_bad_values_are_refused_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        AcmeSettings(**values)


def test_certificates_without_an_authority_or_without_port_80(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape("listener tls: certificate[0].acme: requires [acme]")):
        settings_of(None, "127.0.0.1:1")
    whole = settings_of(acme_of(authority, tmp_path), "127.0.0.1:1")
    with pytest.raises(ConfigError, match="acme: requires a listener of mode http"):
        whole.replace(listeners=[whole.listeners[1]], routes=[whole.routes[1]])
    with pytest.raises(ConfigError, match="cert: not with acme"):
        CertificateSettings(acme=["a.example.com"], cert="a.pem")


def test_configuration_file(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "lbcore.toml"
    file.write_text(
        '[[listener]]\nname = "plain"\nbind = "http://127.0.0.1:80"\n'
        '[[listener]]\nname = "tls"\nbind = "https://127.0.0.1:443"\n'
        '[[listener.certificate]]\nacme = ["Shop.example.com", "www.shop.example.com"]\n'
        '[[pool]]\n[[pool.backend]]\naddress = "127.0.0.1:8000"\n'
        f'[acme]\ndirectory = "{authority.url}/directory"\nagree_tos = true\nfolder = "certs"\n'
    )
    settings = load(file)
    certificate = settings.listeners[1].certificates[0]
    assert certificate.acme == NAMES
    assert certificate.issued == str(tmp_path / "certs/certificates/shop.example.com.pem")
