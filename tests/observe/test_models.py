"""What is seen of the models that routes name: figures, the access log, `lbcore why`."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from harness import balanced, settled, wait_for
from http_balancers import settings_of
from http_peers import Backend, Client, answering
from prometheus_client.parser import text_string_to_metric_families

from lbcore.config.settings import RouteSettings
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

ROUTES = [
    {"json": {"model": ["llama-3", "llama-é"]}, "pool": "llama"},
    {"json": {"model": "qwen", "tier": "gold"}, "pool": "gold"},
    {"json": {"model": "qwen"}, "pool": "gold"},
]
FAILS = answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")


def ask(client: Client, body: bytes | dict[str, Any], type: bytes = b"application/json") -> int:
    """The status of a request with this body."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    client.send(b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (type, len(sent), sent))
    return int(client.answer().status)


@contextlib.contextmanager
def models(**options: Any) -> Iterator[tuple[Balancer, Client]]:
    """Pools llama and default that respond with 200, gold with 503."""
    with Backend(name=b"llama") as llama, Backend(FAILS) as gold, Backend() as other:
        settings = settings_of({"llama": llama, "gold": gold, "default": other}, ROUTES).replace(**options)
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            yield lb, client


def figures(lb: Balancer) -> dict[str, tuple[int, int, int]]:
    """By model: requests, responses of 2xx and of 5xx."""
    shown = settled(lb)["models"]
    return {
        one["name"]: (one["tally"]["requests"], *(one["tally"]["responses"][key] for key in ("2xx", "5xx"))) for one in shown
    }


def test_figures_by_the_models_that_routes_name() -> None:
    with models() as (lb, client):
        for model in ("llama-3", "llama-3", "llama-é", "qwen", "unheard-of"):
            ask(client, {"model": model})
        assert figures(lb) == {"llama-3": (2, 2, 0), "llama-é": (1, 1, 0), "qwen": (1, 0, 1)}
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(lb.metrics().decode())
            for sample in family.samples
        }
        assert samples["lbcore_model_requests_total", (("model", "llama-3"),)] == 2
        assert samples["lbcore_model_responses_total", (("class", "5xx"), ("model", "qwen"))] == 1
        assert samples["lbcore_model_request_seconds_count", (("model", "llama-é"),)] == 1
        assert not any("unheard-of" in str(labels) for _, labels in samples)


def test_figures_stay_over_a_reload_and_go_with_their_model() -> None:
    with models() as (lb, client):
        ask(client, {"model": "llama-3"})
        ask(client, {"model": "qwen"})
        assert figures(lb)["qwen"] == (1, 0, 1)
        settings = lb._settings
        kept, back = [RouteSettings(**ROUTES[0])], [RouteSettings(**route) for route in reversed(ROUTES)]
        lb.reload(settings.replace(routes=kept))
        assert figures(lb) == {"llama-3": (1, 1, 0), "llama-é": (0, 0, 0)}
        lb.reload(settings.replace(routes=back))
        assert figures(lb) == {"llama-3": (1, 1, 0), "llama-é": (0, 0, 0), "qwen": (0, 0, 0)}
        wait_for(lambda: ask(client, {"model": "qwen"}) == 503, "the new routes at the worker")
        assert figures(lb)["qwen"][2] >= 1


def test_no_more_models_have_figures_than_there_are_rows() -> None:
    with models() as (lb, client):
        many = [RouteSettings(json={"model": [f"model-{i}" for i in range(70)]}, pool="llama")]
        lb.reload(lb._settings.replace(routes=many))
        wait_for(lambda: ask(client, {"model": "model-69"}) == 200 and _served(lb, "llama"), "the new routes at the worker")
        assert len(lb.status()["models"]) == 64


def _served(lb: Balancer, pool: str) -> bool:
    return any(one["name"] == pool and one["tally"]["requests"] for one in settled(lb)["pools"])


@pytest.mark.parametrize("format", ["json", "text"])
def test_the_access_log_names_the_model(tmp_path: Path, format: str) -> None:
    log = tmp_path / "log"
    with models(access_log=str(log), access_log_format=format) as (_, client):
        ask(client, {"model": "llama-é"})
        ask(client, {"model": "unheard-of"})
        if format == "json":
            assert [line.get("model") for line in logged(log, 2)] == ["llama-é", None]
        else:
            first, second = wait_for(
                lambda: log.exists() and len(found := log.read_text().splitlines()) == 2 and found, "two lines"
            )
            assert " model=llama-\\xc3\\xa9 " in first
            assert "model=" not in second


def test_lbcore_why_says_what_the_body_said() -> None:
    with models() as (lb, client):
        ask(client, {"model": "llama-3"})
        ask(client, {"model": "other"})
        ask(client, {"x": 1})
        ask(client, b'{"model": "qwen", "model": "qwen"}')
        ask(client, b'{"model": "qwen"')
        ask(client, {"x": "y" * 70_000, "model": "qwen"})
        ask(client, {"model": "qwen"}, b"text/plain")
        seen = decisions(lb._running().table.segment)
        assert [(one["pool"], one["json"]) for one in seen] == [
            ("llama", "matched"),
            ("default", "a value that no route names"),
            ("default", "the key is missing"),
            ("default", "a key came twice"),
            ("default", "the body is no JSON"),
            ("default", "the key is not in the first json_bytes"),
            ("default", "no body of JSON, by its head"),
        ]
        assert seen[0]["route"] == "route[0]: json:model=llama-3,llama-é"
        assert all(one["route"] is None for one in seen[1:])
