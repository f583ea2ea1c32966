"""The six measurements. Each returns what it saw as plain values, which go into the page's JSON file as they are."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from harness import SLOWER
from http_peers import Client, Reader

from servers import apps
from servers.load import Load, ask, request
from servers.server import Server

if TYPE_CHECKING:
    from servers.fronts import Address
    from servers.kinds import Kind
    from servers.pace import Pace

UPLOAD = 10_000_000
ANSWER_S = 3.0
"""How long a response may take."""
CLOSE, PING, PONG = 0x8, 0x9, 0xA
AT_ONCE = 40
"""POSTs of a round around the time of the idle close."""
SPREAD_S = 0.1
"""How far before and behind that time they are sent."""
SHORT_IDLE_S = 15.0
"""Idle times above this one are not waited for again and again."""


# --- idle close ------------------------------------------------------------------------------------------------------


def idle_close(server: Server, limit_s: float) -> float | None:
    """Seconds until the server closes a connection on which it answered once; None: not within the limit."""
    with Client(server.address) as client:
        client.send(request(server.kind, "GET").replace(b"Connection: close\r\n", b""))
        client.answer()
        began = time.monotonic()
        client.socket.settimeout(limit_s)
        try:
            client.socket.recv(1)
        except TimeoutError:
            return None
        except ConnectionResetError:
            pass
        return round(time.monotonic() - began, 1)


def posts_at_idle_close(address: Address, kind: Kind, idle_s: float, rounds: int) -> dict[str, Any]:
    """POSTs that take connections of the front's just when the server closes these."""
    return asyncio.run(_posts_at_idle_close(address, kind, idle_s, rounds))


async def _posts_at_idle_close(address: Address, kind: Kind, idle_s: float, rounds: int) -> dict[str, Any]:
    async def ask_at(method: str, pause_s: float) -> str | None:
        """None: 200. Else when it was sent, how long it took, and what came instead."""
        await asyncio.sleep(pause_s)
        began = time.monotonic()
        try:
            async with asyncio.timeout(15):
                answer = await ask(address, request(kind, method))
        except (OSError, TimeoutError) as error:
            answer = repr(error).encode()
        took_s = time.monotonic() - began
        return None if answer[9:12] == b"200" else f"after {pause_s:.3f} s, in {took_s:.3f} s: {answer[:15]!r} {answer[-80:]!r}"

    results: list[str | None] = []
    for turn in range(rounds):
        await asyncio.gather(*(ask_at("GET", 0) for _ in range(AT_ONCE)))  # connections to the server, as many as it takes
        steps = (idle_s - SPREAD_S + 2 * SPREAD_S * number / AT_ONCE for number in range(AT_ONCE))
        seen = await asyncio.gather(*(ask_at("POST", max(0.0, step)) for step in steps))
        results += [f"round {turn}, {what}" if what else None for what in seen]
    failed = [what for what in results if what]
    return {"asked": len(results), "POST": len(failed), "reasons": failed[:4]}


# --- early responses -------------------------------------------------------------------------------------------------


def early_responses(address: Address, count: int) -> dict[str, Any]:
    """A client sends 10 MB, and reads only then; the application answered 413 or 200 without reading any of it."""
    seen = Counter(_early_response(address, (413, 200)[number % 2]) for number in range(count))
    return {"asked": count, "delivered": seen.pop("delivered", 0), "instead": dict(seen)}


def _early_response(address: Address, status: int) -> str:
    with Client(address) as client:
        client.socket.settimeout(5 * ANSWER_S * SLOWER)
        head = f"POST /early/{status} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {UPLOAD}\r\n\r\n".encode()
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.send(head + bytes(UPLOAD))
            answer = client.answer()
        except TimeoutError:
            return "nothing"
        except (OSError, AssertionError):
            return "reset"
    return "delivered" if (answer.status, b"early" in answer.body) == (status, True) else str(answer.status)


# --- HEAD ------------------------------------------------------------------------------------------------------------


def body_behind_head(server: Server) -> int:
    """Bytes that the server sends behind the head of its response to HEAD, within a second."""
    with Client(server.address) as client:
        client.send(b"HEAD /body HTTP/1.1\r\nHost: a.example\r\n\r\n")
        reader = Reader(client.socket)
        reader.head()
        client.socket.settimeout(1)
        with contextlib.suppress(OSError):
            reader.exactly(1 << 16)
        return len(reader.buffer)


def exchanges_after_head(address: Address, count: int) -> dict[str, Any]:
    """A client sends HEAD; another one's requests follow, and each must get its own path. instead: what others got."""
    seen = [what for _ in range(count) for what in _after_head(address)]
    instead = Counter(what for what in seen if what != "its own")
    return {"asked": len(seen), "wrong": instead.total(), "instead": dict(instead)}


class _Recording(Reader):
    """raw: all that came."""

    raw = b""

    def _more(self) -> bool:
        before = len(self.buffer)
        more = super()._more()
        self.raw += self.buffer[before:]
        return more


def _after_head(address: Address) -> list[str]:
    """What each of up to three requests got; none follows one that got the wrong thing."""
    seen: list[str] = []
    with Client(address) as one, Client(address) as two:
        one.socket.settimeout(ANSWER_S * SLOWER)
        two.socket.settimeout(ANSWER_S * SLOWER)
        two.reader = reader = _Recording(two.socket)
        try:
            one.send(b"HEAD /body HTTP/1.1\r\nHost: a.example\r\n\r\n")
            if (one.reader.head() or b"")[9:12] != b"200":
                return ["no response to HEAD"]
            while len(seen) < 3 and set(seen) <= {"its own"}:
                path = f"/own-{len(seen)}"
                answer = two.get(path)
                own = "its own" if path.encode() in answer.body else "bytes of another response"
                seen.append(own if answer.status == 200 else str(answer.status))
        except (OSError, AssertionError, ValueError):  # a timeout, too
            seen.append("bytes of another response" if apps.HALF in reader.raw else "no whole response")
    return seen


# --- WebSocket -------------------------------------------------------------------------------------------------------


def websocket_ends(server: Server, addresses: dict[str, Address], limit_s: float) -> dict[str, Any]:
    """A WebSocket by each address, to one server, which is stopped: how each ended, and after how many seconds."""
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(_websocket(address)) for name, address in addresses.items()}
        with ThreadPoolExecutor(len(sockets)) as pool:
            waiting = {name: pool.submit(_end, client, limit_s) for name, client in sockets.items()}
            server.terminate()
            return {name: future.result() for name, future in waiting.items()}


def _websocket(address: Address) -> Client:
    client = Client(address)
    client.send(
        b"GET /socket HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = client.reader.head() or b""
    assert head.startswith(b"HTTP/1.1 101"), head
    return client


def _end(client: Client, limit_s: float) -> dict[str, Any]:
    """The status of the close frame, FIN, reset, or nothing. A ping is answered, and so is a close."""
    began = time.monotonic()
    client.socket.settimeout(limit_s)
    try:
        while len(start := client.reader.exactly(2)) == 2:
            kind, length = start[0] & 0xF, start[1] & 0x7F
            payload = client.reader.exactly(length)
            if kind == PING:
                client.send(bytes((0x80 | PONG, 0x80 | length)) + bytes(4) + payload)
            if kind == CLOSE:
                how = str(struct.unpack("!H", payload[:2])[0]) if payload else "close without a status"
                return {"end": how, "after_s": round(time.monotonic() - began, 1)}
        how = "FIN"
    except TimeoutError:
        return {"end": "nothing", "after_s": limit_s}
    except OSError:
        how = "reset"
    return {"end": how, "after_s": round(time.monotonic() - began, 1)}


# --- stopping and recycling ------------------------------------------------------------------------------------------


def stopped_under_load(address: Address, server: Server, pace: Pace) -> dict[str, Any]:
    """SIGTERM to this one of two servers, while 50 requests a second come, half of them POSTs."""
    load = Load(address, server.kind)
    load.run((pace.term_at, server.terminate), (pace.load, None))
    return load.figures() | {"exits_s": [server.exit_s]}


def summed(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Several runs as one: numbers are added up, lists are joined."""
    return {name: sum((run[name] for run in runs[1:]), runs[0][name]) for name in runs[0]}


def recycled_under_load(address: Address, kind: Kind, pace: Pace) -> dict[str, Any]:
    """Processes of both servers end after so many requests, and others take their places. processes: how many answered."""
    load = Load(address, kind)
    load.run((pace.recycle_load, None))
    return load.figures() | {"processes": len(load.processes)}
