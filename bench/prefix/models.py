"""Stand-ins for model servers with a cache of prompts, and clients that chat with them: one event loop, real sockets.

A model reads what it does not have yet at PREFILL characters a second, one request after the other, and then sends its answer.
Its name stands in the answer; a message is known by the hash of all before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator

from bench.load import Address
from bench.prefix.model import PREFILL, Run
from bench.prefix.traces import ANSWER, Conversation, Trace

ANSWER_S = 0.06
"""An answer takes so long, about, beside the reading."""

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_ABOUT = {
    "/v1/models": {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "bench"}]},
    "/model_info": {"model_path": "m", "is_generation": True},
    "/get_model_info": {"model_path": "m", "is_generation": True},
    "/server_info": {"model_path": "m", "served_model_name": "m"},
    "/get_server_info": {"model_path": "m", "served_model_name": "m"},
}
"""What routers ask of a worker that they are to use."""


class Model:
    """One of them. had: hashes of the beginnings that it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.had: set[int] = set()
        self.address: Address = ("", 0)
        self._reading = asyncio.Lock()
        self._dice = random.Random(name)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Model]:
        """While the block runs, at an address of loopback."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=512)
        host, port = server.sockets[0].getsockname()
        self.address = (str(host), int(port))
        try:
            yield self
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                path, body = await _message(reader)
                if body:
                    await self._complete(json.loads(body)["messages"], writer)
                else:
                    said = json.dumps(_ABOUT.get(path.split()[1], {})).encode()
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said
                    )
                await writer.drain()
        writer.close()

    async def _complete(self, messages: list[dict[str, str]], writer: asyncio.StreamWriter) -> None:
        async with self._reading:
            missed = self._read(messages)
            await asyncio.sleep(missed / PREFILL)
        writer.write(_HEAD + _chunk(b"data: {}\n\n"))
        await writer.drain()
        await asyncio.sleep(ANSWER_S * (0.5 + self._dice.random()))
        said = json.dumps({"model": self.name, "missed": missed})
        writer.write(_chunk(f"data: {said}\n\ndata: [DONE]\n\n".encode()) + b"0\r\n\r\n")

    def _read(self, messages: list[dict[str, str]]) -> int:
        """Characters that it did not have; now it has them."""
        chain, missed, known = 0, 0, True
        for message in messages:
            chain = hash((chain, message["role"], message["content"]))
            known = known and chain in self.had
            missed += 0 if known else size(message)
            self.had.add(chain)
        return missed


def size(message: dict[str, str]) -> int:
    """Characters of a message as it was sent, and what parts it from the next."""
    return len(json.dumps(message, separators=(",", ":"))) + 1


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _message(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """A message's first line and its body, framed by length or in chunks. Raises IncompleteReadError at the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "content-length" in fields:
        return head.partition("\r\n")[0], await reader.readexactly(int(fields["content-length"]))
    body = b""
    while fields.get("transfer-encoding") == "chunked":
        size = int(await reader.readline(), 16)
        body += (await reader.readexactly(size + 2))[:size]
        if not size:
            break
    return head.partition("\r\n")[0], body


class Chats:
    """Clients that play a trace against an address, so many requests at once; a client keeps its connection."""

    def __init__(self, trace: Trace, seed: int) -> None:
        self.run = Run()
        self._trace = trace
        self._waiting = trace.draw(seed)
        self._dice = random.Random(seed)
        self._last: dict[int, str] = {}
        self._all: set[tuple[int, ...]] = set()

    async def play(self, address: Address) -> Run:
        """The whole of it. Raises RuntimeError when a turn fails."""
        self._left = sum(one.turns for one in self._waiting)
        await asyncio.gather(*(self._client(address) for _ in range(self._trace.flights)))
        return self.run

    async def _client(self, address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        try:
            while self._left:
                if not self._waiting:
                    await asyncio.sleep(0.002)
                    continue
                self._left -= 1
                one = self._waiting.pop(self._dice.randrange(len(self._waiting)))
                await self._turn(one, reader, writer)
                one.hear(ANSWER)
                if one.turn < one.turns:
                    self._waiting.append(one)
        finally:
            writer.close()

    async def _turn(self, one: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one.ask(self._trace.question)
        self.run.requests += 1
        length = sum(len(said) + 1 for said in one.said)
        began = time.monotonic()
        writer.write(request(one, stream="true"))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"a turn failed: {head!r}")
        said = b""
        while size := int(await reader.readline(), 16):
            if not said:
                self.run.waits_s.append(time.monotonic() - began)
            said += (await reader.readexactly(size + 2))[:size]
        await reader.readexactly(2)
        answer = json.loads(said.split(b"data: ")[2])
        self._note(one, str(answer["model"]), length, int(answer["missed"]))

    def _note(self, one: Conversation, model: str, length: int, missed: int) -> None:
        known = 0
        for count in range(1, len(one.chain) + 1):
            if tuple(one.chain[:count]) in self._all:
                known += len(one.said[count - 1]) + 1
            self._all.add(tuple(one.chain[:count]))
        run = self.run
        run.characters += length
        run.seen += length - missed
        run.possible += known
        if one.number in self._last:
            run.turns += 1
            run.same += self._last[one.number] == model
        self._last[one.number] = model
        run.places.append(model)


def request(one: Conversation, stream: str = "false") -> bytes:
    """A turn as it is sent: with its session and its model in headers, too."""
    body = b'{"model":"m","stream":%b,"messages":%b,"user":"u%d"}' % (stream.encode(), one.text(), one.number)
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nX-Model: m\r\n"
        b"X-Session-Id: s%d\r\nContent-Length: %d\r\n\r\n%b" % (one.number, len(body), body)
    )
