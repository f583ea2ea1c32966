"""NATS as a source, with real servers: buckets, deletions, expiry, tokens, TLS, servers that hang or lie."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any

import nats_accounts
import pytest
from certificates import make_authority, make_signed
from dns_faults import following
from harness import stays, wait_for
from nats_servers import NatsServer, needs_nats
from source_sites import hurry

from lbcore.config.settings import PoolSettings, SourceSettings
from lbcore.discovery.engines import nats_kv
from lbcore.discovery.sources import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_nats
ONE, TWO, THREE = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@contextlib.contextmanager
def running(directory: Path, *options: str, **connect: Any) -> Iterator[NatsServer]:
    server = NatsServer(directory, *options, **connect)
    try:
        yield server
    finally:
        server.stop()


def source_of(url: str, **values: Any) -> Callable[[Callable[[str], None]], Any]:
    given = {"bucket": "shop", "endpoints": [url], "timeout": "1s"} | values
    settings = SourceSettings(kind="nats", **given)
    return lambda log: made([PoolSettings(name="web", sources=[settings])], log)[0]


def test_a_prefix_is_whole_parts_of_a_subject(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.make_bucket()
        server.put({"web.eu.1": ONE.encode(), "web": TWO.encode(), "webhook.1": TWO.encode(), "api.1": TWO.encode()})
        with following(source_of(server.url, prefix="web.")) as followed:
            wait_for(lambda: followed.addresses == [ONE], "one key has the prefix")
        with following(source_of(server.url)) as followed:
            wait_for(lambda: followed.addresses == [ONE, TWO], "all keys")


def test_values_may_be_json(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.make_bucket()
        server.put(
            {
                "a": b'{"address": "10.0.0.1:8000", "weight": 5, "owner": "ops"}',
                "b": b'{"address": "10.0.0.2:8000", "backup": true}',
            }
        )
        with following(source_of(server.url)) as followed:
            wait_for(lambda: followed.addresses == [ONE, TWO], "both")
            assert [tuple(found) for found in followed.published[-1][1]] == [(ONE, 5, 0), (TWO, 1, 1)]


def test_keys_that_are_purged_or_deleted_leave(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.make_bucket()
        server.put({"a": ONE.encode(), "b": TWO.encode(), "c": THREE.encode()})
        with following(source_of(server.url)) as followed:
            wait_for(lambda: followed.addresses == [ONE, TWO, THREE], "all")
            server.put({"a": None})

            async def purge(js: Any) -> None:
                await (await js.key_value("shop")).purge("b")

            server.do(purge)
            wait_for(lambda: followed.addresses == [THREE], "two leave")


def test_values_that_expire_without_a_word_leave_with_the_next_look(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.make_bucket(ttl=1)
        server.put({"a": ONE.encode()})
        with following(source_of(server.url, resync="1s")) as followed:
            wait_for(lambda: followed.addresses == [ONE], "it comes")

            def renew() -> bool:
                server.put({"b": TWO.encode()})
                return followed.addresses == [TWO]

            wait_for(renew, "the one that nobody writes any more leaves")


def test_a_bucket_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with following(source_of(server.url)) as followed:
            assert wait_for(lambda: followed.told, "it is told")[0].endswith("there is no bucket 'shop'")
            server.make_bucket()
            server.put({"a": ONE.encode()})
            wait_for(lambda: followed.addresses == [ONE], "it comes")


def test_a_server_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_kv, "PING_S", 0.1)
    with running(tmp_path) as server:
        server.make_bucket()
        server.put({"a": ONE.encode()})
        with following(source_of(server.url, timeout="200ms")) as followed:
            wait_for(lambda: followed.addresses == [ONE], "it comes")
            server.freeze()
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert line.endswith("no answer within 0.2 s"), line
            assert followed.addresses == [ONE]


@pytest.mark.parametrize(
    ("options", "good", "bad"),
    [
        (("--auth", "a-token"), {"token": "a-token"}, {"token": "another"}),
        (("--user", "lb", "--pass", "a-word"), {"user": "lb", "password": "a-word"}, {"user": "lb", "password": "another"}),
        (("--auth", "a-token"), {"token": "a-token"}, {}),
    ],
)
def test_who_may_not_ask_is_told_so(tmp_path: Path, options: Any, good: dict[str, str], bad: dict[str, str]) -> None:
    with running(tmp_path, *options, **good) as server:
        server.make_bucket()
        server.put({"a": ONE.encode()})
        with following(source_of(server.url, **good)) as followed:
            wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")
        with following(source_of(server.url, **bad)) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert line.endswith("authorization violation"), line
            assert followed.addresses is None


def test_a_server_is_asked_over_tls(tmp_path: Path) -> None:
    make_authority(tmp_path, "ca")
    make_signed(tmp_path, "ca", "server", "IP:127.0.0.1")
    make_authority(tmp_path, "other")
    files = ("--tls", "--tlscert", str(tmp_path / "server.crt"), "--tlskey", str(tmp_path / "server.key"))
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    with running(tmp_path, *files, url="tls://127.0.0.1:{port}", tls=context) as server:
        server.make_bucket()
        server.put({"a": ONE.encode()})
        with following(source_of(server.url, ca=str(tmp_path / "ca.crt"))) as followed:
            wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")
        with following(source_of(server.url, ca=str(tmp_path / "other.crt"))) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert "certificate verify failed" in line, line


def test_tls_that_a_server_does_not_speak_is_not_given_up(tmp_path: Path) -> None:
    """nats-py would go on in clear, with the token, where the first words ask for no TLS: anybody could send those."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_lies, args=(listening, heard), daemon=True)
        thread.start()
        url = f"tls://127.0.0.1:{listening.getsockname()[1]}"
        with following(source_of(url, token="s3cr3t")) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert line.endswith("it speaks no TLS, and the endpoint says tls://"), line
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert b"s3cr3t" not in b"".join(heard)


def _lies(listening: socket.socket, heard: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b'INFO {"server_id":"X","version":"2.11.0","max_payload":1048576,"auth_required":true}\r\n')
                heard.append(connection.recv(4096))


def test_a_creds_file_is_shown_and_never_told(tmp_path: Path) -> None:
    pytest.importorskip("nkeys")
    config, creds = nats_accounts.made(tmp_path)
    seed = creds.read_text().splitlines()[-2]
    with running(tmp_path, "-c", str(config), user_credentials=str(creds)) as server:
        server.make_bucket()
        server.put({"a": ONE.encode()})
        with following(source_of(server.url, creds_file=str(creds))) as followed:
            wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")
        another = nats_accounts.Identity(20 << 3).seed
        creds.write_text(creds.read_text().replace(seed, another))
        with following(source_of(server.url, creds_file=str(creds))) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert "authorization violation" in line.lower(), line
        creds.write_text(creds.read_text().replace(another, "SUAAAA"))
        with following(source_of(server.url, creds_file=str(creds))) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert line.endswith("creds_file: its seed is none of a user"), line
        creds.write_text(seed)
        with following(source_of(server.url, creds_file=str(creds))) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert line.endswith(f"creds_file: {str(creds)!r} is no .creds file of NATS"), line
            assert seed not in line


def test_without_jetstream_there_are_no_buckets(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, jetstream=False)
    try:
        with following(source_of(server.url)) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert line.endswith("JetStream is not enabled there, or has no leader"), line
    finally:
        server.stop()


def test_without_its_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with following(source_of("nats://127.0.0.1:1")) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("it requires nats-py: pip install 'lbcore[nats]'")
        stays(lambda: len(followed.told) == 1, "it is told once", 0.1)
