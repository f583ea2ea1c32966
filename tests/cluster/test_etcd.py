"""The store in front of real etcd: what it reads, writes and watches, and what it makes of each fault."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from etcd_members import ANY, Etcd, each_version, etcd, needs_etcd, with_users
from harness import PATIENCE_S, SLOWER, free_port, wait_for

from lbcore.config.secret import Secret
from lbcore.store.etcd import EtcdStore, tls_of
from lbcore.store.interface import Compacted, LeaseGone, Put, Refused, StoreError, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tls_peers import Authority

    from lbcore.store.interface import Change


def run(work: Callable[[EtcdStore], Awaitable[Any]], endpoints: list[str], **options: Any) -> Any:
    """In an event loop, with a store that is closed after it."""

    async def all_of_it() -> Any:
        store = EtcdStore(endpoints, **options)
        try:
            async with asyncio.timeout(30 * SLOWER):
                return await work(store)
        finally:
            await store.close()

    return asyncio.run(all_of_it())


async def seen(store: EtcdStore, prefix: str, revision: int, count: int) -> list[Change]:
    """So many changes, as a watch brings them."""
    found: list[Change] = []
    async for told in store.watch(prefix, revision):
        found += told.changes
        if len(found) >= count:
            break
    return found


@each_version
def test_what_is_written_is_read_and_watched(tmp_path: Path, version: str) -> None:
    async def work(store: EtcdStore) -> None:
        empty = await store.read("/a/")
        assert empty.items == []
        lease = await store.grant(30)
        written = await store.write([Put("/a/1", b"one"), Put("/a/2", b"\xff\x00", lease), Put("/b/3", b"other")])
        assert written.done
        assert written.revision == empty.revision + 1
        found = await store.read("/a/")
        assert [(item.key, item.value, item.lease) for item in found.items] == [
            ("/a/1", b"one", 0),
            ("/a/2", b"\xff\x00", lease),
        ]
        assert (found.revision, found.cluster) == (written.revision, empty.cluster)
        await store.write([Put("/a/1", b"")], ["/a/2"])
        changes = await seen(store, "/a/", empty.revision + 1, 4)
        told = [(change.key, change.value) for change in changes]
        assert told == [("/a/1", b"one"), ("/a/2", b"\xff\x00"), ("/a/1", b""), ("/a/2", None)]

    with etcd(tmp_path, version) as servers:
        run(work, servers.urls)


@each_version
def test_leases_and_conditions(tmp_path: Path, version: str) -> None:
    async def work(store: EtcdStore) -> None:
        lease = await store.grant(30)
        await store.renew(lease)
        assert (await store.write([Put("/k", b"1", lease)], absent="/k")).done
        assert not (await store.write([Put("/k", b"2", lease)], absent="/k")).done
        await store.revoke(lease)
        await store.revoke(lease)
        assert (await store.read("/")).items == []
        with pytest.raises(LeaseGone):
            await store.renew(lease)
        with pytest.raises(LeaseGone):
            await store.write([Put("/k", b"3", lease)])
        short = await store.grant(1)
        revision = (await store.write([Put("/k", b"4", short)])).revision
        assert (await seen(store, "/k", revision + 1, 1))[0].value is None  # an expired lease is a plain delete

    with etcd(tmp_path, version) as servers:
        run(work, servers.urls)


@needs_etcd
def test_a_long_list_comes_in_pages(tmp_path: Path) -> None:
    async def work(store: EtcdStore) -> None:
        for begin in range(0, 4500, 100):
            await store.write([Put(f"/p/{number:05}", b"x") for number in range(begin, begin + 100)])
        found = await store.read("/p/")
        assert [item.key for item in found.items] == [f"/p/{number:05}" for number in range(4500)]

    with etcd(tmp_path) as servers:
        run(work, servers.urls)


@each_version
def test_a_compacted_revision(tmp_path: Path, version: str) -> None:
    """The stream stays open then: whoever waits for its end waits for ever."""

    async def work(store: EtcdStore) -> None:
        for number in range(5):
            last = (await store.write([Put("/k", b"%d" % number)])).revision
        await store._call("/v3/kv/compaction", {"revision": str(last)})
        with pytest.raises(Compacted):
            await seen(store, "/k", last - 2, 1)
        assert (await seen(store, "/k", last, 1))[0].value == b"4"

    with etcd(tmp_path, version) as servers:
        run(work, servers.urls)


@needs_etcd
def test_one_transaction_of_many_bytes(tmp_path: Path) -> None:
    async def work(store: EtcdStore) -> None:
        revision = (await store.read("/")).revision
        for _ in range(3):
            await store.write([Put(f"/k/{number}", bytes(14_000)) for number in range(100)])
        changes = await seen(store, "/k/", revision + 1, 300)
        assert all(change.value == bytes(14_000) for change in changes)

    with etcd(tmp_path) as servers:
        run(work, servers.urls)


@each_version
def test_a_user_with_rights_to_a_prefix(tmp_path: Path, version: str) -> None:
    async def allowed(store: EtcdStore) -> None:
        await store.write([Put("/ours/1", b"one")])
        assert len((await store.read("/ours/")).items) == 1
        store._token = "gone.7"  # tokens die with a restart
        assert len((await store.read("/ours/")).items) == 1
        revision = (await store.read("/ours/")).revision
        assert (await seen(store, "/ours/", revision, 1))[0].key == "/ours/1"
        with pytest.raises(Refused, match="permission denied"):
            await store.read("/theirs/")
        with pytest.raises(Refused):
            await seen(store, "/theirs/", 1, 1)

    async def refused(store: EtcdStore) -> None:
        with pytest.raises(Refused) as told:
            await store.read("/ours/")
        assert told.value.option == "user"

    with etcd(tmp_path, version) as servers:
        with_users(servers.urls[0], "/ours/")
        run(allowed, servers.urls, user="lb", password=Secret("secret"))
        run(refused, servers.urls, user="lb", password=Secret("wrong"))
        run(refused, servers.urls)


@needs_etcd
def test_a_user_where_nobody_is_asked(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers:
        assert run(lambda store: store.read("/"), servers.urls, user="lb", password=Secret("any")).items == []


@needs_etcd
def test_certificates(tmp_path: Path, authority: Authority, here: Path, strange: Path) -> None:
    """Of the server and the client; a wrong one is told with the option that names it."""
    options = [
        "--cert-file",
        f"{here}.crt",
        "--key-file",
        f"{here}.key",
        "--client-cert-auth",
        "--trusted-ca-file",
        str(authority.cert),
    ]
    servers = Etcd(tmp_path, ANY, 1, options, "https")
    try:
        servers.start()
        url = servers.urls[0].replace("127.0.0.1", "localhost")
        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", servers.members[0].client)), "it listens", 30)
        right = tls_of(str(authority.cert), f"{here}.crt", f"{here}.key")
        wait_for(lambda: _reads(url, right), "it answers", 30)
        assert "certificate" in _refusal(url, tls_of(f"{strange}.crt", None, None), "ca")
        with pytest.raises(StoreError):  # TLS 1.3 tells a client of a refused certificate late
            run(lambda store: store.read("/"), [url], tls=tls_of(str(authority.cert), None, None))
    finally:
        servers.stop()
    with pytest.raises(Refused) as told:
        tls_of(str(tmp_path / "missing"), None, None)
    assert told.value.option == "ca"


def _reads(url: str, tls: ssl.SSLContext) -> bool:
    with contextlib.suppress(Unreachable):
        return bool(run(lambda store: store.read("/"), [url], tls=tls))
    return False


def _refusal(url: str, tls: ssl.SSLContext, option: str) -> str:
    with pytest.raises(Refused) as told:
        run(lambda store: store.read("/"), [url], tls=tls)
    assert told.value.option == option
    return str(told.value)


def test_nobody_listens() -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=rf"http://127.0.0.1:{port}: connection refused"):
        run(lambda store: store.read("/"), [f"http://127.0.0.1:{port}"])


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0\r\n"],
)
def test_somebody_else_listens(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def respond() -> None:
            with contextlib.suppress(OSError):
                peer, _ = server.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        with pytest.raises(StoreError):
            run(lambda store: store.read("/"), [f"http://127.0.0.1:{server.getsockname()[1]}"])
        thread.join(PATIENCE_S)


@needs_etcd
def test_the_next_member_is_asked_when_one_dies(tmp_path: Path) -> None:
    """The leader, which takes requests with it; then a member hangs; then there is no quorum: told within the limit."""

    async def work(store: EtcdStore, servers: Etcd) -> None:
        revision = (await store.write([Put("/k", b"0")])).revision
        leader = servers.leader()
        store._at = servers.members.index(leader)
        leader.kill()
        await _patiently(lambda: store.write([Put("/k", b"1")]))
        assert (await seen(store, "/k", revision, 2))[-1].value == b"1"
        leader.start(servers.cluster)
        await _patiently(lambda: store.write([Put("/k", b"2")]))
        servers.members[store._at].kill(signal.SIGSTOP)
        await _patiently(lambda: store.write([Put("/k", b"3")]))
        for member in servers.members[1:]:
            member.kill()
        with pytest.raises(Unreachable):
            await store.read("/k")

    with etcd(tmp_path, members=3) as servers:
        run(lambda store: work(store, servers), servers.urls, limit_s=SLOWER)


async def _patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Until an election is over."""
    for _ in range(20):
        try:
            return await call()
        except Unreachable:
            await asyncio.sleep(0.1)  # as who calls again would
    return await call()


@each_version
def test_a_watch_ends_when_its_member_dies_or_has_no_quorum(tmp_path: Path, version: str) -> None:
    async def lost(store: EtcdStore, member: int, revision: int, end: Callable[[], object]) -> None:
        store._at = member
        watch: AsyncIterator[Any] = store.watch("/k", revision + 1)
        assert (await anext(watch)).changes == []
        end()
        with pytest.raises(Unreachable):
            await anext(watch)

    async def work(store: EtcdStore, servers: Etcd) -> None:
        revision = (await store.write([Put("/k", b"0")])).revision
        await lost(store, 0, revision, servers.members[0].kill)
        servers.members[0].start(servers.cluster)
        await lost(store, 1, revision, lambda: servers.members[1].kill(signal.SIGTERM))
        await lost(store, 2, revision, servers.members[0].kill)

    with etcd(tmp_path, version, members=3) as servers:
        run(lambda store: work(store, servers), servers.urls, limit_s=SLOWER)
