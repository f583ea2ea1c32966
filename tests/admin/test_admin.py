"""The admin endpoints, over real sockets: what they answer, and whom they refuse."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from admin_calls import ME, client, settings
from harness import Peer, balanced, dial, echo, named, read_exactly, wait_for

from lbcore.api.balancer import Balancer
from lbcore.config.settings import (
    AdminSettings,
    BackendSettings,
    LeaseSettings,
    ProbeSettings,
)
from lbcore.errors import ConfigError, PortTaken

LEASE_KEYS = {"id", "address", "pool", "generation", "heartbeat_s", "lease_s", "state"}


def test_register_heartbeat_deregister() -> None:
    with Peer(named(b"hi")) as peer, balanced(settings=settings()) as lb:
        admin, me = client(lb), ME | {"port": peer.port}
        status, first = admin.call("POST", "/register", me | {"weight": 4})
        assert (status, set(first)) == (201, LEASE_KEYS)
        assert first["address"] == peer.address
        assert (first["heartbeat_s"], first["lease_s"], first["state"]) == (0.2, 0.6, "up")
        with dial(lb.address) as session:
            assert read_exactly(session, 2) == b"hi"
        assert admin.call("POST", "/register", me)[0] == 200
        status, beat = admin.call("POST", "/heartbeat", me | {"status": "alive", "load": 0.5})
        assert (status, beat["id"], set(beat)) == (200, first["id"], LEASE_KEYS)
        backend = admin.call("GET", "/backends")[1]["pools"][0]["backends"][0]
        assert (backend["weight"], backend["load"], backend["source"]) == (4, 0.5, "lease")
        assert admin.call("POST", "/heartbeat", me | {"status": "busy", "for_s": 9})[1]["state"] == "busy"
        assert admin.call("POST", "/heartbeat", me | {"status": "draining"})[1]["state"] == "draining"
        assert admin.call("POST", "/deregister", {"server_ip": "127.0.0.1", "port": peer.port})[0] == 200
        assert admin.call("POST", "/heartbeat", me)[0] == 404


def test_silence_ends_a_lease() -> None:
    with Peer(echo) as peer, balanced(settings=settings()) as lb:
        admin, me = client(lb), ME | {"port": peer.port}
        first = admin.call("POST", "/register", me)[1]
        wait_for(lambda: not lb.pool().backends(), "the lease ends", 3)
        status, answer = admin.call("POST", "/heartbeat", me)
        assert (status, answer["action"]) == (404, "register")
        assert admin.call("POST", "/register", me)[1]["generation"] > first["generation"]


def test_a_registered_backend_is_probed_before_it_serves() -> None:
    probe = ProbeSettings(kind="tcp", interval="10s")
    with Peer(echo) as peer, balanced(settings=settings(probe=probe)) as lb:
        answer = client(lb).call("POST", "/register", ME | {"port": peer.port})[1]
        assert answer["state"] == "starting" or wait_for(lambda: peer.connections == 1, "the probe was the first to connect")
        wait_for(lambda: lb.pool().backends()[0].state == "up", "the first probe comes at once", 3)


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/register", b"", None),
        ("/register", b"{", None),
        ("/register", b"[]", None),
        ("/register", b"[" * 100_000, None),
        ("/register", b'"\xff"', None),
        ("/register", {}, "server_ip"),
        ("/register", {"server_ip": "127.0.0.1", "port": 1}, "status"),
        ("/register", ME | {"server_ip": "localhost"}, "server_ip"),
        ("/register", ME | {"server_ip": "127.0.0.1:80"}, "server_ip"),
        ("/register", ME | {"server_ip": 5}, "server_ip"),
        ("/register", ME | {"server_ip": "0.0.0.0"}, "server_ip"),
        ("/register", ME | {"server_ip": "224.0.0.1"}, "server_ip"),
        ("/register", ME | {"status": "dancing"}, "status"),
        ("/register", ME | {"port": "4000"}, "port"),
        ("/register", ME | {"port": 0}, "port"),
        ("/register", ME | {"port": 65_536}, "port"),
        ("/register", ME | {"port": True}, "port"),
        ("/register", {"server_ip": "127.0.0.1", "status": "ready"}, "port"),
        ("/register", ME | {"pool": "nope"}, "pool"),
        ("/register", ME | {"pool": "../x"}, "pool"),
        ("/register", ME | {"weight": -1}, "weight"),
        ("/register", ME | {"weight": 1.5}, "weight"),
        ("/register", ME | {"weight": 257}, "weight"),
        ("/register", ME | {"load": 1.01}, "load"),
        ("/register", ME | {"load": "high"}, "load"),
        ("/register", b'{"server_ip": "127.0.0.1", "status": "ready", "port": 4000, "load": NaN}', "load"),
        ("/register", ME | {"capacity": 0}, "capacity"),
        ("/heartbeat", ME | {"for_s": -1}, "for_s"),
        ("/deregister", {"port": 1}, "server_ip"),
    ],
)
def test_bad_bodies_are_named_and_change_nothing(path: str, body: object, key: str | None) -> None:
    with balanced(settings=settings()) as lb:
        generation = lb.status()["generation"]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("POST", path, raw)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        connection.close()
        assert answer.status == (413 if len(raw) > 65_536 else 422)
        assert document["error"]
        if answer.status == 422:
            assert document["key"] == key
        assert lb.status()["generation"] == generation


def test_oversized_body_wrong_path_and_wrong_method() -> None:
    with balanced(settings=settings()) as lb:
        admin = client(lb)
        assert admin.call("POST", "/register", {"pad": "x" * 70_000})[0] == 413
        assert admin.call("GET", "/nothing")[0] == 404
        assert admin.call("GET", "/register")[0] == 405


def test_nobody_speaks_for_another_address() -> None:
    with balanced(settings=settings()) as lb:
        for path in ("/register", "/heartbeat", "/deregister"):
            status, answer = client(lb).call("POST", path, ME | {"server_ip": "192.168.1.250"})
            assert (status, "192.168.1.250" in answer["error"]) == (403, True)
        assert lb.pool().backends() == []


def test_an_address_outside_allow_is_refused_and_never_probed() -> None:
    rules = settings({"allow": ["10.0.0.0/8"]}, probe=ProbeSettings(kind="tcp", interval="50ms"))
    with Peer(echo) as peer, balanced(settings=rules) as lb:
        status, answer = client(lb).call("POST", "/register", ME | {"port": peer.port})
        assert (status, "admin.allow" in answer["error"]) == (403, True)
        assert lb.pool().backends() == []
        assert peer.connections == 0


def test_the_token_is_asked_of_everybody_and_gives_operators_rights() -> None:
    with balanced(settings=settings({"token": "correct horse"})) as lb:
        for token in (None, "wrong horse", "correct horse2", ""):
            for method, path in (("GET", "/status"), ("POST", "/register"), ("GET", "/metrics"), ("POST", "/reload")):
                assert client(lb, token).call(method, path, ME if method == "POST" else None)[0] == 401
        assert client(lb).call("GET", "/healthz")[0] == 200
        operator = client(lb, "correct horse")
        assert operator.call("POST", "/register", ME | {"server_ip": "192.168.1.250"})[0] == 201
        assert operator.call("POST", "/register", ME | {"server_ip": "8.8.8.8"})[0] == 403


def test_operators_calls_need_operators() -> None:
    with balanced(settings=settings()) as lb:
        for verb in ("add", "drain", "ready", "remove", "weight"):
            assert client(lb).call("POST", f"/backends/{verb}", {"address": "127.0.0.1:1"})[0] == 403
        assert client(lb).call("POST", "/reload")[0] == 403
        assert client(lb, "made up").call("GET", "/status")[0] == 401


def test_a_stranger_cannot_deregister_what_the_configuration_names() -> None:
    with balanced(settings=settings(backends=[BackendSettings(address="127.0.0.1:4000")])) as lb:
        assert client(lb).call("POST", "/deregister", {"server_ip": "127.0.0.1", "port": 4000})[0] == 403
        assert len(lb.pool().backends()) == 1


def test_operators_steer_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with balanced(settings=settings({"listen": f"unix:{path}"})) as lb:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        admin = client(lb)
        assert admin.call("POST", "/backends/add", {"address": "127.0.0.1:4000", "weight": 3})[0] == 200
        assert admin.call("POST", "/backends/add", {"address": "127.0.0.1:4000"})[0] == 422
        assert admin.call("POST", "/backends/add", {"address": "nonsense"})[0] == 422
        assert admin.call("POST", "/backends/drain", {"address": "127.0.0.1:4000"})[1]["state"] == "draining"
        assert admin.call("POST", "/backends/ready", {"address": "127.0.0.1:4000"})[1]["state"] == "up"
        assert admin.call("POST", "/backends/weight", {"address": "127.0.0.1:4000", "weight": 9})[1]["weight"] == 9
        assert admin.call("POST", "/backends/weight", {"address": "127.0.0.1:4000"})[0] == 422
        assert admin.call("POST", "/backends/remove", {"address": "127.0.0.1:4000"})[0] == 200
        assert admin.call("POST", "/backends/remove", {"address": "127.0.0.1:4000"})[0] == 404
        assert admin.call("POST", "/backends/dance", {"address": "127.0.0.1:4000"})[0] == 404
        assert admin.call("POST", "/register", ME | {"server_ip": "10.1.2.3"})[0] == 201
    assert not path.exists()


def test_readiness() -> None:
    with balanced(settings=settings()) as lb:
        assert client(lb).call("GET", "/healthz")[0] == 200
        status, answer = client(lb).call("GET", "/readyz")
        assert (status, answer["ready"]) == (503, False)
        lb.pool().add("127.0.0.1:4000")
        assert client(lb).call("GET", "/readyz")[0] == 200
        lb.pool().get("127.0.0.1:4000").drain()
        assert client(lb).call("GET", "/readyz")[0] == 503


def test_metrics_speak_prometheus() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with Peer(named(b"x")) as peer, balanced(settings=settings(backends=[BackendSettings(address=peer.address)])) as lb:
        with dial(lb.address) as session:
            read_exactly(session, 1)
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        samples = {
            (sample.name, sample.labels.get("state", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["lbcore_worker_accepted_total", ""] == 1
        assert samples["lbcore_backend_sessions_total", ""] == 1
        assert samples["lbcore_backend_state", "up"] == 1


def test_a_taken_admin_port_is_one_clear_line_and_nothing_is_left() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(PortTaken, match="in use"):
            Balancer(settings=settings({"listen": listen})).start()


def test_an_open_admin_address_needs_a_token() -> None:
    for listen in ("0.0.0.0:0", "[::]:0", "192.168.1.1:9900"):
        with pytest.raises(ConfigError, match="token is required"):
            AdminSettings(listen=listen)
    AdminSettings(listen="0.0.0.0:0", token="a long secret")


def test_a_slow_caller_holds_up_nobody() -> None:
    with balanced(settings=settings()) as lb:
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(50)]
        for connection in slow:
            connection.sendall(b"POST /register HTTP/1.1\r\nContent-Le")
        assert client(lb).call("GET", "/healthz")[0] == 200
        for connection in slow:
            connection.close()


def test_a_heartbeat_without_a_port_means_the_only_backend_of_its_host() -> None:
    with balanced(settings=settings()) as lb:
        admin, me = client(lb), {"server_ip": "127.0.0.1", "status": "alive"}
        status, answer = admin.call("POST", "/heartbeat", me)
        assert (status, answer["action"]) == (404, "register")
        first = admin.call("POST", "/register", ME)[1]
        assert admin.call("POST", "/heartbeat", me)[1]["id"] == first["id"]
        admin.call("POST", "/register", ME | {"port": 4001})
        status, answer = admin.call("POST", "/heartbeat", me)
        assert (status, answer["key"]) == (422, "port")
        assert admin.call("POST", "/deregister", {"server_ip": "127.0.0.1", "port": 4001})[0] == 200
        assert admin.call("POST", "/deregister", {"server_ip": "127.0.0.1"})[0] == 200
        assert lb.pool().backends() == []


def test_the_leases_port_stands_in() -> None:
    with balanced(settings=settings(lease=LeaseSettings(heartbeat="5s", port=8000))) as lb:
        me = {"server_ip": "127.0.0.1", "status": "ready"}
        assert client(lb).call("POST", "/register", me)[1]["address"] == "127.0.0.1:8000"
        assert client(lb).call("POST", "/heartbeat", me)[0] == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/pick"), ("POST", "/reload")])
def test_a_call_that_comes_while_it_drains_does_not_keep_it_from_stopping(method: str, path: str) -> None:
    with Peer(echo) as peer:
        lb = Balancer(settings=settings({"token": "operators"}, backends=[BackendSettings(address=peer.address)])).start()
        admin, answers = client(lb, "operators"), list[int]()
        with dial(lb.address) as session:
            session.sendall(b"x")
            assert session.recv(1) == b"x"  # a session that the drain waits for
            stopping = threading.Thread(target=lb.stop, args=(1.0,), daemon=True)
            stopping.start()
            wait_for(lambda: lb.status()["draining"], "it drains")
            answers.append(admin.call(method, path, {} if method == "POST" else None)[0])
            stopping.join(10)
            assert not stopping.is_alive()
        assert answers[0] in (200, 409, 503)
