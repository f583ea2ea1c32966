"""`python -m bench.waiting PORT`: an origin that answers `/` and leaves everything else waiting; requests have no bodies."""

from __future__ import annotations

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Connection(asyncio.Protocol):
    """One connection of the balancer's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Its answers go here."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Whole heads are answered, or not."""
        self._held += data
        *heads, self._held = self._held.split(b"\r\n\r\n")
        for head in heads:
            if head.startswith(b"GET / "):
                self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
