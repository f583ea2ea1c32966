"""The examples of vLLM, SGLang, Triton, Ray Serve and LiteLLM, as they stand in tools/docs/examples, before stand-ins that
speak what those servers document of their API."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, wait_for
from http_peers import Backend, Client

from lbcore.config.toml import load

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from lbcore import Balancer

EXAMPLES = Path(__file__).resolve().parents[2] / "tools/docs/examples"
NOBODY = "127.0.0.1:1"


class Server(Backend):
    """Answers by method and path; 404 to everything else. asked: what came, probes and reads of metrics left out."""

    def __init__(self, answers: dict[str, bytes], quiet: tuple[str, ...]) -> None:
        self.answers, self.quiet = answers, quiet
        self.asked: list[tuple[str, bytes]] = []
        super().__init__(self._serve)

    def _serve(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        what = b" ".join(head.split(b" ", 2)[:2]).decode()
        if what not in self.quiet:
            self.asked.append((what, body))
        said = self.answers.get(what)
        status = b"404 Not Found" if said is None else b"200 OK"
        close = b"Connection: close\r\n" if b"Connection: close" in head else b""
        said = said or b""
        connection.sendall(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, close, len(said), said))
        return bool(close)


def chat_of(name: str) -> bytes:
    return json.dumps({"object": "chat.completion", "choices": [{"message": {"content": name}}]}).encode()


def vllm(name: str) -> Server:
    """docs.vllm.ai: OpenAI-compatible server, usage/metrics."""
    metrics = (
        b'vllm:num_requests_running{engine="0"} 2\nvllm:num_requests_waiting{engine="0"} 0\nvllm:kv_cache_usage_perc 0.25\n'
    )
    answers = {"GET /health": b"", "GET /metrics": metrics, "POST /v1/chat/completions": chat_of(name)}
    return Server(answers, ("GET /health", "GET /metrics"))


def sglang(name: str) -> Server:
    """docs.sglang.io: native API (/generate, /health), OpenAI-compatible API, production metrics."""
    metrics = b"sglang:num_running_reqs 2\nsglang:num_queue_reqs 0\nsglang:token_usage 0.25\n"
    answers = {"GET /health": b"", "GET /metrics": metrics, "POST /generate": json.dumps({"text": name}).encode()}
    return Server(answers | {"POST /v1/chat/completions": chat_of(name)}, ("GET /health", "GET /metrics"))


def triton(name: str) -> Server:
    """KServe's predict protocol v2, and Triton's metrics, on one port here."""
    metrics = b'nv_inference_pending_request_count{model="m",version="1"} 2\n'
    outputs = json.dumps({"model_name": "m", "outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "data": [name]}]})
    answers = {"GET /v2/health/ready": b"", "GET /metrics": metrics, "POST /v2/models/m/infer": outputs.encode()}
    return Server(answers, ("GET /v2/health/ready", "GET /metrics"))


def litellm(name: str) -> Server:
    """docs.litellm.ai: proxy, health; its keys are bearer tokens."""
    answers = {"GET /health/liveliness": b'"I\'m alive!"', "POST /v1/chat/completions": chat_of(name), "GET /health": b"{}"}
    return Server(answers, ("GET /health/liveliness",))


def ray(name: str) -> Server:
    """docs.ray.io, Serve: the HTTP proxy's /-/healthz and /-/routes."""
    answers = {"GET /-/healthz": b"success", "GET /-/routes": b'{"/": "app"}', "POST /predict": name.encode()}
    return Server(answers, ("GET /-/healthz",))


@contextlib.contextmanager
def triton_calls() -> Iterator[str]:
    """Triton over gRPC: its health, and whether it is ready, as KServe's protocol asks. HOST:PORT."""
    import grpc

    yes = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
    services = (("grpc.health.v1.Health", "Check"), ("inference.GRPCInferenceService", "ServerReady"))
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {method: yes}) for name, method in services)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def example(name: str, tmp_path: Path, replaced: dict[str, str]) -> Iterator[Balancer]:
    """It runs, with what stands for this host in the place of its own, and every pool has a backend that is up."""
    written = (EXAMPLES / f"{name}.toml").read_text()
    for there, here in replaced.items():
        assert there in written
        written = written.replace(there, here)
    at = tmp_path / f"{name}.toml"
    at.write_text(written)
    with balanced(settings=load(at)) as lb:
        for pool in range(len(lb.status()["pools"])):
            wait_for(lambda pool=pool: _up(lb, pool), "a backend is up")
        yield lb


def _up(lb: Balancer, pool: int) -> list[dict[str, Any]]:
    backends = lb.status()["pools"][pool]["backends"]
    return [backend for backend in backends if backend["state"] == "up" and backend["address"] != NOBODY]


def post(client: Client, path: str, body: dict[str, Any], *fields: bytes) -> tuple[int, Any]:
    sent = json.dumps(body).encode()
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (
        path.encode(),
        len(sent),
    )
    client.send(head + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + sent)
    answer = client.answer()
    return answer.status, json.loads(answer.body) if answer.status == 200 else answer.body


def talk(turns: int) -> dict[str, Any]:
    """A conversation of so many turns."""
    messages = [{"role": "system", "content": "You are a helpful assistant. " * 20}]
    for turn in range(turns):
        messages += [
            {"role": "user", "content": f"question {turn} " * 20},
            {"role": "assistant", "content": f"answer {turn} " * 20},
        ]
    return {"model": "m", "messages": messages[:-1]}


@pytest.mark.parametrize(("name", "server", "port"), [("vllm", vllm, 8000), ("sglang", sglang, 30000)])
def test_conversation_stays_where_its_beginning_is(name: str, server: Any, port: int, tmp_path: Path) -> None:
    with server("one") as one, server("two") as two:
        replaced = {f"10.0.0.5:{port}": one.address, f"10.0.0.6:{port}": two.address, "0.0.0.0:8000": "127.0.0.1:0"}
        with example(name, tmp_path, replaced) as lb, Client(lb.address) as client:
            wait_for(lambda: len(_up(lb, 0)) == 2, "both are up")
            wait_for(lambda: [backend["load"] for backend in _up(lb, 0)] == [0.25, 0.25], "their load is read")
            said = [post(client, "/v1/chat/completions", talk(turns)) for turns in range(1, 9)]
            assert {status for status, _ in said} == {200}
            assert sorted([len(one.asked), len(two.asked)]) == [0, 8]
            bodies = [json.loads(body) for _, body in one.asked + two.asked]
            assert bodies == [talk(turns) for turns in range(1, 9)]


def test_sglang_own_api_goes_by_its_text(tmp_path: Path) -> None:
    with sglang("one") as one, sglang("two") as two:
        replaced = {"10.0.0.5:30000": one.address, "10.0.0.6:30000": two.address, "0.0.0.0:8000": "127.0.0.1:0"}
        with example("sglang", tmp_path, replaced) as lb, Client(lb.address) as client:
            wait_for(lambda: len(_up(lb, 0)) == 2, "both are up")
            text = "Once upon a time there was a balancer. " * 100
            said = [post(client, "/generate", {"text": text + "more " * turn}) for turn in range(6)]
            assert {status for status, _ in said} == {200}
            assert sorted([len(one.asked), len(two.asked)]) == [0, 6]


def test_triton_over_http_and_grpc(tmp_path: Path) -> None:
    import grpc

    with triton("one") as one, triton_calls() as calls:
        replaced = {
            "10.0.0.5:8000": one.address,
            "10.0.0.6:8000": NOBODY,
            "10.0.0.5:8001": calls,
            "10.0.0.6:8001": NOBODY,
            "0.0.0.0:8000": "127.0.0.1:0",
            "0.0.0.0:8001": "127.0.0.1:0",
            'kind = "triton"': f'kind = "triton"\nport = {one.port}',
        }
        with example("triton", tmp_path, replaced) as lb:
            listeners = {listener["name"]: listener["address"] for listener in lb.status()["listeners"]}
            with Client(address_of(listeners["http"])) as client:
                tensors = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]}
                status, body = post(client, "/v2/models/m/infer", tensors)
                assert (status, body["outputs"][0]["data"]) == (200, ["one"])
            wait_for(lambda: _up(lb, 0)[0]["elsewhere"] == 2, "what waits there is read")
            with grpc.insecure_channel(listeners["grpc"]) as channel:
                method = "/inference.GRPCInferenceService/ServerReady"
                assert channel.unary_unary(method)(b"", timeout=10) == b"\x08\x01"


def address_of(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def test_litellm_is_limited_by_its_keys_and_its_administration_stays_inside(tmp_path: Path) -> None:
    with litellm("one") as one:
        replaced = {
            "10.0.0.5:4000": one.address,
            "10.0.0.6:4000": NOBODY,
            "0.0.0.0:8080": "127.0.0.1:0",
            "600/minute": "2/minute",
        }
        with example("litellm", tmp_path, replaced) as lb, Client(lb.address) as client:
            first = [post(client, "/v1/chat/completions", talk(1), b"Authorization: Bearer sk-1") for _ in range(3)]
            assert [status for status, _ in first] == [200, 200, 429]
            assert json.loads(first[-1][1])["error"]["code"] == "rate_limit_exceeded"
            assert post(client, "/v1/chat/completions", talk(1), b"Authorization: Bearer sk-2")[0] == 200
            assert post(client, "/key/generate", {}, b"Authorization: Bearer sk-2")[0] == 403
            assert [what for what, _ in one.asked] == ["POST /v1/chat/completions"] * 3


def test_ray_serve_nodes_are_found_by_name(tmp_path: Path) -> None:
    with ray("one") as one:
        replaced = {
            "0.0.0.0:8080": "127.0.0.1:0",
            '"ray-nodes.internal"': '"localhost"',
            "port = 8000": f"port = {one.port}",
        }
        with example("ray-serve", tmp_path, replaced) as lb, Client(lb.address) as client:
            client.send(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert (client.answer().body, one.asked) == (b"one", [("POST /predict", b"hi")])
