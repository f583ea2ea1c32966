"""Routes by what a JSON body says: who gets the request, what of it arrives, and what does not decide."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, frame
from harness import balanced, totals, wait_for
from http_balancers import OFF
from http_peers import Backend, Client

from lbcore import Balancer
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Iterator

LLAMA = {"json": {"model": "llama-3"}, "pool": "llama"}
QWEN = {"json": {"model": ["qwen-2.5", "qwen-é"]}, "pool": "qwen"}
JSON = b"Content-Type: application/json\r\n"


class Site:
    """A balancer before a backend for each pool, which answers with its pool's name."""

    def __init__(self, settings: BalancerSettings, lb: Balancer, backends: dict[str, Backend]) -> None:
        self.settings = settings
        self.lb = lb
        self.backends = backends

    def bodies(self, pool: str) -> list[bytes]:
        """Those that came to this pool's backend, as they stood on the wire."""
        return self.backends[pool].bodies

    def client(self) -> Client:
        """A new connection."""
        return Client(self.lb.address)


@contextlib.contextmanager
def site(*routes: dict[str, Any], **listener: Any) -> Iterator[Site]:
    """Routes to pools; "default" has the rest."""
    routes = routes or (LLAMA, QWEN)
    with contextlib.ExitStack() as stack:
        names = sorted({route["pool"] for route in routes} | {"default"})
        backends = {name: stack.enter_context(Backend(name=name.encode())) for name in names}
        settings = BalancerSettings(
            workers=1,
            drain_timeout="2s",
            listeners=[ListenerSettings(**{"bind": "http://127.0.0.1:0", "name": "web", "pool": "default", **listener})],
            routes=[RouteSettings(**route) for route in routes],
            pools=[PoolSettings(name=name, probe=OFF, backends=[backends[name].address]) for name in names],
        )
        yield Site(settings, stack.enter_context(balanced(settings=settings)), backends)


def request(body: bytes, head: bytes = JSON, path: bytes = b"/v1/chat/completions", method: bytes = b"POST") -> bytes:
    """With its length."""
    return method + b" " + path + b" HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n" % (head, len(body)) + body


def in_chunks(body: bytes, size: int, head: bytes = JSON) -> bytes:
    """Chunked."""
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return b"POST / HTTP/1.1\r\nHost: a\r\n%sTransfer-Encoding: chunked\r\n\r\n" % head + framed


def said(client: Client, sent: bytes) -> bytes:
    """Which pool answers."""
    client.send(sent)
    return bytes(client.answer().body)


def chat(model: object, text: str = "hi", **more: Any) -> bytes:
    """As OpenAI's client for Python sends it: the model comes behind the messages."""
    return json.dumps({"messages": [{"role": "user", "content": text}], "model": model, **more}).encode()


def test_the_model_decides_and_the_body_arrives_byte_for_byte() -> None:
    with site() as seen, seen.client() as client:
        bodies = [chat("llama-3"), chat("qwen-2.5", "x" * 2000), chat("qwen-é"), chat("other")]
        assert [said(client, request(body)) for body in bodies] == [b"llama", b"qwen", b"qwen", b"default"]
        assert seen.bodies("llama") == bodies[:1]
        assert seen.bodies("qwen") == bodies[1:3]
        assert seen.bodies("default") == bodies[3:]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_chunks_go_on_as_they_came(size: int) -> None:
    with site() as seen, seen.client() as client:
        sent = in_chunks(chat("llama-3", "y" * 500), size)
        assert said(client, sent) == b"llama"
        assert seen.bodies("llama") == [sent.partition(b"\r\n\r\n")[2]]


def test_a_body_that_comes_byte_by_byte() -> None:
    body = chat("llama-3")
    for sent in (request(body), in_chunks(body, 5)):
        with site() as seen, seen.client() as client:
            for i in range(len(sent)):
                client.send(sent[i : i + 1])
            assert client.answer().body == b"llama"
            assert seen.bodies("llama") == [sent.partition(b"\r\n\r\n")[2]]


def test_the_rest_is_not_waited_for_when_the_key_has_come() -> None:
    body = b'{"model": "llama-3", "prompt": "' + b"x" * 200_000 + b'"}'
    with site() as seen, seen.client() as client:
        client.send(request(body)[:300])
        wait_for(lambda: len(seen.backends["llama"].heads) == 1, "the request at its backend")
        client.send(request(body)[300:])
        assert client.answer().body == b"llama"
        assert seen.bodies("llama") == [body]


def test_requests_in_a_pipeline_keep_their_order_and_pools() -> None:
    with site() as seen, seen.client() as client:
        client.send(request(chat("llama-3")) + in_chunks(chat("qwen-2.5"), 9) + request(b"", b"") + request(chat("llama-3")))
        assert [client.answer().body for _ in range(4)] == [b"llama", b"qwen", b"default", b"llama"]
        assert seen.bodies("llama") == [chat("llama-3")] * 2


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (chat("llama-3"), b"Content-Type: text/plain\r\n"),
        (chat("llama-3"), b""),
        (chat("llama-3"), b"Content-Type: application/jsonx\r\n"),
        (chat("llama-3"), b"Content-Type: application/grpc-web+json\r\n"),
        (chat("llama-3"), JSON + JSON),
        (chat("llama-3"), JSON + b"Content-Encoding: gzip\r\n"),
        (chat("llama-3")[:-1], JSON),
        (chat("llama-3") + b"x", JSON),
        (b"\xef\xbb\xbf" + chat("llama-3"), JSON),
        (b'{"model": "llama-3", "temperature": NaN}', JSON),
        (b'{"model": "llama-3", "model": "qwen-2.5"}', JSON),
        (b'{"model": "llama-3", "mod\\u0065l": "llama-3"}', JSON),
        (chat(["llama-3"]), JSON),
        (chat(None), JSON),
        (b'["model", "llama-3"]', JSON),
        (b'{"x": {"model": "llama-3"}}', JSON),
        (b"[" * 200 + b"]" * 200, JSON),
        (b'{"Model": "llama-3"}', JSON),
        (b'{"model": "llama-3 "}', JSON),
        (b"", JSON),
    ],
)
def test_what_does_not_decide_goes_to_the_next_route(body: bytes, head: bytes) -> None:
    with site() as seen, seen.client() as client:
        assert said(client, request(body, head)) == b"default"
        assert seen.bodies("default") == [body]
        assert said(client, request(chat("llama-3"))) == b"llama"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/json; charset=utf-8\r\n",
        b"content-type: Application/JSON\r\n",
        b"Content-Type: application/vnd.api+json\r\n",
        JSON + b"Content-Encoding: identity\r\n",
    ],
)
def test_types_of_json(head: bytes) -> None:
    with site() as seen, seen.client() as client:
        assert said(client, request(b'{"m\\u006fdel": "llama\\u002d3"}', head)) == b"llama"


def test_keys_inside_objects_presence_and_several_keys() -> None:
    routes = (
        {"json": {"model": "llama-3", "metadata.tier": ["gold", "silver"]}, "pool": "gold"},
        {"json": {"stream": True}, "header": {"X-Team": "a"}, "pool": "streams"},
        {"json": {"model": "llama-3"}, "path_prefix": "/v1/", "method": "POST", "pool": "llama"},
    )
    with site(*routes) as seen, seen.client() as client:
        assert said(client, request(chat("llama-3", metadata={"tier": "gold"}))) == b"gold"
        assert said(client, request(chat("llama-3", metadata={"tier": "lead"}))) == b"llama"
        assert said(client, request(chat("llama-3", metadata="gold"))) == b"llama"
        assert said(client, request(chat("x", stream=False), JSON + b"X-Team: a\r\n")) == b"streams"
        assert said(client, request(chat("x", stream=True))) == b"default"
        assert said(client, request(chat("llama-3"), path=b"/v2/x")) == b"default"
        assert said(client, request(chat("llama-3"), method=b"PUT")) == b"default"


def test_a_route_before_it_needs_no_body() -> None:
    """Nor does one whose other conditions do not hold: such a request goes on before any of its body has come."""
    with site({"path": "/early", "pool": "early"}, {**LLAMA, "path_prefix": "/v1"}) as seen:
        for path, pool in ((b"/early", "early"), (b"/other", "default")):
            with seen.client() as client:
                client.send(request(chat("llama-3"), path=path).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                wait_for(lambda pool=pool: len(seen.backends[pool].heads) == 1, "the head at its backend")


@pytest.mark.parametrize("text", [40_000, 60_000, 64_000])
@pytest.mark.parametrize("chunk", [0, 8000])
def test_the_key_behind_a_long_text(text: int, chunk: int) -> None:
    """A body that outgrows the common buffer goes on in a large one."""
    body = chat("llama-3", "z" * text)
    with site() as seen, seen.client() as client:
        assert said(client, in_chunks(body, chunk) if chunk else request(body)) == b"llama"
        assert len(seen.bodies("llama")[0]) >= len(body)


def test_a_key_beyond_json_bytes_does_not_decide() -> None:
    body = chat("llama-3", "z" * 5000)
    with site(json_bytes="4k") as seen, seen.client() as client:
        assert said(client, request(body)) == b"default"
        assert seen.bodies("default") == [body]
        assert said(client, in_chunks(body, 100)) == b"default"
        assert said(client, request(chat("llama-3", "z" * 3000))) == b"llama"


@pytest.mark.skipif("LBCORE_SANITIZED" in os.environ, reason="the test's own backend is too slow with so many chunks")
def test_tiny_chunks_that_fill_a_large_buffer_before_the_key() -> None:
    body = chat("llama-3", "z" * 60_000)
    with site() as seen, seen.client() as client:
        sent = in_chunks(body, 1)
        assert said(client, sent) == b"default"
        assert seen.bodies("default") == [sent.partition(b"\r\n\r\n")[2]]


def test_a_client_that_expects_100_is_told_to_continue() -> None:
    body = chat("llama-3")
    with site() as seen, seen.client() as client:
        head, _, _ = request(body, JSON + b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert client.answer().status == 100
        assert not seen.backends["llama"].heads
        client.send(body)
        assert client.answer().body == b"llama"
        assert seen.bodies("llama") == [body]


def test_a_slow_body_is_bounded() -> None:
    with site(body_timeout="300ms") as seen, seen.client() as client:
        client.send(request(chat("llama-3"))[:-5])
        assert client.answer().status == 408
        assert client.ends()
        assert not any(backend.heads for backend in seen.backends.values())


def test_a_dripping_body_is_bounded() -> None:
    with site(body_timeout="500ms", min_body_rate=1000) as seen, seen.client() as client:
        sent = request(chat("llama-3", "x" * 5000))
        client.send(sent[:200])
        with contextlib.suppress(OSError):
            for i in range(200, 300):
                client.send(sent[i : i + 1])
                if wait_for_end(client):
                    break
        assert client.answer().status == 408


def wait_for_end(client: Client) -> bool:
    """Has something come within a moment?"""
    import select

    return bool(select.select([client.socket], [], [], 0.05)[0])


def test_a_client_that_leaves_in_the_middle_reaches_nobody() -> None:
    with site() as seen:
        with seen.client() as client:
            client.send(request(chat("llama-3"))[:-5])
        with seen.client() as client:
            assert said(client, request(chat("llama-3"))) == b"llama"
        assert [len(backend.heads) for backend in seen.backends.values()].count(0) == len(seen.backends) - 1
        assert len(seen.bodies("llama")) == 1


def test_a_body_that_breaks_its_chunks_is_refused() -> None:
    with site() as seen, seen.client() as client:
        client.send(in_chunks(chat("llama-3"), 10)[:120])
        client.send(b"zz\r\n")
        assert client.answer().status == 400
        assert not any(backend.heads for backend in seen.backends.values())


def test_routes_that_change_while_a_body_is_read() -> None:
    """What was read so far is read again for the new ones."""
    sent = request(b'{"tier": "gold", "x": 1, "model": "llama-3"}')
    with site() as seen, seen.client() as client:
        client.send(sent[:-25])
        wait_for(lambda: totals(seen.lb.status())["requests_active"] == 1, "the request under way")
        seen.lb.reload(seen.settings.replace(routes=[RouteSettings(json={"tier": "gold"}, pool="qwen")]))
        with seen.client() as other:  # by the end of the worker's turn it has the new routes
            assert said(other, request(chat("llama-3"))) in (b"llama", b"default")
        client.send(sent[-25:])
        assert client.answer().body == b"qwen"


def test_readings_of_a_path_whose_pool_the_body_decides() -> None:
    """A path that another server reads otherwise is refused only where the body makes a difference."""
    with site({**LLAMA, "path": "/v1/chat"}) as seen:
        with seen.client() as client:
            assert said(client, request(chat("other"), path=b"/v1//chat")) == b"default"
        with seen.client() as client:
            client.send(request(chat("llama-3"), path=b"/v1//chat"))
            assert client.answer().status == 400


def ask(client: H2Client, stream: int, body: bytes, *cuts: int, length: bool = False) -> bytes:
    """A request of HTTP/2 in DATA frames that are cut there: the response's body."""
    more = (("content-type", "application/json"), *([("content-length", str(len(body)))] if length else []))
    client.send(frame(HEADERS, END_HEADERS, stream, client.head("/v1/x", *more, method="POST")))
    edges = [0, *cuts, len(body)]
    for start, end in itertools.pairwise(edges):
        client.send(frame(DATA, END_STREAM if end == len(body) else 0, stream, body[start:end]))
    return client.response(stream).body


@pytest.mark.parametrize("length", [False, True])
def test_streams_of_http2(length: bool) -> None:
    body = chat("llama-3", "x" * 3000)
    with site() as seen, H2Client(seen.lb.address) as client:
        assert ask(client, 1, body, length=length) == b"llama"
        assert ask(client, 3, body, 1, 30, 3040, length=length) == b"llama"
        assert ask(client, 5, chat("qwen-2.5"), 10, 20, length=length) == b"qwen"
        assert ask(client, 7, chat("other"), length=length) == b"default"
        assert ask(client, 9, chat("llama-3")[:-1], 12, length=length) == b"default"
        if length:
            assert seen.bodies("llama") == [body, body]


def test_a_long_text_by_http2() -> None:
    body = chat("llama-3", "x" * 50_000)
    with site() as seen, H2Client(seen.lb.address) as client:
        assert ask(client, 1, body, *range(16_000, 50_000, 16_000)) == b"llama"
        assert sum(map(len, seen.bodies("llama"))) >= len(body)


def test_a_stream_that_expects_100() -> None:
    body = chat("llama-3")
    with site() as seen, H2Client(seen.lb.address) as client:
        more = (("content-type", "application/json"), ("expect", "100-continue"))
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", *more, method="POST")))
        interim = client.until(lambda got: got.stream == 1 and got.kind == HEADERS)
        assert interim
        assert not interim.flags & END_STREAM
        assert not seen.backends["llama"].heads
        client.send(frame(DATA, END_STREAM, 1, body))
        got = client.until(lambda got: got.stream == 1 and got.kind == DATA)
        assert got
        assert got.payload == b"llama"


def test_lbcore_why_names_the_key_and_its_values() -> None:
    with site() as seen, seen.client() as client:
        assert said(client, request(chat("qwen-2.5"))) == b"qwen"
        assert said(client, request(chat("other"))) == b"default"
        assert [entry["route"] for entry in decisions(seen.lb._running().table.segment)] == [
            "route[1]: json:model=qwen-2.5,qwen-é",
            None,
        ]


@pytest.mark.parametrize(
    ("json_keys", "words"),
    [
        ({"model": 3}, "json: {'model': 3} is not allowed"),
        ({"model": []}, "is not allowed"),
        ({"model": ""}, "is not allowed"),
        ({"model": "a\nb"}, "is not allowed"),
        ({"a.b.c.d.e": "x"}, "is not allowed"),
        ({"a..b": "x"}, "is not allowed"),
        ({"m" * 257: "x"}, "is not allowed"),
        ("model", "is not allowed"),
    ],
)
def test_bad_keys_are_refused_in_one_line(json_keys: Any, words: str) -> None:
    with pytest.raises(ConfigError, match="json") as caught:
        RouteSettings(json=json_keys, pool="a")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_more_than_eight_keys_in_all_routes() -> None:
    routes = [{"json": {f"key{i}": "x"}, "pool": "a"} for i in range(9)]
    with pytest.raises(ConfigError, match="json names 9 keys"), site(*routes):
        pass
