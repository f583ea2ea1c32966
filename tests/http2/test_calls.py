"""Calls of gRPC, by raw frames at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2_backends import CALL, MESSAGE, Call, H2Backend, answer_call
from h2_frames import (
    CANCEL,
    DATA,
    END_STREAM,
    HEADERS,
    NO_ERROR,
    RST_STREAM,
    H2Client,
    reset,
)
from harness import wait_for
from http_balancers import figure, http
from http_peers import Backend

if TYPE_CHECKING:
    pass


def test_a_call_without_a_backend_gets_a_status_in_one_frame() -> None:
    with http(protocol="auto") as lb, H2Client(lb.address) as client:
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        response = client.response(1)
        assert (response.status, response.heads[0]["grpc-status"], response.body) == ("200", "14", b"")
        assert response.heads[0]["content-type"] == "application/grpc"
        assert [got.flags & END_STREAM for got in client.all_of(HEADERS)] == [END_STREAM]
        assert not client.all_of(DATA)
        assert figure(lb, "grpc_unavailable") == 1


def test_trailers_only_stay_one_frame() -> None:
    """HEADERS with grpc-status and then an empty DATA is UNKNOWN to grpcio 1.85.1."""

    def script(call: Call) -> None:
        call.talk.send(
            call.talk.head(
                call.stream, (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5"), end=True
            ),
            reset(call.stream, NO_ERROR),
        )

    with H2Backend(script) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        assert client.response(1).heads[0]["grpc-status"] == "5"
        assert client.ping()
        assert [got.flags & END_STREAM for got in client.all_of(HEADERS)] == [END_STREAM]
        assert not client.all_of(DATA)
        assert figure(lb, "grpc_not_found") == 1


def test_interim_responses_of_calls_are_dropped() -> None:
    """Clients of grpcio 1.85.1 say UNKNOWN, and those of grpclib 0.4.9 lose the connection."""

    def script(call: Call) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", "103"), ("link", "</a>")))
        answer_call(call)

    with (
        H2Backend(script) as backend,
        http(backend.address, listener={"early_hints": "always"}) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        assert [head.get(":status") for head in client.response(1).heads] == ["200", None]


def test_a_call_that_its_client_cancels_is_cancelled_at_once() -> None:
    with H2Backend(lambda call: None) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        wait_for(lambda: backend.calls, "the call comes")
        client.send(reset(1, CANCEL))
        wait_for(lambda: [got.number for got in backend.all_of(RST_STREAM)] == [CANCEL], "the backend hears of it")


def test_the_deadline_of_a_call_is_seen() -> None:
    with H2Backend(lambda call: None) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        client.ask(1, "/a.B/C", *CALL, ("grpc-timeout", "100m"), method="POST", body=MESSAGE)
        assert client.response(1).heads[0]["grpc-status"] == "4"
        wait_for(lambda: [got.number for got in backend.all_of(RST_STREAM)] == [CANCEL], "the backend hears of it")
        assert backend.calls[0].head["grpc-timeout"] == "100m"
        assert figure(lb, "grpc_deadline_exceeded") == 1


def test_auto_sends_calls_by_http2_and_all_else_by_http1() -> None:
    with H2Backend(answer_call) as calls, Backend(name=b"plain") as plain:
        with http(calls.address) as lb, H2Client(lb.address) as client:
            client.ask(1, "/a.B/C", ("content-type", "application/grpc+proto"), ("te", "trailers"), method="POST", body=MESSAGE)
            assert client.response(1).body == MESSAGE
        with http(plain) as lb, H2Client(lb.address) as client:
            client.ask(1, "/a", ("content-type", "application/json"), method="POST", body=b"{}")
            assert client.response(1).body == b"plain"
        with http(plain, protocol="http/1.1") as lb, H2Client(lb.address) as client:
            client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
            assert client.response(1).body == b"plain"


def test_te_is_added_to_calls() -> None:
    with H2Backend(answer_call) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        client.ask(1, "/a.B/C", ("content-type", "application/grpc"), method="POST", body=MESSAGE)
        client.response(1)
        assert [value for name, value in backend.calls[0].fields if name == "te"] == ["trailers"]


@pytest.mark.parametrize(("code", "failures"), [("14", 3), ("13", 3), ("5", 0), ("0", 0)])
def test_unavailable_and_internal_count_against_a_backend(code: str, failures: int) -> None:
    def script(call: Call) -> None:
        call.talk.answer(call.stream, MESSAGE, ("content-type", "application/grpc"), trailers=(("grpc-status", code),))

    with H2Backend(script) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        for stream in (1, 3, 5):
            client.ask(stream, "/a.B/C", *CALL, method="POST", body=MESSAGE)
            assert client.response(stream).heads[-1]["grpc-status"] == code
        entry = lb.status()["pools"][0]["backends"][0]
        assert entry["failures"] == failures
