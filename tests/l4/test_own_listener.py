"""A balancer's own listener as its backend: sessions and probes that would go round for ever are named and never begin."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, balanced, command, dial, echo, free_port, named, read_exactly, settled, totals, wait_for

from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, SourceSettings
from lbcore.config.settings.loops import is_own
from lbcore.config.toml import from_document
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def own_address() -> str | None:
    """An address of this machine that is no loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(trial.getsockname()[0])


def document(bind: str, address: str, **extra: Any) -> dict[str, Any]:
    return {"listener": [{"name": "web", "bind": bind}], "pool": [{"name": "app", "backend": [{"address": address}]}], **extra}


@pytest.mark.parametrize("mode", ["tcp", "http", "tls", "udp"])
@pytest.mark.parametrize(
    ("bound", "address"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "localhost:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "127.9.9.9:8080"),
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("127.0.0.1:8080", "0.0.0.0:8080"),
        ("0.0.0.0:8080", "OWN:8080"),
        ("OWN:8080", "OWN:8080"),
        ("[::]:8080", "[::1]:8080"),
        ("[::1]:8080", "[::]:8080"),
    ],
)
def test_check_names_a_backend_that_is_the_listener_itself(mode: str, bound: str, address: str) -> None:
    own = own_address()
    if "OWN" in bound + address and own is None:
        pytest.skip("this machine has no address but the loopback ones")
    bound, address = bound.replace("OWN", own or ""), address.replace("OWN", own or "")
    with pytest.raises(ConfigError, match="is this balancer's own listener web: its sessions would come back for ever"):
        from_document(document(f"{mode}://{bound}", address))


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("tcp://127.0.0.1:8080", "127.0.0.1:8081"),
        ("tcp://127.0.0.1:8080", "127.0.0.2:8080"),
        ("tcp://0.0.0.0:8080", "192.0.2.7:8080"),  # another machine's
        ("tcp://0.0.0.0:8080", "app.internal:8080"),  # a name is looked up at the start
        ("tcp://0.0.0.0:8080", "[::1]:8080"),
        ("tcp://127.0.0.1:0", "127.0.0.1:8080"),
    ],
)
def test_check_takes_what_is_another_server(bind: str, address: str) -> None:
    assert from_document(document(bind, address)).pools[0].backends


def test_loops_over_several_listeners_and_routes_are_named() -> None:
    loop = {
        "listener": [
            {"name": "a", "bind": "http://127.0.0.1:8081"},
            {"name": "b", "bind": "tcp://127.0.0.1:8082", "pool": "two"},
        ],
        "pool": [
            {"name": "one", "backend": [{"address": "127.0.0.1:8082"}]},
            {"name": "two", "backend": [{"address": "127.0.0.1:8081"}]},
        ],
        "route": [{"listener": "a", "path": "/x", "pool": "one"}],
    }
    with pytest.raises(ConfigError, match=r"pool one: backend 127\.0\.0\.1:8082 is this balancer's own listener b"):
        from_document(loop)
    loop["pool"][1]["backend"] = [{"address": "127.0.0.1:8083"}]  # type: ignore[index]
    assert len(from_document(loop).pools) == 2, "a chain that ends elsewhere is none"


def test_a_udp_listener_and_a_tcp_backend_share_a_port() -> None:
    """DNS by UDP here, and by TCP there: nothing goes round."""
    listeners = [
        {"name": "udp", "bind": "udp://127.0.0.1:8053", "pool": "u"},
        {"name": "tcp", "bind": "tcp://127.0.0.1:8054", "pool": "t"},
    ]
    pools = [
        {"name": "u", "backend": [{"address": "127.0.0.1:9053"}]},
        {"name": "t", "backend": [{"address": "127.0.0.1:8053"}]},
    ]
    assert from_document({"listener": listeners, "pool": pools})


def test_an_own_address_is_told_without_binding_to_it() -> None:
    """Where net.ipv4.ip_nonlocal_bind is set (VRRP), every address could be bound."""
    assert not is_own("192.0.2.7", 80, [("0.0.0.0", 80)])
    assert is_own("127.3.2.1", 80, [("0.0.0.0", 80)])
    assert is_own("::1", 80, [("::", 80)])
    assert not is_own("::1", 80, [("0.0.0.0", 80)])


def settings(port: int, *backends: str, **pool: Any) -> BalancerSettings:
    made = PoolSettings(backends=[BackendSettings(address=address) for address in backends], **pool)
    return BalancerSettings(listeners=[ListenerSettings(bind=f"tcp://127.0.0.1:{port}")], pools=[made], workers=1)


def test_a_name_that_means_us_is_left_out_at_the_start(tmp_path: Path) -> None:
    """Its probes would use up all sessions."""
    port = free_port()
    with Peer(echo) as peer:
        arguments = (
            "--listen",
            f"tcp://127.0.0.1:{port}",
            "--backend",
            f"ip6-localhost.localhost:{port}",
            "--backend",
            peer.address,
        )
        with command(tmp_path, *arguments, "--health", "off") as lb:
            addresses = [backend["address"] for pool in lb.status()["pools"] for backend in pool["backends"]]
            assert peer.address in addresses
            if f"ip6-localhost.localhost:{port}" not in addresses:
                log = lb.stderr.read_text()
                assert "own listener" in log or "cannot be resolved" in log


def test_what_is_added_at_run_time_is_refused(tmp_path: Path) -> None:
    with balanced(listen="tcp://127.0.0.1:0") as lb:
        ours = f"127.0.0.1:{lb.address[1]}"
        with pytest.raises(ValueError, match="own listener listener-1"):
            lb.pool().add(ours)
    with command(tmp_path, "--listen", "tcp://0.0.0.0:0", "--health", "off") as running:
        done = running.cli("backend", "add", f"127.0.0.1:{running.address[1]}", "--name", running.name)
        assert done.returncode != 0
        assert "own listener listener-1" in done.stderr
        assert not running.status()["pools"][0]["backends"]


def test_a_source_that_names_us_is_heard_without_us(tmp_path: Path) -> None:
    port = free_port()
    lines: list[str] = []
    with Peer(named(b"one")) as peer:
        file = tmp_path / "backends"
        file.write_text(f"127.0.0.1:{port}\n{peer.address}\n")
        source = SourceSettings(kind="file", path=str(file), interval="50ms")
        from lbcore import Balancer

        lb = Balancer(settings=settings(port, sources=[source]), log=lines.append)
        with lb:
            wait_for(lambda: lb.status()["pools"][0]["backends"], "the other one is taken")
            with dial(lb.address) as client:
                assert read_exactly(client, 3) == b"one"
            assert [backend["address"] for backend in lb.status()["pools"][0]["backends"]] == [peer.address]
            assert [line for line in lines if "own listener" in line]
            wait_for(lambda: totals(settled(lb))["active"] == 0, "nothing goes round")


def test_a_reload_that_opens_a_listener_where_a_backend_is_takes_that_out() -> None:
    port = free_port()
    with Peer(named(b"one")) as peer, balanced(settings=settings(0, peer.address)) as lb:
        lb.pool().add(f"127.0.0.1:{port}")
        listeners = [*lb.settings.listeners, ListenerSettings(name="new", bind=f"tcp://127.0.0.1:{port}")]
        lb.reload(lb.settings.replace(listeners=listeners))
        taken_out = [backend for backend in lb.status()["pools"][0]["backends"] if backend["address"] == f"127.0.0.1:{port}"]
        assert all(backend["state"] == "draining" for backend in taken_out)
        with dial(("127.0.0.1", port)) as client:
            assert read_exactly(client, 3) == b"one"
