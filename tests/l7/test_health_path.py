"""health_path: a listener tells Kubernetes and cloud balancers whether clients should come, as readyz does."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from harness import Command, balanced, wait_for
from http_peers import Backend, Client, field

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError

OFF = ProbeSettings(kind="off")


def settings(*backends: str, **listener: object) -> BalancerSettings:
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="http://127.0.0.1:0", health_path="/lb-health", **listener)],
        pools=[PoolSettings(backends=list(backends), probe=OFF)],
    )


def asked(client: Client, line: bytes = b"GET /lb-health HTTP/1.1") -> int:
    """The status that a request with this line, and perhaps more, is answered with."""
    client.send(line + b"\r\nHost: a\r\n\r\n")
    return int(client.answer().status)


def test_the_health_path_is_answered_here_and_no_other() -> None:
    with Backend() as backend, balanced(settings=settings(backend.address)) as lb, Client(lb.address) as client:
        for line in (b"GET /lb-health HTTP/1.1", b"GET /lb-health?x=1 HTTP/1.1", b"GET http://a/lb-health HTTP/1.1"):
            assert asked(client, line) == 200
        assert backend.heads == []
        for line in (
            b"GET /lb-healthy HTTP/1.1",
            b"GET /lb-health/ HTTP/1.1",
            b"POST /lb-health HTTP/1.1\r\nContent-Length: 0",
        ):
            assert asked(client, line) == 200
        assert len(backend.heads) == 3


def test_it_is_503_when_nobody_can_serve() -> None:
    with balanced(settings=settings()) as lb, Client(lb.address) as client:
        wait_for(lambda: asked(client) == 503, "it says that nobody can serve")
        with Backend() as backend:
            row = lb.pool().add(backend.address)
            wait_for(lambda: asked(client) == 200, "it says that somebody can")
            lb.pool().remove(row)
            wait_for(lambda: asked(client) == 503, "it says that nobody can")


def test_error_body_is_not_that_of_a_healthy_balancer() -> None:
    with (
        Backend() as backend,
        balanced(settings=settings(backend.address, error_body="sorry")) as lb,
        Client(lb.address) as client,
    ):
        answer = client.get("/lb-health")
        assert (answer.status, answer.body) == (200, b"200 OK: ready\n")
        assert field(answer.head, b"Content-Length") == b"14"


def test_it_is_not_limited_as_clients_are() -> None:
    limits = {"client_request_rate": 1, "client_request_burst": 1}
    with Backend() as backend, balanced(settings=settings(backend.address, **limits)) as lb, Client(lb.address) as client:
        assert [asked(client) for _ in range(10)] == [200] * 10


def test_it_is_503_while_the_balancer_leaves(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    file.write_text(
        'drain_delay = "1500ms"\nadmin.listen = "off"\n[[listener]]\nbind = "http://127.0.0.1:0"\nhealth_path = "/h"\n'
        '[[pool]]\nprobe.kind = "off"\nbackend = [{ address = "127.0.0.1:9" }]\n'
    )
    lb = Command(tmp_path, "-c", str(file), "--workers", "1")
    with Client(lb.address) as client:
        assert asked(client, b"GET /h HTTP/1.1") == 200
        lb.process.send_signal(signal.SIGTERM)
        wait_for(lambda: asked(client, b"GET /h HTTP/1.1") == 503, "it says that it leaves, and serves")
        began = time.monotonic()
    assert lb.stop() == 0
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("path", ["health", "/a b", "/a?b", "/" + "x" * 127, "/é"])
def test_a_health_path_that_no_request_can_have(path: str) -> None:
    with pytest.raises(ConfigError, match="health_path"):
        ListenerSettings(bind="http://127.0.0.1:0", health_path=path)


def test_a_health_path_of_a_tcp_listener() -> None:
    with pytest.raises(ConfigError, match="health_path: only for mode http or https, this is tcp"):
        ListenerSettings(bind="tcp://127.0.0.1:0", health_path="/h")
