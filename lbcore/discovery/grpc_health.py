"""grpc.health.v1.Health/Check over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/health-checking.md), as a client.

HTTP/2 is spoken by the h2 package; the two messages have one field each and are written here by hand.
"""

from __future__ import annotations

import asyncio
from typing import Any

PATH = "/grpc.health.v1.Health/Check"
MOST_BYTES = 256 << 10
"""Of all that a backend may send to one probe."""
STATES = {0: "unknown", 2: "NOT_SERVING", 3: "service unknown"}
SERVING = 1
STATUS = {"2": "UNKNOWN", "4": "DEADLINE_EXCEEDED", "5": "service unknown", "7": "PERMISSION_DENIED", "12": "UNIMPLEMENTED"}
STATUS |= {"14": "UNAVAILABLE", "16": "UNAUTHENTICATED"}


def request(service: str) -> bytes:
    """HealthCheckRequest{service = 1} behind gRPC's prefix: not compressed, its length in 4 bytes."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def serving_status(data: bytes) -> int | None:
    """HealthCheckResponse{status = 1} of a whole body: the status; None when it is broken. A field left out is 0."""
    if len(data) < 5 or data[0] != 0 or int.from_bytes(data[1:5], "big") != len(data) - 5:
        return None
    message = data[5:]
    if not message:
        return 0
    return message[1] if len(message) == 2 and message[0] == 0x08 and message[1] < 0x80 else None


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


async def check(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str, *, tls: bool
) -> str | None:
    """Ask on a fresh connection: what is wrong, in words; None: the service serves."""
    import h2.config
    import h2.connection
    import h2.exceptions

    config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    connection = h2.connection.H2Connection(config=config)
    connection.initiate_connection()
    fields = [(":method", "POST"), (":scheme", "https" if tls else "http"), (":path", PATH), (":authority", authority)]
    fields += [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "lbcore-probe")]
    connection.send_headers(1, fields)
    connection.send_data(1, request(service), end_stream=True)
    writer.write(connection.data_to_send())
    answer = _Answer()
    received = 0
    try:
        while not answer.over:
            data = await reader.read(16384)
            received += len(data)
            if not data or received > MOST_BYTES:
                return "no HTTP/2 response" if not answer.fields else "the response broke off"
            for event in connection.receive_data(data):
                answer.take(event, connection)
            writer.write(connection.data_to_send())
    except h2.exceptions.ProtocolError:
        return "no HTTP/2 response"
    return answer.fault()


class _Answer:
    """What has come of a response."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.body = b""
        self.over = False
        self.reset = False

    def take(self, event: Any, connection: Any) -> None:
        """An event of h2."""
        import h2.events

        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.fields |= {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.over = True
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            self.over = self.reset = True

    def fault(self) -> str | None:
        """What is wrong with the whole of it."""
        status, http = self.fields.get("grpc-status"), self.fields.get(":status")
        if self.reset:
            return "the backend reset the stream"
        if http != "200":
            return f"HTTP status {http}"
        if status != "0":
            return STATUS.get(str(status), f"status {status}")
        serving = serving_status(self.body)
        if serving is None:
            return "the response is malformed"
        return None if serving == SERVING else STATES.get(serving, f"state {serving}")
