"""What listeners, pools and probes may say of TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate

from lbcore.config.settings import (
    BalancerSettings,
    CertificateSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
    RouteSettings,
    listeners_of,
    simple,
)
from lbcore.config.settings.tls import INTERMEDIATE
from lbcore.config.toml import load
from lbcore.errors import ConfigError

SITE = CertificateSettings(cert="site.pem")


def listener(bind: str, **values: Any) -> ListenerSettings:
    return ListenerSettings(bind=f"{bind}://127.0.0.1:0", **values)


def fault(make: Any, *arguments: Any, **values: Any) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(ConfigError) as caught:
        make(*arguments, **values)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


# --- listeners ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "certificates", "ends"), [("https", [SITE], True), ("tls", [SITE], True), ("tls", [], False), ("http", [], False)]
)
def test_where_tls_ends(bind: str, certificates: list[CertificateSettings], ends: bool) -> None:
    made = listener(bind, certificates=certificates)
    assert made.terminates is ends
    assert (made.client_cert, made.tls_min, made.tls_ciphers) == (("off", "1.2", INTERMEDIATE) if ends else (None, None, None))
    assert made.replace(name="other").terminates is ends


@pytest.mark.parametrize("value", ["1.3", 1.3])
def test_the_oldest_version_with_and_without_quotes(value: object) -> None:
    assert listener("https", certificates=[SITE], tls_min=value).tls_min == "1.3"


@pytest.mark.parametrize(
    ("bind", "values", "says"),
    [
        ("https", {}, "certificate: missing"),
        ("tcp", {"certificates": [SITE]}, "certificate: only for mode https or tls, this is tcp"),
        ("http", {"client_cert": "required"}, "client_cert: only for mode https, or tls with a certificate, this is http"),
        ("tls", {"tls_min": "1.2"}, "tls_min: only for mode https, or tls with a certificate, this is tls without one"),
        ("tls", {"tls_ciphers": "AES"}, "tls_ciphers: only for"),
        ("tls", {"alpn": ["h2"]}, "alpn: only for"),
        ("udp", {"client_ca": "ca.pem"}, "client_ca: only for"),
        ("https", {"certificates": [SITE], "alpn": ["h2"]}, "alpn: only for mode tls with a certificate"),
        ("tls", {"certificates": [SITE], "alpn": ["x" * 256]}, "alpn: 'xxx"),
        ("tls", {"certificates": [SITE], "alpn": "h2"}, "alpn: 'h2' is not allowed (allowed: a list of texts like \"h2\")"),
        ("https", {"certificates": [SITE], "client_cert": "required"}, "client_ca: missing (client_cert = 'required' requires"),
        ("https", {"certificates": [SITE], "client_ca": "ca.pem"}, "client_ca: requires client_cert = 'optional'"),
        ("https", {"certificates": [SITE], "client_cert": "maybe"}, "(allowed: off, optional, required)"),
        ("https", {"certificates": [SITE], "tls_min": "1.1"}, "tls_min: '1.1' is not allowed (allowed: 1.2, 1.3)"),
        ("https", {"certificates": [SITE] * 1025}, "certificate: 1025 are too many (allowed: at most 1024)"),
    ],
)
def test_what_does_not_fit_a_listener(bind: str, values: dict[str, Any], says: str) -> None:
    assert says in fault(listener, bind, **values)


def test_a_certificate_without_its_file() -> None:
    assert (
        fault(CertificateSettings)
        == "certificate.cert: missing (PEM file of the certificate; or acme, names that it is issued for)"
    )


# --- routes and pools -----------------------------------------------------------------------------------------------------


def balancer(listeners: list[ListenerSettings], route: dict[str, Any] | None = None, **pool: Any) -> BalancerSettings:
    routes = [RouteSettings(pool="default", **route)] if route is not None else []
    return BalancerSettings(listeners=listeners, pools=[PoolSettings(**pool)], routes=routes)


def test_routes_lead_on_from_https() -> None:
    made = balancer([listener("https", name="web", certificates=[SITE])], {"listener": "web", "path_prefix": "/v2/"})
    assert made.listeners[0].pool is None


@pytest.mark.parametrize(
    ("bind", "route", "says"),
    [
        ("https", {"alpn": "h2"}, "route[0].alpn: only for tls listeners"),
        ("tls", {"path": "/"}, "route[0].path: connections of mode tls have none"),
    ],
)
def test_routes_that_cannot_lead_on(bind: str, route: dict[str, Any], says: str) -> None:
    assert says in fault(balancer, [listener(bind, name="web", certificates=[SITE])], {"listener": "web", **route})


def test_the_proxy_header_is_for_https_too() -> None:
    balancer([listener("https", certificates=[SITE])], send_proxy="v2")


def test_datagrams_do_not_go_to_a_pool_that_speaks_tls() -> None:
    assert fault(balancer, [listener("udp")], tls=True) == "pool default: tls: not for listeners of mode udp (listener-1)"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tls_name": "app"}, "tls_name: requires tls = true"),
        ({"tls_cert": "our.pem"}, "tls_cert: requires tls = true"),
        ({"tls_verify": False}, "tls_verify: requires tls = true"),
        ({"tls": True, "tls_key": "our.key"}, "tls_key: requires tls_cert"),
        ({"tls": True, "tls_name": "*.app"}, "tls_name: '*.app' is not allowed"),
        ({"tls": True, "tls_ca": "/no/such.pem"}, "tls_ca: '/no/such.pem' cannot be used (No such file"),
    ],
)
def test_what_does_not_fit_a_pool(values: dict[str, Any], says: str) -> None:
    assert fault(PoolSettings, **values).startswith(says)


# --- probes ---------------------------------------------------------------------------------------------------------------


def probe_of_pool(probe: dict[str, Any], **pool: Any) -> tuple[object, ...]:
    made = PoolSettings(probe=ProbeSettings(**probe), **pool).probe
    return made.tls, made.tls_verify, made.tls_ca, made.tls_name, made.tls_cert


def test_probes_speak_tls_as_their_pool_does(tmp_path: Path) -> None:
    ca, other = (str(make_certificate(tmp_path, name)[0]) for name in ("ca", "other"))
    pool = {"tls": True, "tls_verify": False, "tls_ca": ca, "tls_name": "app", "tls_cert": "our.pem"}
    assert probe_of_pool({}, **pool) == (True, False, ca, "app", "our.pem")
    assert probe_of_pool({"tls_verify": True, "tls_ca": other}, **pool) == (True, True, other, "app", "our.pem")
    assert probe_of_pool({"tls": False}, **pool)[0] is False
    assert probe_of_pool({"tls": True}) == (True, None, None, None, None)
    assert probe_of_pool({}) == (False, None, None, None, None)


def test_probes_follow_a_copied_pool() -> None:
    pool = PoolSettings(tls=True, tls_name="app")
    assert pool.replace(probe=ProbeSettings(kind="http")).probe.tls_name == "app"
    assert pool.replace(policy="random") == pool.replace(policy="random")


# --- flags and files ------------------------------------------------------------------------------------------------------


def test_one_certificate_for_all_listeners_that_show_one() -> None:
    made = listeners_of(["https://a:1", "tls://a:2", "tcp://a:3"], "site.pem", "site.key")
    assert [entry.certificates for entry in made] == [[CertificateSettings(cert="site.pem", key="site.key")]] * 2 + [[]]
    assert simple("https://a:1", certificate="site.pem").listeners[0].certificates == [SITE]


def test_flags_that_mean_nothing() -> None:
    assert fault(simple, "https://a:1", key="site.key") == "key: requires a certificate"
    assert fault(simple, "tcp://a:1", certificate="site.pem") == "certificate: requires a listener of mode https or tls"


def test_files_are_meant_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    make_certificate(tmp_path, "ca")
    (tmp_path / "lb.toml").write_text(
        """
        max_handshakes = 10
        ticket_rotation = "5m"
        [[listener]]
        bind = "https://0.0.0.0:443"
        client_cert = "optional"
        client_ca = "ca.crt"
        tls_min = 1.3
        [[listener.certificate]]
        cert = "a.crt"
        key = "a.key"
        [[listener.certificate]]
        cert = "/b.pem"
        ocsp = "b.der"
        [[pool]]
        tls = true
        tls_ca = "ca.crt"
        tls_cert = "our.pem"
        tls_key = "our.key"
        """
    )
    made = load(tmp_path / "lb.toml")
    web, pool = made.listeners[0], made.pools[0]
    here = [(entry.cert, entry.key, entry.ocsp) for entry in web.certificates]
    assert here == [(f"{tmp_path}/a.crt", f"{tmp_path}/a.key", None), ("/b.pem", None, f"{tmp_path}/b.der")]
    assert (web.client_ca, web.client_cert, web.tls_min) == (f"{tmp_path}/ca.crt", "optional", "1.3")
    assert (pool.tls_ca, pool.tls_cert, pool.tls_key) == tuple(
        f"{tmp_path}/{name}" for name in ("ca.crt", "our.pem", "our.key")
    )
    assert (made.max_handshakes, made.ticket_rotation_ms) == (10, 300_000)
    assert pool.probe.tls_ca == pool.tls_ca


def test_keys_that_are_wrong_in_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text(
        '[[listener]]\nbind = "https://a:1"\n[[listener.certificate]]\nkey = "a"\n[[listener.certificate]]\npem = "a"\n'
    )
    assert "listener[0].certificate[1].pem: unknown key" in fault(load, tmp_path / "lb.toml")
    (tmp_path / "lb.toml").write_text('[[listener]]\nbind = "https://a:1"\n[[listener.certificate]]\nkey = "a"\n')
    assert "listener[0].certificate[0].cert: missing" in fault(load, tmp_path / "lb.toml")
