"""What is shown of HTTP/2 and gRPC: status, metrics, access log, top, and why a backend was spoken to as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from h2_backends import CALL, MESSAGE, STATUS_OK, Call, H2Backend
from h2_frames import CANCEL, INTERNAL_ERROR, H2Client, reset, window_update
from harness import settled, wait_for
from http_balancers import http
from http_peers import Backend, Client

from lbcore.cli.top.rows import pool_lines
from lbcore.observe.rates import History, between
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from pathlib import Path

    from lbcore import Balancer

UNAVAILABLE = (("grpc-status", "14"), ("grpc-message", "not now"))


def why(lb: Balancer) -> list[tuple[str | None, str | None]]:
    """What was spoken with backends, and why, in the order of decisions."""
    return [(decision["protocol"], decision["protocol_why"]) for decision in decisions(lb._running().table.segment)]


def test_calls_of_a_listener_and_a_pool_by_their_status() -> None:
    def script(call: Call) -> None:
        trailers = UNAVAILABLE if call.head[":path"].endswith("/Fail") else STATUS_OK
        call.talk.answer(call.stream, MESSAGE, ("content-type", "application/grpc"), trailers=trailers)

    with H2Backend(script) as backend, http(backend) as lb, H2Client(lb.address) as client:
        for stream, method in ((1, "Name"), (3, "Fail"), (5, "Fail")):
            client.ask(stream, f"/a.B/{method}", *CALL, method="POST", body=MESSAGE)
            client.response(stream)
        status = settled(lb)
        for tally in (status["listeners"][0]["tally"], status["pools"][0]["tally"]):
            assert (tally["http2"], tally["grpc"]) == (3, {"ok": 1, "unavailable": 2})
        assert status["pools"][0]["protocol"] == "auto"
        text = lb.metrics().decode()
        assert 'lbcore_pool_grpc_calls_total{code="UNAVAILABLE",pool="default"} 2.0' in text
        assert "lbcore_listener_http2_requests_total{" in text
        assert 'lbcore_worker_calls_total{worker="0"} 3.0' in text
        assert 'lbcore_worker_calls_active{worker="0"} 0.0' in text
        shown = pool_lines(status, between(None, status, 1), History(), 200, 5)[0][0]
        assert shown.endswith("h2 100%  gRPC: 2 unavailable")
        assert why(lb) == [("h2", "a call of gRPC")] * 3


def test_a_request_of_http_1_1_to_a_backend_of_http_1_1_counts_as_neither() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get()
        status = settled(lb)
        assert [status[of][0]["tally"]["http2"] for of in ("listeners", "pools")] == [0, 0]
        assert why(lb) == [("http/1.1", "auto, without TLS")]


def test_resets_by_who_says_them_and_by_their_code() -> None:
    def script(call: Call) -> None:
        if call.head[":path"] == "/broken":
            call.talk.send(reset(call.stream, INTERNAL_ERROR))

    with H2Backend(script) as backend, http(backend, protocol="h2") as lb, H2Client(lb.address) as client:
        client.ask(1, "/slow")
        wait_for(lambda: backend.calls, "it is under way")
        client.send(reset(1, CANCEL))
        client.ask(3, "/broken", method="POST", body=b"")
        assert client.response(3).status == "502"
        wait_for(lambda: settled(lb)["workers"][0]["http2_resets"]["to_backend"], "the cancel has gone on")
        resets = settled(lb)["workers"][0]["http2_resets"]
        assert resets == {
            "client": {"CANCEL": 1},
            "to_client": {},
            "backend": {"INTERNAL_ERROR": 1},
            "to_backend": {"CANCEL": 1},
        }
        assert 'lbcore_worker_http2_resets_total{by="client",code="CANCEL",worker="0"} 1.0' in lb.metrics().decode()
        assert why(lb) == [("h2", "the pool's protocol")] * 2


@pytest.mark.parametrize(("protocol", "said"), [("h2", "HTTP/2"), ("http/1.1", "HTTP/1.1")])
def test_the_access_log_says_what_was_spoken_with_the_backend(protocol: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    top = {"access_log": str(log)}
    with H2Backend() as new, Backend() as old:
        backend = new if protocol == "h2" else old
        with http(backend, protocol=protocol, top=top) as lb, Client(lb.address) as client:
            client.get()
            wait_for(lambda: log.exists() and log.read_text().strip(), "it is written")
    line = json.loads(log.read_text().splitlines()[0])
    assert (line["protocol"], line["backend_protocol"]) == ("HTTP/1.1", said)


def test_a_request_without_a_backend_has_no_such_protocol(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with http("127.0.0.1:1", top={"access_log": str(log)}) as lb, Client(lb.address) as client:
        client.get()
        wait_for(lambda: log.exists() and log.read_text().strip(), "it is written")
    assert json.loads(log.read_text().splitlines()[0])["backend_protocol"] is None


def test_a_stalled_window_of_a_backend_is_counted() -> None:
    with H2Backend(opens_windows=False) as backend, http(backend, protocol="h2") as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
        wait_for(lambda: lb.status()["workers"][0]["calls_stalls"], "the request waits for a window")
        wait_for(lambda: backend.frames, "the backend has begun to read, and said its settings before that")
        backend.talks[0].send(window_update(0, 1 << 20), window_update(1, 1 << 20))
        assert client.answer().status == 200
