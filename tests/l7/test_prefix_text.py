"""The policy prefix by the messages of chats, as clients of model servers send them, by HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import collections
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, frame
from harness import wait_for
from http_balancers import http
from http_peers import Backend, Client

from lbcore.config.settings import PoolSettings
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from lbcore.api.balancer import Balancer

PROMPT = {"role": "system", "content": "You answer in verse, and never at length. " * 20}


class Model(Backend):
    """A stand-in for a model server: its answer names it."""

    def __init__(self, name: bytes, port: int = 0) -> None:
        super().__init__(self._complete, name, port=port)

    def _complete(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        said = json.dumps({"choices": [{"message": {"role": "assistant", "content": f"{self.name.decode()} rhymes " * 5}}]})
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said.encode())
        )


@contextlib.contextmanager
def models(count: int = 4, **pool: Any) -> Iterator[tuple[Balancer, list[Model]]]:
    """A balancer before so many model servers."""
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Model(b"m%d" % number)) for number in range(count)]
        yield stack.enter_context(http(*backends, **{"policy": "prefix", **pool})), backends


class Chat:
    """A conversation. model: who answered last."""

    def __init__(self, number: int) -> None:
        self.messages: list[dict[str, str]] = [PROMPT]
        self.number = number
        self.model = ""

    def body(self) -> bytes:
        """Its next turn."""
        self.messages.append({"role": "user", "content": f"verse {len(self.messages)} of number {self.number}, please"})
        return json.dumps({"model": "m", "messages": self.messages, "stream": False}).encode()

    def hear(self, answer: bytes) -> str:
        """Whose answer it is."""
        self.messages.append(json.loads(answer)["choices"][0]["message"])
        self.model = self.messages[-1]["content"].split()[0]
        return self.model


def sent(body: bytes, chunk: int = 0) -> bytes:
    """By HTTP/1.1, with its length or in chunks."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    if not chunk:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + chunk]), body[i : i + chunk]) for i in range(0, len(body), chunk))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def turn(client: Client, chat: Chat, chunk: int = 0) -> str:
    """One turn by HTTP/1.1: who answered."""
    client.send(sent(chat.body(), chunk))
    return chat.hear(bytes(client.answer().body))


def counts(lb: Balancer) -> dict[str, int]:
    return lb.status()["pools"][0]["prefix"]


@pytest.mark.parametrize("chunk", [0, 100])
def test_conversations_stay_with_their_model_and_are_spread(chunk: int) -> None:
    with models() as (lb, _), Client(lb.address) as client:
        chats = [Chat(number) for number in range(16)]
        homes = [{turn(client, chat, chunk) for _ in range(4)} for chat in chats]
        assert all(len(home) == 1 for home in homes)
        assert max(collections.Counter(chat.model for chat in chats).values()) <= 6
        assert counts(lb)["continued"] == 48
        assert counts(lb)["matched"] > counts(lb)["bytes"] // 2


def test_workers_share_what_they_learn() -> None:
    with models(workers=2) as (lb, _):
        for number in range(8):
            chat, homes = Chat(number), set()
            for _ in range(5):
                with Client(lb.address) as client:
                    homes.add(turn(client, chat))
            assert len(homes) == 1


def test_streams_of_http2() -> None:
    with models() as (lb, _), H2Client(lb.address) as client:
        stream = 1
        for number in range(8):
            chat, homes = Chat(number), set()
            for _ in range(4):
                body = chat.body()
                more = (("content-type", "application/json"),)
                client.send(frame(HEADERS, END_HEADERS, stream, client.head("/v1/chat/completions", *more, method="POST")))
                client.send(frame(DATA, 0, stream, body[:300]))
                client.send(frame(DATA, END_STREAM, stream, body[300:]))
                homes.add(chat.hear(bytes(client.response(stream).body)))
                stream += 2
            assert len(homes) == 1
        assert counts(lb)["continued"] == 24


def test_a_prompt_is_a_text_too_and_the_body_arrives_as_it_was() -> None:
    with models(3) as (lb, backends), Client(lb.address) as client:
        text = "Once upon a time \\" * 30
        bodies = [json.dumps({"prompt": text + " more" * turns * 40, "model": "m"}).encode() for turns in range(4)]
        for body in bodies:
            client.send(sent(body))
            client.answer()
        arrived = [backend.bodies for backend in backends]
        assert bodies in arrived


def test_a_body_that_comes_in_pieces() -> None:
    with models() as (lb, _), Client(lb.address) as client:
        chat = Chat(1)
        homes = set()
        for _ in range(3):
            whole = sent(chat.body())
            for i in range(0, len(whole), 50):
                client.send(whole[i : i + 50])
            homes.add(chat.hear(bytes(client.answer().body)))
        assert len(homes) == 1


def test_a_conversation_longer_than_json_bytes() -> None:
    with models(listener={"json_bytes": 4096}) as (lb, _), Client(lb.address) as client:
        chat = Chat(1)
        chat.messages.append({"role": "user", "content": "long " * 2000})
        assert len({turn(client, chat) for _ in range(5)}) == 1


def test_a_model_that_restarts_is_forgotten() -> None:
    with models(3, max_connect_failures=1, retry_after="100ms", hold_down=0) as (lb, backends), Client(lb.address) as client:
        chat = Chat(1)
        home = turn(client, chat)
        assert turn(client, chat) == home
        row = next(row for row in lb._running().table.rows() if row.address == backends[int(home[1])].address)
        lb._running().table.set_state(row, "down", "it died")
        away = turn(client, chat)
        assert away != home
        lb._running().table.set_state(row, "up", "a new one")
        assert turn(client, chat) == away


def test_what_has_no_text_goes_by_p2c() -> None:
    with models(3) as (lb, backends), Client(lb.address) as client:
        for _ in range(30):
            client.send(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            client.answer()
            client.send(sent(b'{"input": [1, 2]}'))
            client.answer()
            client.send(sent(b"no json"))
            client.answer()
        assert all(backend.heads for backend in backends)
        assert counts(lb)["new"] == 0


def test_a_question_that_all_ask_at_once_is_spread() -> None:
    class Holding(Model):
        def _talk(self, connection: socket.socket) -> None:
            self.heads.append(connection.recv(65536))
            connection.recv(1)

    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Holding(b"m%d" % number)) for number in range(4)]
        lb = stack.enter_context(http(*backends, policy="prefix", workers=2))
        for _ in range(48):
            stack.enter_context(Client(lb.address)).send(sent(Chat(1).body()))
        wait_for(lambda: sum(len(backend.heads) for backend in backends) == 48, "all are under way")
        assert max(len(backend.heads) for backend in backends) <= 1.3 * 48 / 4 + 1


def test_lbcore_why_says_how_much_matched() -> None:
    with models() as (lb, _), Client(lb.address) as client:
        chat = Chat(1)
        for _ in range(2):
            turn(client, chat)
        first, second = (found for found in decisions(lb._running().table.segment) if found["prefix"])
        assert first["why"] == "nobody knows the beginning: the best by load"
        assert second["why"] == "it continues what this backend served"
        assert second["prefix"]["blocks"] >= second["prefix"]["matched"] > 0


def test_maglev_by_a_key_of_the_body() -> None:
    with models(policy="maglev", hash="json:user") as (lb, backends), Client(lb.address) as client:
        for user in range(12):
            for text in range(4):
                client.send(sent(json.dumps({"messages": str(text), "user": f"user {user}"}).encode()))
                client.answer()
        homes = collections.defaultdict(set)
        for backend in backends:
            for body in backend.bodies:
                homes[json.loads(body)["user"]].add(backend.name)
        assert len(homes) == 12
        assert all(len(home) == 1 for home in homes.values())
        assert len(set.union(*homes.values())) > 1


@pytest.mark.parametrize("key", ["json:", "json:a,,b", "json:a,b,c,d,e", "json:" + "x" * 64])
def test_bad_keys_are_refused_in_one_line(key: str) -> None:
    with pytest.raises(ConfigError, match=r"hash: '.*' is not allowed \(allowed: address, path, header:NAME") as raised:
        PoolSettings(policy="prefix", hash=key)
    assert "\n" not in str(raised.value)
