"""etcd as a source, with real members: leases that end, passwords, stores that are wiped, values that other programs write."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest
from dns_faults import following
from etcd_keys import QUICK, etcd_delete, etcd_put
from etcd_members import PROGRAMS, Etcd, ask, each_version, etcd
from harness import wait_for
from source_sites import hurry

from lbcore.config.settings import PoolSettings, SourceSettings
from lbcore.discovery.engines import entries, kv
from lbcore.discovery.engines import etcd as etcd_engine
from lbcore.discovery.found import Found, SourceFailed
from lbcore.discovery.sources import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE, TWO = "10.0.0.1:8000", "10.0.0.2:8000"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture(params=["debian", "pypi"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcd]:
    if request.param not in PROGRAMS:
        pytest.skip(f"etcd of {request.param} is not installed")
    with etcd(tmp_path, request.param, options=QUICK) as made:
        yield made


def source_of(cluster: Etcd, **values: Any) -> Callable[[Callable[[str], None]], Any]:
    settings = SourceSettings(kind="etcd", **({"prefix": "/shop/", "endpoints": cluster.urls, "timeout": "2s"} | values))
    return lambda log: made([PoolSettings(name="web", sources=[settings])], log)[0]


def test_a_key_whose_lease_ends_leaves(cluster: Etcd) -> None:
    url = cluster.urls[0]
    lease = ask(url, "/v3/lease/grant", {"TTL": 60})["ID"]
    etcd_put(url, "/shop/1", ONE, lease)
    etcd_put(url, "/shop/2", TWO)
    with following(source_of(cluster)) as followed:
        wait_for(lambda: followed.addresses == [ONE, TWO], "both come")
        ask(url, "/v3/lease/revoke", {"ID": lease})
        wait_for(lambda: followed.addresses == [TWO], "one leaves")


def test_a_store_that_was_wiped_empties_nothing(cluster: Etcd) -> None:
    etcd_put(cluster.urls[0], "/shop/1", ONE)
    with following(source_of(cluster)) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
        cluster.stop()
        cluster.members[0].wipe()
        cluster.start()
        line = wait_for(lambda: [told for told in followed.told if "are kept" in told], "it is told")[0]
        assert (
            line == "pool web: etcd /shop/: it names no backend: the last 1 are kept (when_empty): no key begins with '/shop/'"
        )
        assert followed.addresses == [ONE]
        etcd_put(cluster.urls[0], "/shop/2", TWO)
        wait_for(lambda: followed.addresses == [TWO], "what is written anew counts")


def test_history_that_was_compacted_meanwhile_is_read_again(cluster: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    url = cluster.urls[0]
    etcd_put(url, "/shop/1", ONE)
    read = etcd_engine.EtcdStore.read

    async def read_before(store: Any, *values: Any, **named: Any) -> Any:
        """What it read is compacted away before it watches, the first time."""
        found = await read(store, *values, **named)
        monkeypatch.setattr(etcd_engine.EtcdStore, "read", read)
        etcd_put(url, "/shop/2", TWO)
        etcd_put(url, "/other", "x")
        ask(url, "/v3/kv/compaction", {"revision": str(found.revision + 2), "physical": True})
        return found

    monkeypatch.setattr(etcd_engine.EtcdStore, "read", read_before)
    with following(source_of(cluster)) as followed:
        wait_for(lambda: followed.addresses == [ONE, TWO], "it reads again")
        assert followed.told == []


def test_a_user_needs_the_password_and_the_right(cluster: Etcd) -> None:
    url = cluster.urls[0]
    etcd_put(url, "/shop/1", ONE)

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    for path, body in (
        ("user/add", {"name": "root", "password": "r"}),
        ("user/add", {"name": "lb", "password": "a-word"}),
        ("role/add", {"name": "reader"}),
        (
            "role/grant",
            {"name": "reader", "perm": {"permType": "READ", "key": encoded("/shop/"), "range_end": encoded("/shop0")}},
        ),
        ("user/grant", {"user": "lb", "role": "reader"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("enable", {}),
    ):
        ask(url, f"/v3/auth/{path}", body)
    with following(source_of(cluster, user="lb", password="a-word")) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")
    for values, words in (
        ({"user": "lb", "password": "wrong"}, "authentication failed, invalid user ID or password"),
        ({"user": "lb", "password": "a-word", "prefix": "/"}, "permission denied"),
        ({}, "user name is empty"),
    ):
        with following(source_of(cluster, **values)) as followed:
            line = wait_for(lambda: followed.told, "it is told")[0]
            assert words in line
            assert "wrong" not in line.replace(words, "")


def test_a_prefix_with_too_many_keys_is_refused(cluster: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_engine, "MOST_KEYS", 3)
    monkeypatch.setattr("lbcore.store.etcd.PAGE", 2)
    for at in range(5):
        etcd_put(cluster.urls[0], f"/shop/{at}", f"10.0.0.{at + 1}:80")
    with following(source_of(cluster)) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("more than 3 keys begin with '/shop/': is the prefix right?")


@each_version
def test_a_member_that_dies_is_left_for_another(version: str, tmp_path: Path) -> None:
    """A follower, so that the test waits for no election; what elections do is in tests/cluster."""
    with etcd(tmp_path, version, members=3) as cluster:
        leader = cluster.leader()
        dying, *others = sorted(cluster.members, key=lambda member: member is leader)
        etcd_put(leader.url, "/shop/1", ONE)
        endpoints = [dying.url, *(member.url for member in others)]
        with following(source_of(cluster, endpoints=endpoints)) as followed:
            wait_for(lambda: followed.addresses == [ONE], "it comes")
            dying.kill()
            wait_for(lambda: followed.sources.standings()[0].failures, "the watch is lost")
            etcd_put(leader.url, "/shop/2", TWO)
            wait_for(lambda: followed.addresses == [ONE, TWO], "the next change comes from another member")
            assert followed.told == []


def test_a_deleted_prefix_is_taken_at_its_word(cluster: Etcd) -> None:
    etcd_put(cluster.urls[0], "/shop/1", ONE)
    etcd_put(cluster.urls[0], "/shop/2", TWO)
    with following(source_of(cluster)) as followed:
        wait_for(lambda: followed.addresses == [ONE, TWO], "both come")
        etcd_delete(cluster.urls[0], "/shop/", prefix=True)
        wait_for(lambda: followed.addresses == [], "both leave")


# --- values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"10.0.0.1:80", Found("10.0.0.1:80", 1)),
        (b"App.internal.:80", Found("app.internal:80", 1)),
        (b" [FD00::0001]:80\n", Found("[fd00::1]:80", 1)),
        (b'{"address": "10.0.0.1:80"}', Found("10.0.0.1:80", 1)),
        (b'{"address": "10.0.0.1:80", "weight": 7, "backup": true}', Found("10.0.0.1:80", 7, 1)),
        (b'{"address": "10.0.0.1:80", "weight": 7, "drain": true}', Found("10.0.0.1:80", 0)),
        (b'{"Op": 0, "Addr": "10.0.0.1:80", "Metadata": null}', Found("10.0.0.1:80", 1)),
        (b'{"host": "10.0.0.1", "port": 80, "ttl": 60}', Found("10.0.0.1:80", 1)),
    ],
)
def test_a_value_names_a_backend(value: bytes, found: Found) -> None:
    assert entries.parse(value) == found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "'' is not HOST:PORT"),
        (b"\xff", "not UTF-8 text"),
        (b"10.0.0.1", "is not HOST:PORT"),
        (b"10.0.0.1:0", "with a port from 1 to 65535"),
        (b"-app.internal:80", "'-app.internal' is neither an IP address nor a name in DNS"),
        (b"0.0.0.0:80", "'0.0.0.0' is not an address of a host"),
        (b"224.0.0.1:80", "'224.0.0.1' is not an address of a host"),
        (b"{", "not JSON, though it begins so"),
        (b'{"a":' * 100_000, "longer than 64 KiB"),
        (b'{"a":' * 10_000, "not JSON, though it begins so"),
        (b"{}", 'it has no "address"'),
        (b'{"address": 1}', 'it has no "address"'),
        (b'{"host": "10.0.0.1", "port": "80"}', 'it has no "address"'),
        (b'{"address": "10.0.0.1:80", "weight": 257}', "weight: 257 is not allowed (allowed: a whole number from 0 to 256)"),
        (b'{"address": "10.0.0.1:80", "weight": true}', "weight: True is not allowed"),
        (b'{"address": "10.0.0.1:80", "backup": "yes"}', "backup: 'yes' is not allowed (allowed: true or false)"),
        (b'{"address": "10.0.0.1:80", "drain": 1}', "drain: 1 is not allowed (allowed: true or false)"),
    ],
)
def test_a_value_that_names_none_says_why(value: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        entries.parse(value)


def test_of_two_keys_with_one_address_the_lower_counts() -> None:
    held = kv.Entries([("b", b'{"address": "10.0.0.1:80", "weight": 9}'), ("a", b"10.0.0.1:80")])
    assert held.answer("").found == [Found("10.0.0.1:80", 1)]
    held.drop("a")
    assert held.answer("").found == [Found("10.0.0.1:80", 9)]


def test_keys_and_backends_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv, "MOST_ENTRIES", 2)
    answer = kv.Entries((str(at), f"10.0.0.{at}:80".encode()) for at in range(1, 5)).answer("")
    assert len(answer.found) == 2
    assert answer.skipped == {"3": "more than 2 backends", "4": "more than 2 backends"}
    monkeypatch.setattr(kv, "MOST_KEYS", 2)
    held = kv.Entries([("1", b""), ("2", b"")])
    with pytest.raises(SourceFailed, match="more than 2 keys: is the prefix right"):
        held.put("3", b"")


def test_skipped_entries_are_named_once_and_not_without_end() -> None:
    lines: list[str] = []
    skips = entries.Skips(lines.append, "pool web: etcd /shop/")
    skips.tell({"a": "not UTF-8 text"})
    skips.tell({"a": "not UTF-8 text", "b\n": "odd"})
    assert lines == [
        "pool web: etcd /shop/: 'a' is skipped: not UTF-8 text",
        "pool web: etcd /shop/: 'b\\n' is skipped: odd",
    ]
    skips.tell({"c": "odd\nlbcore: all is lost\x1b[31m" * 500})
    assert lines.pop().isprintable()
    skips.tell({})
    skips.tell({"a": "not UTF-8 text"})
    assert len(lines) == 3
    for _ in range(3):
        skips.tell({str(at): "odd" for at in range(1000)})
    assert len(lines) == 3 + entries.MOST_NAMED + 1
    assert lines[-1].endswith("1000 entries are skipped; only 64 are named here")


def test_a_key_that_is_mended_names_a_backend_and_one_that_is_damaged_none() -> None:
    held = kv.Entries([("a", b"?"), ("b", b"10.0.0.2:80")])
    assert held.answer("").skipped == {"a": "'?' is not HOST:PORT (an IPv6 host in brackets)"}
    held.put("a", b"10.0.0.1:80")
    held.put("b", b"?")
    answer = held.answer("")
    assert ([found.address for found in answer.found], list(answer.skipped)) == (["10.0.0.1:80"], ["b"])
    held.drop("a")
    assert not held.answer("").told  # an entry that cannot be read may be one of ours
    held.drop("b")
    assert held.answer("none").told
