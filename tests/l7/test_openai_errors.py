"""Errors of lbcore as clients of OpenAI's API read them, and what OpenAI's Python client makes of them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_frames import H2Client
from harness import balanced, settled, totals, wait_for
from http_balancers import http, settings_of
from http_peers import Backend, Client, field

from lbcore.config.settings import ListenerSettings, ProbeSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbcore import Balancer

OPENAI = {"error_format": "openai"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
ABSENT = "127.0.0.1:1"


def completes(connection: socket.socket, head: bytes, body: bytes) -> None:
    """Answer as a model's server does."""
    told = json.dumps(ANSWER).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(told), told))


def error_of(client: Client, path: str = "/v1/models", **how: Any) -> tuple[int, str, str, bytes | None]:
    """Status, type, code and Retry-After."""
    answer = client.get(path, **how)
    assert field(answer.head, b"Content-Type") == b"application/json"
    told = json.loads(answer.body)["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["param"] is None
    return answer.status, told["type"], told["code"], field(answer.head, b"Retry-After")


@contextlib.contextmanager
def hanging() -> Iterator[tuple[Backend, Callable[[], None]]]:
    """A backend that responds to nothing until it is let go."""
    go = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        go.wait(60)
        completes(connection, head, body)

    with Backend(script) as backend:
        try:
            yield backend, go.set
        finally:
            go.set()


# --- what is told ---------------------------------------------------------------------------------------------------------


def test_full_queue_and_late_queue_are_told_apart() -> None:
    with hanging() as (backend, go), http(backend, listener=OPENAI, max_active=1, queue=1, queue_timeout="500ms") as lb:
        with Client(lb.address) as first, Client(lb.address) as second, Client(lb.address) as third:
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: backend.heads, "the backend is busy")
            second.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: totals(lb.status())["requests_queued"] == 1, "the queue is full")
            status, kind, code, after = error_of(third)
            assert (status, kind, code) == (503, "server_error", "queue_full")
            assert int(after or 0) >= 1
            late = second.answer()
            assert (late.status, json.loads(late.body)["error"]["code"]) == (503, "queue_timeout")
            go()
            assert first.answer().status == 200


def test_backends_that_are_all_down_are_told() -> None:
    down = {"initial": "down", "when_none": "refuse", "probe": ProbeSettings(kind="tcp")}
    with http(ABSENT, listener=OPENAI, **down) as lb, Client(lb.address) as client:
        status, kind, code, after = error_of(client)
        assert (status, kind, code) == (503, "server_error", "no_backend")
        assert int(after or 0) >= 1
    with http(ABSENT, listener=OPENAI) as lb, Client(lb.address) as client:
        assert error_of(client)[:3] == (502, "server_error", "no_backend")


def test_timeouts_are_told_apart() -> None:
    with hanging() as (backend, _):
        routes = [{"path": "/total", "pool": "default", "total_timeout": "200ms"}]
        settings = settings_of({"default": backend}, routes)
        settings = settings.replace(
            listeners=[settings.listeners[0].replace(error_format="openai")],
            pools=[settings.pools[0].replace(response_timeout="300ms")],
        )
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            assert error_of(client, "/total")[:3] == (504, "server_error", "total_timeout")
            assert error_of(client, "/else")[:3] == (504, "server_error", "backend_timeout")


def test_refusals_of_the_request_itself_are_told() -> None:
    routes: list[dict[str, Any]] = [{"path": "/small", "pool": "default", "max_body": 1}, {"path": "/no", "deny": True}]
    routes += [{"path": "/rare", "pool": "default", "rate": "1/hour"}]
    with Backend() as backend:
        settings = settings_of({"default": backend}, routes, default=None)
        settings = settings.replace(listeners=[settings.listeners[0].replace(error_format="openai")])
        with balanced(settings=settings) as lb:
            wanted = {
                "/small": (413, "invalid_request_error", "request_too_large"),
                "/no": (403, "permission_error", "forbidden"),
                "/nowhere": (404, "invalid_request_error", "not_found"),
                "//small": (400, "invalid_request_error", "bad_request"),
            }
            for path, told in wanted.items():
                with Client(lb.address) as client:
                    assert error_of(client, path, method=b"POST", extra=b"Content-Length: 2\r\n")[:3] == told
            with Client(lb.address) as client:
                assert client.get("/rare").status == 200
                status, kind, code, after = error_of(client, "/rare")
                assert (status, kind, code) == (429, "requests", "rate_limit_exceeded")
                assert int(after or 0) > 3000


def test_pool_says_it_for_its_own_requests() -> None:
    with http(ABSENT, error_format="openai") as lb, Client(lb.address) as client:
        assert error_of(client)[0] == 502
    with http(ABSENT, listener=OPENAI, error_format="text") as lb, Client(lb.address) as client:
        assert client.get().body == b"502 Bad Gateway: no backend could be reached\n"
        assert error_of(client, "//%2f;%zz")[0] == 400, "no pool yet: the listener says it"


def test_clients_of_http2_are_told_the_same() -> None:
    with http(ABSENT, listener=OPENAI) as lb, H2Client(lb.address) as client:
        client.ask(1, "/v1/models")
        response = client.response(1)
        assert (response.status, response.heads[-1]["content-type"]) == ("502", "application/json")
        assert json.loads(response.body)["error"]["code"] == "no_backend"
        assert int(response.heads[-1]["content-length"]) == len(response.body)


def test_body_of_another_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="error_body: not with error_format = openai"):
        ListenerSettings(bind="http://127.0.0.1:0", error_body="x", error_format="openai")
    with pytest.raises(ConfigError, match="error_format: 'json' is not allowed"):
        ListenerSettings(bind="http://127.0.0.1:0", error_format="json")


# --- OpenAI's client ------------------------------------------------------------------------------------------------------

openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx")


def completion(lb: Balancer, *, retries: int = 0, http2: bool = False, **how: Any) -> str:
    """What the model says, by OpenAI's client."""
    host, port = lb.address
    with (
        httpx.Client(http1=not http2, http2=http2) as spoken,
        openai.OpenAI(base_url=f"http://{host}:{port}/v1", api_key="sk-1", max_retries=retries, http_client=spoken) as client,
    ):
        told = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], **how)
        return str(told.choices[0].message.content)


@pytest.mark.parametrize("http2", [False, True])
def test_openais_client_raises_what_it_has_for_each(http2: bool) -> None:
    with Backend(completes) as backend:
        settings = settings_of({"default": backend}, [{"pool": "default", "rate": "1/hour", "limit_key": "api_key"}])
        settings = settings.replace(listeners=[settings.listeners[0].replace(error_format="openai")])
        with balanced(settings=settings) as lb:
            assert completion(lb, http2=http2) == "hello"
            with pytest.raises(openai.RateLimitError) as limited:
                completion(lb, http2=http2)
            told = limited.value
            assert (told.status_code, told.code, told.type) == (429, "rate_limit_exceeded", "requests")
            assert "too many requests for this route" in told.message
    with http(ABSENT, listener=OPENAI) as lb, pytest.raises(openai.InternalServerError) as failed:
        completion(lb, http2=http2)
    assert (failed.value.status_code, failed.value.code, failed.value.param) == (502, "no_backend", None)
    with http(ABSENT, listener={**OPENAI, "max_body": 1}) as lb, pytest.raises(openai.APIStatusError) as large:
        completion(lb, http2=http2)
    assert (large.value.status_code, large.value.code) == (413, "request_too_large")


def test_openais_client_waits_as_it_is_told_and_tries_again() -> None:
    with Backend(completes) as backend:
        settings = settings_of({"default": backend}, [{"pool": "default", "rate": "1/s", "burst": 1}])
        settings = settings.replace(listeners=[settings.listeners[0].replace(error_format="openai")])
        with balanced(settings=settings) as lb:
            assert [completion(lb, retries=5) for _ in range(3)] == ["hello"] * 3
            figures = totals(settled(lb))
            assert figures["requests_done"] == 3
            assert figures["requests_rate_limited"] <= 4, "after Retry-After there is room"


def test_openais_client_tries_again_what_the_balancer_could_not_serve() -> None:
    with http(ABSENT, listener=OPENAI) as lb:
        with pytest.raises(openai.InternalServerError):
            completion(lb, retries=1)
        assert totals(settled(lb))["requests_refused"] == 2
