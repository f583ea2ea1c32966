"""Whom the admin server refuses: tokens of pools, signed calls, addresses that are nobody's, callers that call too often."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from admin_calls import ME, client, settings
from harness import Command, balanced, wait_for

from lbcore.admin.access import is_nobodys, is_own
from lbcore.admin.limits import CALLERS, Rate, Refusals
from lbcore.client.signature import WINDOW_S, Verifier, headers, sign
from lbcore.config.settings import LeaseSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from lbcore.api.balancer import Balancer

KEY = "a key of sixteen bytes or more"


def call(lb: Balancer, path: str, body: dict[str, Any], fields: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """A POST with fields of the test's own."""
    host, port = str(lb.admin_address).removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("POST", path, json.dumps(body), fields or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- tokens ---------------------------------------------------------------------------------------------------------------


def test_a_pools_token_admits_its_backends_and_nothing_else() -> None:
    rules = settings({"token": "operators"}, lease=LeaseSettings(token="the pool's", port=4000))
    with balanced(settings=rules) as lb:
        assert call(lb, "/register", ME)[0] == 401
        assert call(lb, "/register", ME, bearer("wrong"))[0] == 401
        assert call(lb, "/register", ME, bearer("the pool's"))[0] == 201
        assert call(lb, "/heartbeat", ME | {"status": "alive"}, bearer("the pool's"))[0] == 200
        assert call(lb, "/heartbeat", ME | {"status": "alive"}, bearer("operators"))[0] == 200
        assert call(lb, "/backends/add", {"address": "10.0.0.1:1"}, bearer("the pool's"))[0] in (401, 403)
        assert call(lb, "/deregister", ME, bearer("the pool's"))[0] == 200


def test_strangers_do_not_learn_the_names_of_pools() -> None:
    with balanced(settings=settings({"token": "operators"})) as lb:
        status, answer = call(lb, "/register", ME | {"pool": "nosuch"})
        assert (status, "default" in json.dumps(answer)) == (401, False)


def test_a_secret_from_a_file_and_one_that_is_too_short(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\nmore\n")
    assert LeaseSettings(hmac_key_file=str(file)).hmac_key == KEY
    for wrong in ({"token": "short"}, {"hmac_key": "fifteen bytes.."}, {"token_file": str(tmp_path / "none")}):
        with pytest.raises(ConfigError):
            LeaseSettings(**wrong)


# --- signed calls -----------------------------------------------------------------------------------------------------------


def signed(path: str, body: dict[str, Any], key: str = KEY) -> dict[str, str]:
    return headers(key, "POST", path, json.dumps(body).encode())


def test_signed_calls_count_once() -> None:
    with balanced(settings=settings(lease=LeaseSettings(hmac_key=KEY))) as lb:
        fields = signed("/register", ME)
        assert call(lb, "/register", ME, fields)[0] == 201
        status, answer = call(lb, "/register", ME, fields)
        assert (status, "nonce was used" in answer["error"]) == (401, True)
        assert call(lb, "/heartbeat", ME, signed("/heartbeat", ME))[0] == 200


@pytest.mark.parametrize("fault", ["unsigned", "other key", "other body", "other path"])
def test_calls_that_are_not_signed_right_are_refused(fault: str) -> None:
    fields = {
        "unsigned": {},
        "other key": signed("/register", ME, "another key of many bytes"),
        "other body": signed("/register", ME | {"weight": 9}),
        "other path": signed("/heartbeat", ME),
    }[fault]
    with balanced(settings=settings(lease=LeaseSettings(hmac_key=KEY))) as lb:
        assert call(lb, "/register", ME, fields)[0] == 401
        assert lb.pool().backends() == []


def test_a_wrong_clock_is_named_and_a_replay_is_never_taken() -> None:
    now = [1_700_000_000.0]
    verifier = Verifier(clock=lambda: now[0])

    def fault(late_s: float, nonce: str) -> str | None:
        at = int((now[0] - late_s) * 1000)
        fields = {"X-LB-Timestamp": str(at), "X-LB-Nonce": nonce, "X-LB-Signature": sign(KEY, "POST", "/x", at, nonce, b"")}
        return verifier.fault(KEY, "POST", "/x", fields, b"")

    assert fault(0, "0" * 32) is None
    assert "used before" in str(fault(0, "0" * 32))
    assert fault(WINDOW_S - 1, "1" * 32) is None
    assert "behind" in str(fault(WINDOW_S + 1, "2" * 32))
    assert "behind" in str(fault(-WINDOW_S - 1, "3" * 32))
    assert "16 bytes" in str(fault(0, "short"))
    for number in range(2000):
        assert fault(0, f"{number:032x}" if number else "f" * 32) is None
    now[0] += 3 * WINDOW_S
    assert fault(0, "a" * 32) is None
    assert len(verifier._seen) < 10  # forgotten, and too old to come again


# --- addresses ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "nobodys"),
    [
        ("169.254.169.254", True),
        ("169.254.1.1", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1", True),
        ("fd00:ec2::254", True),
        ("100.100.100.200", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("fd00::1", False),
    ],
)
def test_metadata_addresses_are_nobodys(ip: str, nobodys: bool) -> None:
    assert is_nobodys(ip) is nobodys


def test_metadata_addresses_are_refused_even_to_operators() -> None:
    with balanced(settings=settings({"token": "operators", "allow": ["0.0.0.0/0"]})) as lb:
        status, answer = call(lb, "/register", ME | {"server_ip": "169.254.169.254"}, bearer("operators"))
        assert (status, "metadata" in answer["error"]) == (403, True)


def test_the_balancer_itself_is_no_backend() -> None:
    with balanced(settings=settings()) as lb:
        admin_port = int(str(lb.admin_address).rpartition(":")[2])
        for port in (lb.address[1], admin_port):
            status, answer = call(lb, "/register", ME | {"port": port})
            assert (status, "itself" in answer["error"]) == (403, True)
    assert is_own("127.0.0.1", 80, [("0.0.0.0", 80)])
    assert is_own("127.0.0.1", 80, [("::", 80)])
    assert not is_own("127.0.0.1", 81, [("0.0.0.0", 80)])
    assert not is_own("198.51.100.7", 80, [("0.0.0.0", 80)])


# --- rates and refusals -------------------------------------------------------------------------------------------------------


def test_rate_is_by_address_and_comes_back() -> None:
    now = [0.0]
    rate = Rate(5, clock=lambda: now[0])
    assert [rate.allows("a") for _ in range(12)] == [True] * 10 + [False] * 2
    assert rate.allows("b")
    now[0] = 0.4
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]
    assert all(Rate(0).allows("a") for _ in range(100))
    for number in range(CALLERS + 50):
        rate.allows(str(number))
    assert len(rate._buckets) == CALLERS


def test_too_many_calls_are_429_and_operators_are_not_counted() -> None:
    rules = settings({"rate": 2, "token": "operators"}, lease=LeaseSettings(token="the pool's"))
    with balanced(settings=rules) as lb:
        answers = [call(lb, "/register", ME, bearer("the pool's"))[0] for _ in range(8)]
        assert answers[0] == 201
        assert 429 in answers
        assert [call(lb, "/heartbeat", ME, bearer("operators"))[0] for _ in range(8)] == [200] * 8


def test_refusals_are_counted_and_told_once_a_second() -> None:
    now, lines = [100.0], list[str]()
    counted: list[str] = []
    refusals = Refusals(lines.append, counted.append, clock=lambda: now[0])
    for _ in range(50):
        refusals.note(401, "10.0.0.9", "/register", "no token")
    assert lines == ["admin: refused 10.0.0.9 /register: no token (status 401)"]
    now[0] += 1.1
    refusals.note(403, None, "/register", "not yours")
    assert lines[1] == "admin: refused unix /register: not yours (status 403) (and 49 more since the last such line)"
    assert collections.Counter(counted) == {"refused_401": 50, "refused_403": 1}


def test_refusals_stand_in_the_metrics() -> None:
    with balanced(settings=settings({"token": "operators"})) as lb:
        for _ in range(3):
            call(lb, "/register", ME)
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/metrics", headers=bearer("operators"))
        text = connection.getresponse().read().decode()
        connection.close()
        assert 'lbcore_admin_refused_total{status="401"} 3.0' in text


# --- leaving, staying ------------------------------------------------------------------------------------------


def test_deregistering_again_tells_what_is_left() -> None:
    with balanced(settings=settings()) as lb:
        admin = client(lb)
        admin.call("POST", "/register", ME)
        pick = lb.pool().pick()
        assert admin.call("POST", "/deregister", ME)[1]["active"] == 1
        assert admin.call("POST", "/deregister", ME)[1]["active"] == 1
        leaving = lb.status()["pools"][0]["backends"][0]
        assert (leaving["state"], leaving["active"]) == ("draining", 1)
        assert 0 < leaving["leaves_in_s"] <= 1
        pick.release()
        wait_for(lambda: admin.call("POST", "/deregister", ME)[0] == 404, "it is gone")


def test_a_restart_begins_with_the_backends_it_knew(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    config.write_text(
        'state_file = "state.json"\n[admin]\nlisten = "127.0.0.1:0"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n'
        '[[pool]]\nname = "default"\n[pool.probe]\nkind = "off"\n[pool.lease]\nheartbeat = "1s"\nmissed = 5\n'
    )
    first = Command(tmp_path, "-c", str(config), "--workers", "1")
    assert first.call("/register", **ME, weight=7, capacity=3)[0] == 201
    assert first.call("/backends/add", address="127.0.0.1:4001")[0] == 200
    assert first.call("/backends/drain", address="127.0.0.1:4001")[0] == 200
    state = tmp_path / "state.json"
    wait_for(lambda: state.exists() and "4001" in state.read_text(), "it is saved")
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert first.stop() == 0

    second = Command(tmp_path, "-c", str(config), "--workers", "1")
    known = {backend["address"]: backend for backend in second.status()["pools"][0]["backends"]}
    leased, added = known["127.0.0.1:4000"], known["127.0.0.1:4001"]
    assert (leased["state"], leased["weight"], leased["source"], leased["capacity"]) == ("up", 7, "lease", 3)
    assert leased["reason"] == "on probation: known from before the restart"
    assert added["state"] == "draining"
    assert second.call("/heartbeat", **ME)[0] == 200  # nobody need register again
    wait_for(lambda: len(second.status()["pools"][0]["backends"]) == 1, "silence ends the lease")
    assert second.stop() == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 9}', '{"format": 1, "backends": [1, {"pool": "x"}]}'])
def test_a_damaged_state_file_keeps_nobody_from_starting(tmp_path: Path, content: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(content)
    lines: list[str] = []
    from lbcore.api.balancer import Balancer

    with Balancer(listen="tcp://127.0.0.1:0", health="off", workers=1, state_file=str(file), log=lines.append) as lb:
        assert lb.pool().backends() == []
    assert any("is ignored" in line for line in lines)


def test_readyz_says_so_before_the_balancer_leaves(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    config.write_text(
        'drain_delay = "2s"\n[admin]\nlisten = "127.0.0.1:0"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n'
        '[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "127.0.0.1:9"\n'
    )
    running = Command(tmp_path, "-c", str(config), "--workers", "1")
    assert running.control.call("GET", "/readyz")[0] == 200
    began = time.monotonic()
    running.process.terminate()
    wait_for(lambda: running.control.call("GET", "/readyz")[0] == 503, "readyz says so")
    from harness import dial

    with contextlib.suppress(ConnectionResetError):  # and it still accepts: its backend is dead, which may be told at once
        dial(running.address).close()
    assert running.process.wait(20) == 0
    assert time.monotonic() - began >= 2
    assert running.process.stdout is not None
    running.process.stdout.close()


# --- names that are led here ------------------------------------------------------------------------------------------------


def asked_as(lb: Balancer, method: str, path: str, host: str, fields: dict[str, str] | None = None) -> int:
    """The status of a call with this Host."""
    address, port = str(lb.admin_address).removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(address, int(port), timeout=5)
    try:
        body = json.dumps(ME).encode() if method == "POST" else None
        connection.request(method, path, body, {"Host": host, **(fields or {})})
        return connection.getresponse().status
    finally:
        connection.close()


LOOKS = ("/", "/status", "/backends", "/metrics", "/events", "/healthz", "/readyz", "/pick")
ACTS = (
    "/register",
    "/heartbeat",
    "/deregister",
    "/pick",
    "/release",
    "/reload",
    "/upgrade",
    "/backends/add",
    "/cluster/drain-node",
)
NAMES = (
    "rebound.example",
    "rebound.example:9900",
    "127.0.0.1.rebound.example",
    "localhost.rebound.example",
    "127.0.0.1@rebound.example",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_led_here_reaches_nothing_without_a_token(name: str) -> None:
    with balanced(settings=settings({})) as lb:
        answers = {path: asked_as(lb, "GET", path, name) for path in LOOKS}
        answers |= {f"POST {path}": asked_as(lb, "POST", path, name) for path in ACTS}
        # a page of that name is of our own origin for its browser, and some browsers say so
        says = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{name}"}
        answers |= {f"own {path}": asked_as(lb, "GET", path, name, says) for path in LOOKS}
        answers |= {f"own POST {path}": asked_as(lb, "POST", path, name, says) for path in ACTS}
        assert set(answers.values()) == {403}, answers
        assert lb.pool().backends() == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST:9900", "[::1]:9900", "10.1.2.3:80"])
def test_addresses_and_localhost_are_heard_without_a_token(name: str) -> None:
    with balanced(settings=settings({})) as lb:
        assert asked_as(lb, "GET", "/status", name) == 200
        assert asked_as(lb, "POST", "/register", name) == 201


def test_with_the_token_any_name_will_do() -> None:
    shown = bearer("operators")
    with balanced(settings=settings({"token": "operators"})) as lb:
        assert asked_as(lb, "GET", "/status", "lb.internal", shown) == 200
        assert asked_as(lb, "POST", "/register", "lb.internal:9900", shown) == 201
        assert asked_as(lb, "GET", "/status", "lb.internal") == 401
        assert asked_as(lb, "GET", "/readyz", "lb.internal") == 200  # a load balancer's probe of a server with a name


def test_what_acts_is_no_get() -> None:
    with balanced(settings=settings({"token": "operators"})) as lb:
        assert {asked_as(lb, "GET", path, "127.0.0.1", bearer("operators")) for path in ACTS} <= {404, 405}


# --- a token that may only look ---------------------------------------------------------------------------------------------

LOOKER = bearer("looks-only")


def test_the_read_token_looks_at_everything_and_acts_on_nothing() -> None:
    rules = settings({"token": "operators", "read_token": "looks-only"}, lease=LeaseSettings(port=4000))
    with balanced(settings=rules) as lb:
        for path in ("/status", "/metrics", "/backends", "/", "/healthz", "/readyz"):
            assert asked_as(lb, "GET", path, "127.0.0.1", LOOKER) in (200, 503), path
            assert asked_as(lb, "HEAD", path, "127.0.0.1", LOOKER) in (200, 503), path
        for path in ACTS:
            assert call(lb, path, ME, LOOKER)[0] == 403, path
        assert call(lb, "/register", ME)[0] == 401
        assert lb.pool().backends() == []


def test_the_read_token_shows_the_dashboard_without_power() -> None:
    with balanced(settings=settings({"token": "operators", "read_token": "looks-only"})) as lb:
        host, port = str(lb.admin_address).removeprefix("http://").rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", "/events", headers=LOOKER)
            answer = connection.getresponse()
            assert answer.status == 200
            assert b"data:" in answer.read(200)
        finally:
            connection.close()


@pytest.mark.parametrize(
    ("admin", "says"),
    [
        ({"read_token": "looks-only"}, "admin.read_token: requires token"),
        ({"token": "the-same-one", "read_token": "the-same-one"}, "admin.read_token: is the operators' token"),
        ({"token": "operators", "read_token": "short"}, "admin.read_token: too short"),
        ({"token": "operators", "read_token_file": "/no/such"}, "admin.read_token_file: '/no/such' cannot be read"),
    ],
)
def test_read_tokens_that_are_refused(admin: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings(admin)
