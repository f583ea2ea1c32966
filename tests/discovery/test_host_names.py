"""Backends that are named by host: names that have no address, get one, and get another; told by check, status and the API."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dns_faults import replace
from harness import Peer, balanced, command, dial, echo, named, read_all, read_exactly, wait_for

from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.discovery import names, resolver
from lbcore.discovery.membership import Membership
from lbcore.table import Table, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "app.lbcore.test"


class Host:
    """What this host makes of the name: nothing, or addresses; in a hosts file of the test's, and by the system's resolver."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "hosts"
        self.ips: list[str] = []
        self.say()

    def say(self, *ips: str) -> None:
        """From now on."""
        self.ips = list(ips)
        replace(self.path, "".join(f"{ip} {NAME}\n" for ip in ips))

    def getaddrinfo(self, host: str, port: int | None, *, flags: int = 0, **_: Any) -> list[Any]:
        if host != NAME:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if flags or not self.ips:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in self.ips]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host(tmp_path)
    (tmp_path / "resolv.conf").write_text("nameserver 127.77.1.9\n")  # nobody is there
    monkeypatch.setattr(resolver, "HOSTS", str(host.path))
    monkeypatch.setattr(resolver, "RESOLV_CONF", str(tmp_path / "resolv.conf"))
    monkeypatch.setattr(resolver, "LIMIT_S", 0.1)
    monkeypatch.setattr(names, "LEAST_S", 0.05)

    monkeypatch.setattr(resolved, "socket", SimpleNamespace(**vars(socket) | {"getaddrinfo": host.getaddrinfo}))
    return host


def settings(*addresses: str, probe: str = "off", **pool: Any) -> BalancerSettings:
    probing = ProbeSettings(kind=probe, interval="50ms", rise=1, fall=1)
    return BalancerSettings(
        workers=1,
        drain_timeout="300ms",
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(policy="round_robin", backends=list(addresses), probe=probing, **pool)],
    )


def answers(address: tuple[str, int]) -> bytes:
    """What a fresh client is told, b"" when nobody serves it."""
    try:
        with dial(address) as client:
            client.shutdown(socket.SHUT_WR)
            return read_all(client)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("probe", ["off", "tcp"])
def test_a_name_that_is_unknown_at_start_is_down_and_comes_with_its_address(host: Host, probe: str) -> None:
    with Peer(named(b"one")) as one, Peer(named(b"two"), host="127.9.0.2", port=one.port) as two:
        with balanced(settings=settings(f"{NAME}:{one.port}", two.address, probe=probe)) as lb:
            backend = lb.pool().get(f"{NAME}:{one.port}")
            assert (backend.state, backend.reason) == ("down", "cannot be resolved: Name or service not known")
            assert {answers(lb.address) for _ in range(4)} == {b"two"}
            host.say("127.0.0.1")
            wait_for(lambda: lb.pool().get(f"{NAME}:{one.port}").state == "up", "it is resolved")
            wait_for(lambda: answers(lb.address) == b"one", "it is served by")


def test_a_pool_of_unknown_names_serves_nobody(host: Host) -> None:
    """The floor holds up backends that failed together; these never were anywhere."""
    with balanced(settings=settings(f"{NAME}:9")) as lb:
        assert answers(lb.address) == b""
        assert lb.pool().backends()[0].state == "down"
        assert lb.status()["pools"][0]["backends"][0]["sessions"] == 0


def test_a_name_is_followed_to_another_address(host: Host) -> None:
    host.say("127.0.0.1")
    with Peer(echo) as old, Peer(named(b"new"), host="127.9.0.2", port=old.port):
        with balanced(settings=settings(f"{NAME}:{old.port}")) as lb, dial(lb.address) as session:
            session.sendall(b"hello")
            assert read_exactly(session, 5) == b"hello"
            before = lb.pool().get(f"{NAME}:{old.port}")
            before.set_weight(7)
            host.say("127.9.0.2", "127.9.0.3")
            wait_for(lambda: lb.pool().get(f"{NAME}:{old.port}").id != before.id, "it moves")
            assert lb.pool().get(f"{NAME}:{old.port}").weight == 7
            session.sendall(b"still")
            assert read_exactly(session, 5) == b"still", "old sessions go on for the drain time"
            assert answers(lb.address) == b"new"


def test_an_address_that_is_still_among_others_is_kept(host: Host) -> None:
    host.say("127.0.0.1")
    with balanced(settings=settings(f"{NAME}:9")) as lb:
        before = lb.pool().backends()[0].id
        seen = host.path.stat().st_ino
        host.say("127.9.0.2", "127.0.0.1")
        assert host.path.stat().st_ino != seen
        lb.reload(settings(f"{NAME}:9"))
        assert lb.pool().backends()[0].id == before


def test_a_name_that_is_lost_leaves_its_backend_where_it_is(host: Host) -> None:
    host.say("127.0.0.1")
    with Peer(named(b"one")) as one, balanced(settings=settings(f"{NAME}:{one.port}")) as lb:
        before = lb.pool().backends()[0].id
        host.say()
        lb.reload(settings(f"{NAME}:{one.port}"))
        assert lb.pool().backends()[0].id == before
        assert answers(lb.address) == b"one"


def test_a_reload_resolves_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "LEAST_S", 60.0)  # nothing but the reload asks
    host.say("127.0.0.1")
    with Peer(named(b"old")) as old, Peer(named(b"new"), host="127.9.0.2", port=old.port):
        with balanced(settings=settings(f"{NAME}:{old.port}")) as lb:
            assert answers(lb.address) == b"old"
            host.say("127.9.0.2")
            lb.reload(settings(f"{NAME}:{old.port}"))
            assert answers(lb.address) == b"new"


def test_a_drain_outlives_the_move(host: Host) -> None:
    host.say("127.0.0.1")
    with balanced(settings=settings(f"{NAME}:9", "127.0.0.1:8")) as lb:
        before = lb.pool().get(f"{NAME}:9")
        before.drain()
        host.say("127.9.0.2")
        wait_for(lambda: lb.pool().get(f"{NAME}:9").id != before.id, "it moves")
        assert lb.pool().get(f"{NAME}:9").state == "draining"
        lb.pool().get(f"{NAME}:9").ready()
        assert lb.pool().get(f"{NAME}:9").state == "up"


def test_an_unknown_name_is_added_and_followed(host: Host) -> None:
    with Peer(named(b"one")) as one, balanced(settings=settings()) as lb:
        added = lb.pool().add(f"{NAME}:{one.port}")
        assert (added.state, added.reason) == ("down", "cannot be resolved: Name or service not known")
        host.say("127.0.0.1")
        wait_for(lambda: answers(lb.address) == b"one", "it is served by")
        lb.pool().remove(f"{NAME}:{one.port}")
        assert lb.pool().backends() == []


def test_a_full_table_keeps_a_backend_where_it_is(host: Host) -> None:
    host.say("127.0.0.1")
    table = Table(name="t", version="1", workers=1, max_backends=1, datapath="copy")
    told: list[str] = []
    try:
        pool = PoolSettings(name="p", backends=[BackendSettings(address=f"{NAME}:9")])
        membership = Membership(table, {"p": pool}, drain_ms=0, log=told.append)
        membership.changes.apply({"p": pool}, 0)
        membership.claims.move("p", f"{NAME}:9", resolved.Resolved(socket.AF_INET, "127.9.0.2", 0))
        (one,) = membership.claims.named()
        assert (one.ip, one.resolved) == ("127.0.0.1", True)
    finally:
        table.close()


def test_check_and_the_command_name_what_cannot_be_resolved(tmp_path: Path) -> None:
    """Of a real host: names below .invalid have no address (RFC 6761 6.4)."""
    file = tmp_path / "lb.toml"
    file.write_text(
        '[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\nname = "default"\n[pool.probe]\nkind = "off"\n'
        '[[pool.backend]]\naddress = "no-such.invalid:80"\n[[pool.backend]]\naddress = "127.0.0.1:9"\n'
    )
    with command(tmp_path, "-c", str(file)) as lb:
        checked = lb.cli("check", str(file))
        assert checked.returncode == 0
        assert "pool default: backend no-such.invalid:80: no-such.invalid: cannot be resolved" in checked.stderr
        backends = {one["address"]: one for one in lb.status()["pools"][0]["backends"]}
        assert backends["no-such.invalid:80"]["state"] == "down"
        assert backends["no-such.invalid:80"]["reason"].startswith("cannot be resolved")
        added = lb.cli("backend", "add", "nor-this.invalid:80", "--name", lb.name)
        assert added.returncode == 0, added.stderr
        assert "down (cannot be resolved" in added.stdout
        assert lb.call("/backends/drain", address="nor-this.invalid:80")[0] == 200
        assert lb.call("/backends/ready", address="nor-this.invalid:80")[0] == 200
