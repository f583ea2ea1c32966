"""What a source may be told, and what is wrong with it in a line; how sources are shown, checked and reloaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from consul_peer import ConsulPeer
from dns_faults import following
from etcd_members import PROGRAMS
from file_sources import settings
from harness import Peer, balanced, command, dial, named, read_exactly, wait_for
from nats_servers import BINARY
from source_sites import SITES

from lbcore.cli import run
from lbcore.config.settings import PoolSettings, SourceSettings
from lbcore.config.toml import load
from lbcore.discovery.sources import made
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "tools/docs/discovery.md"
CONSUL, ETCD = {"kind": "consul", "service": "shop"}, {"kind": "etcd", "prefix": "/shop/"}
KUBERNETES, NATS = {"kind": "kubernetes", "service": "shop"}, {"kind": "nats", "bucket": "shop"}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"kind": "etcd"}, "source.prefix: missing (a source of kind etcd requires it)"),
        ({"kind": "consul"}, "source.service: missing"),
        ({"kind": "kubernetes"}, "source.service: missing"),
        ({"kind": "nats"}, "source.bucket: missing"),
        ({**ETCD, "bucket": "x"}, "source.bucket: only for kind nats, this is etcd"),
        ({**CONSUL, "prefix": "/x"}, "source.prefix: only for kind etcd or nats, this is consul"),
        ({**CONSUL, "max_ttl": "5s"}, "source.max_ttl: only for kind dns or srv, this is consul"),
        (
            {**CONSUL, "endpoints": ["10.0.0.1:8500"]},
            "source.endpoints: '10.0.0.1:8500' is not allowed (allowed: http://HOST:PORT",
        ),
        ({**CONSUL, "endpoints": ["http://u:p@10.0.0.1"]}, "is not allowed (allowed: http://HOST:PORT or https://HOST:PORT)"),
        ({**CONSUL, "endpoints": ["http://10.0.0.1/consul"]}, "source.endpoints: 'http://10.0.0.1/consul' is not allowed"),
        ({**NATS, "endpoints": ["http://10.0.0.1"]}, "(allowed: nats://HOST:PORT or tls://HOST:PORT)"),
        ({**CONSUL, "endpoints": []}, "source.endpoints: [] is not allowed"),
        ({**CONSUL, "token": "a", "token_env": "B"}, "source.token_env: not together with token"),
        ({**CONSUL, "token_env": "NOT_THERE"}, "source.token_env: 'NOT_THERE' is not in the environment"),
        ({**CONSUL, "token_file": "/none"}, "source.token_file: '/none' cannot be read (No such file or directory)"),
        ({**ETCD, "password": "a"}, "source.password: requires user"),
        ({**ETCD, "token": "a"}, "source.token: only for kind consul or kubernetes or nats, this is etcd"),
        ({**NATS, "user": "a", "token": "b"}, "source.user: not together with a token"),
        ({**CONSUL, "key": "/dev/null"}, "source.key: requires cert"),
        ({**CONSUL, "ca": "/none"}, "source.ca: '/none' cannot be read"),
        ({**KUBERNETES, "allow_exec": True}, "source.allow_exec: requires kubeconfig"),
        ({**CONSUL, "namespace": "a b"}, "source.namespace: 'a b' is not allowed (allowed: a name)"),
        ({**CONSUL, "partition": "../x"}, "source.partition: '../x' is not allowed (allowed: letters, digits, '_' and '-')"),
        ({**KUBERNETES, "context": "x"}, "source.context: requires kubeconfig"),
        ({**KUBERNETES, "kubeconfig": "/dev/null", "token": "x"}, "source.token: not together with kubeconfig, which says it"),
        ({**KUBERNETES, "port": 80, "port_name": "x"}, "source.port_name: not together with port"),
        ({**KUBERNETES, "service": "a/b"}, "source.service: 'a/b' is not allowed (allowed: a name in Kubernetes)"),
        ({**KUBERNETES, "namespace": "../x"}, "source.namespace: '../x' is not allowed"),
        ({**NATS, "bucket": "a.b"}, "source.bucket: 'a.b' is not allowed (allowed: letters, digits, '_' and '-')"),
        ({**NATS, "prefix": "a.>"}, "source.prefix: 'a.>' is not allowed"),
        ({**CONSUL, "when_empty": "maybe"}, "source.when_empty: 'maybe' is not allowed (allowed: keep, clear)"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(fault)) as error:
        SourceSettings(**values)
    assert len(error.value.problems) == 1, error.value.problems


def test_a_creds_file_is_read_and_stands_alone() -> None:
    pytest.importorskip("nkeys")
    with pytest.raises(ConfigError, match="creds_file: '/none' cannot be read"):
        SourceSettings(**NATS, creds_file="/none")
    with pytest.raises(ConfigError, match="creds_file: not together with token"):
        SourceSettings(**NATS, creds_file="/dev/null", token="x")


@pytest.mark.parametrize(
    ("values", "urls"),
    [
        (ETCD, ["http://127.0.0.1:2379"]),
        (CONSUL, ["http://127.0.0.1:8500"]),
        (NATS, ["nats://127.0.0.1:4222"]),
        (KUBERNETES, []),
        ({**CONSUL, "endpoints": ["https://consul.internal/"]}, ["https://consul.internal:8501"]),
        ({**KUBERNETES, "endpoints": ["https://[fd00::1]"]}, ["https://[fd00::1]:443"]),
        ({**NATS, "endpoints": ["tls://a", "tls://b:1"]}, ["tls://a:4222", "tls://b:1"]),
    ],
)
def test_endpoints_have_the_usual_ports(values: dict[str, Any], urls: list[str]) -> None:
    assert SourceSettings(**values).urls == urls


def test_secrets_that_the_network_or_all_users_can_read_are_advised_against(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-token\n")
    path.chmod(0o644)
    advice = SourceSettings(**CONSUL, token_file=str(path), endpoints=["http://10.0.0.1", "http://127.0.0.1"]).advice()
    assert advice == [
        f"source.token_file: {str(path)!r} can be read by every user of this host (chmod o-r)",
        "source.endpoints: 'http://10.0.0.1:8500' sends the token or password in clear",
    ]


def test_nats_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(ConfigError, match=re.escape("source.kind: 'nats' requires nats-py: pip install 'lbcore[nats]'")):
        SourceSettings(**NATS)


def test_two_sources_of_one_name_are_two() -> None:
    """The same service in two clusters."""
    pool = PoolSettings(sources=[SourceSettings(**CONSUL), SourceSettings(**CONSUL, endpoints=["http://10.0.0.1"])])
    assert [source.claim for source in made([pool], print)] == ["consul:shop", "consul:shop#2"]


def test_engines_are_loaded_only_where_a_pool_names_them(tmp_path: Path) -> None:
    code = (
        "import sys, lbcore\n"
        "from lbcore.config.settings import SourceSettings, PoolSettings, BalancerSettings, ListenerSettings\n"
        "from lbcore.discovery.sources import made\n"
        f"source = SourceSettings(kind='file', path={str(tmp_path / 'none')!r})\n"
        "made([PoolSettings(sources=[source])], print)\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] in ('aiohttp', 'nats', 'yaml', 'dns')]\n"
        "loaded += [name for name in sys.modules if name.startswith(('lbcore.discovery.engines', 'lbcore.store'))]\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- in a balancer --------------------------------------------------------------------------------------------------------


@pytest.fixture
def consul() -> Iterator[ConsulPeer]:
    peer = ConsulPeer()
    yield peer
    peer.close()


def of_consul(peer: ConsulPeer, **values: Any) -> SourceSettings:
    return SourceSettings(**CONSUL, endpoints=[peer.url], **values)


def test_sessions_go_to_what_an_engine_names_and_go_on_without_it(consul: ConsulPeer) -> None:
    with Peer(named(b"one")) as one, Peer(named(b"two")) as two:
        consul.set(one.address)
        with balanced(settings=settings(of_consul(consul))) as lb:
            wait_for(lambda: [backend.address for backend in lb.pool().backends()] == [one.address], "it comes")
            with dial(lb.address) as session:
                assert read_exactly(session, 3) == b"one"
            consul.set(two.address)
            wait_for(lambda: [backend.address for backend in lb.pool().backends()] == [two.address], "another")
            consul.stop()
            wait_for(lambda: not lb.status()["pools"][0]["sources"][0]["connected"], "Consul is gone")
            with dial(lb.address) as session:
                assert read_exactly(session, 3) == b"two"
            assert lb.pool().backends()[0].source == "consul"


def test_a_source_is_shown_in_the_status_and_the_metrics(consul: ConsulPeer) -> None:
    consul.set("10.0.0.1:80", "db internal:5432")
    with balanced(settings=settings(of_consul(consul))) as lb:

        def source() -> dict[str, Any]:
            shown: dict[str, Any] = lb.status()["pools"][0]["sources"][0]
            return shown

        wait_for(lambda: source()["entries"] == 1, "it comes")
        last_s = source()["last_contact_s"]
        assert 0 <= last_s < 5
        expected = {"kind": "consul", "what": "shop", "connected": True, "revision": "11", "entries": 1, "skipped": 1}
        shown = source()
        assert {name: shown[name] for name in expected} == expected
        text = lb.metrics().decode()
        labels = '{kind="consul",pool="default",source="shop"}'
        for line in ("connected", "entries", "skipped"):
            assert f"lbcore_source_{line}{labels} 1.0" in text
        assert f"lbcore_source_failures_total{labels} 0.0" in text
        assert f"lbcore_source_last_contact_seconds{labels}" in text
        consul.stop()
        wait_for(lambda: source()["failures"], "it fails")
        assert source()["fault"].startswith(f"{consul.url}: ")
        assert f"lbcore_source_connected{labels} 0.0" in lb.metrics().decode()
        assert f"lbcore_source_stale{labels} 1.0" in lb.metrics().decode()
        consul.tell({})
        consul.start()
        wait_for(lambda: source()["connected"], "it is heard again")
        wait_for(lambda: source()["state"] == "stale", "its empty answer is not believed")
        assert source()["trouble"].startswith("it names no backend: the last 1 are kept (when_empty): ")
        assert f"lbcore_source_stale{labels} 1.0" in lb.metrics().decode()
        consul.set("10.0.0.2:80")
        wait_for(lambda: (source()["state"], source()["trouble"]) == ("up", None), "it is believed again")
        assert f"lbcore_source_stale{labels} 0.0" in lb.metrics().decode()


def test_a_reload_with_other_endpoints_leaves_the_backends_alone(consul: ConsulPeer) -> None:
    other = ConsulPeer()
    try:
        consul.set("10.0.0.1:80")
        with balanced(settings=settings(of_consul(consul))) as lb:
            wait_for(lambda: lb.pool().backends(), "it comes")
            generation = lb.pool().backends()[0].generation
            other.set("10.0.0.1:80", "10.0.0.2:80")
            lb.reload(settings(of_consul(other, timeout="1s")))
            wait_for(lambda: len(lb.pool().backends()) == 2, "the other one names more")
            assert lb.pool().backends()[0].generation == generation
    finally:
        other.close()


def test_lbcore_status_shows_sources(consul: ConsulPeer, tmp_path: Path) -> None:
    consul.set("10.0.0.1:80", "db internal:5432")
    with command(tmp_path, "-c", str(config(tmp_path / "shop.toml", consul))) as lb:
        lines = wait_for(
            lambda: [line for line in lb.cli("status").stdout.splitlines() if " consul  shop " in line], "it is shown"
        )
        assert lines[0].split()[:4] == ["default", "consul", "shop", "up"]
        consul.stop()
        words = "default: consul shop is stale: nothing heard for "
        line = wait_for(lambda: [line for line in lb.cli("status").stdout.splitlines() if line.startswith(words)], "it is told")
        assert line[0].endswith(f", its last backend stays in force: {consul.url}: connection refused")
        consul.start()
        wait_for(lambda: words not in lb.cli("status").stdout, "it is well again")
        shown = json.loads(lb.cli("status", "--json").stdout)["pools"][0]["sources"][0]
        assert (shown["connected"], shown["entries"], shown["skipped"]) == (True, 1, 1)


# --- lbcore check ---------------------------------------------------------------------------------------------------------


def config(path: Path, peer: ConsulPeer, service: str = "shop") -> Path:
    path.write_text(
        '[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\n[[pool.source]]\n'
        f'kind = "consul"\nservice = "{service}"\nendpoints = ["{peer.url}"]\n'
    )
    return path


def test_check_asks_the_engine_where_it_is_told_to(
    consul: ConsulPeer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path / "shop.toml", consul)
    consul.set("10.0.0.1:80", "10.0.0.2:80", "db internal:5432")
    assert run(["check", str(file)]) == 0
    assert consul.asked == []
    capsys.readouterr()
    assert run(["check", "--connect", str(file)]) == 0
    assert f"{file}: pool default: consul shop: 2 backends, 1 entry skipped\n" in capsys.readouterr().err
    assert run(["check", "--connect", "--json", str(file)]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert (source["what"], source["backends"], source["skipped"], source["fault"]) == ("shop", 2, 1, None)


def test_check_says_that_a_service_is_unknown_or_an_engine_away(
    consul: ConsulPeer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path / "shop.toml", consul, "shoop")
    assert run(["check", "--connect", str(file)]) == 0
    assert "consul shoop: it names no backend: no instance passes its checks" in capsys.readouterr().err
    consul.stop()
    assert run(["check", "--connect", str(file)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"lbcore: {file}: pool default: consul shoop: {consul.url}: connection refused"
    ]
    assert run(["check", "--connect", "--json", str(file)]) == 2
    assert json.loads(capsys.readouterr().out)["problems"] == [f"pool default: consul shoop: {consul.url}: connection refused"]


# --- the page -------------------------------------------------------------------------------------------------------------


def examples() -> Iterator[Any]:
    """The configurations of the page, by kind."""
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        yield pytest.param(text, id=re.findall(r'^kind = "(\w+)"', text, re.MULTILINE)[0])


@pytest.mark.parametrize("text", list(examples()))
def test_an_example_of_the_page_finds_the_backends_of_its_site(text: str, tmp_path: Path) -> None:
    """As it stands there, but for where the engine is and the files that a site has."""
    for name in re.findall(r'^(?:ca|token_file|password_file|path) = "([^"]+)"', text, re.MULTILINE):
        (tmp_path / name).write_text("")
    file = tmp_path / "page.toml"
    file.write_text(text + '[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
    (source,) = load(file).pools[0].sources
    if source.kind == "nats" and BINARY is None:
        pytest.skip("nats-server is not installed")
    if source.kind == "etcd" and not PROGRAMS:
        pytest.skip("etcd is not installed")
    site = SITES[source.kind](tmp_path)
    try:
        site.set("10.0.0.1:8000", "10.0.0.2:8000")
        with following(lambda log: made([PoolSettings(name="web", sources=[site.reached(source)])], log)[0]) as followed:
            wait_for(lambda: followed.addresses == ["10.0.0.1:8000", "10.0.0.2:8000"], f"both come: {followed.told}")
    finally:
        site.close()
