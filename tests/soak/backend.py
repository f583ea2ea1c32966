"""A backend in a process of its own: `python backend.py HOST`. Echoes tcp and udp, answers http, and behaves as stdin tells it.

Lines on stdin: good, slow (answers late, in pieces), reset (breaks connections off), failing (503, or an end without a word).
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading

ECHO_PORT, HTTP_PORT = 7001, 7002
PATTERN = bytes(range(251)) * 16_384
"""What is asked for by length: 251 is prime, so that bytes that are lost or swapped show."""

mode = "good"


def _read_modes() -> None:
    global mode
    for line in sys.stdin:
        mode = line.strip()


def _break_off(writer: asyncio.StreamWriter) -> None:
    made = writer.get_extra_info("socket")
    if made is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """All of it; slowly, where that is the mode."""
    if mode == "slow":
        await asyncio.sleep(0.2)
        half = len(data) // 2
        writer.write(data[:half])
        await writer.drain()
        await asyncio.sleep(0.2)
        data = data[half:]
    writer.write(data)
    await writer.drain()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        if mode == "reset":
            return _break_off(writer)
        if mode == "failing":
            return None
        await _send(writer, data)
    return None


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One request. Does the connection go on?"""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    if mode == "reset":
        _break_off(writer)
        return False
    if mode == "failing":
        await _send(writer, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        return True
    kind, _, size = target[1:].partition("/")
    if fields.get("upgrade"):
        await _send(writer, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await _echo(reader, writer)
        return False
    if method == "POST":
        await _send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return True
    data = PATTERN[: int(size or 2)]
    if kind == "chunks":
        parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (data[at : at + 9000] for at in range(0, len(data), 9000))]
        await _send(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n")
    elif kind == "close":
        await _send(writer, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + data)
        return False
    else:
        await _send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    return True


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await _answer(reader, writer):
        pass


def _served(talk):  # type: ignore[no-untyped-def]
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()

    return serve


class Datagrams(asyncio.DatagramProtocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, peer: object) -> None:
        if mode in ("good", "slow"):
            self._transport.sendto(data, peer)  # type: ignore[attr-defined]


async def main(host: str) -> None:
    """Serve until killed."""
    await asyncio.start_server(_served(_echo), host, ECHO_PORT, backlog=1000)
    await asyncio.start_server(_served(_talk), host, HTTP_PORT, backlog=1000)
    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, (host, ECHO_PORT))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    threading.Thread(target=_read_modes, daemon=True).start()
    asyncio.run(main(sys.argv[1]))
