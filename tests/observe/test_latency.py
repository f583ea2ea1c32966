"""How long things took: the workers' histograms, and what status makes of them. An oracle sorts and counts by itself."""

from __future__ import annotations

import math
import os
import random
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, balanced, command, dial, echo, is_refused, read_exactly, settled, stays, totals, wait_for
from http_balancers import OK, figure
from http_peers import Backend, Client, answering
from pace import late

from lbcore.config.settings import PoolSettings
from lbcore.observe.timings import BUCKETS, KINDS, first_us, timing
from lbcore.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(name="t", version="1", workers=2, max_backends=8, datapath="auto")
    table.set_pool(PoolSettings(name="p"))
    yield table
    table.close()


def latency(balancer: Any, pool: int = 0) -> dict[str, Any]:
    """Of a pool in the status document."""
    found: dict[str, Any] = balancer.status()["pools"][pool]["latency"]
    return found


# --- buckets ---------------------------------------------------------------------------------------------------------


def test_buckets_follow_each_other_and_none_is_wide() -> None:
    assert [first_us(bucket) for bucket in range(18)] == list(range(18))
    for bucket in range(BUCKETS):
        width = first_us(bucket + 1) - first_us(bucket)
        assert width >= 1
        assert width == 1 or width * 16 <= first_us(bucket)
    assert first_us(BUCKETS - 1) > 8.9 * 3600 * 1e6


def test_c_puts_each_time_into_the_bucket_that_python_reads(table: Table) -> None:
    chance = random.Random(4)
    edges = [first_us(bucket) for bucket in range(BUCKETS)]
    times = [0, 1, 15, 16, 17, 2**35 - 1, 2**35, 2**63, 2**64 - 1, *edges, *(edge - 1 for edge in edges[1:])]
    times += [int(2 ** chance.uniform(0, 36)) for _ in range(2000)]
    expected = [0] * BUCKETS
    for us in times:
        table.time("p", KINDS["response"], us, worker=chance.randrange(2))
        expected[max(bucket for bucket in range(BUCKETS) if edges[bucket] <= us)] += 1
    found = timing(table.segment, 0, "response")
    assert found.counts == expected
    assert found.sum_us % 2**64 == sum(times) % 2**64
    assert timing(table.segment, 0, "session").count == 0


def test_quantiles_are_those_of_the_sorted_times(table: Table) -> None:
    chance = random.Random(5)
    for size in (1, 2, 10, 999, 5000):
        table.drop_pool("p")
        table.set_pool(PoolSettings(name="p"))
        times = sorted(int(chance.lognormvariate(7, 2)) for _ in range(size))
        for us in times:
            table.time("p", KINDS["response"], us)
        shares = [0.5, 0.9, 0.99, 0.999]
        for share, found in zip(shares, timing(table.segment, 0, "response").quantiles_us(shares), strict=True):
            exact = times[math.ceil(share * size) - 1]
            assert found is not None
            assert abs(found - exact) <= exact / 32 + 0.5, (share, size)


def test_counts_up_to_a_bound_never_fall_and_end_with_all(table: Table) -> None:
    chance = random.Random(6)
    for _ in range(1000):
        table.time("p", KINDS["connect"], int(2 ** chance.uniform(0, 30)))
    bounds = [2**exponent * 1.3 for exponent in range(32)]
    found = timing(table.segment, 0, "connect").up_to(bounds)
    assert found == sorted(found)
    assert found[-1] == 1000


def test_a_pool_that_takes_the_row_of_another_has_none_of_its_times(table: Table) -> None:
    table.time("p", KINDS["response"], 1000, times=10)
    table.drop_pool("p")
    table.set_pool(PoolSettings(name="q"))
    assert table.pool_rows() == {"q": 0}
    assert timing(table.segment, 0, "response").count == 0
    table.time("q", KINDS["response"], 5)
    assert timing(table.segment, 0, "response").count == 1
    table.set_pool(PoolSettings(name="q", policy="random"))  # the same pool with other settings keeps its figures
    assert timing(table.segment, 0, "response").count == 1


# --- on sockets ------------------------------------------------------------------------------------------------------


def test_status_tells_how_long_answers_took() -> None:
    with Backend(late(0.05, OK)) as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        assert latency(lb) == {"of": "response", "count": 0, "p50_ms": None, "p99_ms": None, "p999_ms": None}
        with Client(lb.address) as client:
            for _ in range(5):
                assert client.get().status == 200
        found = latency(lb)
        assert (found["of"], found["count"]) == ("response", 5)
        assert 45 <= found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"] < 5000


def test_every_answered_exchange_is_timed_once_and_no_other_is() -> None:
    with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            for number in range(7):
                assert client.get(f"/{number}").status == 200
        with Client(lb.address) as client:
            client.send(b"nonsense\r\n\r\n")
            assert client.answer().status == 400
        segment = lb._running().table.segment
        wait_for(lambda: totals(settled(lb))["active"] == 0, "both clients are gone")
        figures = totals(settled(lb))
        assert timing(segment, 0, "request").count == figures["requests_done"] == 7
        assert timing(segment, 0, "response").count == figures["responses_2xx"] == 7
        assert timing(segment, 0, "connect").count == figures["connects"] - figures["connect_failures"] == 1


def test_an_exchange_ends_with_its_last_byte_not_with_its_head() -> None:
    with Backend(late(0.1, OK[:-1], OK[-1:])) as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            assert client.get().body == b"ok"
        segment = lb._running().table.segment
        wait_for(lambda: timing(segment, 0, "request").count == 1, "it is over")
        assert timing(segment, 0, "request").sum_us - timing(segment, 0, "response").sum_us >= 90_000


def test_a_broken_answer_has_no_total_time() -> None:
    broken = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", end=True)
    with Backend(broken) as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: totals(settled(lb))["requests_failed"] == 1, "the response broke off")
        segment = lb._running().table.segment
        assert timing(segment, 0, "response").count == 1
        assert timing(segment, 0, "request").count == 0


def test_sessions_of_tcp_are_timed_from_their_opening_to_their_end() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb:
        for _ in range(3):
            with dial(lb.address) as client:
                client.sendall(b"x")
                assert read_exactly(client, 1) == b"x"
                stays(lambda: figure(lb, "active") >= 1, "it lasts", 0.03)
        segment = lb._running().table.segment
        wait_for(lambda: timing(segment, 0, "session").count == 3, "their ends are noted")
        assert timing(segment, 0, "session").sum_us >= 90_000
        assert timing(segment, 0, "connect").count == totals(settled(lb))["connects"] == 3
        assert (latency(lb)["of"], latency(lb)["count"]) == ("connect", 3)


def test_sessions_that_reach_nobody_are_not_timed() -> None:
    with balanced() as lb:
        assert is_refused(lb.address)
        wait_for(lambda: totals(settled(lb))["refused"] == 1, "it is refused")
        segment = lb._running().table.segment
        assert timing(segment, 0, "session").count == timing(segment, 0, "connect").count == 0


def test_answers_of_udp_are_timed_from_the_datagram_that_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        with balanced(listen="udp://127.0.0.1:0", backends=[f"127.0.0.1:{server.getsockname()[1]}"]) as lb:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.sendto(b"?", lb.address)
                _, whence = server.recvfrom(10)
                stays(lambda: not latency(lb)["count"], "there is nothing to be timed", 0.05)
                server.sendto(b"!", whence)
                assert client.recv(10) == b"!"
            assert wait_for(lambda: latency(lb)["count"], "it is timed") == 1
            assert latency(lb)["of"] == "response"
            assert latency(lb)["p50_ms"] >= 45
            lb.pool().remove(lb.pool().backends()[0], 0)


def test_times_and_counters_outlive_a_killed_worker(tmp_path: Path) -> None:
    with Backend() as peer:
        with command(tmp_path, "--listen", "http://127.0.0.1:0", "--backend", peer.address, "--health", "off") as running:
            for _ in range(3):
                with Client(running.address) as client:
                    assert client.get().status == 200
            wait_for(lambda: totals(running.status())["requests_done"] == 3, "three are over")
            before = running.status()
            pid = before["workers"][0]["pid"]
            os.kill(pid, signal.SIGKILL)
            back = lambda: (w := running.status()["workers"][0])["pid"] != pid and w["state"] == "serving"  # noqa: E731
            wait_for(back, "another worker serves")
            assert running.status()["pools"][0]["latency"] == before["pools"][0]["latency"]
            with Client(running.address) as client:
                assert client.get().status == 200
            wait_for(lambda: totals(running.status())["requests_done"] == 4, "the fourth is over")
            assert running.status()["pools"][0]["latency"]["count"] == 4
            shown = running.cli("status").stdout
            line = next(line.split() for line in shown.splitlines() if line.startswith("default") and "response" in line)
            assert line[:3] == ["default", "response", "4"]
