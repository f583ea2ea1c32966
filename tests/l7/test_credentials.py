"""API keys and basic authentication: who gets through, what backends see of it, and how files of credentials change."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from grpc_calls import channel
from grpc_servers import GrpcServer
from harness import balanced, wait_for
from http_balancers import OFF, figure
from http_peers import Backend, Client, field, fields
from refusals import fails

from lbcore import Balancer
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.control import credential_files
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY, OTHER = "k-0123456789abcdef", "k-fedcba9876543210"
BEARER = f"Authorization: Bearer {KEY}"


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def basic(login: str, scheme: str = "Basic") -> str:
    return f"Authorization: {scheme} {base64.b64encode(login.encode()).decode()}"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file of keys: one plain, one hashed."""
    path = tmp_path / "keys.txt"
    path.write_text(f"# who may\nshop: {KEY}\n\n  ops.team :  sha256:{sha256(OTHER).hex()}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file of users."""
    path = tmp_path / "users.txt"
    path.write_text(f"anna:{{SHA256}}{base64.b64encode(sha256('pass:word é')).decode()}\nbob:{{PLAIN}}b\n")
    path.chmod(0o600)
    return path


def settings(
    backend: str, routes: list[dict[str, Any]] | None = None, top: dict[str, Any] | None = None, **listener: Any
) -> BalancerSettings:
    """One listener, one pool."""
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="http://127.0.0.1:0", pool="default", **listener)],
        routes=[RouteSettings(**{"pool": "default", **route}) for route in routes or ()],
        pools=[PoolSettings(name="default", probe=OFF, backends=[backend])],
        **(top or {}),
    )


@contextlib.contextmanager
def guarded(routes: list[dict[str, Any]] | None = None, **keys: Any) -> Iterator[tuple[Any, Backend, Client]]:
    """A balancer, its backend and a client."""
    with Backend() as backend, balanced(settings=settings(backend.address, routes, **keys)) as lb, Client(lb.address) as client:
        yield lb, backend, client


def ask(client: Client, *lines: str, path: str = "/") -> int:
    """The status of a GET with these header lines."""
    client.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode())
    return int(client.answer().status)


def test_key_lets_a_request_through(keys: Path) -> None:
    with guarded(api_keys=str(keys)) as (lb, backend, client):
        good = [BEARER, f"authorization: bEARER  {OTHER} ", f"X-API-Key: {KEY}", f"x-api-key: {OTHER}"]
        assert [ask(client, line) for line in good] == [200] * 4
        bad = [
            "",
            f"Authorization: {KEY}",
            f"Authorization: Bearer {KEY}x",
            f"Authorization: Bearer {KEY[:-1]}",
            "Authorization: Bearer",
        ]
        bad += [
            f"X-API-Key: Bearer {KEY}",
            f"X_API_Key: {KEY}",
            f"X-API-Key: {KEY}\r\nX-API-Key: {KEY}",
            f"X-API-Key: {'x' * 4000}",
        ]
        bad += [
            f"Cookie: X-API-Key={KEY}",
            basic(f"shop:{KEY}"),
            f"X-API-Key: {sha256(KEY).hex()}",
            f"X-API-Key: sha256:{sha256(KEY).hex()}",
        ]
        for line in bad:
            assert ask(client, *filter(None, [line])) == 401, line
        assert figure(lb, "requests_unauthenticated") == len(bad)
        assert len(backend.heads) == len(good)


def test_keys_of_every_length_are_told_apart(tmp_path: Path) -> None:
    several = [
        "".join(chr(33 + (at * 7 + size) % 94) for at in range(size))
        for size in (8, 9, 54, 55, 56, 57, 63, 64, 65, 119, 120, 256)
    ]
    path = tmp_path / "keys"
    path.write_text("".join(f"n{at}: sha256:{sha256(key).hex()}\n" for at, key in enumerate(several)))
    with guarded(api_keys=str(path), identity_header="X-Authenticated-User") as (_, backend, client):
        for key in several:
            assert ask(client, f"X-API-Key: {key}") == 200
            assert ask(client, f"X-API-Key: {key[:-1]}") == 401
        assert [field(head, b"X-Authenticated-User") for head in backend.heads] == [b"n%d" % at for at in range(len(several))]


def test_refusal_asks_for_credentials_and_keeps_the_connection(keys: Path, users: Path) -> None:
    for files, schemes in (
        ({"api_keys": str(keys)}, [b'Bearer realm="restricted"']),
        ({"basic_auth": str(users)}, [b'Basic realm="restricted", charset="UTF-8"']),
        (
            {"api_keys": str(keys), "basic_auth": str(users)},
            [b'Basic realm="restricted", charset="UTF-8"', b'Bearer realm="restricted"'],
        ),
    ):
        with guarded(**files) as (lb, _, client):
            for _ in range(2):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = client.answer()
                assert (answer.status, fields(answer.head, b"WWW-Authenticate")) == (401, schemes)
                assert answer.head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
            (first, _) = decisions(lb._running().table.segment)
            assert (first["why"], first["outcome"], first["status"]) == ("no valid credentials came", "refused", 401)


def test_password_lets_a_user_through(users: Path) -> None:
    with guarded(basic_auth=str(users), identity_header="X-Remote-User", remove_credentials=True) as (_, backend, client):
        assert ask(client, basic("anna:pass:word é")) == 200
        assert ask(client, basic("bob:b", "bASIC")) == 200
        bad = [
            basic("anna:pass"),
            basic("anna:"),
            basic("bob"),
            basic(":b"),
            basic("bob:b", "Bearer"),
            "Authorization: Basic",
            "Authorization: Basic !!!!",
        ]
        bad += [basic("anna:b"), "Authorization: Basic " + "A" * 5000, basic("bob:b") + "\r\n" + basic("bob:b")]
        for line in bad:
            assert ask(client, line) == 401, line
        assert [field(head, b"X-Remote-User") for head in backend.heads] == [b"anna", b"bob"]
        assert not any(fields(head, b"Authorization") for head in backend.heads)


def test_backend_learns_the_name_and_nobody_can_make_it_up(keys: Path) -> None:
    told = {"identity_header": "X-Authenticated-User", "remove_credentials": True, "trusted_proxies": ["127.0.0.0/8"]}
    with guarded(api_keys=str(keys), **told) as (_, backend, client):
        forged = ["X-Authenticated-User: root", "x_authenticated_user: root", "X-Authenticated-USER: root"]
        assert ask(client, *forged, f"X-API-Key: {KEY}", "Authorization: Bearer for-the-backend", "Accept: */*") == 200
        (head,) = backend.heads
        assert fields(head, b"X-Authenticated-User") == [b"shop"]
        assert b"root" not in head
        assert KEY.encode() not in head
        assert field(head, b"Authorization") == b"Bearer for-the-backend", "only what brought the key is removed"
        assert field(head, b"Accept") == b"*/*"


def test_credentials_go_on_unless_told_otherwise(keys: Path) -> None:
    with guarded(api_keys=str(keys)) as (_, backend, client):
        assert ask(client, BEARER) == 200
        assert field(backend.heads[0], b"Authorization") == f"Bearer {KEY}".encode()


def test_other_headers_may_bring_the_key(keys: Path) -> None:
    with guarded(api_keys=str(keys), api_key_headers=["Apikey"]) as (_, _backend, client):
        assert [ask(client, line) for line in (f"apikey: {KEY}", BEARER, f"X-API-Key: {KEY}")] == [200, 401, 401]


def test_credentials_of_a_route_stand_in_the_place_of_its_listeners(keys: Path, users: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("own: own-key-own-key\n")
    routes: list[dict[str, Any]] = [
        {"path_prefix": "/open", "api_keys": "off"},
        {"path_prefix": "/own", "api_keys": str(own)},
        {"path_prefix": "/people", "basic_auth": str(users)},
        {"path_prefix": "/away", "pool": None, "redirect": "/x"},
        {"path_prefix": "/lists", "deny_clients": ["10.0.0.0/8"]},
    ]
    with guarded(routes, api_keys=str(keys)) as (_, _backend, client):
        own_key = "X-API-Key: own-key-own-key"
        found = {
            path: [ask(client, *lines, path=path) for lines in ((), (BEARER,), (own_key,), (basic("bob:b"),))]
            for path in ("/open", "/own", "/people", "/away", "/lists", "/else")
        }
        assert found == {
            "/open": [200, 200, 200, 200],
            "/own": [401, 401, 200, 401],
            "/people": [401, 401, 401, 200],
            "/away": [401, 301, 401, 401],
            "/lists": [401, 200, 401, 401],
            "/else": [401, 200, 401, 401],
        }


def test_no_reading_of_a_path_leads_past_credentials(keys: Path) -> None:
    routes: list[dict[str, Any]] = [{"path_prefix": "/inner", "api_keys": str(keys)}, {}]
    for path in ("/%69nner", "/x/../inner", "//inner", "/x/..%2finner", "/inner;a", "/inner/"):
        with guarded(routes) as (_, backend, client):
            assert ask(client, path=path) in (400, 401), path
            assert not backend.heads


def test_lists_come_before_credentials(keys: Path) -> None:
    with guarded(api_keys=str(keys), deny_clients=["127.0.0.0/8"]) as (_, _backend, client):
        assert ask(client, BEARER) == 403


def test_log_has_the_name_and_no_key(keys: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with guarded(api_keys=str(keys), top={"access_log": str(log)}) as (lb, _, client):
        assert [ask(client, line) for line in (BEARER, f"X-API-Key: {OTHER}", f"X-API-Key: {KEY}x")] == [200, 200, 401]
        lines = logged(log, 3)
        assert [line.get("user") for line in lines] == ["shop", "ops.team", None]
        assert lines[2]["reason"] == "no valid credentials came with the request"
        assert KEY not in log.read_text() + json.dumps(lb.status())
        with open(lb._running().segment_path, "rb") as file:
            segment = file.read()
        assert b"shop" in segment
        assert KEY.encode() not in segment
        assert sha256(KEY) not in segment


def test_body_of_a_refused_request_ends_the_connection(keys: Path) -> None:
    with guarded(api_keys=str(keys)) as (_, backend, client):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + bytes(200_000))
        answer = client.answer()
        assert (answer.status, field(answer.head, b"Connection")) == (401, b"close")
        assert not backend.heads


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl(version: str, keys: Path, users: Path) -> None:
    told = {"identity_header": "X-Authenticated-User", "remove_credentials": True}
    with guarded(api_keys=str(keys), basic_auth=str(users), **told) as (lb, backend, _):
        base = f"http://{lb.address[0]}:{lb.address[1]}/"
        shown = ("-s", "-o", "/dev/null", "-w", "%{http_code} %header{www-authenticate}", "--max-time", "20")
        said = [
            subprocess.run(["curl", version, *shown, *words, base], capture_output=True, text=True, timeout=60).stdout
            for words in (("-H", BEARER), ("-u", "bob:b"), ("--oauth2-bearer", OTHER), ("-u", "bob:c"))
        ]
        assert said[:3] == ["200 "] * 3
        assert said[3].startswith('401 Basic realm="restricted"')
        assert [field(head, b"X-Authenticated-User") for head in backend.heads] == [b"shop", b"bob", b"ops.team"]
        assert not any(fields(head, b"Authorization") for head in backend.heads)


def test_grpc_calls(keys: Path) -> None:
    with GrpcServer("one") as server, balanced(settings=settings(server.address, api_keys=str(keys))) as lb:
        grpc = pytest.importorskip("grpc")
        with channel(f"{lb.address[0]}:{lb.address[1]}") as open_channel:
            call = open_channel.unary_unary("/a.B/Name")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"x", timeout=20)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert call(b"x", timeout=20, metadata=[("authorization", f"Bearer {KEY}")])


def test_changed_file_is_in_force_and_a_bad_one_is_not(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_files, "LOOK_EVERY_S", 0.1)
    said: list[str] = []
    with (
        Backend() as backend,
        Balancer(settings=settings(backend.address, api_keys=str(keys)), log=said.append) as lb,
        Client(lb.address) as client,
    ):
        assert ask(client, BEARER) == 200
        keys.write_text(f"shop: {OTHER}\nbad\n")
        wait_for(
            lambda: any("line 2: is no NAME: KEY; what was read before stays in force" in line for line in said), "it is told"
        )
        assert [ask(client, BEARER), ask(client, f"X-API-Key: {OTHER}")] == [200, 200]
        keys.write_text(f"shop: {OTHER}\n")
        wait_for(lambda: any("has changed and is in force: 1 entries" in line for line in said), "it is taken")
        wait_for(lambda: ask(client, BEARER) == 401, "the old key is gone")
        assert ask(client, f"X-API-Key: {OTHER}") == 200
        os.unlink(keys)
        wait_for(lambda: any("cannot be read" in line for line in said), "it is told")
        assert ask(client, f"X-API-Key: {OTHER}") == 200
        assert not any(KEY in line or OTHER in line for line in said)


def test_reload_reads_files_anew(keys: Path) -> None:
    with Backend() as backend:
        first = settings(backend.address, api_keys=str(keys))
        with balanced(settings=first) as lb, Client(lb.address) as client:
            assert [ask(client, BEARER), ask(client)] == [200, 401]
            keys.write_text("shop: another-key-of-it\n")
            lb.reload(first)
            assert [ask(client, BEARER), ask(client, "X-API-Key: another-key-of-it")] == [401, 200]
            keys.write_text("bad")
            with pytest.raises(ConfigError, match="line 1: is no NAME: KEY"):
                lb.reload(first)
            assert ask(client, "X-API-Key: another-key-of-it") == 200
            lb.reload(first.replace(listeners=[first.listeners[0].replace(api_keys=None)]))
            assert ask(client) == 200


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("api_keys", "", "nobody is in it"),
        ("api_keys", "# none\n", "nobody is in it"),
        ("api_keys", "a b: 0123456789", "line 1: the name before the colon is not allowed"),
        ("api_keys", "a: short", r"line 1: a: the key is not allowed \(allowed: 8 to 256 printable"),
        ("api_keys", "a: with blanks in it", "line 1: a: the key is not allowed"),
        ("api_keys", "a: sha256:00", "line 1: a: sha256: is to be followed by 64 hex digits"),
        ("api_keys", f"a: {KEY}\nb: {KEY}", "line 2: b has the same as a"),
        ("basic_auth", "bob", "line 1: is no USER"),
        ("basic_auth", "bob:secret", "line 1: bob: how the password is stored is not said"),
        ("basic_auth", "bob:$2y$05$abcdefghijklmnopqrstuv", "line 1: bob: bcrypt is not supported"),
        ("basic_auth", "bob:$apr1$abc$def", "line 1: bob: apr1"),
        ("basic_auth", "bob:{SHA}abc", "line 1: bob: SHA-1 is not supported"),
        ("basic_auth", "bob:{SHA256}abc", "is to be followed by 32 bytes in base64"),
        ("basic_auth", "bob:{PLAIN}x\nbob:{PLAIN}x", "line 2: bob has the same as bob"),
    ],
)
def test_check_names_bad_lines_without_what_is_secret(tmp_path: Path, kind: str, text: str, words: str) -> None:
    (tmp_path / "file.txt").write_text(text)
    (tmp_path / "file.txt").chmod(0o600)
    file = tmp_path / "lb.toml"
    file.write_text(f'[[listener]]\nbind = "http://127.0.0.1:0"\n{kind} = "file.txt"\n')
    code, said = fails(tmp_path, "check", str(file))
    assert code == 2
    assert re.search(words, said), said
    for secret in (KEY, "0123456789", "with blanks in it", "secret", "abc"):
        assert secret not in said


def test_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    file.write_text('[[listener]]\nbind = "http://127.0.0.1:0"\napi_keys = "none.txt"\n')
    code, said = fails(tmp_path, "check", str(file))
    assert (code, "none.txt' cannot be read (No such file or directory)" in said) == (2, True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"identity_header": "X-Authenticated-User"}, "identity_header: requires api_keys or basic_auth"),
        ({"remove_credentials": True}, "remove_credentials: requires api_keys or basic_auth"),
        ({"basic_auth": "f", "api_key_headers": ["X-Key"]}, "api_key_headers: requires api_keys"),
        ({"api_keys": "f", "api_key_headers": []}, "api_key_headers: .* is not allowed"),
        ({"api_keys": "f", "api_key_headers": ["a b"]}, "api_key_headers: .* is not allowed"),
        ({"api_keys": "f", "identity_header": "X-Name"}, "identity_header: 'X-Name' is not allowed"),
        ({"api_keys": "f", "identity_header": "X-Remote-User: a"}, "identity_header: .* is not allowed"),
    ],
)
def test_bad_keys_are_refused_in_one_line(given: dict[str, Any], words: str) -> None:
    for make in (lambda: ListenerSettings(bind="http://127.0.0.1:0", **given), lambda: RouteSettings(pool="p", **given)):
        with pytest.raises(ConfigError, match=words) as refused:
            make()
        assert "\n" not in str(refused.value)


def test_listener_without_requests_takes_no_credentials() -> None:
    with pytest.raises(ConfigError, match="api_keys: only for mode http"):
        ListenerSettings(bind="tcp://127.0.0.1:0", api_keys="f")
