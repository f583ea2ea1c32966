"""The example of several models behind one address, as it stands in tools/docs/examples, before stand-ins of vllm serve."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import balanced, wait_for
from model_servers import ModelServer, serving

from lbcore.config.toml import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore import Balancer

EXAMPLE = Path(__file__).resolve().parents[2] / "tools/docs/examples/models.toml"
LLAMA, QWEN = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"


@contextlib.contextmanager
def example(tmp_path: Path) -> Iterator[tuple[Balancer, ModelServer, ModelServer]]:
    """It runs, with addresses of this host in the place of its own."""
    with serving(LLAMA) as llama, serving(QWEN) as qwen:
        written = EXAMPLE.read_text()
        for there, here in (("10.0.0.5:8000", llama), ("10.0.0.6:8000", None), ("10.0.0.7:8000", qwen)):
            assert there in written
            written = written.replace(there, here.where if here else "127.0.0.1:1")
        at = tmp_path / "models.toml"
        at.write_text(written.replace("0.0.0.0:8000", "127.0.0.1:0"))
        with balanced(settings=load(at)) as lb:
            usable = {LLAMA: "llama", QWEN: "qwen"}
            wait_for(
                lambda: sum(_has_a_backend(lb, pool) for pool in usable.values()) == 2, "a backend that is up in each pool"
            )
            yield lb, llama, qwen


def _has_a_backend(lb: Balancer, name: str) -> bool:
    backends = next(pool["backends"] for pool in lb.status()["pools"] if pool["name"] == name)
    return any(backend["state"] == "up" and backend["address"] != "127.0.0.1:1" for backend in backends)


def ask(lb: Balancer, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """As a client of OpenAI's API does: (status, body)."""
    connection = http.client.HTTPConnection(*lb.address, timeout=10)
    with contextlib.closing(connection):
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
        response = connection.getresponse()
        return response.status, response.read()


def chat(model: str, **more: Any) -> dict[str, Any]:
    """The messages come first, as OpenAI's client for Python has them."""
    return {"messages": [{"role": "user", "content": "Who are you? " * 100}], "model": model, **more}


def test_each_model_is_served_by_its_own_backends(tmp_path: Path) -> None:
    with example(tmp_path) as (lb, llama, qwen):
        for model, server in ((LLAMA, llama), (QWEN, qwen)):
            status, body = ask(lb, "POST", "/v1/chat/completions", chat(model))
            assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, f"I am {model}")
            assert json.loads(server.bodies[-1]) == chat(model)
        assert [json.loads(body)["model"] for body in llama.bodies + qwen.bodies] == [LLAMA, QWEN]


def test_tokens_stream(tmp_path: Path) -> None:
    with example(tmp_path) as (lb, _, qwen):
        status, body = ask(lb, "POST", "/v1/chat/completions", chat(QWEN, stream=True))
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")
        assert len(qwen.bodies) == 1


def test_a_model_that_is_not_served_is_refused_by_lbcore(tmp_path: Path) -> None:
    with example(tmp_path) as (lb, llama, qwen):
        assert ask(lb, "POST", "/v1/chat/completions", chat("gpt-4"))[0] == 403
        assert not llama.bodies
        assert not qwen.bodies
        status, body = ask(lb, "GET", "/v1/models")
        assert (status, json.loads(body)["data"][0]["id"]) == (200, LLAMA)
