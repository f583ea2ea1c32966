"""Backup tiers: a backend of a tier is picked only while none of a lower one can be."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S, Peer, balanced, command, dial, echo, free_port, named, read_exactly, settled, totals, wait_for
from http_peers import Backend, Client
from hypothesis import given, settings
from hypothesis import strategies as st

from lbcore import Registration
from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.discovery.dns import _scaled_by_tier, _tiers
from lbcore.discovery.membership import Membership
from lbcore.discovery.reports import Report
from lbcore.discovery.watch import parse
from lbcore.errors import ConfigError
from lbcore.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore.api.balancer import Balancer

POLICIES = ("round_robin", "least_conn", "p2c", "ewma", "random", "maglev")


# --- picks -----------------------------------------------------------------------------------------------------------


def expected(rows: list[Any], tried: list[int], active: dict[int, int], most: int) -> set[int | None]:
    """Written apart from the engine: the rows that a pick may be, or {None}."""
    for tier in sorted({row.tier for row in rows}):
        alive = [
            row
            for row in rows
            if row.tier == tier and row.state == "up" and row.weight and not row.leaving and row.index not in tried
        ]
        free = {row.index for row in alive if not most or active.get(row.index, 0) < most}
        if alive:
            return {*free} or {None}  # full is not gone
    return {None}


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["state", "weight", "tier", "take", "ramp", "remove", "add"]),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POLICIES), st.integers(0, 2), CHANGES, st.lists(st.integers(0, 5), max_size=3))
def test_no_pick_passes_over_a_tier_that_has_anybody(
    policy: str, most: int, changes: list[tuple[str, int, int]], tried: list[int]
) -> None:
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        table.set_pool(PoolSettings(name="p", policy=policy, max_active=most))
        rows = [table.add("p", f"10.0.0.{at}:80", tier=at // 2, source="api") for at in range(6)]
        picker = table.picker("p")
        active: dict[int, int] = {}
        for serial, (what, which, value) in enumerate(changes):
            row = rows[which]
            if what == "state":
                table.set_state(row, ("up", "down", "busy", "draining")[value], "")
            elif what == "weight":
                table.set_weight(row, value)
            elif what == "tier":
                table.set_tier(row, value)
            elif what == "take" and picker.take(row.index):
                active[row.index] = active.get(row.index, 0) + 1
            elif what == "ramp":
                table.set_ramp(row, 0.0, 1000 * value)
            elif what == "remove":
                table.remove(row, 0)
            elif what == "add" and row.leaving:
                rows[which] = table.add("p", f"10.0.{serial + 1}.1:80", tier=value, source="api")
            already = [rows[at].index for at in tried]
            for key in range(3):
                assert picker.pick(already, key=key * 977) in expected(rows, already, active, most)
    finally:
        table.close()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_tier_shares_by_weight_once_it_takes_turns(policy: str) -> None:
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        table.set_pool(PoolSettings(name="p", policy=policy))
        first = table.add("p", "10.0.0.1:80", source="api")
        spare = [table.add("p", f"10.0.1.{at}:80", weight=1 + 2 * at, tier=1, source="api") for at in range(2)]
        assert set(table.picker("p").picks(200, key_step=977)) == {first.index}
        table.set_state(first, "down", "")
        counts = table.picker("p").picks(4000, key_step=0x9E3779B97F4A7C15)
        assert set(counts) == {row.index for row in spare}
        if policy in ("round_robin", "random", "maglev"):
            assert 2.5 < counts[spare[1].index] / counts[spare[0].index] < 3.6
    finally:
        table.close()


def test_a_large_pool_changes_its_tier_at_once() -> None:
    """Its views are made anew every 20 ms at most, else; but a tier that is back takes its turns with the next pick."""
    table = Table(name="t", version="0", workers=1, max_backends=2000, datapath="auto")
    try:
        table.set_pool(PoolSettings(name="p", policy="random"))
        with table.batch():
            first = table.add("p", "10.9.9.9:80", source="api")
            for at in range(1000):
                table.add("p", f"10.0.{at >> 8}.{at & 255}:80", tier=1, source="api")
        for _ in range(20):
            table.set_state(first, "down", "")
            assert first.index not in table.picker("p").picks(20)
            table.set_state(first, "up", "")
            assert set(table.picker("p").picks(20)) == {first.index}
    finally:
        table.close()


# --- traffic ---------------------------------------------------------------------------------------------------------


def pool_of(*backends: tuple[str, bool], **rules: Any) -> PoolSettings:
    named_ = [BackendSettings(address=address, backup=backup) for address, backup in backends]
    return PoolSettings(backends=named_, **({"probe": ProbeSettings(kind="off")} | rules))


def settings_of(pool: PoolSettings, mode: str = "tcp", **values: Any) -> BalancerSettings:
    return BalancerSettings(listeners=[ListenerSettings(bind=f"{mode}://127.0.0.1:0")], pools=[pool], workers=1, **values)


def who(lb: Balancer) -> bytes:
    with dial(lb.address) as client:
        return read_exactly(client, 3)


def state_of(lb: Balancer, address: str) -> str:
    found = {backend["address"]: backend["state"] for pool in lb.status()["pools"] for backend in pool["backends"]}
    return str(found[address])


def test_backups_serve_from_the_first_refusal_and_give_way_when_the_others_are_back() -> None:
    """Before any verdict a session goes on to the backup by its retry; after it, at once; and back."""
    port = free_port()
    dead = f"127.0.0.1:{port}"
    probe = ProbeSettings(kind="tcp", interval="50ms", timeout="500ms", rise=2, fall=2)
    with (
        Peer(named(b"two")) as spare,
        balanced(settings=settings_of(pool_of((dead, False), (spare.address, True), probe=probe))) as lb,
    ):
        for _ in range(20):
            assert who(lb) == b"two"
        assert {backend["tier"] for pool in lb.status()["pools"] for backend in pool["backends"]} == {0, 1}
        wait_for(lambda: state_of(lb, dead) == "down", "the verdict")
        assert not lb.status()["pools"][0]["outage"]
        assert who(lb) == b"two"
        with dial(lb.address) as lasting:
            read_exactly(lasting, 3)
            with Peer(named(b"one"), port=port):
                wait_for(lambda: state_of(lb, dead) == "up", "it is back")
                # a worker that was refused passes it over for a while, and tries it with single sessions
                wait_for(lambda: {who(lb) for _ in range(20)} == {b"one"}, "it serves again")
                lasting.settimeout(0.05)
                with pytest.raises(TimeoutError):  # a session stays where it is
                    lasting.recv(1)
        assert totals(settled(lb))["refused"] == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_requests_fail_over_to_a_backup_with_every_policy(policy: str) -> None:
    with Backend(name=b"spare") as spare:
        pool = pool_of((f"127.0.0.1:{free_port()}", False), (spare.address, True), policy=policy, retry_floor=100)
        with balanced(settings=settings_of(pool, "http")) as lb, Client(lb.address) as client:
            assert [client.get(f"/{at}").body for at in range(10)] == [b"spare"] * 10


def test_datagrams_go_to_a_backup_and_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spare, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        for server in (spare, first):
            server.bind(("127.0.0.1", 0))
            server.settimeout(PATIENCE_S)
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in (first, spare)]
        entry = settings_of(pool_of((addresses[0], False), (addresses[1], True)), "udp")
        entry = entry.replace(listeners=[entry.listeners[0].replace(idle_timeout_ms=1000)])
        with balanced(settings=entry) as lb, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"one", lb.address)
            assert first.recv(10) == b"one"
            backend = lb.pool().get(addresses[0])
            assert backend is not None
            backend.drain()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"two", lb.address)
                assert spare.recv(10) == b"two"
            backend.ready()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"six", lb.address)
                assert first.recv(10) == b"six"


def test_a_full_tier_is_waited_for() -> None:
    """Full is not gone: the request waits in the queue, and the backup stays idle."""
    import threading

    release, asked = threading.Event(), threading.Event()

    def slow(connection: socket.socket, head: bytes, body: bytes) -> None:
        asked.set()
        release.wait(PATIENCE_S)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")

    with Backend(slow) as first, Backend(name=b"spare") as spare:
        pool = pool_of((first.address, False), (spare.address, True), max_active=1)
        with balanced(settings=settings_of(pool, "http")) as lb, Client(lb.address) as one, Client(lb.address) as two:
            for client in (one, two):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert asked.wait(PATIENCE_S)
            wait_for(lambda: totals(lb.status())["queued"] == 1, "the second one waits")
            release.set()
            assert [client.answer().body for client in (one, two)] == [b"first", b"first"]
        assert spare.heads == []


def test_a_cookie_keeps_nobody_with_a_backup() -> None:
    with Backend(name=b"first") as first, Backend(name=b"spare") as spare:
        pool = pool_of((first.address, False), (spare.address, True), sticky="lb")
        with balanced(settings=settings_of(pool, "http")) as lb, Client(lb.address) as client:
            backend = lb.pool().get(first.address)
            assert backend is not None
            backend.drain()
            found = client.get()
            assert found.body == b"spare"
            cookie = next(line for line in found.head.split(b"\r\n") if line.lower().startswith(b"set-cookie:"))
            extra = b"Cookie: " + cookie.partition(b": ")[2].partition(b";")[0] + b"\r\n"
            assert client.get(extra=extra).body == b"spare", "while the backup's tier takes turns, it holds"
            backend.ready()
            assert client.get(extra=extra).body == b"first"


def test_weight_0_drain_and_busy_lead_to_the_backup() -> None:
    with Peer(named(b"one")) as first, Peer(named(b"two")) as spare:
        with balanced(settings=settings_of(pool_of((first.address, False), (spare.address, True)))) as lb:
            assert who(lb) == b"one"
            backend = lb.pool().get(first.address)
            assert backend is not None
            backend.set_weight(0)
            assert who(lb) == b"two"
            backend.set_weight(1)
            assert who(lb) == b"one"
            backend.drain()
            assert who(lb) == b"two"
            backend.ready()
            assert who(lb) == b"one"
            lb.pool().remove(backend)
            assert who(lb) == b"two"
            lb.pool().add(f"127.0.0.1:{first.port}")
            assert who(lb) == b"one"


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_lost_tier_behind_which_another_serves_gives_no_doubt() -> None:
    """Three primaries time out at once, one backup is well: sessions go to it, the dead are not kept."""
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        pool = PoolSettings(name="p", probe=ProbeSettings(interval="1s", timeout="500ms", rise=2, fall=3))
        membership = Membership(table, {"p": pool}, drain_ms=1000, log=lambda line: None)
        membership.changes.apply({"p": pool}, 1000)
        rows = [membership.add("p", f"10.0.0.{at}:80", tier=int(at == 3)) for at in range(4)]
        for row in rows:
            membership.observations.probe_result(row, True)
        for row in rows[:3]:
            for _ in range(3):
                membership.observations.probe_result(row, False, "timed out after 0.5s")
        assert [row.state for row in rows] == ["down", "down", "down", "up"]
        assert set(table.picker("p").picks(50)) == {rows[3].index}
        assert membership.outages() == []
    finally:
        table.close()


# --- where tiers come from -------------------------------------------------------------------------------------------


def tiers_of(lb: Any) -> dict[str, int]:
    return {backend["address"]: backend["tier"] for pool in lb.status()["pools"] for backend in pool["backends"]}


def test_a_reload_makes_a_backup_and_unmakes_it() -> None:
    with Peer(named(b"one")) as first, Peer(named(b"two")) as second:
        plain = settings_of(pool_of((first.address, False), (second.address, False)))
        with balanced(settings=plain) as lb:
            lb.reload(settings_of(pool_of((first.address, False), (second.address, True))).replace(listeners=plain.listeners))
            assert tiers_of(lb) == {first.address: 0, second.address: 1}
            assert {who(lb) for _ in range(10)} == {b"one"}
            lb.reload(settings_of(pool_of((first.address, True), (second.address, False))).replace(listeners=plain.listeners))
            assert {who(lb) for _ in range(10)} == {b"two"}


@pytest.mark.parametrize(
    ("text", "backup"), [("10.0.0.1:1", False), ("10.0.0.1:1,backup", True), ("10.0.0.1:1,backup,weight=2", True)]
)
def test_flags_name_backups(text: str, backup: bool) -> None:
    assert BackendSettings.parse(text).backup is backup


@pytest.mark.parametrize("text", ["10.0.0.1:1,backup=1", "10.0.0.1:1,spare", "10.0.0.1:1,backup=true"])
def test_flags_that_name_no_backup_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed: weight=N, backup"):
        BackendSettings.parse(text)


def test_files_name_backups() -> None:
    assert [one.tier for one in parse("10.0.0.1:1\n10.0.0.2:1 weight=3 backup\n10.0.0.3:1 backup", is_json=False)] == [0, 1, 1]
    document = json.dumps(["10.0.0.1:1", {"address": "10.0.0.2:1", "backup": True}])
    assert [one.tier for one in parse(document, is_json=True)] == [0, 1]
    for bad in ("10.0.0.1:1 backup=1", "10.0.0.1:1 spare"):
        with pytest.raises(ValueError, match="line 1: "):
            parse(bad, is_json=False)
    with pytest.raises(ValueError, match="backup: 1 is not allowed"):
        parse(json.dumps([{"address": "10.0.0.2:1", "backup": 1}]), is_json=True)


def test_priorities_of_services_are_tiers() -> None:
    assert _tiers([10, 20, 10, 65_535]) == {10: 0, 20: 1, 65_535: 2}
    assert _tiers(range(40))[39] == 15, "the last tier takes all that is left"
    assert _scaled_by_tier([(0, 10), (1, 65_535), (0, 30), (1, 1)]) == [10, 256, 30, 1]


@pytest.fixture
def membership() -> Iterator[Membership]:
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    pool = PoolSettings(name="p", probe=ProbeSettings(kind="off"))
    made = Membership(table, {"p": pool}, drain_ms=1000, log=lambda line: None)
    made.changes.apply({"p": pool}, 1000)
    yield made
    table.close()


def test_a_source_moves_a_backend_to_another_tier(membership: Membership) -> None:
    membership.claims.follow_source("p", "dns:x", [("10.0.0.1:80", 1, 0), ("10.0.0.2:80", 1, 1)])
    membership.claims.follow_source("p", "dns:x", [("10.0.0.1:80", 1, 1), ("10.0.0.2:80", 1, 0)])
    assert {row.address: row.tier for row in membership.table.rows()} == {"10.0.0.1:80": 1, "10.0.0.2:80": 0}


def test_a_lease_says_that_it_is_a_backup_and_a_restart_knows(membership: Membership) -> None:
    row, _ = membership.leases.register("p", "10.0.0.1:80", Report("ready", backup=True))
    assert row.tier == 1
    membership.leases.heartbeat("p", "10.0.0.1:80", Report("alive"))
    assert row.tier == 1, "a heartbeat that does not say so changes nothing"
    saved = membership.restart.snapshot()
    membership.leases.register("p", "10.0.0.1:80", Report("ready", backup=False))
    assert row.tier == 0
    membership.remove(row)
    assert membership.restart.restore(json.loads(json.dumps(saved))) == 1
    again = membership.find("p", "10.0.0.1:80")
    assert again is not None
    assert again.tier == 1
    assert membership.restart.restore([{**saved[0], "address": "10.0.0.9:80", "tier": 10**9}]) == 1, "whatever a file says"


def test_a_registration_says_that_it_is_a_backup() -> None:
    for backup, said in ((True, True), (False, None)):
        registration = Registration("http://127.0.0.1:9", 80, backup=backup)
        assert registration.place().get("backup") is said


def test_backups_by_command_call_and_registration(tmp_path: Path) -> None:
    with Peer(echo) as one, Peer(echo) as two, Peer(echo) as three:
        with command(
            tmp_path,
            "--listen",
            "tcp://127.0.0.1:0",
            "--backend",
            f"{one.address},backup",
            "--health",
            "off",
            "--admin",
            "127.0.0.1:0",
        ) as lb:
            done = lb.cli("backend", "add", two.address, "--backup", "--name", lb.name)
            assert done.returncode == 0, done.stderr
            assert "backup" in done.stdout
            said = {"server_ip": "127.0.0.1", "port": three.port, "status": "ready", "backup": True}
            code, answer = lb.control.call("POST", "/register", said)
            assert code == 201, answer
            assert tiers_of(lb) == {peer.address: 1 for peer in (one, two, three)}
            code, answer = lb.control.call("POST", "/register", {**said, "backup": 1})
            assert (code, "backup" in str(answer)) == (422, True)
            assert "1 backup" in lb.cli("status", "--name", lb.name).stdout
            code, answer = lb.call("/backends/add", address="127.0.0.1:9", backup="yes")
            assert (code, "backup" in str(answer)) == (422, True)
