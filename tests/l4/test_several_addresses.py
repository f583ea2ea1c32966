"""Listeners at several addresses, and at IPv4 and IPv6 together."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, balanced, command, dial, echo, free_port
from http_peers import Backend, Client

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings
from lbcore.errors import ConfigError, PortTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

OFF = ProbeSettings(kind="off")
ANY4, ANY6 = "http://127.0.0.1:0", "http://[::1]:0"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def site() -> Iterator[Path]:
    """A directory with a short name, for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="lb-") as name:
        yield Path(name)


def status_of(address: tuple[str, int], path: str = "/") -> int:
    with Client(address) as client:
        return client.get(path).status


def reaches(address: tuple[str, int]) -> bool:
    try:
        dial(address).close()
    except OSError:
        return False
    return True


def echoes(address: tuple[str, int]) -> bool:
    """As reaches, with a byte there and back: the session has been counted by then."""
    try:
        with dial(address) as client:
            client.sendall(b"x")
            return client.recv(1) == b"x"
    except OSError:
        return False


# --- a list --------------------------------------------------------------------------------------------------------------


@needs_ipv6
def test_every_address_is_served_and_routes_mean_them_all() -> None:
    listeners = [ListenerSettings(name="web", bind=[ANY4, ANY6]), ListenerSettings(name="other", bind=ANY4)]
    routes = [
        RouteSettings(listener="web", path="/private", deny=True),
        RouteSettings(listener="web", path="/moved", redirect="/new"),
        RouteSettings(path="/", pool="default"),
    ]
    with Backend() as backend:
        settings = BalancerSettings(
            workers=1, listeners=listeners, routes=routes, pools=[PoolSettings(backends=[backend.address], probe=OFF)]
        )
        with balanced(settings=settings) as lb:
            places = lb.addresses
            assert list(places) == ["web", "web-2", "other"]
            assert [listener["name"] for listener in lb.status()["listeners"]] == ["web", "web-2", "other"]
            for name in ("web", "web-2"):
                assert [status_of(places[name], path) for path in ("/private", "/moved", "/")] == [403, 301, 200]
            assert [status_of(places["other"], path) for path in ("/private", "/moved", "/")] == [404, 404, 200]


def test_ready_line_and_reload_follow_the_list(site: Path) -> None:
    config, ports = site / "lb.toml", [free_port() for _ in range(3)]

    def write(*binds: str) -> None:
        listed = ", ".join(f'"{bind}"' for bind in binds)
        config.write_text(f'workers = 1\n[[listener]]\nname = "web"\nbind = [{listed}]\n')

    a, b, c = (f"http://127.0.0.1:{port}" for port in ports)
    local = f"http://unix:{site}/web"
    write(a, b)
    with command(site, "-c", str(config)) as lb:
        assert lb.listens == [a, b]
        with Client(("127.0.0.1", ports[1])) as kept:
            assert kept.get().status == 503
            write(b, c, local)
            assert lb.cli("reload").returncode == 0
            assert kept.get().status == 503
            assert [reaches(("127.0.0.1", port)) for port in ports] == [False, True, True]
            assert (site / "web").exists()
            assert {listener["name"] for listener in lb.status()["listeners"]} == {"web", "web-2", "web-3"}
            write(b, "http://127.0.0.1")
            done = lb.cli("reload")
            assert done.returncode != 0
            assert "listener[0].bind[1]: '127.0.0.1' is not HOST:PORT" in done.stderr
            assert kept.get().status == 503


def test_upgrade_keeps_all(site: Path) -> None:
    config, ports = site / "lb.toml", [free_port() for _ in range(2)]
    config.write_text(
        f'workers = 1\n[[listener]]\nname = "web"\nbind = ["http://127.0.0.1:{ports[0]}", "http://127.0.0.1:{ports[1]}"]\n'
    )
    with command(site, "-c", str(config)) as lb:
        with Client(("127.0.0.1", ports[1])) as client:
            assert client.get().status == 503
            done = lb.cli("upgrade")
            assert done.returncode == 0, done.stderr
        assert [status_of(("127.0.0.1", port)) for port in ports] == [503, 503]


def test_address_that_is_taken_is_named_and_nothing_stays_bound() -> None:
    free = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        taken = other.getsockname()[1]
        binds = [f"tcp://127.0.0.1:{free}", f"tcp://127.0.0.1:{taken}"]
        with pytest.raises(PortTaken, match=f"listener web-2: tcp://127.0.0.1:{taken}: the port is in use"):
            balanced(settings=BalancerSettings(listeners=[ListenerSettings(name="web", bind=binds)])).__enter__()
    assert not reaches(("127.0.0.1", free))


@pytest.mark.parametrize(
    ("listeners", "word"),
    [
        ([{"bind": []}], "bind: an empty list"),
        ([{"bind": [ANY4, "http://x"]}], r"bind\[1\]: 'http://x' is not HOST:PORT|bind\[1\]: 'x' is not HOST:PORT"),
        ([{"bind": [ANY4, 80]}], r"bind\[1\]: 80 is not MODE://HOST:PORT"),
        ([{"bind": [ANY4, "tcp://127.0.0.1:0"]}], "has another mode than the first, 'http'"),
        ([{"bind": ["http://a:1", "http://a:1"]}], "bind: 'http://a:1' is used twice"),
        ([{"name": "web", "bind": [ANY4, ANY4]}, {"name": "web-2", "bind": ANY4}], "listener: 'web-2' is used twice"),
    ],
)
def test_bad_list_is_named(listeners: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        BalancerSettings(listeners=[ListenerSettings(**listener) for listener in listeners])


# --- IPv4 and IPv6 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_star_takes_both(mode: str) -> None:
    port = free_port()
    with Backend() as backend, balanced(listen=f"{mode}://*:{port}", backends=[backend.address]) as lb:
        assert lb.address == ("::" if has_ipv6() else "0.0.0.0", port)
        assert status_of(("127.0.0.1", port)) == 200
        if has_ipv6():
            assert status_of(("::1", port)) == 200


@needs_ipv6
@pytest.mark.parametrize(
    ("binds", "four", "six"),
    [
        (["tcp://0.0.0.0:PORT"], True, False),
        (["tcp://[::]:PORT"], Path("/proc/sys/net/ipv6/bindv6only").read_text().strip() == "0", True),
        (["tcp://127.0.0.1:PORT", "tcp://[::]:PORT"], True, True),
        (["tcp://0.0.0.0:PORT", "tcp://[::]:PORT"], True, True),
    ],
)
def test_what_wildcards_take(binds: list[str], four: bool, six: bool) -> None:
    port = free_port()
    listener = ListenerSettings(bind=[bind.replace("PORT", str(port)) for bind in binds])
    with Peer(echo) as peer:
        pool = PoolSettings(backends=[peer.address], probe=OFF)
        with balanced(settings=BalancerSettings(workers=1, listeners=[listener], pools=[pool])):
            assert [echoes(("127.0.0.1", port)), echoes(("::1", port))] == [four, six]


def test_backend_behind_a_star_leads_back() -> None:
    with pytest.raises(ConfigError, match="own listener"):
        BalancerSettings(listeners=[ListenerSettings(bind="tcp://*:8080")], pools=[PoolSettings(backends=["127.0.0.1:8080"])])
