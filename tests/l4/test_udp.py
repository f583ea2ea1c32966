"""Listeners of mode udp: sessions by client, answers that find their way, and what becomes of both when backends go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import SLOWER, Command, check_ledger, free_port, settled, stays, totals, wait_for
from pace import paced
from udp_peers import WAIT_S, Server, ask, balanced, client, echo, named, settings

from lbcore import Balancer, ConfigError
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings

UDP_SEGMENT = 103
PLAIN = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
"""For other programs: a sanitizer's library is not for them."""


def figures(lb: Balancer) -> dict[str, int]:
    return totals(settled(lb))


def test_a_session_stays_with_its_backend_and_others_go_elsewhere() -> None:
    with Server(named(b"a")) as one, Server(named(b"b")) as two:
        with balanced(settings=settings([one.address, two.address], policy="round_robin")) as lb:
            seen = []
            for _ in range(6):
                with client(lb.address) as made:
                    answers = {ask(made) for _ in range(5)}
                    assert len(answers) == 1
                    seen.append(answers.pop())
            assert sorted(seen) == [b"a"] * 3 + [b"b"] * 3


@pytest.mark.parametrize("size", [0, 1, 512, 1472, 1473, 9000, 65_507])
def test_answers_of_any_size(size: int) -> None:
    with Server(echo) as server, balanced(settings=settings([server.address])) as lb, client(lb.address) as made:
        assert ask(made, b"x" * size) == b"x" * size


def test_a_datagram_has_many_answers_and_a_server_may_speak_later() -> None:
    with Server(lambda data: [b"%d" % number for number in range(100)]) as server:
        with balanced(settings=settings([server.address])) as lb, client(lb.address) as made:
            made.send(b"go")
            assert [made.recv(100) for _ in range(100)] == [b"%d" % number for number in range(100)]
            server.socket.sendto(b"later", server.got[0][1])
            assert made.recv(100) == b"later"


def test_datagrams_of_a_session_keep_their_order() -> None:
    """A burst of more than a batch, each way."""
    with Server(echo) as server, balanced(settings=settings([server.address])) as lb, client(lb.address) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for burst in range(20):
            sent = [b"%d.%d" % (burst, number) for number in range(60)]
            for datagram in sent:
                made.send(datagram)
            assert [made.recv(100) for _ in sent] == sent


def test_a_train_of_datagrams_arrives_as_its_cars() -> None:
    """UDP_SEGMENT at the client, UDP_GRO and UDP_SEGMENT here: what was 30 datagrams is 30 datagrams."""
    with Server(echo) as server, balanced(settings=settings([server.address])) as lb, client(lb.address) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        cars = [bytes([number]) * 1000 for number in range(29)] + [b"short"]
        made.sendmsg([b"".join(cars)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", 1000))])
        assert [made.recv(65536) for _ in cars] == cars
        assert figures(lb)["datagrams_in"] == 30
        wait_for(lambda: figures(lb)["datagrams_out"] == 30, "all answers are counted")


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0"])
def test_trains_of_answers_arrive_as_their_cars_from_the_first_on(bind: str) -> None:
    """A session begins with one answer at a time, and takes trains once there are more answers than questions."""
    with Server(lambda data: []) as server:
        with balanced(settings=settings([server.address], {"bind": f"udp://{bind}:0"})) as lb:
            with client(("127.0.0.1", lb.address[1])) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                made.send(b"go")
                wait_for(lambda: bool(server.got), "it is asked")
                for train in range(8):
                    cars = [b"%d.%d " % (train, number) * 100 for number in range(10, 39)] + [b"short"]
                    packed = [b"".join(cars)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(cars[0])))]
                    server.socket.sendmsg(*packed, 0, server.got[0][1])
                    assert [made.recv(65536) for _ in cars] == cars
                wait_for(lambda: figures(lb)["datagrams_out"] == 240, "all answers are counted")


def test_the_last_answer_frees_the_session_where_their_number_is_known() -> None:
    with Server(echo) as server:
        with balanced(settings=settings([server.address], {"responses": 1})) as lb, client(lb.address) as made:
            for _ in range(20):
                assert ask(made) == b"?"
            wait_for(lambda: figures(lb)["closed_done"] == 20, "each ends with its answer")
            assert figures(lb)["active"] == 0
            made.send(b"1")
            made.send(b"2")
            made.send(b"3")
            assert {made.recv(10) for _ in range(3)} == {b"1", b"2", b"3"}


def test_an_idle_session_ends_and_the_next_datagram_begins_another() -> None:
    with Server(echo) as server:
        with balanced(settings=settings([server.address], {"idle_timeout": "200ms"})) as lb, client(lb.address) as made:
            ask(made)
            first = server.got[-1][1]
            for _ in paced(4, 0.1):
                ask(made)
                assert server.got[-1][1] == first
            wait_for(lambda: figures(lb)["active"] == 0, "it is idle")
            assert figures(lb)["closed_idle"] == 1
            ask(made)
            assert server.got[-1][1] != first


def test_a_refusal_is_evidence_and_the_datagram_goes_to_another() -> None:
    """ICMP port unreachable comes back to the connected socket: the session moves, and the backend is soon out."""
    with Server(named(b"alive")) as server, Server(echo) as gone:
        dead = gone.address
        gone.close()
        rules = settings([dead, server.address], max_connect_failures=2, retry_after="60s", policy="round_robin")
        with balanced(settings=rules) as lb:
            backend = lb.pool().get(dead)
            assert backend is not None

            def served() -> bool:
                with client(lb.address) as made:
                    made.settimeout(0.2 * SLOWER)
                    for _ in range(5):  # the first may be lost: nothing is kept of it when the refusal comes
                        made.send(b"?")
                        try:
                            return made.recv(10) == b"alive"
                        except TimeoutError:
                            continue
                    return False

            for _ in range(8):
                assert served()
            wait_for(lambda: backend.state == "down", "two refusals in a row took it out")
            assert "connection refused" in backend.reason
            assert all(served() for _ in range(8))


def test_no_datagram_goes_to_a_backend_that_is_down() -> None:
    with Server(named(b"a")) as one, Server(named(b"b")) as two:
        probe = ProbeSettings(kind="udp", send="ping", interval="50ms", timeout="200ms", fall=2, rise=1)
        with balanced(settings=settings([one.address, two.address], probe=probe)) as lb:
            wait_for(
                lambda: all(row.state == "up" and "succeed" in row.reason for row in lb.pool().backends()), "both are proven"
            )
            with client(lb.address) as made:
                first = ask(made)
                victim, other = (one, b"b") if first == b"a" else (two, b"a")
                before = lb.pool().get(victim.address)
                victim.close()
                assert before is not None
                wait_for(lambda: before.state == "down", "its probes fail")
                assert ask(made) == other
                assert before.reason.startswith(("2 probes failed", "3 probes failed", "4 probes failed"))


@pytest.mark.parametrize(
    ("expect", "state"), [(None, "up"), ("po", "up"), ("hex:706f6e67", "up"), ("hex:00", "down"), ("nothing", "down")]
)
def test_a_probe_looks_at_the_answer(expect: str | None, state: str) -> None:
    with Server(named(b"pong")) as server, Server(named(b"nothing, hex 00: \0")) as fine:
        probe = ProbeSettings(kind="udp", send="hex:70696e67", expect=expect, interval="50ms", timeout="100ms", fall=1, rise=1)
        with balanced(settings=settings([server.address, fine.address], probe=probe)) as lb:
            backend = lb.pool().get(server.address)
            assert backend is not None
            wait_for(lambda: backend.state == state and "not probed" not in backend.reason, f"it is {state}")
            if state == "down":
                assert f"the reply lacks {expect!r}" in backend.reason
            assert (b"ping", server.got[0][1]) == server.got[0]


def test_a_pool_that_only_datagrams_reach_is_not_probed_over_tcp() -> None:
    with Server(echo) as server, Balancer(listen="udp://127.0.0.1:0", backends=[server.address]) as lb:
        stays(lambda: lb.pool().backends()[0].reason == "configured, not probed", "it is not probed", 0.2)
    assert settings(["127.0.0.1:1"], probe=ProbeSettings(kind="tcp")).pools[0].probe.kind == "tcp"


def test_maglev_sends_a_client_to_the_same_backend_after_a_restart_and_by_any_worker() -> None:
    servers = [Server(named(b"%d" % number)) for number in range(5)]
    rules = settings([server.address for server in servers], policy="maglev", workers=2)
    seen = []
    for _ in range(2):
        with balanced(settings=rules) as lb:
            answers = []
            for host in range(1, 30):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                    made.bind((f"127.0.0.{host}", 0))
                    made.settimeout(WAIT_S)
                    made.connect(lb.address)
                    answers.append(ask(made))
            seen.append(answers)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) >= 4
    for server in servers:
        server.close()


def test_a_listener_on_all_addresses_answers_from_the_one_that_was_asked() -> None:
    with Server(echo) as server, balanced(settings=settings([server.address], {"bind": "udp://0.0.0.0:0"})) as lb:
        port = lb.address[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.settimeout(WAIT_S)
            for host in ("127.0.0.5", "127.0.0.6"):
                made.sendto(b"to " + host.encode(), (host, port))
                assert made.recvfrom(100) == (b"to " + host.encode(), (host, port))
        assert len({peer for _, peer in server.got}) == 2


def test_over_ipv6() -> None:
    with Server(echo, "::1") as server, balanced(settings=settings([server.address], {"bind": "udp://[::]:0"})) as lb:
        with client(("::1", lb.address[1])) as made:
            assert ask(made, b"six") == b"six"


def test_at_the_bound_new_clients_are_turned_away_and_counted() -> None:
    with Server(echo) as server, balanced(settings=settings([server.address], max_sessions=4)) as lb:
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(6)]
        for made in sockets:
            made.connect(lb.address)
            made.settimeout(0.2 * SLOWER)
        for made in sockets[:4]:
            assert ask(made) == b"?"
        for made in sockets[4:]:
            made.send(b"?")
            with pytest.raises(TimeoutError):
                made.recv(10)
        found = figures(lb)
        assert (found["active"], found["refused_resource"], found["datagrams_dropped"]) == (4, 2, 2)
        assert found["accepted"] == found["active"] + found["closed"] + found["refused"]
        assert ask(sockets[0]) == b"?"
        for made in sockets:
            made.close()


def test_without_a_backend_datagrams_are_dropped_and_counted() -> None:
    with balanced(settings=settings([])) as lb, client(lb.address) as made:
        made.send(b"?")
        wait_for(lambda: figures(lb)["refused_no_backend"] == 1, "it is counted")
        assert figures(lb)["datagrams_dropped"] == 1


def test_draining_serves_old_clients_and_no_new_ones() -> None:
    with Server(echo) as server:
        rules = settings([server.address], {"idle_timeout": "1s"}, drain_timeout="20s")
        with balanced(settings=rules) as lb, client(lb.address) as old, client(lb.address) as new:
            ask(old)
            stopping = threading.Thread(target=lb.stop)
            stopping.start()
            wait_for(lambda: lb.status()["workers"][0]["state"] == "draining", "it drains")
            assert ask(old, b"still") == b"still"
            new.settimeout(0.3)
            with pytest.raises((TimeoutError, ConnectionRefusedError)):
                ask(new)
            began = time.monotonic()
            stopping.join(15)
            assert not stopping.is_alive()
            assert time.monotonic() - began < 10


def test_a_taken_port_is_one_clear_line() -> None:
    with Server(echo) as taken, pytest.raises(Exception, match="the port is in use"):
        Balancer(settings=settings([], {"bind": f"udp://127.0.0.1:{taken.port}"})).start()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"listener": {"bind": "tcp://127.0.0.1:0", "responses": 1}}, "responses: only for mode udp, this is tcp"),
        ({"probe": {"kind": "udp"}}, "send: missing"),
        ({"probe": {"kind": "udp", "send": "hex:0"}}, "send: 'hex:0' is not allowed"),
        ({"probe": {"kind": "udp", "send": "x", "expect": "hex:zz"}}, "expect: 'hex:zz' is not allowed"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, dict[str, object]], words: str) -> None:
    kinds = {"probe": ProbeSettings, "listener": ListenerSettings}
    ((kind, values),) = wrong.items()
    with pytest.raises(ConfigError, match=words):
        kinds[kind](**values)


def test_a_killed_backend_comes_back() -> None:
    with Server(echo) as server, balanced(settings=settings([server.address])) as lb, client(lb.address) as made:
        ask(made)
        port = server.port
        server.close()
        for _ in paced(3, 0.02):
            made.send(b"lost")
        with Server(echo, port=port):

            def served() -> bool:
                made.settimeout(0.2)
                try:
                    return ask(made) == b"?"
                except TimeoutError:
                    return False

            wait_for(served, "the same client is served again")


@pytest.mark.skipif(
    shutil.which("dnsmasq") is None or os.geteuid() != 0, reason="dnsmasq is not installed, or this is not root"
)
def test_a_real_dns_server_behind_it(tmp_path: Path) -> None:
    """dnsmasq answers for us; asked by a real resolver's packets, large answers (EDNS0) included."""
    import dns.message
    import dns.query

    port = free_port()
    text = "x" * 200
    words = ["dnsmasq", "-k", "-p", str(port), "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts"]
    words += ["--conf-file=/dev/null", f"--pid-file={tmp_path}/pid", "--user=root", "--address=/app.test/10.1.2.3"]
    words += [f"--txt-record=big.test,{text},{text},{text},{text}", "--edns-packet-max=4096"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=PLAIN)
    query = dns.message.make_query("app.test", "A")
    probe = ProbeSettings(kind="udp", send=f"hex:{query.to_wire().hex()}", interval="100ms", rise=1)
    try:
        with balanced(settings=settings([f"127.0.0.1:{port}"], {"responses": 1}, probe=probe)) as lb:
            backend = lb.pool().backends()[0]
            wait_for(lambda: backend.reason == "probes succeed", "the probe is answered")
            for _ in range(50):
                question = dns.message.make_query("app.test", "A")
                answer = dns.query.udp(question, "127.0.0.1", port=lb.address[1], timeout=WAIT_S)
                assert [str(item) for record in answer.answer for item in record] == ["10.1.2.3"]
            question = dns.message.make_query("big.test", "TXT", use_edns=0, payload=4096)
            answer = dns.query.udp(question, "127.0.0.1", port=lb.address[1], timeout=WAIT_S)
            assert len(answer.to_wire()) > 800
            wait_for(lambda: figures(lb)["active"] == 0, "each question is a session of its own")
    finally:
        process.terminate()
        process.wait()


def written(directory: Path) -> Path:
    """A configuration whose drain does not wait for idle flows."""
    config = directory / "lb.toml"
    config.write_text('drain_timeout = "1s"\n[[listener]]\nbind = "udp://127.0.0.1:0"\n[[pool]]\npolicy = "maglev"\n')
    return config


def test_of_ten_thousand_flows_only_those_of_a_backend_that_leaves_move(tmp_path: Path) -> None:
    """Each keeps its backend but those of the one that leaves; none is lost track of."""
    servers = [Server(named(b"%d" % number)) for number in range(4)]
    words = [word for server in servers for word in ("--backend", server.address)]
    running = Command(tmp_path, "-c", str(written(tmp_path)), "--workers", "2", "--admin", "off", *words)
    sockets: list[socket.socket] = []
    try:
        for number in range(10_000):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((f"127.{number // 62_500 + 1}.{number // 250 % 250}.{number % 250 + 1}", 0))
            made.settimeout(WAIT_S)
            made.connect(running.address)
            sockets.append(made)
        before = [ask(made) for made in sockets]
        assert all(2000 < before.count(b"%d" % number) < 3000 for number in range(4))
        assert totals(running.status())["active"] == 10_000
        assert running.call("/backends/remove", address=servers[1].address)[0] == 200
        wait_for(lambda: totals(running.status())["closed_cut"] == before.count(b"1"), "its flows are cut")
        after = [ask(made) for made in sockets]
        assert after.count(b"1") == 0
        assert all(now == then for now, then in zip(after, before, strict=True) if then != b"1")
        check_ledger(running.status())
        assert totals(running.status())["datagrams_dropped"] == 0
    finally:
        running.stop(signal.SIGTERM)
        for closing in (*sockets, *servers):
            closing.close()


def test_a_killed_worker_loses_no_client_for_good(tmp_path: Path) -> None:
    with Server(echo) as server:
        running = Command(
            tmp_path, "-c", str(written(tmp_path)), "--backend", server.address, "--workers", "1", "--admin", "off"
        )
        try:
            with client(running.address) as made:
                ask(made)
                os.kill(running.status()["workers"][0]["pid"], signal.SIGKILL)
                assert ask(made, b"what waits is for the next worker") == b"what waits is for the next worker"
            found = totals(running.status())
            assert (found["closed_lost"], found["active"]) == (1, 1)
        finally:
            running.stop(signal.SIGTERM)


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
def test_iperf3_in_udp_mode_through_it() -> None:
    """Its control connection is TCP, its data UDP, both to one port: 20 Mbit/s each way, of which a busy machine loses some."""
    port, front = free_port(), free_port()
    server = subprocess.Popen(
        ["iperf3", "-s", "-1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=PLAIN
    )
    listeners = [ListenerSettings(bind=f"{mode}://127.0.0.1:{front}") for mode in ("tcp", "udp")]
    pools = [PoolSettings(backends=[f"127.0.0.1:{port}"], probe=ProbeSettings(kind="off"))]
    rules = BalancerSettings(workers=1, drain_timeout="1s", listeners=listeners, pools=pools)
    try:
        with balanced(settings=rules) as lb:
            wait_for(lambda: is_bound(port), "iperf3 listens")
            words = ["iperf3", "-c", "127.0.0.1", "-p", str(front), "-u", "-b", "20M", "-l", "1200", "-t", "2", "-R", "-J"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=PLAIN)
            assert done.returncode == 0, done.stdout
            found = json.loads(done.stdout)["end"]["sum"]
            assert found["packets"] > 2_000
            assert found["lost_percent"] < (20 if SLOWER == 1 else 50)  # a sanitized engine may be too slow for the rate
            assert figures(lb)["datagrams_out"] >= found["packets"] * (0.8 if SLOWER == 1 else 0.5)
    finally:
        server.terminate()
        server.wait()


def is_bound(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
