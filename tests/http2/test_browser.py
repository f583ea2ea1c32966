"""Chromium before lbcore: a page and a WebSocket, by HTTP/2 over TLS, on one connection."""

from __future__ import annotations

import contextlib
import gc
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import lines
from browsers import CHROMIUM, chromium
from harness import wait_for
from http_balancers import figure
from tls_balancers import https

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

PAGE = "<!doctype html><title>a page</title><script src='/script.js'></script>"
SCRIPT = "document.title = 'it ran'"
TALK = """() => new Promise((resolve, reject) => {
  const socket = new WebSocket(`wss://${location.host}/talk`);
  const heard = [];
  socket.onopen = () => ['one', 'x'.repeat(100000), 'three'].forEach((it) => socket.send(it));
  socket.onerror = () => reject(new Error('it failed'));
  socket.onmessage = (it) => { heard.push(it.data.length); if (heard.length === 3) socket.close(1000); };
  socket.onclose = (it) => resolve([heard, it.code]);
})"""


@contextlib.contextmanager
def site_with_talk() -> Iterator[str]:
    """A page with a script, and a WebSocket that sends back what it hears. Its address."""
    server = pytest.importorskip("websockets.sync.server")

    def page(connection: Any, request: Any) -> Any:
        if request.path == "/talk":
            return None
        response = connection.respond(HTTPStatus.OK, SCRIPT if request.path == "/script.js" else PAGE)
        kind = "text/javascript" if request.path == "/script.js" else "text/html"
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = kind
        return response

    def talk(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    with server.serve(talk, "127.0.0.1", 0, process_request=page) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            host, port = running.socket.getsockname()
            yield f"{host}:{port}"
        finally:
            running.shutdown()
            thread.join()
    gc.collect()  # its selector is part of a cycle


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Its event loop stays open between tests."""
    pytest.importorskip("playwright.sync_api")
    with chromium("--ignore-certificate-errors", "--disable-quic") as running:
        yield running


@pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")
def test_a_page_and_a_websocket(browser: Browser, site: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with site_with_talk() as address, https(site, address, top={"access_log": str(log)}) as lb:
        page = browser.new_page()
        page.goto(f"https://127.0.0.1:{lb.address[1]}/")
        assert page.title() == "it ran"
        spoken = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
        assert spoken == "h2"
        assert page.evaluate(TALK) == [[3, 100000, 5], 1000]
        wait_for(lambda: {"/", "/script.js", "/talk"} <= {line["path"] for line in lines(log)}, "all three are logged")
        assert {line["protocol"] for line in lines(log)} == {"HTTP/2"}
        assert figure(lb, "http2_connections") == 1
        page.close()
