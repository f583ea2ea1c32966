"""What a handshake makes of what servers say: refusals, servers that are not ready, other protocols, noise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbcore.config.settings import ProbeSettings
from lbcore.discovery.handshakes import exchange, handshakes
from lbcore.discovery.probe_http import http
from lbcore.discovery.reaching import MOST_BYTES, ProbeFailed, Talk

KINDS = ("mysql", "postgres", "redis", "smtp", "mqtt", "amqp", "tcp", "http")
DIALOGS = handshakes() | {"tcp": exchange, "http": lambda talk, probe: http(talk, probe, "a")}


class Sent:
    """A writer that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 1) if name == "sockname" else object()  # over TLS: none is begun


def verdict(says: bytes, **probe: Any) -> tuple[str, bytes]:
    """Of a server that says this and ends: "" for good; and what was sent to it."""
    rules = ProbeSettings(**probe)

    async def main() -> tuple[str, bytes]:
        reader, sent = asyncio.StreamReader(limit=MOST_BYTES), Sent()
        reader.feed_data(says)
        reader.feed_eof()
        try:
            await DIALOGS[rules.kind](Talk(reader, sent), rules)  # type: ignore[arg-type]
        except ProbeFailed as failure:
            return str(failure), sent.data
        return "", sent.data

    return asyncio.run(main())


def mysql_packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


GREETING = mysql_packet(
    0,
    b"\x0a10.11\0"
    + b"\1\0\0\0"
    + b"saltsalt\0"
    + b"\xff\xf7\x21\2\0\xff\x81\x15"
    + b"\0" * 10
    + b"saltsaltsalt\0mysql_native_password\0",
)
SHA2 = GREETING.replace(b"mysql_native_password", b"caching_sha2_password")
OK, DENIED = mysql_packet(2, b"\0\0\0\2\0\0\0"), mysql_packet(2, b"\xff\x15\x04#28000Access denied")
AMQP_START = b"\1\0\0\0\0\0\4\0\x0a\0\x0a\xce"


@pytest.mark.parametrize(
    ("probe", "says", "fault"),
    [
        ({"kind": "mysql"}, GREETING + OK, ""),
        ({"kind": "mysql"}, GREETING + DENIED, ""),
        ({"kind": "mysql", "user": "u"}, GREETING + DENIED, "the server says: Access denied (1045)"),
        ({"kind": "mysql"}, mysql_packet(0, b"\xff\x10\x04Too many"), "the server says: Too many (1040)"),
        ({"kind": "mysql"}, mysql_packet(0, b"\xff\x69\x04Host is blocked"), "the server says: Host is blocked (1129)"),
        ({"kind": "mysql"}, GREETING + mysql_packet(2, b"\xff\x1d\x04#08S01Shutdown"), "the server says: Shutdown (1053)"),
        ({"kind": "mysql"}, GREETING, "the connection ended without a response"),
        ({"kind": "mysql"}, b"SSH-2.0-OpenSSH_9.2\r\n", "the response is too long"),
        ({"kind": "mysql"}, GREETING + mysql_packet(2, b"\xfeauth_gssapi\0x"), "the account wants 'auth_gssapi'"),
        ({"kind": "mysql", "user": "u", "password": "p"}, SHA2 + mysql_packet(2, b"\1\3") + mysql_packet(3, OK[4:]), ""),
        ({"kind": "mysql", "user": "u", "password": "p"}, SHA2 + mysql_packet(2, b"\1\4") + mysql_packet(4, OK[4:]), ""),
        ({"kind": "postgres"}, b"N", ""),
        ({"kind": "postgres"}, b"S", ""),
        ({"kind": "postgres"}, b"E\0\0\0\x1bSFATAL\0MDoes not work\0\0", "the server says: Does not work"),
        ({"kind": "postgres"}, b"HTTP/1.1 400 Bad Request\r\n", "no PostgreSQL response"),
        ({"kind": "postgres", "user": "u"}, b"R\0\0\0\x08\0\0\0\x0a", ""),
        ({"kind": "postgres", "user": "u"}, b"R\0\0\0\x08\0\0\0\0S\0\0\0\6a\0Z\0\0\0\5I", ""),
        (
            {"kind": "postgres", "user": "u"},
            b"E\0\0\0\x32SFATAL\0C57P03\0Mthe database system is starting\0\0",
            "the server says: the database system is starting",
        ),
        ({"kind": "postgres", "user": "u"}, b"R\0\0\0\x08\0\0\0\0", "the connection ended without a response"),
        ({"kind": "redis"}, b"+PONG\r\n+OK\r\n", ""),
        ({"kind": "redis"}, b"-NOAUTH Authentication required.\r\n+OK\r\n", ""),
        ({"kind": "redis"}, b"-LOADING Redis is loading\r\n", "the server says: -LOADING Redis is loading"),
        ({"kind": "redis"}, b"-MASTERDOWN Link is down\r\n", "the server says: -MASTERDOWN Link is down"),
        ({"kind": "redis"}, b"-BUSY Redis is busy\r\n", "the server says: -BUSY Redis is busy"),
        ({"kind": "redis", "password": "p"}, b"-WRONGPASS no\r\n", "the server says: -WRONGPASS no"),
        ({"kind": "smtp"}, b"220-a\r\n220 a\r\n250-a\r\n250 PIPELINING\r\n221 bye\r\n", ""),
        ({"kind": "smtp"}, b"421 too busy\r\n", "the server says: 421 too busy"),
        ({"kind": "smtp"}, b"554 no\r\n", "the server says: 554 no"),
        ({"kind": "smtp"}, b"220 a\r\n502 no\r\n", "the server says: 502 no"),
        ({"kind": "smtp"}, b"220-a\r\n" * 200, "the response is too long"),
        ({"kind": "mqtt"}, b"\x20\2\0\0", ""),
        ({"kind": "mqtt"}, b"\x20\2\0\5", ""),
        ({"kind": "mqtt"}, b"\x20\2\0\3", "the server says: server unavailable"),
        ({"kind": "mqtt", "user": "u"}, b"\x20\2\0\4", "the server says: bad user name or password"),
        ({"kind": "mqtt"}, b"HTTP/1.1 400", "no MQTT response"),
        ({"kind": "amqp"}, AMQP_START, ""),
        ({"kind": "amqp"}, b"AMQP\0\1\0\0", "the server speaks another version of AMQP"),
        ({"kind": "amqp"}, b"HTTP/1.1 400", "no AMQP 0-9-1 response"),
        ({"kind": "amqp", "user": "u"}, AMQP_START, "the connection ended without a response"),
        ({"kind": "tcp", "greeting": "220 ", "send": "hex:00", "expect": "ok"}, b"220 a\r\nok", ""),
        ({"kind": "tcp", "greeting": "220 "}, b"554 a\r\n", "the response broke off: it lacks '220 '"),
        ({"kind": "tcp", "send": "x"}, b"", "the connection ended without a response"),
        ({"kind": "tcp", "send": "x"}, b"y", ""),
        ({"kind": "tcp", "expect": "ready"}, b"x" * MOST_BYTES * 2, "the response is too long: it lacks 'ready'"),
    ],
)  # fmt: skip
def test_what_servers_say(probe: dict[str, Any], says: bytes, fault: str) -> None:
    found, _ = verdict(says, **probe)
    assert found.startswith(fault) if fault else found == ""


@pytest.mark.parametrize(
    ("probe", "says", "end"),
    [
        ({"kind": "mysql"}, GREETING + OK, b"\1\0\0\0\1"),
        ({"kind": "postgres", "user": "u"}, b"R\0\0\0\x08\0\0\0\0Z\0\0\0\5I", b"X\0\0\0\4"),
        ({"kind": "redis"}, b"+PONG\r\n+OK\r\n", b"*1\r\n$4\r\nQUIT\r\n"),
        ({"kind": "smtp"}, b"220 a\r\n250 a\r\n221 a\r\n", b"EHLO [192.0.2.1]\r\nQUIT\r\n"),
        ({"kind": "mqtt"}, b"\x20\2\0\0", b"\xe0\0"),
    ],
)
def test_the_end_is_the_protocols_own(probe: dict[str, Any], says: bytes, end: bytes) -> None:
    fault, sent = verdict(says, **probe)
    assert fault == ""
    assert sent.endswith(end)


@pytest.mark.parametrize(
    ("says", "body", "fault"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nready", "ready", ""),
        (b"HTTP/1.0 200\r\n\r\nready", "ready", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", "ready", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nready", "ready", "the body lacks 'ready'"),
        (b"HTTP/1.1 204 No Content\r\n\r\nready", "ready", "the body lacks 'ready'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nready", "ready", "no HTTP response: its Content-Length is wrong"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "ready", "no HTTP response: a chunk's size is wrong"),
        (b"HTTP/2 200 OK\r\n\r\n", None, "no HTTP response: the status line is wrong"),
        (b"HTTP/1.1 200 OK\r\nContent-Length", None, "the response broke off"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * MOST_BYTES, None, "the response is too long"),
        (
            b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"x" * 1000 + b"\r\n") * 100,
            None,
            "no HTTP response: its head is wrong or too long",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3, None, "no HTTP response: the connection ended without a response"),
        (b"", None, "no HTTP response: the connection ended without a response"),
    ],
)
def test_what_http_servers_say(says: bytes, body: str | None, fault: str) -> None:
    assert verdict(says, kind="http", body=body)[0] == fault


@given(
    st.sampled_from(KINDS),
    st.booleans(),
    st.sampled_from([b"", GREETING, AMQP_START, b"R\0\0\0\x08\0\0\0\0"]),
    st.binary(max_size=80),
)
def test_noise_is_a_failure_and_nothing_worse(kind: str, named: bool, begin: bytes, noise: bytes) -> None:
    extra: dict[str, Any] = {"user": "u"} if named and kind in ("mysql", "postgres", "mqtt", "amqp") else {}
    extra |= {"send": "x", "expect": "y"} if kind == "tcp" else {"body": "ready"} if kind == "http" else {}
    fault, _ = verdict(begin + noise, kind=kind, **extra)
    assert fault.isprintable()
