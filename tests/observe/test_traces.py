"""W3C Trace Context through the balancer, and spans over OTLP to a collector that reads them with OpenTelemetry's messages."""

from __future__ import annotations

import http.server
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, dial, free_port, settled, totals, wait_for
from http_peers import Backend, Client, field, fields
from pace import late

from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError
from lbcore.observe import traces

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FORM = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


@pytest.fixture(autouse=True)
def _sent_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans wait for each other for a tenth of the time."""
    monkeypatch.setattr(traces, "EVERY_S", traces.EVERY_S / 10)


class Collector:
    """Takes what is sent to /v1/traces. answer: its status."""

    def __init__(self, answer: int = 200) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.calls = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.calls += 1
                if answer == 200:
                    for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
                        outer.resources.append({pair.key: pair.value.string_value for pair in batch.resource.attributes})
                        outer.spans += [span for scope in batch.scope_spans for span in scope.spans]
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def traced(peer: Backend, url: str, **options: Any) -> dict[str, Any]:
    """An http balancer that traces."""
    return {"listen": "http://127.0.0.1:0", "backends": [peer.address], "traces": url, **options}


def attributes(span: Any) -> dict[str, Any]:
    """Plain values by name."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


def test_a_traceparent_goes_on_with_a_span_of_our_own() -> None:
    with Collector() as collector, Backend() as peer, balanced(**traced(peer, collector.url)) as lb:
        with Client(lb.address) as client:
            client.get("/x", f"traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\n".encode())
        sent = field(peer.heads[0], b"traceparent")
        assert sent is not None
        match = FORM.fullmatch(sent)
        assert match
        assert (match[1].decode(), match[3]) == (TRACE, b"01")
        assert match[2].decode() != SPAN
        assert field(peer.heads[0], b"tracestate") == b"a=b"
        (span,) = wait_for(lambda: collector.spans, "it is sent")
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id.hex() == SPAN
        assert span.span_id.hex() == match[2].decode()


def test_the_span_tells_what_the_request_was() -> None:
    slow = late(0.05, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    with Collector() as collector, Backend(slow) as peer, balanced(**traced(peer, collector.url, name="shop")) as lb:
        began = time.time_ns()
        with Client(lb.address) as client:
            client.get("/a?secret", f"traceparent: 00-{TRACE}-{SPAN}-01\r\n".encode())
        (span,) = wait_for(lambda: collector.spans, "it is sent")
        assert collector.resources[0]["service.name"] == "lbcore"
        assert collector.resources[0]["service.instance.id"] == "shop"
        found = attributes(span)
        assert (span.name, span.kind, span.status.code) == ("GET", 2, 2)
        assert found["url.path"] == "/a"
        assert found["http.response.status_code"] == 503
        assert found["lbcore.backend"] == peer.address
        assert found["lbcore.pool"] == "default"
        assert found["lbcore.end"] == "done"
        assert abs(span.start_time_unix_nano - began) < 5e9
        assert 45e6 < span.end_time_unix_nano - span.start_time_unix_nano < 5e9


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"traceparent: nonsense\r\ntracestate: a=b\r\n",
        f"traceparent: 00-{TRACE}-{SPAN}-01\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\n".encode(),
        f"traceparent: 00-{'0' * 32}-{SPAN}-01\r\n".encode(),
    ],
)
def test_without_a_valid_traceparent_one_begins(lines: bytes) -> None:
    with Collector() as collector, Backend() as peer, balanced(**traced(peer, collector.url, trace_sample=1)) as lb:
        with Client(lb.address) as client:
            client.get("/x", lines)
        values = fields(peer.heads[0], b"traceparent")
        assert len(values) == 1
        match = FORM.fullmatch(values[0])
        assert match
        assert match[1].decode() != TRACE
        assert match[3] == b"01"
        assert fields(peer.heads[0], b"tracestate") == []
        (span,) = wait_for(lambda: collector.spans, "it is sent")
        assert (span.trace_id.hex(), span.parent_span_id) == (match[1].decode(), b"")


def test_the_callers_flag_decides_and_else_the_sample() -> None:
    with Collector() as collector, Backend() as peer, balanced(**traced(peer, collector.url, trace_sample=1_000_000)) as lb:
        with Client(lb.address) as client:
            for _ in range(20):
                client.get("/none")
                client.get("/no", f"traceparent: 00-{TRACE}-{SPAN}-00\r\n".encode())
            client.get("/yes", f"traceparent: 00-{TRACE}-{SPAN}-03\r\n".encode())
        wait_for(lambda: collector.spans, "it is sent")
        assert [attributes(span)["url.path"] for span in collector.spans] == ["/yes"]
        flags = [str(field(head, b"traceparent"))[-3:-1] for head in peer.heads]
        assert flags == ["00"] * 40 + ["01"]


def test_without_traces_a_traceparent_passes_as_it_came() -> None:
    with Backend() as peer, balanced(listen="http://127.0.0.1:0", backends=[peer.address]) as lb:
        with Client(lb.address) as client:
            client.get("/x", f"traceparent: 00-{TRACE}-{SPAN}-01\r\n".encode())
            client.get("/y")
        assert field(peer.heads[0], b"traceparent") == f"00-{TRACE}-{SPAN}-01".encode()
        assert field(peer.heads[1], b"traceparent") is None


def test_a_trace_stands_in_the_access_log(tmp_path: Path) -> None:
    import json

    log = tmp_path / "log"
    with Collector() as collector, Backend() as peer:
        with balanced(**traced(peer, collector.url, access_log=str(log))) as lb, Client(lb.address) as client:
            client.get("/x", f"traceparent: 00-{TRACE}-{SPAN}-01\r\n".encode())
            line = wait_for(lambda: log.exists() and log.read_text(), "it is written")
            assert json.loads(line)["trace"] == TRACE


@pytest.mark.parametrize("kind", ["dead", "refusing", "silent"])
def test_a_collector_that_fails_slows_no_request_and_no_stop(kind: str) -> None:
    over = threading.Event()
    with Collector(400) as refusing, Backend() as peer, Backend(lambda *_: over.wait(3)) as silent:
        url = {"dead": f"http://127.0.0.1:{free_port()}/", "refusing": refusing.url, "silent": f"http://{silent.address}/"}[
            kind
        ]
        lines: list[str] = []
        began = time.monotonic()
        with balanced(**traced(peer, url, trace_sample=1, log=lines.append)) as lb:
            with Client(lb.address) as client:
                for _ in range(200):
                    asked = time.monotonic()
                    assert client.get().status == 200
                    assert time.monotonic() - asked < 2
            if kind == "refusing":
                wait_for(lambda: b"lbcore_spans_lost_total 0.0" not in lb.metrics(), "what is lost is counted")
        assert time.monotonic() - began < 30
        if kind == "refusing":
            assert any(line.startswith("traces: ") for line in lines)


def test_reload_begins_and_ends_tracing() -> None:
    with Collector() as collector, Backend() as peer:
        parts: dict[str, Any] = {
            "workers": 1,
            "listeners": [ListenerSettings(bind=f"http://127.0.0.1:{free_port()}")],
            "pools": [
                PoolSettings(name="p", probe=ProbeSettings(kind="off"), backends=[BackendSettings(address=peer.address)])
            ],
        }
        with balanced(settings=BalancerSettings(**parts)) as lb, Client(lb.address) as client:
            client.get("/0")
            lb.reload(BalancerSettings(**parts, traces=collector.url, trace_sample=1))
            client.get("/1")
            wait_for(lambda: collector.spans, "it is sent")
            lb.reload(BalancerSettings(**parts))
            client.get("/2")
            assert [bool(fields(head, b"traceparent")) for head in peer.heads] == [False, True, False]


def test_a_reload_that_the_access_log_refuses_leaves_no_sender_of_traces_behind(tmp_path: Path) -> None:
    def senders() -> int:
        return sum(thread.name == "lbcore-traces" for thread in threading.enumerate())

    with Collector() as collector, balanced(backends=["127.0.0.1:1"]) as lb:
        listeners, pools = lb.settings.listeners, lb.settings.pools
        wrong = BalancerSettings(
            workers=lb.settings.workers,
            listeners=listeners,
            pools=pools,
            traces=collector.url,
            access_log=str(tmp_path / "nowhere" / "log"),
        )
        with pytest.raises(ConfigError, match="access_log: "):
            lb.reload(wrong)
        wait_for(lambda: senders() == 0, "it has ended")


def test_wrong_endpoints_and_a_missing_extra_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"traces: 'nonsense' is not allowed \(allowed: off, http"):
        BalancerSettings(traces="nonsense")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"traces: needs the extra: pip install 'lbcore\[otel\]'"):
        with balanced(traces="http://127.0.0.1:4318/v1/traces"):
            pass


def test_sessions_of_tcp_are_no_spans() -> None:
    with Collector() as collector, Backend() as peer:
        with balanced(backends=[peer.address], traces=collector.url, trace_sample=1) as lb:
            with dial(lb.address) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                client.recv(100)
            wait_for(lambda: totals(settled(lb))["closed"] == 1, "it has ended")
            assert totals(settled(lb))["records"] == 0
    assert not collector.spans
