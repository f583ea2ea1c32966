"""allow_clients and deny_clients: whose connections, datagrams and requests are served, by the address that counts."""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from harness import Peer, balanced, dial, echo
from http_balancers import OFF, figure
from http_peers import Backend, Client
from refusals import fails
from tls_peers import Authority, trusting

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from pathlib import Path

HERE, OTHER = "127.0.0.1/32", "127.0.0.2"


def settings(
    backend: str, mode: str = "http", routes: list[dict[str, Any]] | None = None, top: dict[str, Any] | None = None, **keys: Any
) -> BalancerSettings:
    """One listener, one pool."""
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind=f"{mode}://127.0.0.1:0", pool="default", **keys)],
        routes=[RouteSettings(**route) for route in routes or ()],
        pools=[PoolSettings(name="default", probe=OFF, backends=[backend])],
        **(top or {}),
    )


def status(client: Client, path: str = "/", **fields: str) -> int:
    """Of a GET with these headers."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    return int(client.answer().status)


def is_served(address: tuple[str, int], source: str, said: bytes = b"") -> bool:
    """Does a byte come back to a client at this address?"""
    try:
        with socket.create_connection(address, 10, (source, 0)) as client:
            client.sendall(said + b"x")
            return client.recv(1) == b"x"
    except ConnectionError:
        return False


@pytest.mark.parametrize(
    ("lists", "here", "there"),
    [
        ({"allow_clients": [HERE]}, True, False),
        ({"allow_clients": ["127.0.0.0/8"], "deny_clients": [OTHER]}, True, False),
        ({"deny_clients": [HERE]}, False, True),
        ({"deny_clients": ["127.0.0.0/31"]}, False, True),
        ({"deny_clients": ["::/0"]}, True, True),
        ({"allow_clients": ["::/0"]}, False, False),
        ({"allow_clients": ["::ffff:7f00:1/128"]}, True, False),
    ],
)
def test_connection_of_an_address_that_is_not_allowed_is_closed(lists: dict[str, Any], here: bool, there: bool) -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, "tcp", **lists)) as lb:
        assert is_served(lb.address, "127.0.0.1") == here
        assert is_served(lb.address, OTHER) == there
        assert figure(lb, "refused_denied") == 2 - here - there


def test_request_of_an_address_that_is_not_allowed_is_told_403(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lists = {"allow_clients": ["10.0.0.0/8", "::1"], "top": {"access_log": str(log)}}
    with Backend() as backend, balanced(settings=settings(backend.address, **lists)) as lb:
        with Client(lb.address) as client:
            assert [status(client), status(client)] == [403, 403], "the connection goes on"
        assert figure(lb, "requests_denied") == 2
        lines = logged(log, 2)
        assert {(line["status"], line["reason"]) for line in lines} == {(403, "this client address is not allowed")}
        recorded = decisions(lb._running().table.segment)
        found = [(entry["why"], entry["outcome"], entry["status"], entry["backend"]) for entry in recorded]
        assert found == [("the client's address is not allowed", "refused", 403, None)] * 2
        assert not backend.heads


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl(version: str) -> None:
    routes = [{"path_prefix": "/inner", "pool": "default", "allow_clients": ["10.0.0.0/8"]}, {"pool": "default"}]
    with Backend() as backend, balanced(settings=settings(backend.address, routes=routes)) as lb:
        base = f"http://{lb.address[0]}:{lb.address[1]}"
        words = ("-s", "-o", "/dev/null", "-w", "%{http_code} ", "--max-time", "20")
        said = [
            subprocess.run(["curl", version, *words, f"{base}{path}"], capture_output=True, text=True, timeout=60).stdout
            for path in ("/inner/x", "/x")
        ]
        assert said == ["403 ", "200 "]
        assert len(backend.heads) == 1


def test_lists_of_a_route_stand_in_the_place_of_its_listeners() -> None:
    routes = [
        {"path_prefix": "/open", "pool": "default", "deny_clients": []},
        {"path_prefix": "/here", "pool": "default", "allow_clients": [HERE]},
        {"path_prefix": "/both", "pool": "default", "allow_clients": [HERE], "deny_clients": [HERE]},
        {"path_prefix": "/away", "redirect": "/x"},
    ]
    with Backend() as backend, balanced(settings=settings(backend.address, routes=routes, deny_clients=["127.0.0.0/8"])) as lb:
        with Client(lb.address) as client:
            found = [status(client, path) for path in ("/open", "/here", "/both", "/away", "/none")]
        assert found == [200, 200, 403, 403, 403]


def test_no_reading_of_a_path_leads_past_the_lists() -> None:
    routes = [{"path_prefix": "/inner", "pool": "default", "allow_clients": ["10.0.0.0/8"]}, {"pool": "default"}]
    with Backend() as backend, balanced(settings=settings(backend.address, routes=routes)) as lb:
        for path in ("/%69nner", "/x/../inner", "//inner", "/x/..%2finner", "/inner;a", "/inner/"):
            with Client(lb.address) as client:
                assert status(client, path) in (400, 403), path
        assert not backend.heads


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ({}, False),
        ({"X_Forwarded_For": "192.0.2.7"}, True),
        ({"X_Forwarded_For": "192.0.2.7:80"}, True),
        ({"X_Forwarded_For": "203.0.113.1, 192.0.2.7"}, True),
        ({"X_Forwarded_For": "192.0.2.7, 203.0.113.1"}, False),
        ({"X_Forwarded_For": "192.0.2.7, 127.0.0.9"}, True),
        ({"X_Forwarded_For": "192.0.2.7,127.0.0.9,\t127.0.0.8 "}, True),
        ({"X_Forwarded_For": "127.0.0.9"}, False),
        ({"X_Forwarded_For": "192.0.2.7, unknown"}, False),
        ({"X_Forwarded_For": "192.0.2.7, 127.0.0.9,"}, False),
        ({"X_Forwarded_For": "[2001:db8::7]:443"}, True),
        ({"X_Forwarded_For": "2001:db8::7"}, True),
        ({"X_Forwarded_For": "[2001:db8::7"}, False),
        ({"X_Forwarded_For": "[2001:db8::7]x"}, False),
        ({"X_Forwarded_For": "192.0.2.7" + ", 127.0.0.9" * 63}, True),
        ({"X_Forwarded_For": "192.0.2.7" + ", 127.0.0.9" * 64}, False),
        ({"Forwarded": "for=192.0.2.7"}, False),
    ],
)
def test_client_behind_a_trusted_proxy(said: dict[str, str], allowed: bool) -> None:
    lists = {"trusted_proxies": ["127.0.0.0/8"], "allow_clients": ["192.0.2.0/24", "2001:db8::/32"]}
    with Backend() as backend, balanced(settings=settings(backend.address, **lists)) as lb, Client(lb.address) as client:
        assert status(client, **said) == (200 if allowed else 403)


def test_several_headers_of_a_trusted_proxy_are_one_list() -> None:
    lists = {"trusted_proxies": ["127.0.0.0/8"], "allow_clients": ["192.0.2.0/24"]}
    with Backend() as backend, balanced(settings=settings(backend.address, **lists)) as lb, Client(lb.address) as client:
        lines = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 203.0.113.1\r\n"
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
        assert client.answer().status == 403


def test_word_of_a_stranger_does_not_count() -> None:
    with Backend() as backend, balanced(settings=settings(backend.address, allow_clients=["192.0.2.0/24"])) as lb:
        with Client(lb.address) as client:
            assert status(client, X_Forwarded_For="192.0.2.7") == 403


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_client_is_the_one_that_a_proxy_header_names(mode: str) -> None:
    keys = {"accept_proxy": True, "trusted_proxies": [HERE], "allow_clients": ["192.0.2.0/24"]}
    peer = Backend() if mode == "http" else Peer(echo)
    with peer, balanced(settings=settings(peer.address, mode, **keys)) as lb:

        def served(ip: str) -> bool:
            header = f"PROXY TCP4 {ip} 127.0.0.1 1000 80\r\n".encode()
            if mode == "tcp":
                return is_served(lb.address, "127.0.0.1", header)
            with Client(lb.address) as client:
                client.send(header)
                return status(client) == 200

        assert served("192.0.2.9")
        assert not served("203.0.113.9")
        assert not served("127.0.0.1"), "a proxy's address that a header names is a client's"


def test_datagrams_of_an_address_that_is_not_allowed_are_dropped() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as backend:
        backend.bind(("127.0.0.1", 0))
        backend.settimeout(10)
        host, port = backend.getsockname()
        with balanced(settings=settings(f"{host}:{port}", "udp", deny_clients=[OTHER], idle_timeout="200ms")) as lb:
            for source, word in ((OTHER, b"no"), ("127.0.0.1", b"yes")):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.bind((source, 0))
                    client.sendto(word, lb.address)
            assert backend.recv(100) == b"yes"
            assert figure(lb, "refused_denied") == 1


def test_lists_of_routes_by_server_name(authority: Authority) -> None:
    shown = [CertificateSettings(cert=str(authority.issue("a.example", "DNS:a.example", "DNS:b.example")))]
    routes = [
        {"host": "a.example", "pool": "default", "deny_clients": ["127.0.0.0/8"]},
        {"host": "b.example", "pool": "default"},
    ]
    with Peer(echo) as peer, balanced(settings=settings(peer.address, "tls", routes=routes, certificates=shown)) as lb:
        trust = trusting(authority)

        def served(name: str) -> bool:
            try:
                with dial(lb.address) as plain, trust.wrap_socket(plain, server_hostname=name) as client:
                    client.sendall(b"x")
                    return bool(client.recv(1) == b"x")
            except (ConnectionError, ssl.SSLError):
                return False

        assert served("b.example")
        assert not served("a.example")
        assert figure(lb, "refused_denied") == 1


def test_reload_takes_lists_and_lets_them_go() -> None:
    with Backend() as backend:
        open_to_all = settings(backend.address, top={"name": "lists"})
        closed = open_to_all.replace(listeners=[open_to_all.listeners[0].replace(deny_clients=["127.0.0.0/8"])])
        with balanced(settings=open_to_all) as lb, Client(lb.address) as client:
            for _ in range(3):
                assert status(client) == 200
                lb.reload(closed)
                assert status(client) == 403
                lb.reload(open_to_all)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"allow_clients": []}, r"allow_clients: \[\] is not allowed: nobody could come"),
        ({"allow_clients": ["10.0.0.1/8"]}, "allow_clients: .* is not allowed"),
        ({"deny_clients": ["here"]}, "deny_clients: .* is not allowed"),
        ({"deny_clients": "10.0.0.0/8"}, "deny_clients: .* is not allowed"),
        ({"deny_clients": [f"10.0.0.{at}" for at in range(65)]}, "65 networks .* are too many"),
    ],
)
def test_bad_list_is_refused_in_one_line(keys: dict[str, Any], words: str) -> None:
    for make in (lambda: ListenerSettings(bind="tcp://127.0.0.1:0", **keys), lambda: RouteSettings(pool="p", **keys)):
        with pytest.raises(ConfigError, match=words) as refused:
            make()
        assert "\n" not in str(refused.value)


def test_check_names_the_key(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    file.write_text('[[listener]]\nbind = "http://127.0.0.1:0"\nallow_clients = ["10.0.0.0/40"]\n')
    code, said = fails(tmp_path, "check", str(file))
    assert code == 2
    assert "allow_clients" in said
