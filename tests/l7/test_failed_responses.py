"""Which responses that fail one after another take a backend out, and what its probe has to say to that."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest
from harness import balanced, wait_for
from http_peers import Backend, Client

from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.discovery import evidence as rules_of
from lbcore.discovery.evidence import Evidence, Suspicion
from lbcore.errors import ConfigError
from lbcore.table.packed import STATUS_BYTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from lbcore.api.balancer import Balancer

OFF = ProbeSettings(kind="off")
NOW = 1000.0


def settings(*backends: Backend, **pool: object) -> BalancerSettings:
    rules = {"probe": OFF, "policy": "round_robin", "max_failed_responses": 4, "retry_after": "1h"} | pool
    named = [BackendSettings(address=backend.address) for backend in backends]
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
        pools=[PoolSettings(name="default", backends=named, **rules)],
    )


def answering_with(status: Callable[[bytes], int]) -> Callable[[socket.socket, bytes, bytes], None]:
    """A script that answers each request with the status that its head calls for."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status(head))

    return script


def state_of(lb: Balancer, backend: Backend) -> tuple[str, str]:
    found = next(entry for entry in lb.status()["pools"][0]["backends"] if entry["address"] == backend.address)
    return found["state"], found["reason"]


@pytest.mark.parametrize(
    ("statuses", "status", "counts"),
    [
        ("502-504", 500, False),
        ("502-504", 501, False),
        ("502-504", 502, True),
        ("502-504", 504, True),
        ("502-504", 505, False),
        ("502-504", 507, False),
        ("502-504", 404, False),
        ("502-504", 429, False),
        ("500", 500, True),
        ("500", 503, False),
        ("500-599", 599, True),
        ("500,501", 501, True),
    ],
)
def test_which_statuses_take_a_backend_out(statuses: str, status: int, counts: bool) -> None:
    with (
        Backend(answering_with(lambda head: status)) as bad,
        Backend() as good,
        balanced(settings=settings(bad, good, failed_statuses=statuses)) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(12):
            client.get()
        if counts:
            wait_for(lambda: state_of(lb, bad)[0] == "down", "it is taken out")
            assert re.fullmatch(rf"\d+ responses failed in a row: status {status}", state_of(lb, bad)[1])
        else:
            assert state_of(lb, bad)[0] == "up"


def test_a_broken_page_ends_a_row_of_failed_responses() -> None:
    """Any response that does not count shows that the application answers."""
    seen: list[int] = []

    def status(head: bytes) -> int:
        seen.append(500 if len(seen) % 4 == 3 else 503)
        return seen[-1]

    with (
        Backend(answering_with(status)) as bad,
        Backend() as good,
        balanced(settings=settings(bad, good)) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(40):
            client.get()
        assert state_of(lb, bad)[0] == "up"


@pytest.mark.parametrize("how", ["broken", "ended"])
def test_responses_that_break_rules_or_do_not_come_count_whatever_the_statuses(how: str) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if how == "broken":
            connection.sendall(b"HTTP/9.9 what\r\n\r\n")
        return True

    with (
        Backend(script) as bad,
        Backend() as good,
        balanced(settings=settings(bad, good, failed_statuses="599")) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(16):
            client.get()  # a POST would be kept from it after the first loss
        wait_for(lambda: state_of(lb, bad)[0] == "down", "it is taken out")
        assert state_of(lb, bad)[1].endswith(" responses failed in a row: none came, or it broke off")


class Probed(Backend):
    """Serves 503 to everybody but its probe, whose status can be set."""

    def __init__(self) -> None:
        self.health = 200
        self.probes = 0
        super().__init__(answering_with(self._status))

    def _status(self, head: bytes) -> int:
        if b" /health " not in head:
            return 503
        self.probes += 1
        return self.health


PROBE = ProbeSettings(kind="http", interval="1h", timeout="2s", fall=3, rise=1)


def test_a_probe_that_succeeds_after_the_failures_keeps_a_backend_in() -> None:
    lines: list[str] = []
    with Probed() as bad, Backend() as good:
        from lbcore.api.balancer import Balancer

        with Balancer(settings=settings(bad, good, probe=PROBE), log=lines.append) as lb, Client(lb.address) as client:
            wait_for(lambda: bad.probes == 1, "its first probe")
            for _ in range(24):
                client.get()
            wait_for(lambda: bad.probes == 2, "it is probed at once, an hour before its next probe is due")
            wait_for(lambda: any("stays, its http probe succeeds" in line for line in lines), "it is told")
            assert state_of(lb, bad)[0] == "up"
            assert any("responses failed in a row: status 503" in line for line in lines)
            for _ in range(60):
                client.get()
            assert bad.probes == 2  # it is believed for an interval
            assert state_of(lb, bad)[0] == "up"


def test_a_probe_that_fails_after_the_failures_takes_a_backend_out() -> None:
    """One is enough, where `fall` asks for three of those that no request speaks against."""
    with (
        Probed() as bad,
        Backend() as good,
        balanced(settings=settings(bad, good, probe=PROBE)) as lb,
        Client(lb.address) as client,
    ):
        wait_for(lambda: bad.probes == 1, "its first probe")
        bad.health = 500
        for _ in range(24):
            client.get()
        wait_for(lambda: state_of(lb, bad)[0] == "down", "it is taken out")
        assert re.fullmatch(
            r"\d+ responses failed in a row: status 503; its probe failed, too: status 500", state_of(lb, bad)[1]
        )


def test_a_probe_that_began_before_the_failures_says_nothing() -> None:
    release = threading.Event()

    class Slow(Probed):
        def _status(self, head: bytes) -> int:
            status = super()._status(head)
            if b" /health " in head and self.probes == 1:
                release.wait(10)
            return status

    with Slow() as bad, Backend() as good:
        slow = ProbeSettings(kind="http", interval="1h", timeout="20s", fall=3, rise=1)
        with balanced(settings=settings(bad, good, probe=slow)) as lb, Client(lb.address) as client:
            wait_for(lambda: bad.probes == 1, "its first probe")
            for _ in range(24):
                client.get()
            bad.health = 500  # of the second; the first has its status already
            release.set()
            wait_for(lambda: state_of(lb, bad)[0] == "down", "the second one decides")
            assert bad.probes == 2


def test_a_tcp_probe_cannot_speak_against_failed_responses() -> None:
    probe = ProbeSettings(kind="tcp", interval="50ms", timeout="1s", fall=3, rise=1)
    with (
        Probed() as bad,
        Backend() as good,
        balanced(settings=settings(bad, good, probe=probe)) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(24):
            client.get()
        wait_for(lambda: state_of(lb, bad)[0] == "down", "it is taken out")
        assert state_of(lb, bad)[1].endswith(" responses failed in a row: status 503")


# --- the rules -------------------------------------------------------------------------------------------------------


def test_the_next_probe_decides_and_is_believed_for_an_interval() -> None:
    rules, evidence = PoolSettings(probe=ProbeSettings(kind="http", interval="5s")), Evidence()
    assert rules_of.note_responses_failed(evidence, "why", rules, NOW) is Suspicion.PROBE
    assert rules_of.note_responses_failed(evidence, "why", rules, NOW + 0.1) is Suspicion.NOTHING
    assert rules_of.settle_suspicion(evidence, True, NOW - 0.1, rules, NOW + 0.2) == ""  # it began too early
    assert rules_of.settle_suspicion(evidence, True, NOW + 0.2, rules, NOW + 0.3) == "why"
    assert rules_of.note_responses_failed(evidence, "why", rules, NOW + 5) is Suspicion.NOTHING
    assert rules_of.note_responses_failed(evidence, "why", rules, NOW + 5.4) is Suspicion.PROBE


def test_without_a_probe_that_ends_nothing_speaks_for_a_backend() -> None:
    rules, evidence = PoolSettings(probe=ProbeSettings(kind="http", interval="5s", timeout="1s")), Evidence()
    assert rules_of.note_responses_failed(evidence, "why", rules, NOW) is Suspicion.PROBE
    assert rules_of.note_responses_failed(evidence, "why", rules, NOW + 7.1) is Suspicion.EJECT


@pytest.mark.parametrize("kind", ["tcp", "off", "udp"])
def test_probes_that_ask_no_application_decide_nothing(kind: str) -> None:
    probe = ProbeSettings(kind=kind, send="x") if kind == "udp" else ProbeSettings(kind=kind)
    assert rules_of.note_responses_failed(Evidence(), "why", PoolSettings(probe=probe), NOW) is Suspicion.EJECT


@pytest.mark.parametrize("wrong", ["404", "499", "600", "400-599", "5xx", "503-502", "500;503"])
def test_statuses_that_cannot_count_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"failed_statuses: .* is not allowed \(allowed: statuses and ranges from 500 to 599"):
        PoolSettings(failed_statuses=wrong)


def test_a_pool_row_has_a_bit_for_each_status() -> None:
    assert STATUS_BYTES * 8 >= 100
