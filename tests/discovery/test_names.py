"""Names in DNS as hosts meet them: files that change, servers of many kinds, answers that rotate or lack somebody a moment."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns_faults import WrongServer, failing, following, kind_of, needs_dnsmasq, of_dns, replace
from harness import Peer, balanced, dial, echo, read_exactly, stays, wait_for

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, SourceSettings
from lbcore.discovery import resolver
from lbcore.discovery.found import Found
from lbcore.discovery.hold import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def telling(**records: list[str]) -> Callable[[dns.message.Message], bytes]:
    """A server that knows these records of every name, by kind."""

    def answer(question: dns.message.Message) -> bytes:
        made = dns.message.make_response(question)
        values = records.get(kind_of(question))
        if values:
            made.answer.append(dns.rrset.from_text(question.question[0].name, 0, "IN", kind_of(question), *values))
        return made.to_wire()

    return answer


@contextlib.contextmanager
def dnsmasq(ip: str, *records: str) -> Iterator[None]:
    """On port 53 of a loopback address, since resolv.conf knows no other."""
    options = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file="]
    options += ["--port=53", f"--listen-address={ip}", "--bind-interfaces", "--local-ttl=0", "--local=/test/"]
    process = subprocess.Popen(["dnsmasq", *options, *records], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose `hosts` and `resolv.conf` are used in place of the system's."""
    monkeypatch.setattr(resolver, "HOSTS", str(tmp_path / "hosts"))
    monkeypatch.setattr(resolver, "RESOLV_CONF", str(tmp_path / "resolv.conf"))
    return tmp_path


# --- the host's own files -------------------------------------------------------------------------------------------------


@needs_dnsmasq
def test_resolv_conf_is_followed_when_it_changes(own: Path) -> None:
    with dnsmasq("127.77.1.1", "--host-record=app.test,10.6.0.1"), dnsmasq("127.77.1.2", "--host-record=app.test,10.6.0.2"):
        replace(own / "resolv.conf", "nameserver 127.77.1.1\n")
        with following(of_dns(None, hold=0)) as followed:
            wait_for(lambda: followed.addresses == ["10.6.0.1:8000"], "the first server answers")
            replace(own / "resolv.conf", "nameserver 127.77.1.2\n")
            wait_for(lambda: followed.addresses == ["10.6.0.2:8000"], "the second one does")
            for broken in ("", "# nothing\n"):
                replace(own / "resolv.conf", broken)
                asked = len(followed.published)
                stays(lambda asked=asked: len(followed.published) == asked, "a file that names no server changes nothing", 0.2)
            replace(own / "resolv.conf", "nameserver 127.77.1.1\n")
            wait_for(lambda: followed.addresses == ["10.6.0.1:8000"], "it is followed again")


def test_without_a_server_it_is_told(own: Path) -> None:
    replace(own / "resolv.conf", "")
    with following(of_dns(None)) as followed:
        wait_for(lambda: followed.told, "the failure is told")
        assert "names no server" in followed.told[0]


def test_hosts_come_first_and_are_followed(own: Path) -> None:
    replace(own / "resolv.conf", "nameserver 127.77.1.9\n")  # nobody is there: it is not asked
    (own / "hosts").write_text("10.7.0.1 other App.test. # comment\n# 10.7.0.9 app.test\nfd00::7 app.test\nnonsense app.test\n")
    with following(of_dns(None, hold=0, family="both")) as followed:
        wait_for(lambda: followed.addresses == ["10.7.0.1:8000", "[fd00::7]:8000"], "the file is read")
        replace(own / "hosts", "10.7.0.2 app.test\n")
        wait_for(lambda: followed.addresses == ["10.7.0.2:8000"], "the file is followed")


def test_a_named_server_is_asked_whatever_hosts_says(own: Path) -> None:
    (own / "hosts").write_text("10.7.0.1 app.test\n")
    with WrongServer(telling(A=["10.7.0.2"])) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: followed.addresses == ["10.7.0.2:8000"], "the server's word")


# --- address families -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("auto", ["10.8.0.1:8000"]),
        ("ipv4", ["10.8.0.1:8000"]),
        ("ipv6", ["[fd00::8]:8000"]),
        ("both", ["10.8.0.1:8000", "[fd00::8]:8000"]),
    ],
)
def test_a_host_with_both_families_is_one_backend(family: str, expected: list[str]) -> None:
    with WrongServer(telling(A=["10.8.0.1"], AAAA=["fd00::8"])) as server:
        with following(of_dns(server.address, family=family)) as followed:
            wait_for(lambda: followed.addresses == expected, "the answer")


def test_a_host_of_one_family_is_there_by_default() -> None:
    with WrongServer(telling(AAAA=["fd00::8"])) as server, following(of_dns(server.address, family="auto")) as followed:
        wait_for(lambda: followed.addresses == ["[fd00::8]:8000"], "the answer")


def test_only_the_family_that_is_wanted_is_asked_for() -> None:
    with WrongServer(telling(A=["10.8.0.1"])) as server, following(of_dns(server.address, family="ipv4")) as followed:
        wait_for(lambda: followed.addresses == ["10.8.0.1:8000"], "the answer")
        assert set(server.asked) == {"A"}


def test_a_family_that_fails_does_not_move_the_backend_to_the_other() -> None:
    both = telling(A=["10.8.0.1"], AAAA=["fd00::8"])
    with WrongServer(both) as server, following(of_dns(server.address, family="auto", hold=0)) as followed:
        wait_for(lambda: followed.addresses == ["10.8.0.1:8000"], "the answer")
        server.answer = lambda question: failing(question, dns.rcode.SERVFAIL) if kind_of(question) == "A" else both(question)
        asked = len(server.asked)
        wait_for(lambda: len(server.asked) > asked + 6, "it is asked again")
        assert followed.addresses == ["10.8.0.1:8000"]


# --- the protocol ---------------------------------------------------------------------------------------------------------


def test_answers_of_1232_bytes_are_asked_for() -> None:
    with WrongServer(telling(A=["10.8.0.1"])) as server:
        payloads: list[int] = []
        answer = server.answer
        server.answer = lambda question: payloads.append(question.payload) or answer(question)
        with following(of_dns(server.address)) as followed:
            wait_for(lambda: followed.addresses, "the answer")
        assert set(payloads) == {1232}


@pytest.mark.parametrize("rcode", [dns.rcode.FORMERR, dns.rcode.NOTIMP])
def test_a_server_that_knows_no_edns_is_asked_without(rcode: dns.rcode.Rcode) -> None:
    def old(question: dns.message.Message) -> bytes:
        return failing(question, rcode) if question.edns >= 0 else telling(A=["10.8.0.1"])(question)

    with WrongServer(old) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: followed.addresses == ["10.8.0.1:8000"], "the answer")
        assert followed.told == []


@pytest.mark.parametrize(
    ("rcode", "words"),
    [(dns.rcode.NXDOMAIN, "there is no such name"), (dns.rcode.SERVFAIL, "SERVFAIL"), (None, "no reply within 0.3 s")],
)
def test_what_is_wrong_is_told_apart(rcode: dns.rcode.Rcode | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LIMIT_S", 0.3)
    with WrongServer(lambda question: None if rcode is None else failing(question, rcode)) as server:
        with following(of_dns(server.address)) as followed:
            wait_for(lambda: followed.told, "it is told")
            assert words in followed.told[0]


# --- who is missing from one answer ---------------------------------------------------------------------------------------


def found(*addresses: str) -> list[Found]:
    return [Found(address, 1) for address in addresses]


def test_hold_table() -> None:
    hold = Hold(5.0)
    assert hold.take(found("a", "b"), 0, 9) == found("a", "b")
    assert hold.take(found("b", "c"), 1, 9) == found("a", "b", "c")
    assert hold.left_s(2) == 4
    assert hold.take(found("a", "c"), 5, 9) == found("a", "b", "c")
    assert hold.take(found("a", "c"), 6, 9) == found("a", "b", "c"), "a was named again: only b is missed, for a second"
    assert hold.take(found("a", "c"), 10, 9) == found("a", "c")
    assert hold.left_s(10) is None


def test_hold_wants_a_second_answer_however_late() -> None:
    hold = Hold(5.0)
    hold.take(found("a", "b"), 0, 9)
    assert hold.take(found("a"), 300, 9) == found("a", "b")
    assert hold.take(found("a"), 600, 9) == found("a")


def test_hold_of_zero_and_known_before() -> None:
    assert Hold(0.0, found("a")).take(found("b"), 0, 9) == found("b")
    assert Hold(1.0, found("a")).take(found("b"), 0, 9) == found("a", "b")


def test_hold_is_bounded_and_prefers_who_is_named() -> None:
    hold = Hold(60.0, found("a", "b", "c"))
    assert hold.take(found("x", "y"), 0, 3) == found("a", "x", "y")
    assert hold.take(found("x", "y", "z"), 1, 3) == found("x", "y", "z")
    assert hold.left_s(1) is None


def following_pool(server: str, port: int, **values: Any) -> BalancerSettings:
    source = SourceSettings(**{"kind": "dns", "name": "app.test", "port": port, "interval": "50ms", "server": server} | values)
    pool = PoolSettings(policy="round_robin", sources=[source], probe=ProbeSettings(kind="off"))
    return BalancerSettings(
        workers=1, drain_timeout="100ms", listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")], pools=[pool]
    )


def test_a_rotating_answer_cuts_no_session_and_forgets_no_drain() -> None:
    """Two of three addresses in turn, as servers do that hand out a part of what they know."""
    ips = ["127.9.0.1", "127.9.0.2", "127.9.0.3"]
    count = 0

    def rotating(question: dns.message.Message) -> bytes:
        nonlocal count
        count += 1
        return telling(A=[ips[count % 3], ips[(count + 1) % 3]])(question)

    with Peer(echo, host="0.0.0.0") as peer, WrongServer(rotating) as server:
        with balanced(settings=following_pool(server.address, peer.port, family="ipv4", hold="2s")) as lb:
            pool = lb.pool()
            wait_for(lambda: len(pool.backends()) == 3, "all are known")
            ids = {backend.id for backend in pool.backends()}
            drained = pool.backends()[0]
            drained.drain()
            with dial(lb.address) as one, dial(lb.address) as other:
                seen = count
                wait_for(lambda: count > seen + 12, "many answers come")
                for session in (one, other):
                    session.sendall(b"hello")
                    assert read_exactly(session, 5) == b"hello"
                assert {backend.id for backend in pool.backends()} == ids
                assert drained.state == "draining"


def test_an_absence_of_a_moment_is_no_end_and_a_longer_one_is() -> None:
    with Peer(echo) as peer, WrongServer(telling(A=["127.0.0.1", "127.9.0.2"])) as server:
        with balanced(settings=following_pool(server.address, peer.port, family="ipv4", hold="600ms")) as lb:
            pool = lb.pool()
            wait_for(lambda: len(pool.backends()) == 2, "both are known")
            ids = {backend.id for backend in pool.backends()}
            server.answer = telling(A=["127.9.0.2"])
            asked = len(server.asked)
            wait_for(lambda: len(server.asked) > asked + 2, "it is missing from some answers")
            assert {backend.id for backend in pool.backends()} == ids
            server.answer = telling(A=["127.0.0.1", "127.9.0.2"])
            asked = len(server.asked)
            wait_for(lambda: len(server.asked) > asked + 2, "it is back")
            assert {backend.id for backend in pool.backends()} == ids
            server.answer = telling(A=["127.9.0.2"])
            wait_for(lambda: [backend.address for backend in pool.backends()] == [f"127.9.0.2:{peer.port}"], "it is gone")


def test_a_reload_begins_with_what_was_known() -> None:
    with Peer(echo) as peer, WrongServer(telling(A=["127.0.0.1", "127.9.0.2"])) as server:
        settings = following_pool(server.address, peer.port, family="ipv4", hold="60s")
        with balanced(settings=settings) as lb:
            wait_for(lambda: len(lb.pool().backends()) == 2, "both are known")
            server.answer = telling(A=["127.9.0.2"])
            source = settings.pools[0].sources[0].replace(interval="60ms")
            lb.reload(settings.replace(pools=[settings.pools[0].replace(sources=[source])]))
            asked = len(server.asked)
            wait_for(lambda: len(server.asked) > asked + 3, "it is asked anew")
            assert len(lb.pool().backends()) == 2


@pytest.mark.parametrize("values", [{"hold": "2h"}, {"family": "ipv5"}])
def test_settings_that_cannot_be(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        SourceSettings(kind="dns", name="a", port=1, **values)
