"""Clients that mean harm, from an address of their own; and the origin that they and the good ones ask.

`python -m bench.attackers NAME HOST PORT COUNT` attacks until its standard input ends, then prints a JSON object: what it did
and what was done to it, by name. Used by `python -m bench.attack` and tests/l4/test_attacks.py, against our own.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

SOURCE = "127.0.0.66"
"""Where attackers come from: the good ones have another address."""
PACE_S = 0.2
"""Between the bytes of those that are slow."""
BIG = 4 << 20
"""Bytes of the answer at /big."""

Tally = collections.Counter[str]
Address = tuple[str, int]


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """ASGI: / answers "ok", /big much, /body once it has read the request's body."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    body = bytes(BIG) if scope["path"] == "/big" else b"ok"
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


async def _connect(address: Address, room: int = 0) -> socket.socket:
    """A connection. room: of its receive buffer; 0: the usual."""
    made = socket.socket()
    made.setblocking(False)
    try:
        if room:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        made.bind((SOURCE, 0))
        await asyncio.get_running_loop().sock_connect(made, address)
    except OSError:
        made.close()
        raise
    return made


async def _drip(client: socket.socket, first: bytes, tally: Tally) -> None:
    """Send the beginning, then a byte now and then, until the other side has had enough."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, first)
    ended = asyncio.ensure_future(loop.sock_recv(client, 4096))
    try:
        while not ended.done():
            await loop.sock_sendall(client, b"x")
            tally["bytes"] += 1
            await asyncio.wait([ended], timeout=PACE_S)
        tally[_status(await ended)] += 1
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


def _status(answer: bytes) -> str:
    if not answer:
        return "closed"
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.") else "more"


async def slow_heads(address: Address, tally: Tally) -> None:
    """Slowloris: heads that never end."""
    with await _connect(address) as client:
        await _drip(client, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", tally)


async def slow_bodies(address: Address, tally: Tally) -> None:
    """Likewise bodies."""
    with await _connect(address) as client:
        await _drip(client, b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", tally)


async def large_heads(address: Address, tally: Tally) -> None:
    """Heads of 60 KiB."""
    loop = asyncio.get_running_loop()
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %s\r\n" % (at, b"x" * 1000) for at in range(60))
    with await _connect(address) as client:
        with contextlib.suppress(ConnectionError):  # it may have been told before all was sent
            await loop.sock_sendall(client, head)
        tally[_status(await loop.sock_recv(client, 4096))] += 1


async def small_windows(address: Address, tally: Tally) -> None:
    """Ask for much, and read nothing of it."""
    loop = asyncio.get_running_loop()
    with await _connect(address, room=2048) as client:
        await loop.sock_sendall(client, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        tally["asked"] += 1
        while True:
            await asyncio.sleep(PACE_S)
            # what waits is left in the socket; a reset is seen all the same
            if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                tally["closed"] += 1
                return


async def connection_flood(address: Address, tally: Tally) -> None:
    """Connections, as quickly as may be, each kept while it is let be."""
    loop = asyncio.get_running_loop()
    with await _connect(address) as client:
        tally["connected"] += 1
        await loop.sock_recv(client, 1)
        tally["closed"] += 1


async def request_flood(address: Address, tally: Tally) -> None:
    """Requests, as quickly as may be."""
    loop = asyncio.get_running_loop()
    with await _connect(address) as client:
        while True:
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await loop.sock_recv(client, 4096)
            tally[_status(answer)] += 1
            if not answer:
                return


ATTACKS: dict[str, Callable[[Address, Tally], Awaitable[None]]] = {
    attack.__name__: attack for attack in (slow_heads, slow_bodies, large_heads, small_windows, connection_flood, request_flood)
}


async def _again_and_again(attack: Callable[[Address, Tally], Awaitable[None]], address: Address, tally: Tally) -> None:
    while True:
        try:
            await attack(address, tally)
        except ConnectionError:
            tally["reset"] += 1
        except OSError as error:  # out of ports or descriptors: this attacker's own limits
            tally[f"own: {error.strerror}"] += 1
            await asyncio.sleep(PACE_S)
        await asyncio.sleep(0)


async def _run(name: str, address: Address, count: int) -> Tally:
    """Until standard input ends."""
    tally: Tally = collections.Counter()
    tasks = [asyncio.ensure_future(_again_and_again(ATTACKS[name], address, tally)) for _ in range(count)]
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return tally


def main(arguments: list[str]) -> int:
    """NAME HOST PORT COUNT."""
    name, host, port, count = arguments
    print(json.dumps(asyncio.run(_run(name, (host, int(port)), int(count)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
