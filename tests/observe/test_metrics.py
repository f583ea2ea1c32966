"""GET /metrics: read by other programs' parsers, its figures compared with what was sent, its size bounded."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, balanced, command, dial, echo, free_port, is_refused, read_exactly, settled, totals, wait_for
from http_peers import Backend, Client, answering
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lbcore.client.admin_client import AdminClient
from lbcore.config.settings import BackendSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings
from lbcore.config.settings import BalancerSettings as Settings
from lbcore.observe import families

if TYPE_CHECKING:
    from lbcore.api.balancer import Balancer

OFF = ProbeSettings(kind="off")
ROOT = Path(__file__).resolve().parents[2]


def scrape(balancer: Balancer, *, openmetrics: bool = False) -> list[Any]:
    """All families."""
    text = balancer.metrics(openmetrics=openmetrics).decode()
    return list((parse_openmetrics if openmetrics else parse_text)(text))


def samples(balancer: Balancer, **options: bool) -> dict[str, float]:
    """All samples by name and labels, as they stand in the text: 'lbcore_x_total{a="b"}'."""
    found = {}
    for family in scrape(balancer, **options):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def settings(*listeners: ListenerSettings, **parts: Any) -> dict[str, Any]:
    """Of one worker."""
    return {"settings": Settings(workers=1, drain_timeout="1s", listeners=list(listeners), **parts)}


def test_openmetrics_for_whom_accepts_it_and_the_old_text_for_others() -> None:
    with balanced(admin="127.0.0.1:0") as lb:
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        for accept, kind, parse in (
            ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "openmetrics", parse_openmetrics),
            ("text/plain", "text/plain; version=0.0.4", parse_text),
            ("", "text/plain; version=0.0.4", parse_text),
        ):
            connection = http.client.HTTPConnection(host, int(port), timeout=10)
            connection.request("GET", "/metrics", headers={"Accept": accept})
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            assert answer.status == 200
            assert kind in str(answer.getheader("Content-Type"))
            assert text.endswith("# EOF\n") == (kind == "openmetrics")
            assert "lbcore_uptime_seconds" in {family.name for family in parse(text)}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_family_has_help_and_a_name_by_the_conventions(openmetrics: bool) -> None:
    with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.get()
        found = scrape(lb, openmetrics=openmetrics)
        for family in found:
            assert re.fullmatch(r"lbcore_[a-z0-9_]+", family.name), family.name
            assert len(family.documentation.split()) >= 2, family.name
            assert family.documentation.endswith("."), family.name
            for sample in family.samples:
                assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
        shown = {family.name.removeprefix("lbcore_").removesuffix("_total") for family in found}
        known = {family.name for table in families.TABLES.values() for family in table}
        assert shown <= known


def test_the_page_of_metrics_is_fresh() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools" / "render-options"), "--check"], check=True, timeout=60)


def test_listeners_and_pools_count_what_ended_and_how() -> None:
    with Backend() as good, Backend(answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")) as bad:
        pools = [
            PoolSettings(name="good", probe=OFF, backends=[BackendSettings(address=good.address)]),
            PoolSettings(name="bad", probe=OFF, max_failed_responses=0, backends=[BackendSettings(address=bad.address)]),
        ]
        routes = [RouteSettings(path_prefix="/good", pool="good"), RouteSettings(path_prefix="/bad", pool="bad")]
        web = ListenerSettings(bind="http://127.0.0.1:0", name="web")
        with balanced(**settings(web, pools=pools, routes=routes)) as lb:
            with Client(lb.address) as client:
                for path, status in (("/good", 200), ("/good", 200), ("/bad", 500), ("/nowhere", 404)):
                    assert client.get(path).status == status
                client.send(b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
                assert client.answer().status == 200
            wait_for(lambda: totals(settled(lb))["active"] == 0, "the client is gone")
            found = samples(lb)
            of = lambda name, label: found[f"lbcore_{name}{{{label}}}"]  # noqa: E731
            assert of("listener_connections_total", 'listener="web"') == 1
            assert of("listener_requests_total", 'listener="web"') == 5 == totals(settled(lb))["requests"]
            assert of("listener_local_responses_total", 'listener="web"') == 1
            assert of("listener_responses_total", 'class="2xx",listener="web"') == 3
            assert of("listener_responses_total", 'class="4xx",listener="web"') == 1
            assert of("listener_responses_total", 'class="5xx",listener="web"') == 1
            assert of("pool_requests_total", 'pool="good"') == 3
            assert of("pool_responses_total", 'class="2xx",pool="good"') == 3
            assert of("pool_responses_total", 'class="5xx",pool="bad"') == 1
            assert of("pool_local_responses_total", 'pool="bad"') == 0
            assert 100_000 < of("pool_received_bytes_total", 'pool="good"') < 101_000
            assert of("pool_response_seconds_count", 'pool="good"') == 3
            assert of("pool_request_seconds_bucket", 'le="+Inf",pool="good"') == 3
            assert of("worker_requests_done_total", 'worker="0"') == 4


def test_bytes_and_ends_of_tcp_sessions() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb:
        for _ in range(2):
            with dial(lb.address) as client:
                client.sendall(b"x" * 1000)
                assert len(read_exactly(client, 1000)) == 1000
        wait_for(lambda: totals(settled(lb))["closed"] == 2, "both have ended")
        tally = lb.status()["pools"][0]["tally"]
        assert (tally["sessions"], tally["bytes_in"], tally["bytes_out"], tally["failed"]) == (2, 2000, 2000, 0)
        lb.pool().remove(peer.address, 0)
        wait_for(lambda: not lb.pool().backends(), "the pool is empty")
        assert is_refused(lb.address)
        wait_for(lambda: lb.status()["pools"][0]["tally"]["failed"] == 1, "a session without a backend has failed")
        assert lb.status()["listeners"][0]["tally"]["accepted"] == 3


def test_clients_that_leave_are_told_from_failures() -> None:
    def slow(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.recv(1)  # never answers

    with Backend(slow) as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: peer.heads, "the request is there")
        tally = wait_for(lambda: (t := lb.status()["pools"][0]["tally"])["requests"] and t, "it is over")
        assert (tally["client_aborts"], tally["failed"], tally["local_responses"]) == (1, 0, 0)


def test_histograms_grow_with_their_bounds_and_end_with_the_count() -> None:
    with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            for _ in range(20):
                client.get()
        family = next(family for family in scrape(lb) if family.name == "lbcore_pool_response_seconds")
        counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
        assert len(counts) == len(families.LE_S) + 1
        assert counts == sorted(counts)
        assert counts[-1] == 20


def test_a_thousand_backends_have_series_and_one_more_has_none() -> None:
    with balanced(max_backends=2000) as lb:
        table = lb._running().table
        with table.batch():
            for number in range(families.MOST_BACKENDS):
                table.add("default", f"127.2.{number // 250}.{1 + number % 250}:80", source="api")
        found = samples(lb)
        assert sum(name.startswith("lbcore_backend_weight") for name in found) == families.MOST_BACKENDS
        table.add("default", "127.3.0.1:80", source="api")
        found = samples(lb)
        assert not any(name.startswith("lbcore_backend_") for name in found)
        assert found["lbcore_backends_without_series"] == families.MOST_BACKENDS + 1
        states = [value for name, value in found.items() if name.startswith("lbcore_pool_backends{")]
        assert sum(states) == families.MOST_BACKENDS + 1
        assert len(found) < 350


def test_the_control_plane_counts_itself(tmp_path: Path) -> None:
    with Backend() as peer, contextlib.ExitStack() as stack:
        config = tmp_path / "lb.toml"
        text = (
            'drain_timeout = "1s"\nworkers = 1\n[admin]\nlisten = "127.0.0.1:0"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n'
            f'[[pool]]\n[pool.probe]\ninterval = "100ms"\n[[pool.backend]]\naddress = "{peer.address}"\n'
        )
        config.write_text(text)
        lb = stack.enter_context(command(tmp_path, "-c", str(config), "--admin", "127.0.0.1:0"))
        me = {"server_ip": "127.0.0.1", "port": 4321, "status": "ready"}
        admin = AdminClient(lb.admin)
        assert admin.call("POST", "/register", me)[0] == 201
        assert admin.call("POST", "/heartbeat", me)[0] == 200
        assert lb.call("/reload")[0] == 200
        config.write_text(text + "nonsense = 1\n")
        assert lb.call("/reload")[0] == 422

        def figures() -> dict[str, float]:
            host, port = lb.admin.removeprefix("http://").split(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=10)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
            lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
            return {name: float(value) for name, _, value in lines}

        found = wait_for(lambda: (f := figures()).get('lbcore_probes_total{result="good"}', 0) >= 2 and f, "probes are done")
        assert found["lbcore_registrations_total"] == 1
        assert found["lbcore_heartbeats_total"] == 1
        assert found['lbcore_reloads_total{result="taken"}'] == 1
        assert found['lbcore_reloads_total{result="refused"}'] == 1
        assert 0 < found["lbcore_control_cpu_seconds_total"] < 60
        assert 1 << 20 < found["lbcore_control_memory_bytes"] < 1 << 30
        assert found["lbcore_control_threads"] >= 2
        assert found['lbcore_worker_memory_bytes{worker="0"}'] > 1 << 20
        assert admin.call("POST", "/deregister", {"server_ip": "127.0.0.1", "port": 4321})[0] == 200


def test_a_listener_that_takes_the_row_of_another_has_none_of_its_figures() -> None:
    with Peer(echo) as peer:
        pools = [PoolSettings(name="p", probe=OFF, backends=[BackendSettings(address=peer.address)])]
        one, two, three = (
            ListenerSettings(bind=f"tcp://127.0.0.1:{free_port()}", name=name, pool="p") for name in ("one", "two", "three")
        )
        with balanced(**settings(one, two, pools=pools)) as lb:
            for name in ("one", "two"):
                with dial(lb.addresses[name]) as client:
                    client.sendall(b"x")
                    read_exactly(client, 1)
            wait_for(lambda: totals(settled(lb))["active"] == 0, "both have ended")
            lb.reload(Settings(workers=1, drain_timeout="1s", listeners=[three], pools=pools))
            tallies = {entry["name"]: entry["tally"]["accepted"] for entry in lb.status()["listeners"]}
            assert tallies == {"three": 0}
            with dial(lb.address) as client:
                client.sendall(b"x")
                read_exactly(client, 1)
            wait_for(lambda: lb.status()["listeners"][0]["tally"]["sessions"] == 1, "it counts its own")
            assert lb.status()["pools"][0]["tally"]["sessions"] == 3
