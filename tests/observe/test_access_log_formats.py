"""Formats of the access log: fields by choice, and nginx's combined format beside nginx itself and read by another's parser."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any

import apachelogs
import httpx
import pytest
from access_lines import logged
from harness import Peer, balanced, command, dial, echo, free_port, wait_for
from http_balancers import http
from http_peers import Backend, Client, answering
from real_peers import needs, running

from lbcore.config.settings import LOG_FIELDS, BalancerSettings
from lbcore.errors import ConfigError
from lbcore.observe.line_formats import FIELDS
from lbcore.observe.timings import all_timings

if TYPE_CHECKING:
    import socket
    from pathlib import Path

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
REFERER = "https://shop.example/list?page=2"
BODY = b"backend"


def of(agent: str, referer: str = "") -> bytes:
    """Header lines of a request."""
    return f"User-Agent: {agent}\r\n".encode("latin-1") + (f"Referer: {referer}\r\n".encode("latin-1") if referer else b"")


def raw(path: Path, count: int) -> list[str]:
    """So many lines, when they are there."""
    found: list[str] = wait_for(
        lambda: path.exists() and len(found := path.read_text("latin-1").splitlines()) >= count and found, f"{count} lines"
    )
    return found


# --- fields by choice ----------------------------------------------------------------------------------------------------


def test_every_field_can_be_chosen_and_stands_where_it_was_named(tmp_path: Path) -> None:
    assert tuple(FIELDS) == LOG_FIELDS
    log = tmp_path / "log"
    chosen = list(reversed(LOG_FIELDS))
    with Backend() as backend, http(backend, top={"access_log": str(log), "access_log_fields": chosen}) as lb:
        with Client(lb.address) as client:
            assert client.get("/a?b", extra=of(AGENT, REFERER)).status == 200
        line = logged(log)[0]
        assert list(line) == chosen
        assert (line["user_agent"], line["referer"], line["path"], line["status"]) == (AGENT, REFERER, "/a", 200)
        assert (line["backend"], line["method"], line["queue_ms"], line["end"]) == (backend.address, "GET", 0.0, "done")
        assert line["reason"] is line["grpc_status"] is line["trace"] is line["by"] is None


def test_sessions_have_the_same_fields(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = {"access_log": str(log), "access_log_fields": ["kind", "method", "user_agent", "protocol", "total_ms"]}
    with Peer(echo) as peer, balanced(backends=[peer.address], **options) as lb, dial(lb.address) as client:
        client.sendall(b"hi")
        assert client.recv(2) == b"hi"
        client.close()
        line = logged(log)[0]
        assert line.pop("total_ms") >= 0
        assert line == {"kind": "tcp", "method": None, "user_agent": None, "protocol": None}


@pytest.mark.parametrize("sent", ['a"b\\c', "tab\there", "\xe9\xff", "x" * 255, "%s{}"])
def test_what_clients_send_is_escaped_and_bounded(tmp_path: Path, sent: str) -> None:
    for form in ("json", "combined"):
        log = tmp_path / f"{form}-log"
        top: dict[str, Any] = {"access_log": str(log), "access_log_format": form}
        if form == "json":
            top["access_log_fields"] = ["user_agent", "referer"]
        with Backend() as backend, http(backend, top=top) as lb, Client(lb.address) as client:
            assert client.get(extra=of(sent, sent)).status == 200
            line = raw(log, 1)[0]
        assert line.isascii()
        if form == "json":
            found = json.loads(line)
            assert sent.startswith(found["referer"])
            assert sent.startswith(found["user_agent"])
            assert len(found["user_agent"]) >= min(len(sent), 130)
        else:
            assert line.count('"') == 6


def test_long_path_leaves_little_for_them_and_stays_whole(tmp_path: Path) -> None:
    log, path = tmp_path / "log", "/" + "p" * 200
    top = {"access_log": str(log), "access_log_fields": ["path", "user_agent", "referer", "id", "truncated"]}
    with Backend() as backend, http(backend, top=top) as lb, Client(lb.address) as client:
        assert client.get(path, extra=of(AGENT * 4, REFERER * 9) + b"X-Request-Id: an-id\r\n").status == 200
        line = logged(log)[0]
    assert (line["path"], line["truncated"]) == (path, False)
    assert (AGENT * 4).startswith(line["user_agent"])
    assert (REFERER * 9).startswith(line["referer"])
    assert line["id"]


def test_wait_in_the_queue_is_logged_and_timed(tmp_path: Path) -> None:
    log, come, go = tmp_path / "log", threading.Event(), threading.Event()

    def slow(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/slow" in head:
            come.set()
            go.wait(30)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    top = {"access_log": str(log), "access_log_fields": ["path", "queue_ms", "connect_ms"]}
    with Backend(slow) as backend, http(backend, max_active=1, queue=10, top=top) as lb:
        with Client(lb.address) as first, Client(lb.address) as second:
            first.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert come.wait(30)
            second.send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: lb.status()["pools"][0]["queued"] == 1, "it waits")
            go.set()
            assert [first.answer().status, second.answer().status] == [200, 200]
            lines = {line["path"]: line for line in logged(log, 2)}
        assert lines["/slow"]["queue_ms"] == 0
        assert 0 < lines["/waits"]["queue_ms"] <= lines["/waits"]["connect_ms"]
        found = all_timings(lb._running().table.segment)["default", "queue"]
        assert found.count == 1
        assert found.sum_us == pytest.approx(lines["/waits"]["queue_ms"] * 1000, abs=1)


def test_reload_changes_the_fields(tmp_path: Path) -> None:
    config, log = tmp_path / "lb.toml", tmp_path / "log"
    text = f'workers = 1\naccess_log = "{log}"\nLINE\n[[listener]]\nbind = "http://127.0.0.1:0"\n'
    config.write_text(text.replace("LINE", 'access_log_fields = ["status"]'))
    with command(tmp_path, "-c", str(config)) as lb, Client(lb.address) as client:
        assert client.get().status == 503
        assert raw(log, 1) == ['{"status":503}']
        config.write_text(text.replace("LINE", 'access_log_fields = ["user_agent", "status"]'))
        assert lb.cli("reload").returncode == 0
        assert client.get(extra=of("me")).status == 503
        assert raw(log, 2)[1] == '{"user_agent":"me","status":503}'
        config.write_text(text.replace("LINE", 'access_log_fields = ["user-agent"]'))
        done = lb.cli("reload")
        assert "access_log_fields: 'user-agent' is unknown (known: time, kind," in done.stderr


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"access_log_fields": ["agent"]}, "'agent' is unknown"),
        ({"access_log_fields": ["time", "time"]}, "'time' is named twice"),
        ({"access_log_fields": []}, "access_log_fields"),
        ({"access_log_fields": ["time"], "access_log_format": "combined"}, "only with access_log_format json"),
        ({"access_log_format": "common"}, "allowed: json, text, combined"),
    ],
)
def test_bad_value_is_named(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        BalancerSettings(**settings)


# --- combined ------------------------------------------------------------------------------------------------------------

REQUESTS = [
    (b"GET", "/", of("curl/8.5.0")),
    (b"GET", "/cart/7", of(AGENT, REFERER)),
    (b"HEAD", "/", b""),
    (b"GET", "/%22quoted%22", of('say "hi" \\ now', "\xe4\xf6\xfc")),
    (b"POST", "/form", of("x") + b"Content-Length: 0\r\n"),
]


def masked(line: str) -> str:
    """Without what two runs cannot share: the time, and the bytes, of which nginx counts the body alone."""
    line = re.sub(r"\[[^]]+\]", "[TIME]", line)
    return re.sub(r'" (\d{3}) \d+ "', r'" \1 BYTES "', line)


@needs("nginx")
def test_lines_are_those_of_nginx(tmp_path: Path) -> None:
    port, log, theirs = free_port(), tmp_path / "log", tmp_path / "nginx.log"
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\nevents {{ }}\n"
        f"http {{ access_log {theirs} combined; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 'ok'; }} }} }}\n"
    )
    ok = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool | None:
        if head.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            return None
        return ok(connection, head, body)

    top = {"access_log": str(log), "access_log_format": "combined"}
    with Backend(script) as backend, http(backend, top=top) as lb:
        with running(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port, tmp_path):
            for address in (lb.address, ("127.0.0.1", port)):
                for method, path, extra in REQUESTS:
                    with Client(address) as client:
                        head = b"%s %s HTTP/1.1\r\nHost: a.example\r\n%s\r\n" % (method, path.encode(), extra)
                        client.send(head)
                        assert client.answer(to_head=method == b"HEAD").status == 200
            ours, their = raw(log, len(REQUESTS)), raw(theirs, len(REQUESTS))
    assert [masked(line) for line in ours] == [masked(line) for line in their[-len(REQUESTS) :]]


def test_another_parser_reads_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parser = apachelogs.LogParser(apachelogs.COMBINED)
    with Backend() as backend, http(backend, top={"access_log": str(log), "access_log_format": "combined"}) as lb:
        url = f"http://{lb.address[0]}:{lb.address[1]}"
        httpx.get(f"{url}/a/b?secret=1", headers={"User-Agent": AGENT, "Referer": REFERER})
        entry = parser.parse(raw(log, 1)[0])
        assert entry.remote_host == "127.0.0.1"
        assert entry.request_line == "GET /a/b HTTP/1.1"
        assert entry.final_status == 200
        assert entry.headers_in["User-Agent"] == AGENT
        assert entry.headers_in["Referer"] == REFERER
        assert entry.request_time.utcoffset().total_seconds() == 0
        assert "secret" not in log.read_text()


def test_combined_has_no_lines_of_sessions_and_499_for_a_client_that_left(tmp_path: Path) -> None:
    log, came = tmp_path / "log", threading.Event()

    def silent(connection: socket.socket, head: bytes, body: bytes) -> bool:
        came.set()
        connection.recv(1)
        return True

    with Backend(silent) as backend, http(backend, top={"access_log": str(log), "access_log_format": "combined"}) as lb:
        with Client(lb.address) as client:
            client.send(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
            assert came.wait(30)
        assert '"GET /left HTTP/1.1" 499 ' in raw(log, 1)[0]
