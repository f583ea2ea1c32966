"""gRPC-Web, as browsers say it, before servers of gRPC: grpcio, and scripted ones for what grpcio does not do."""

from __future__ import annotations

import contextlib
import http.client
import threading
from typing import TYPE_CHECKING, Any

import pytest
from grpc_servers import GrpcServer
from grpc_web import BINARY, TEXT, WebResponse, asked, decoded, heard
from h2_backends import MESSAGE, STATUS_OK, Call, H2Backend
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, REFUSED_STREAM, H2Client, frame, reset
from harness import wait_for
from http_balancers import figure
from http_balancers import http as balanced
from http_peers import Backend, field

from lbcore.config.toml import load
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

pytest.importorskip("grpc")
KINDS = [BINARY, TEXT]
WEB = {"grpc_web": True}
GRPC = ("content-type", "application/grpc+proto")


@contextlib.contextmanager
def before(*backends: Any, **more: Any) -> Iterator[Balancer]:
    """A balancer that translates."""
    with balanced(*backends, listener={**WEB, **more.pop("listener", {})}, **more) as lb:
        yield lb


def by_http_1(lb: Balancer, method: str, kind: str, *contents: bytes, **headers: str) -> WebResponse:
    """A call as XMLHttpRequest makes it. headers: with _ for -."""
    connection = http.client.HTTPConnection(*lb.address, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("POST", f"/a.B/{method}", asked(kind, *contents), {"content-type": kind, "x-grpc-web": "1", **named})
        response = connection.getresponse()
        assert response.status == 200
        return heard({name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def by_http_2(lb: Balancer, method: str, kind: str, *contents: bytes, **headers: str) -> WebResponse:
    """The same on a stream."""
    with H2Client(lb.address) as client:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        body = asked(kind, *contents)
        client.ask(1, f"/a.B/{method}", ("content-type", kind), ("x-grpc-web", "1"), *named, method="POST", body=body)
        response = client.response(1)
        assert response.status == "200"
        assert len(response.heads) == 1, "trailers are in the body"
        return heard(response.heads[0], response.body)


BY = [by_http_1, by_http_2]


@pytest.mark.parametrize("call", BY)
@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_a_server_of_grpc(kind: str, call: Any) -> None:
    with GrpcServer("one") as server, before(server.address) as lb:
        assert call(lb, "Name", kind, b"hi").messages == [b"one:hi"]
        assert call(lb, "Count", kind, b"300").messages == [b"%d" % at for at in range(300)]
        assert call(lb, "Sum", kind, *[b"x" * 7] * 30).messages == [b"210"]
        answer = call(lb, "Metadata", kind, b"", x_asked="what")
        assert (answer.messages, answer.trailers["x-last"], answer.trailers["grpc-status"]) == ([b"one"], "what", "0")
        assert figure(lb, "grpc_ok") == 4


@pytest.mark.parametrize("call", BY)
@pytest.mark.parametrize("kind", KINDS)
def test_a_status_and_its_words_arrive(kind: str, call: Any) -> None:
    with GrpcServer("one") as server, before(server.address) as lb:
        answer = call(lb, "Fail", kind, b"NOT_FOUND")
        assert (answer.messages, answer.trailers["grpc-status"]) == ([], "5")
        assert answer.trailers["grpc-message"] == "as asked: %C3%A9"
        assert figure(lb, "grpc_not_found") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_no_buffer_holds(kind: str) -> None:
    with GrpcServer("one") as server, before(server.address) as lb:
        content = bytes(range(256)) * 12_000
        assert by_http_1(lb, "Name", kind, content).messages == [b"one:" + content]


def test_what_accept_names_is_how_the_response_is_said() -> None:
    with GrpcServer("one") as server, before(server.address) as lb:
        connection = http.client.HTTPConnection(*lb.address, timeout=10)
        for kind, accept, said in ((BINARY, TEXT, TEXT), (TEXT, BINARY, BINARY), (TEXT, "*/*", TEXT)):
            connection.request("POST", "/a.B/Name", asked(kind, b"hi"), {"content-type": kind, "accept": accept})
            response = connection.getresponse()
            told = response.headers["content-type"]
            assert told == said.partition("+")[0]
            assert heard({"content-type": told}, response.read()).messages == [b"one:hi"]
        connection.close()


def by_call(call: Call) -> None:
    call.talk.answer(call.stream, MESSAGE, GRPC, trailers=STATUS_OK)


def test_what_a_server_of_grpc_gets() -> None:
    got: list[Call] = []

    def answer(call: Call) -> None:
        got.append(call)
        by_call(call)

    with H2Backend(answer) as backend, before(backend) as lb:
        assert by_http_1(lb, "C", TEXT, b"hi", accept=TEXT, x_user_agent="web").messages == [b"hi"]
        head = got[0].head
        assert (head["content-type"], head["te"], head["x-user-agent"]) == ("application/grpc+proto", "trailers", "web")
        assert not {"content-length", "accept"} & set(head)
        assert got[0].body == MESSAGE
        by_http_1(lb, "C", BINARY, b"hi")
        assert got[1].head["content-length"] == "7"


def test_text_in_pieces_with_padding_of_their_own() -> None:
    with GrpcServer("one") as server, before(server.address) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 3, client.head("/a.B/Name", ("content-type", TEXT), method="POST")))
        for piece in (b"A", b"A==", b"AAAA", b"Amhp"):
            client.send(frame(DATA, 0, 3, piece))
            assert client.ping()
        client.send(frame(DATA, END_STREAM, 3))
        response = client.response(3)
        assert heard(response.heads[0], response.body).messages == [b"one:hi"]


@pytest.mark.parametrize("body", [b"AAAA!", b"AAA", b"AAAAAAJoaQ=", b"AA=A"])
@pytest.mark.parametrize("call", BY)
def test_text_that_is_no_base64(call: Any, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "asked", lambda kind, *contents: body)
    with GrpcServer("one") as server, before(server.address) as lb:
        assert call(lb, "Name", TEXT).trailers["grpc-status"] == "13"
        assert figure(lb, "requests_bad") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_a_stream_arrive_one_by_one(kind: str) -> None:
    go_on = threading.Semaphore(0)

    def answer(call: Call) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", "200"), GRPC))
        for _ in range(3):
            assert go_on.acquire(timeout=10)
            call.talk.send(frame(DATA, 0, call.stream, MESSAGE))
        call.talk.send(call.talk.head(call.stream, *STATUS_OK, end=True))

    with H2Backend(answer) as backend, before(backend) as lb:
        connection = http.client.HTTPConnection(*lb.address, timeout=10)
        connection.request("POST", "/a.B/C", asked(kind, b""), {"content-type": kind})
        response = connection.getresponse()
        for _ in range(3):
            go_on.release()
            assert decoded(kind, response.read(12 if kind == TEXT else 7)) == MESSAGE
        connection.close()


def test_a_client_that_leaves_cancels_its_call() -> None:
    with GrpcServer("one") as server, before(server.address) as lb:
        connection = http.client.HTTPConnection(*lb.address, timeout=10)
        connection.request("POST", "/a.B/Wait", asked(BINARY, b""), {"content-type": BINARY})
        wait_for(lambda: lb.status()["pools"][0]["backends"][0]["active"] == 1, "the call is under way")
        connection.close()
        wait_for(lambda: lb.status()["pools"][0]["backends"][0]["active"] == 0, "the call is over")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", BY)
def test_errors_of_our_own(kind: str, call: Any) -> None:
    with before("127.0.0.1:1") as lb:
        answer = call(lb, "Name", kind, b"hi")
        assert (answer.trailers["grpc-status"], answer.trailers["content-type"]) == ("14", kind.partition("+")[0])


def test_a_deadline_is_seen() -> None:
    with GrpcServer("one") as server, before(server.address) as lb:
        assert by_http_1(lb, "Wait", BINARY, b"", grpc_timeout="50m").trailers["grpc-status"] == "4"


def test_a_backend_that_sends_no_status() -> None:
    def answer(call: Call) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", "200"), GRPC), frame(DATA, END_STREAM, call.stream, MESSAGE))

    with H2Backend(answer) as backend, before(backend) as lb:
        for call in BY:
            answer_ = call(lb, "C", TEXT, b"hi")
            assert (answer_.messages, answer_.trailers["grpc-status"]) == ([b"hi"], "2")


def test_a_response_that_is_none_of_grpc_stays_as_it_is() -> None:
    def answer(call: Call) -> None:
        call.talk.answer(call.stream, b"no such page", ("content-type", "text/plain"))

    with H2Backend(answer) as backend, before(backend) as lb:
        connection = http.client.HTTPConnection(*lb.address, timeout=10)
        connection.request("POST", "/a.B/C", asked(TEXT, b""), {"content-type": TEXT})
        response = connection.getresponse()
        assert (response.headers["content-type"], response.read()) == ("text/plain", b"no such page")
        connection.close()


def test_a_call_that_was_refused_is_translated_again() -> None:
    def refuse(call: Call) -> None:
        call.talk.send(reset(call.stream, REFUSED_STREAM))

    with H2Backend(refuse) as first, H2Backend(by_call) as second, before(first, second) as lb:
        for _ in range(4):
            assert by_http_1(lb, "C", TEXT, b"hi").messages == [b"hi"]
        assert figure(lb, "calls_refused") >= 1


def test_without_it_calls_go_on_as_they_are() -> None:
    heads: list[bytes] = []

    def script(connection: Any, head: bytes, body: bytes) -> None:
        heads.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: application/grpc-web\r\n")
        connection.sendall(b"grpc-status: 0\r\n\r\n")

    with Backend(script) as backend:
        with balanced(backend) as lb:
            by_http_1(lb, "C", BINARY, b"hi")
        with before(backend, protocol="http/1.1") as lb:
            by_http_1(lb, "C", BINARY, b"hi")
    assert [field(head, b"content-type") for head in heads] == [BINARY.encode()] * 2


def test_sonora_is_served() -> None:
    sonora = pytest.importorskip("sonora.client")
    grpc = pytest.importorskip("grpc")
    with GrpcServer("one") as server, before(server.address, listener={"keepalive_timeout": "100ms"}) as lb:
        host, port = lb.address
        with sonora.insecure_web_channel(f"http://{host}:{port}") as channel:
            assert channel.unary_unary("/a.B/Name", bytes, bytes)(b"hi") == b"one:hi"
            assert list(channel.unary_stream("/a.B/Count", bytes, bytes)(b"5")) == [b"0", b"1", b"2", b"3", b"4"]
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/a.B/Fail", bytes, bytes)(b"ABORTED")
            assert caught.value.code().name == "ABORTED"


def test_other_listeners_have_no_such_option(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    file.write_text('[[listener]]\nbind = "tcp://127.0.0.1:0"\ngrpc_web = true\n[[pool]]\nname = "default"\n')
    with pytest.raises(ConfigError, match="grpc_web"):
        load(file)
