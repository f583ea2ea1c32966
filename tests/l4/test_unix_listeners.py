"""Listeners at unix sockets: who may connect, what a start and a reload make of the file, and who the client is said to be."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from access_lines import logged
from harness import Command, Peer, balanced, command, echo, free_port, read_exactly
from http_peers import Backend, Client, Reader, field
from real_peers import needs, running
from rings import needs_ring

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError, PortTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPS = ["epoll", pytest.param("uring", marks=needs_ring)]
OFF = ProbeSettings(kind="off")


@pytest.fixture
def site() -> Iterator[Path]:
    """A directory with a short name: a unix socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="lb-") as name:
        yield Path(name)


def settings_at(
    path: Path | str, *backends: str, mode: str = "http", top: dict[str, Any] | None = None, **listener: Any
) -> BalancerSettings:
    """A balancer with one listener, at this path."""
    bind = f"{mode}://unix:{path}"
    return BalancerSettings(
        **{"workers": 2, "drain_timeout": "2s"} | (top or {}),
        listeners=[ListenerSettings(bind=bind, name="local", **listener)],
        pools=[PoolSettings(backends=list(backends), probe=OFF)],
    )


def dial_path(path: Path | str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(str(path))
    return connection


class LocalClient(Client):
    """A client of HTTP at a unix socket."""

    def __init__(self, path: Path | str) -> None:
        self.socket = dial_path(path)
        self.reader = Reader(self.socket)


# --- clients -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_all_workers_serve_it_and_the_log_says_unix(site: Path, loop: str) -> None:
    at, log = site / "web.sock", site / "log"
    with Backend() as backend:
        settings = settings_at(at, backend.address, top={"loop": loop, "access_log": str(log)})
        with balanced(settings=settings) as lb:
            assert lb.addresses == {"local": (f"unix:{at}", 0)}
            assert lb.status()["listeners"][0]["address"] == f"unix:{at}"
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(LocalClient(at)) for _ in range(40)]
                for _ in range(2):
                    for client in clients:
                        assert client.get().status == 200
            assert sum(worker["accepted"] for worker in lb.status()["workers"]) == 40
            assert {line["client"] for line in logged(log, 80)} == {"unix:"}
    assert not at.exists()


def test_tcp_and_an_abstract_name() -> None:
    name = f"@lbcore-listener-{os.getpid()}"
    with Peer(echo) as peer, balanced(settings=settings_at(name, peer.address, mode="tcp")) as lb:
        assert lb.addresses == {"local": (f"unix:{name}", 0)}
        with dial_path("\0" + name[1:]) as client:
            client.sendall(b"x" * 100_000)
            assert read_exactly(client, 100_000) == b"x" * 100_000


def test_client_has_no_address_to_forward(site: Path) -> None:
    """What it claims is dropped; from a trusted one it is kept, and nothing is added."""
    head = b"X-Forwarded-For: 203.0.113.7\r\n"
    for trusted, forwarded in ((None, None), (["unix:"], b"203.0.113.7")):
        with Backend() as backend:
            settings = settings_at(site / "web", backend.address, trusted_proxies=trusted, forwarded="both")
            with balanced(settings=settings), LocalClient(site / "web") as client:
                assert client.get(extra=head).status == 200
        assert field(backend.heads[0], b"X-Forwarded-For") == forwarded
        assert (field(backend.heads[0], b"Forwarded") or b"").startswith(b"for=unknown;host=")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_proxy_header_says_that_the_client_is_unknown_and_one_that_came_is_believed(site: Path, version: str) -> None:
    pool = PoolSettings(backends=[], send_proxy=version, probe=OFF)
    listener = {"accept_proxy": True, "trusted_proxies": ["unix:"]}
    for more, said, wanted in (
        ({}, b"", (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20")),
        (
            listener,
            b"PROXY TCP4 203.0.113.7 192.0.2.1 1234 80\r\n",
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 1234 80\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"),
        ),
    ):
        with Peer(echo) as peer:
            settings = settings_at(site / "tcp", mode="tcp", **more).replace(pools=[pool.replace(backends=[peer.address])])
            with balanced(settings=settings), dial_path(site / "tcp") as client:
                client.sendall(said + b"hello")
                want = wanted[version == "v2"]
                assert read_exactly(client, len(want)) == want
                while not (got := client.recv(100)).endswith(b"hello"):
                    assert got


@needs("nginx")
def test_nginx_in_front_over_the_socket(site: Path) -> None:
    """nginx ends the client's connection, lbcore picks: the client's address arrives by the header of a trusted proxy."""
    port = free_port()
    (site / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {site}/nginx.pid; error_log {site}/error.log;\nevents {{ }}\n"
        f"http {{ access_log off; client_body_temp_path {site}/body; proxy_temp_path {site}/proxy;"
        f" fastcgi_temp_path {site}/f; uwsgi_temp_path {site}/u; scgi_temp_path {site}/s;\n"
        f"upstream shop {{ server unix:{site}/web.sock; keepalive 8; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://shop; proxy_http_version 1.1;"
        " proxy_set_header Connection ''; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; } } }\n"
    )
    with Backend() as backend:
        settings = settings_at(site / "web.sock", backend.address, trusted_proxies=["unix:"], socket_mode="666")
        with balanced(settings=settings), running(["nginx", "-c", f"{site}/nginx.conf", "-p", str(site)], port, site):
            with httpx.Client() as client:
                for _ in range(5):
                    assert client.get(f"http://127.0.0.1:{port}/").status_code == 200
        assert field(backend.heads[0], b"X-Forwarded-For") == b"127.0.0.1"


# --- the file ------------------------------------------------------------------------------------------------------------


def test_mode_and_group_are_as_asked_also_by_a_reload(site: Path) -> None:
    config, at = site / "lb.toml", site / "web"
    text = f'workers = 1\n[[listener]]\nbind = "http://unix:{at}"\n'
    config.write_text(text)
    with command(site, "-c", str(config)) as lb:
        assert f"listen=http://unix:{at} " in lb.ready_line
        assert stat.S_IMODE(at.stat().st_mode) == 0o660
        inode = at.stat().st_ino
        config.write_text(f'{text}socket_mode = "0600"\nsocket_group = "{os.getgid()}"\n')
        assert lb.cli("reload").returncode == 0
        assert stat.S_IMODE(at.stat().st_mode) == 0o600
        assert at.stat().st_ino == inode
        config.write_text(f'{text}socket_group = "no-such-group"\n')
        done = lb.cli("reload")
        assert done.returncode != 0
        assert "socket_group: 'no-such-group' is not known on this machine" in done.stderr
    assert not at.exists()


def test_reload_adds_and_removes_one(site: Path) -> None:
    config, a, b = site / "lb.toml", site / "a", site / "b"

    def text(*paths: Path) -> str:
        return "workers = 1\n" + "".join(f'[[listener]]\nbind = "tcp://unix:{path}"\n' for path in paths)

    config.write_text(text(a))
    with command(site, "-c", str(config)) as lb:
        config.write_text(text(a, b))
        assert lb.cli("reload").returncode == 0
        dial_path(b).close()
        config.write_text(text(b))
        assert lb.cli("reload").returncode == 0
        assert not a.exists()
        dial_path(b).close()


def test_upgrade_keeps_it_and_no_client_is_refused(site: Path) -> None:
    with Backend() as backend:
        config, at = site / "lb.toml", site / "web"
        config.write_text(
            f'workers = 2\n[[listener]]\nbind = "http://unix:{at}"\n[[pool]]\nname = "default"\n[pool.probe]\n'
            f'kind = "off"\n[[pool.backend]]\naddress = "{backend.address}"\n'
        )
        with command(site, "-c", str(config)) as lb:
            inode = at.stat().st_ino
            with LocalClient(at) as client:
                assert client.get().status == 200
                done = lb.cli("upgrade")
                assert done.returncode == 0, done.stderr
                assert client.get().status == 200
            for _ in range(20):
                with LocalClient(at) as client:
                    assert client.get().status == 200
            assert at.stat().st_ino == inode
    assert not at.exists()


def test_workers_that_lost_their_control_plane_keep_it(site: Path) -> None:
    at = site / "web"
    line = ("--listen", f"tcp://unix:{at}", "--health", "off")
    with Peer(echo) as peer:
        lost = Command(site, *line, "--backend", peer.address, "--workers", "1", "--admin", "off")
        inode = at.stat().st_ino
        lost.process.send_signal(signal.SIGKILL)
        lost.process.wait()
        assert lost.process.stdout is not None
        lost.process.stdout.close()
        with command(site, *line, "--backend", peer.address):
            assert at.stat().st_ino == inode
            with dial_path(at) as client:
                client.sendall(b"hi")
                assert client.recv(2) == b"hi"
    assert not at.exists()


def test_stale_file_is_replaced_and_a_live_one_is_not(site: Path) -> None:
    at = site / "web"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(at))
        other.listen(1)
        with pytest.raises(PortTaken, match="a server listens there already"):
            balanced(settings=settings_at(at)).__enter__()
    assert at.exists()
    with balanced(settings=settings_at(at)):
        dial_path(at).close()
    at.write_text("precious")
    with pytest.raises(ConfigError, match="a file that is no socket is there"):
        balanced(settings=settings_at(at)).__enter__()
    assert at.read_text() == "precious"


def test_file_of_a_successor_is_left_alone(site: Path) -> None:
    at = site / "web"
    with balanced(settings=settings_at(at)):
        at.unlink()
        at.write_text("another's")
    assert at.read_text() == "another's"


def test_socket_of_a_service_manager_is_taken_and_stays(site: Path) -> None:
    at = site / "web"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as passed, Peer(echo) as peer:
        passed.bind(str(at))
        passed.listen(8)
        with command(site, "--listen", f"tcp://unix:{at}", "--backend", peer.address, "--health", "off", sockets=[passed]):
            with dial_path(at) as client:
                client.sendall(b"hi")
                assert client.recv(2) == b"hi"
        assert at.exists()


# --- bad settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "word"),
    [
        ({"bind": "udp://unix:/run/x"}, "mode udp has no unix sockets"),
        ({"bind": "http://unix:x"}, "is not unix:/ABSOLUTE/PATH"),
        ({"bind": "http://unix:/run/x", "socket_mode": "rw"}, "socket_mode: 'rw' is not allowed"),
        ({"bind": "http://127.0.0.1:0", "socket_mode": "600"}, "socket_mode: only for unix sockets that have a path"),
        ({"bind": "http://unix:@x", "socket_group": "x"}, "socket_group: only for unix sockets that have a path"),
        ({"bind": "http://unix:/run/x", "trusted_proxies": ["unix:/run/y"]}, "trusted_proxies"),
    ],
)
def test_bad_value_is_named(listener: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ListenerSettings(**listener)


def test_same_path_twice_and_a_backend_that_leads_back() -> None:
    twice = [ListenerSettings(bind="tcp://unix:/run/x"), ListenerSettings(bind="tcp://unix:/run//x")]
    with pytest.raises(ConfigError, match="'tcp://unix:/run/x' is used twice"):
        BalancerSettings(listeners=twice)
    with pytest.raises(ConfigError, match="backend unix:/run/x is this balancer's own listener"):
        settings_at("/run/x", "unix:/run/x")


def test_missing_directory_is_told_in_one_line(site: Path) -> None:
    line = [sys.executable, "-m", "lbcore", "run", "--listen", f"tcp://unix:{site}/no/web", "--admin", "off"]
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(site)}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().endswith(f"listener listener-1: tcp://unix:{site}/no/web: No such file or directory")
