"""Metrics of model servers as a source of load: what is read, what is not believed, and what becomes stale."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import wait_for
from http_balancers import backend_of, http
from http_peers import Backend, Client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lbcore.config.settings import PoolSettings, ScrapeSettings
from lbcore.config.toml import load
from lbcore.discovery.engine_metrics import EngineLoad, MetricsFault, read_load
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

# As the documentation of each server shows them, shortened.
VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama-3"} 8.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama-3"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="llama-3"} 0.5
vllm:iteration_tokens_total_bucket{le="1.0",model_name="llama-3"} 3.0
"""
SGLANG = b"""# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.28
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="meta-llama/Llama-3.1-8B-Instruct"} 161.0
sglang:num_queue_reqs{model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.0
"""
TRITON = b"""# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="a",version="1"} 2
nv_inference_pending_request_count{model="b",version="1"} 5
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.9
"""
TENSORRT = (
    TRITON
    + b"""nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 4
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.25
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6239
"""
)


# --- reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "load"),
    [
        ("vllm", VLLM, EngineLoad(11, 0.5)),
        ("vllm", VLLM.replace(b"kv_cache", b"gpu_cache"), EngineLoad(11, 0.5)),
        ("vllm", VLLM + VLLM.replace(b'engine="0"', b'engine="1"').replace(b" 0.5", b" 0.3"), EngineLoad(22, 0.4)),
        ("sglang", SGLANG, EngineLoad(161, 0.28)),
        ("triton", TRITON, EngineLoad(7, None)),
        ("triton", TENSORRT, EngineLoad(4, 0.25)),
        ("vllm", VLLM.replace(b"\n", b"\r\n"), EngineLoad(11, 0.5)),
        ("vllm", VLLM.replace(b" 8.0", b" 8.0 1395066363000"), EngineLoad(11, 0.5)),
    ],
)
def test_what_servers_document_is_read(kind: str, text: bytes, load: EngineLoad) -> None:
    read = read_load(ScrapeSettings(kind=kind).gauges, text)
    assert (read.in_flight, read.usage) == (load.in_flight, pytest.approx(load.usage))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no vllm:num_requests_running in 0 bytes of metrics"),
        (b"<html>", "no vllm:num_requests_running"),
        (VLLM.replace(b"waiting{", b"waited{"), "vllm:num_requests_waiting is missing"),
        (VLLM.replace(b" 3.0", b" NaN"), "vllm:num_requests_waiting is NaN"),
        (VLLM.replace(b" 3.0", b" -1"), "vllm:num_requests_waiting is -1"),
        (VLLM.replace(b" 3.0", b" +Inf"), r"vllm:num_requests_waiting is \+Inf"),
        (VLLM.replace(b" 3.0", b" three"), "vllm:num_requests_waiting is three"),
        (VLLM.replace(b" 0.5", b" 50"), "vllm:kv_cache_usage_perc is 50, no share"),
    ],
)
def test_nothing_is_believed_in_part(text: bytes, said: str) -> None:
    with pytest.raises(MetricsFault, match=said):
        read_load(ScrapeSettings(kind="vllm").gauges, text)


LABELS = st.text(max_size=12)


@given(st.lists(st.tuples(LABELS, st.integers(0, 1000)), max_size=4, unique_by=lambda series: series[0]), LABELS)
def test_text_of_prometheus_own_library(series: list[tuple[str, int]], other: str) -> None:
    """With any labels, whatever stands in them; read as the library itself reads it."""
    registry = CollectorRegistry()
    Gauge("other", "text", ["model"], registry=registry).labels(other).set(1)
    gauge = Gauge("busy", "text", ["model"], registry=registry)
    for label, value in series:
        gauge.labels(label).set(value)
    text = generate_latest(registry)
    own = [
        sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == "busy"
    ]
    gauges = ScrapeSettings(kind="custom", in_flight="busy").gauges
    if own:
        assert read_load(gauges, text) == (sum(own), None)
    else:
        with pytest.raises(MetricsFault):
            read_load(gauges, text)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_load_or_a_fault(text: bytes) -> None:
    with_name = b"vllm:num_requests_running" + text
    for some in (text, with_name, with_name + b"\n" + VLLM):
        with contextlib.suppress(MetricsFault):
            assert read_load(ScrapeSettings(kind="vllm").gauges, some) != (None, None)


# --- from outside --------------------------------------------------------------------------------------------------------


class Server(Backend):
    """A model server: /metrics says what `text` is now, or `instead`."""

    def __init__(self) -> None:
        self.text = VLLM
        self.instead: bytes | None = None
        self.silent = threading.Event()
        self.reads = 0
        super().__init__(self.script_of)

    def script_of(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        if not head.startswith(b"GET /metrics "):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return False
        self.reads += 1
        if self.silent.is_set():
            threading.Event().wait(0.5)
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.text), self.text)
        connection.sendall(self.instead if self.instead is not None else whole)
        return True


def scraped(**more: Any) -> ScrapeSettings:
    return ScrapeSettings(**{"kind": "vllm", "interval": "100ms", "timeout": "300ms", "stale": "400ms", **more})


def scrape_of(lb: Any, address: str) -> dict[str, Any]:
    found: dict[str, Any] = next((one for one in lb.status()["pools"][0]["scrapes"] if one["backend"] == address), {})
    return found


def test_load_is_read_and_goes_where_reports_go() -> None:
    with Server() as one, http(one, scrape=scraped()) as lb:
        wait_for(lambda: backend_of(lb, one.address)["load"] == 0.5, "its load is known")
        assert backend_of(lb, one.address)["elsewhere"] == 11
        one.text = VLLM.replace(b" 0.5", b" 0.9").replace(b" 8.0", b" 0")
        wait_for(lambda: backend_of(lb, one.address)["load"] == 0.9, "and follows")
        assert backend_of(lb, one.address)["elsewhere"] == 3
        assert scrape_of(lb, one.address)["fault"] == ""
        assert re.search(rb'lbcore_scrapes_total\{backend="[^"]*",pool="default",result="good"\} [1-9]', lb.metrics())


def test_busy_server_gets_less() -> None:
    with Server() as idle, Server() as busy, http(idle, busy, policy="p2c", scrape=scraped()) as lb:
        busy.text = VLLM.replace(b" 0.5", b" 0.95").replace(b" 3.0", b" 400")
        idle.text = VLLM.replace(b" 0.5", b" 0.01").replace(b" 3.0", b" 0").replace(b" 8.0", b" 0")
        wait_for(lambda: backend_of(lb, busy.address)["load"] == 0.95 and backend_of(lb, idle.address)["load"] == 0.01, "known")
        with Client(lb.address) as client:
            assert {client.get().status for _ in range(40)} == {200}
        served = {server: sum(not head.startswith(b"GET /metrics") for head in server.heads) for server in (idle, busy)}
        assert served[idle] > 3 * served[busy]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + VLLM, "the response broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100, "broke off"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (4 << 20) + b"x", "longer than 4194304 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(VLLM), VLLM), "broke off|ended"),
        (b"\x16\x03\x01", "no HTTP response"),
        (b"", "the connection ended without a response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "no vllm:num_requests_running in 2 bytes"),
    ],
)
def test_what_cannot_be_read_is_told_once_and_gets_stale(raw: bytes, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Server() as one, http(one, scrape=scraped()) as lb:
        wait_for(lambda: backend_of(lb, one.address)["load"] == 0.5, "its load is known")
        one.instead = raw
        wait_for(lambda: re.search(said, scrape_of(lb, one.address)["fault"]), said)
        wait_for(lambda: backend_of(lb, one.address)["load"] is None, "it is not known any more")
        assert backend_of(lb, one.address)["elsewhere"] == 0
        assert backend_of(lb, one.address)["state"] == "up", "it serves all the same"
        one.instead = None
        wait_for(lambda: backend_of(lb, one.address)["load"] == 0.5, "known again")


def test_server_that_is_slow_or_gone_is_no_reason_to_stop() -> None:
    with Server() as slow, Server() as other, http(slow, other, scrape=scraped()) as lb:
        wait_for(lambda: backend_of(lb, slow.address)["load"] == 0.5, "its load is known")
        slow.silent.set()
        wait_for(lambda: "timed out" in scrape_of(lb, slow.address)["fault"], "it is slow")
        wait_for(lambda: backend_of(lb, slow.address)["load"] is None, "stale")
        assert backend_of(lb, other.address)["load"] == 0.5
        lb.pool().remove(slow.address)
        wait_for(lambda: not scrape_of(lb, slow.address), "nobody asks it any more")


def test_other_port_and_chunks() -> None:
    with Server() as metrics, Backend() as serving:
        metrics.instead = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(VLLM), VLLM)
        with http(serving, scrape=scraped(port=metrics.port)) as lb:
            wait_for(lambda: backend_of(lb, serving.address)["load"] == 0.5, "its load is known")
        assert not serving.heads


def test_settings_change_while_it_runs() -> None:
    with Server() as one, http(one) as lb:
        assert lb.status()["pools"][0]["scrapes"] == []
        lb.reload(lb.settings.replace(pools=[lb.settings.pools[0].replace(scrape=scraped())]))
        wait_for(lambda: backend_of(lb, one.address)["load"] == 0.5, "reads begin")
        lb.reload(lb.settings.replace(pools=[lb.settings.pools[0].replace(scrape=ScrapeSettings())]))
        wait_for(lambda: lb.status()["pools"][0]["scrapes"] == [], "and end")
        wait_for(lambda: backend_of(lb, one.address)["load"] is None, "the last read gets stale")


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "tgi"}, "scrape.kind: "),
        ({"kind": "custom"}, "kind: custom requires in_flight or usage"),
        ({"kind": "vllm", "usage": "a"}, "usage: only for kind custom, this is vllm"),
        ({"kind": "custom", "in_flight": "a b"}, "in_flight: 'a b' is not allowed"),
        ({"kind": "custom", "in_flight": "a,,b"}, "in_flight: '' is not allowed"),
        ({"kind": "custom", "in_flight": ",".join("abcdefghi")}, "in_flight: too many gauges"),
        ({"kind": "custom", "usage": "a,b"}, "usage: too many gauges"),
        ({"kind": "vllm", "path": "metrics"}, "path: 'metrics' is not allowed"),
        ({"kind": "vllm", "port": 0}, "port: "),
        ({"kind": "vllm", "stale": "500ms"}, "stale: shorter than interval, 1000 ms"),
    ],
)
def test_bad_values_are_refused_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        ScrapeSettings(**values)
    assert len(refused.value.problems) == 1


def test_labels_choose_series() -> None:
    settings = ScrapeSettings(kind="custom", in_flight='queue{kind="all"}, running', usage="used")
    text = b'queue{kind="all",model="a"} 3\nqueue{kind="some"} 9\nrunning 2\nused 1.0\n'
    assert read_load(settings.gauges, text) == (5, 1.0)


def test_metrics_are_reached_as_the_pool_says() -> None:
    secure = PoolSettings(tls=True, tls_verify=False, scrape=ScrapeSettings(kind="vllm"))
    assert secure.scrape.way is not None
    assert secure.scrape.way.tls
    apart = PoolSettings(tls=True, tls_verify=False, scrape=ScrapeSettings(kind="triton"))
    assert apart.scrape.way is not None
    assert (apart.scrape.way.port, apart.scrape.way.tls) == (8002, False)
    assert PoolSettings().scrape.way is None


@pytest.mark.parametrize("tls", [True, False])
def test_configuration_file(tls: bool, tmp_path: Path) -> None:
    file = tmp_path / "lbcore.toml"
    file.write_text(
        '[[listener]]\nbind = "http://127.0.0.1:8000"\npool = "a"\n'
        f'[[pool]]\nname = "a"\n[pool.scrape]\nkind = "vllm"\ntls = {str(tls).lower()}\n'
    )
    way = load(file).pools[0].scrape.way
    assert way is not None
    assert way.tls is tls
