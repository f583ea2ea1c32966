"""Events for screens: what they say, to whom, how many may listen, and what becomes of one that does not read."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from admin_calls import ME, client, settings
from harness import balanced, wait_for

from lbcore.admin import feed
from lbcore.admin.dashboard import page
from lbcore.admin.feed import Feed, changes, digest
from lbcore.config.settings import BackendSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer


def document(**backends: dict[str, Any]) -> dict[str, Any]:
    """A status document with one pool of these."""
    head = {"name": "t", "pid": 1, "uptime_s": 1.0, "version": "0", "datapath": "auto", "generation": 1, "draining": False}
    common = {"address": "10.0.0.1:1", "state": "up", "sessions": 0}
    listed = [{"id": name, **common, **figures} for name, figures in backends.items()]
    pool = {"name": "app", "policy": "p2c", "queued": 0, "backends": listed}
    workers = [{"id": number, "pid": 2, "accepted": 5, "bytes_in": 1} for number in range(2)]
    return {**head, "listeners": [], "pools": [pool], "workers": workers}


@pytest.mark.parametrize(
    ("before", "after", "backends", "gone"),
    [
        ({"a": {}}, {"a": {}}, {}, []),
        ({"a": {}}, {"a": {"sessions": 3}}, {"a": {"sessions": 3}}, []),
        ({"a": {}}, {"a": {"sessions": 3, "state": "down"}}, {"a": {"sessions": 3, "state": "down"}}, []),
        ({"a": {}, "b": {}}, {"b": {}}, {}, ["a"]),
        ({}, {}, {}, []),
    ],
)
def test_only_what_changed_is_told(before: Any, after: Any, backends: Any, gone: list[str]) -> None:
    told = changes(digest(document(**before)), digest(document(**after)))
    assert (told["whole"], told["backends"], told["gone"]) == (False, backends, gone)


def test_the_first_is_whole_and_figures_that_may_be_missing_are_null() -> None:
    told = changes(None, digest(document(a={"sessions": 1})))
    assert told["whole"]
    assert (told["backends"]["a"]["pool"], told["backends"]["a"]["sessions"], told["backends"]["a"]["load"]) == ("app", 1, None)
    assert (told["totals"]["accepted"], told["totals"]["queued"], told["pools"]["app"]["latency"]) == (10, 0, None)


def test_sources_are_told_with_their_pool() -> None:
    made = document(a={})
    source = {
        "kind": "etcd",
        "what": "/shop/",
        "state": "stale",
        "trouble": "nothing heard for 12 min",
        "last_contact_s": 720.0,
    }
    made["pools"][0]["sources"] = [source | {"revision": "7", "entries": 3, "skipped": 0, "failures": 9, "fault": "x"}]
    (told,) = changes(None, digest(made))["sources"]
    assert told == source | {"pool": "app", "revision": "7", "entries": 3, "skipped": 0}
    assert digest(document(a={}))["sources"] == []


class Screen:
    """A listener."""

    def __init__(self, lb: Balancer, token: str | None = None) -> None:
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=5)
        self.connection.request("GET", "/events", headers={"Authorization": f"Bearer {token}"} if token else {})
        self.answer = self.connection.getresponse()

    def next(self) -> dict[str, Any]:
        lines = []
        while line := self.answer.readline().strip():
            lines.append(line.decode())
        return dict(json.loads(lines[-1].removeprefix("data: ")))

    def until_the_end(self) -> None:
        while True:
            self.next()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@contextlib.contextmanager
def screen(lb: Balancer, token: str | None = None) -> Iterator[Screen]:
    opened = Screen(lb, token)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed.__init__, "__defaults__", (0.05,))


@pytest.mark.usefixtures("_quick")
def test_a_screen_sees_a_backend_come_change_and_go() -> None:
    with balanced(settings=settings()) as lb, screen(lb) as seen:
        assert seen.answer.headers["Content-Type"] == "text/event-stream"
        assert seen.next() == {"operator": False}
        first = seen.next()
        assert (first["whole"], first["backends"]) == (True, {})
        client(lb).call("POST", "/register", ME)
        came = wait_for(lambda: seen.next()["backends"], "it comes")
        name, entry = next(iter(came.items()))
        assert (entry["address"], entry["state"], entry["pool"]) == ("127.0.0.1:4000", "up", "default")
        lb.pool().get("127.0.0.1:4000").drain()
        assert wait_for(lambda: seen.next()["backends"].get(name), "it drains")["state"] == "draining"
        lb.pool().remove(lb.pool().get("127.0.0.1:4000"))
        assert wait_for(lambda: seen.next()["gone"], "it goes") == [name]
        with screen(lb) as late:
            late.next()
            assert late.next()["whole"]


def test_events_take_the_token_and_say_who_may_act() -> None:
    with balanced(settings=settings({"token": "operators"})) as lb:
        with screen(lb) as stranger:
            assert stranger.answer.status == 401
        with screen(lb, "operators") as operator:
            assert operator.next() == {"operator": True}


def test_the_page_is_shown_to_anybody_and_holds_nothing() -> None:
    with balanced(settings=settings({"token": "operators"}, backends=[BackendSettings(address="10.1.2.3:80")])) as lb:
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert (answer.status, "10.1.2.3" in text) == (200, False)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy


def test_the_page_brings_all_it_needs() -> None:
    text = page()[0].decode()
    assert len(text) < 100_000
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)[^\s>]+""", text) == []
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"""\sstyle=|\son\w+=["']|innerHTML|url\(|@import""", text)


@pytest.mark.usefixtures("_quick")
def test_so_many_may_listen_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_LISTENERS", 2)
    with balanced(settings=settings()) as lb, screen(lb) as one, screen(lb) as two:
        one.next(), two.next()
        with screen(lb) as third:
            assert (third.answer.status, third.answer.headers["Retry-After"]) == (503, "5")
        two.close()

        def admitted() -> bool:
            with screen(lb) as again:
                return again.answer.status == 200

        wait_for(admitted, "the place of one that left is free")


@pytest.mark.usefixtures("_quick")
def test_a_screen_that_does_not_read_is_dropped_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SEND_BUFFER", 4096)
    monkeypatch.setattr(feed, "changes", lambda before, after: {**changes(None, after), "pad": "x" * 200_000})
    with balanced(settings=settings()) as lb, screen(lb) as reads:
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, int(port)))
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            serving = lb._running().admin._feed
            wait_for(lambda: serving.listeners == 2, "both listen")
            reads.next()

            def one_is_left() -> bool:
                assert reads.next()["whole"]
                return serving.listeners == 1

            wait_for(one_is_left, "the slow one is dropped")
            assert client(lb).call("GET", "/healthz")[0] == 200
        assert reads.next()["whole"]


@pytest.mark.usefixtures("_quick")
def test_a_balancer_stops_while_screens_listen() -> None:
    with balanced(settings=settings()) as lb:
        seen = Screen(lb)
        seen.next(), seen.next()
        lb.stop(0)
        with pytest.raises((ConnectionError, http.client.HTTPException, IndexError)):
            seen.until_the_end()
        seen.close()
        lb.start()


# --- pages of others ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "acts"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:{port}"}, True),
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
@pytest.mark.parametrize("path", ["/backends/drain", "/register", "/reload"])
def test_a_page_of_another_origin_may_not_act(path: str, fields: dict[str, str], acts: bool) -> None:
    with balanced(settings=settings({"token": "operators"}, backends=[BackendSettings(address="127.0.0.1:4000")])) as lb:
        host, port = str(lb.admin_address).removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        filled = {name: value.format(port=port) for name, value in fields.items()}
        body = json.dumps(ME | {"address": "127.0.0.1:4000"})
        connection.request("POST", path, body, {"Authorization": "Bearer operators", "Content-Type": "text/plain", **filled})
        answer = connection.getresponse()
        refused = answer.status == 403 and b"origin" in answer.read()
        connection.close()
        assert refused is not acts
        if not acts:
            assert lb.status()["pools"][0]["backends"][0]["state"] == "up"


def test_a_name_that_was_led_here_acts_on_nothing_without_the_token(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with balanced(settings=settings({"listen": f"unix:{path}"}, backends=[BackendSettings(address="127.0.0.1:4000")])) as lb:
        for name, status in (("evil.example:9900", 403), ("localhost:9900", 200), ("127.0.0.1:9900", 200), ("[::1]:9900", 200)):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(path))
                body = b'{"address": "127.0.0.1:4000"}'
                fields = (f"Host: {name}", f"Origin: http://{name}", f"Content-Length: {len(body)}")
                connection.sendall("\r\n".join(("POST /backends/ready HTTP/1.1", *fields, "", "")).encode() + body)
                assert int(connection.recv(4096).split()[1]) == status, name
        assert len(lb.pool().backends()) == 1
