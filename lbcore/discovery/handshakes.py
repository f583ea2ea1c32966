"""Handshakes that servers count as clean: each ends as its protocol wants it, so that no server blocks the prober.

Each raises ProbeFailed. Tried with MariaDB 10.11, PostgreSQL 15, Redis 7.0, Postfix 3.7, mosquitto 2.0 and RabbitMQ 3.10.
"""

from __future__ import annotations

import functools
import os
import struct
from typing import TYPE_CHECKING

from lbcore.config.secret import revealed
from lbcore.config.settings import raw_bytes
from lbcore.discovery.reaching import ProbeFailed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from lbcore.config.settings import ProbeSettings
    from lbcore.discovery.reaching import Talk

NOBODY = "lbcore"
"""Who logs in where a login is the only clean end, and no user is named."""


# --- what is sent and expected by the settings ----------------------------------------------------------------------------


async def exchange(talk: Talk, probe: ProbeSettings) -> None:
    """The server's greeting, what is sent, and what must come back: each as far as it is set."""
    if probe.greeting:
        await _hear(talk, probe.greeting)
    if probe.send:
        talk.send(raw_bytes(probe.send))
    if probe.expect:
        await _hear(talk, probe.expect)
    elif probe.send:
        await talk.exactly(1)


async def _hear(talk: Talk, text: str) -> None:
    try:
        await talk.through(raw_bytes(text))
    except ProbeFailed as failure:
        raise ProbeFailed(f"{failure}: it lacks {text!r}") from None


# --- Redis (https://redis.io/docs/latest/develop/reference/protocol-spec) -------------------------------------------------


async def redis(talk: Talk, probe: ProbeSettings) -> None:
    """PING, then QUIT. A server that wants a password is alive; one that loads its data, or is stuck in a script, is not."""
    if probe.password:
        words = ["AUTH", *([probe.user] if probe.user else []), probe.password.reveal()]
        talk.send(_resp(*words))
        reply = await talk.line()
        if reply != b"+OK":
            raise ProbeFailed(_said(reply))
    talk.send(_resp("PING"))
    reply = await talk.line()
    if reply != b"+PONG" and not reply.startswith((b"-NOAUTH", b"-NOPERM")):
        raise ProbeFailed(_said(reply))
    talk.send(_resp("QUIT"))
    await talk.line()


def _resp(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


# --- SMTP (RFC 5321) ------------------------------------------------------------------------------------------------------


async def smtp(talk: Talk, probe: ProbeSettings) -> None:
    """Wait for the greeting, EHLO, QUIT."""
    own = talk.own_ip
    name = probe.host or (f"[IPv6:{own}]" if ":" in own else f"[{own}]")
    await _smtp_reply(talk, b"220")
    talk.send(f"EHLO {name}\r\n".encode())
    await _smtp_reply(talk, b"250")
    talk.send(b"QUIT\r\n")
    await _smtp_reply(talk, b"221")


async def _smtp_reply(talk: Talk, good: bytes) -> None:
    for _ in range(100):
        line = await talk.line()
        if line[:3] != good:
            raise ProbeFailed(_said(line))
        if line[3:4] != b"-":
            return
    raise ProbeFailed("the response is too long")


# --- MQTT 3.1.1 -----------------------------------------------------------------------------------------------------------

_MQTT_REFUSALS = {1: "unacceptable protocol version", 2: "identifier rejected", 3: "server unavailable"}
_MQTT_REFUSALS |= {4: "bad user name or password", 5: "not authorized"}


async def mqtt(talk: Talk, probe: ProbeSettings) -> None:
    """CONNECT with a clean session, then DISCONNECT. A broker that wants a password is alive, unless a user is named."""
    flags, payload = 0x02, _mqtt_text(f"{NOBODY}{os.urandom(6).hex()}")
    if probe.user:
        flags, payload = flags | 0x80, payload + _mqtt_text(probe.user)
        if probe.password:
            flags, payload = flags | 0x40, payload + _mqtt_text(probe.password.reveal())
    body = _mqtt_text("MQTT") + bytes([4, flags, 0, 60]) + payload
    talk.send(b"\x10" + _mqtt_length(len(body)) + body)
    kind, length, _, code = await talk.exactly(4)
    if kind != 0x20 or length != 2:
        raise ProbeFailed("no MQTT response")
    if code and (probe.user or code not in (4, 5)):
        raise ProbeFailed(f"the server says: {_MQTT_REFUSALS.get(code, f'code {code}')}")
    if not code:
        talk.send(b"\xe0\0")


def _mqtt_text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _mqtt_length(count: int) -> bytes:
    out = b""
    while count > 0x7F:
        out += bytes([count & 0x7F | 0x80])
        count >>= 7
    return out + bytes([count])


# --- AMQP 0-9-1 -----------------------------------------------------------------------------------------------------------

_METHOD, _HEARTBEAT, _FRAME_END = 1, 8, b"\xce"
_START, _TUNE, _OPEN_OK, _CLOSE, _CLOSE_OK = (10, 10), (10, 30), (10, 41), (10, 50), (10, 51)


async def amqp(talk: Talk, probe: ProbeSettings) -> None:
    """The protocol header and Start; with a user the whole of a login up to Close, which is the only end without a warning."""
    talk.send(b"AMQP\0\0\x09\x01")
    if (first := await talk.exactly(1)) != b"\x01":
        raise ProbeFailed("no AMQP 0-9-1 response" if first != b"A" else "the server speaks another version of AMQP")
    await _amqp_method(talk, _START, kind=first)
    if not probe.user:
        return
    login = f"\0{probe.user}\0{revealed(probe.password) or ''}".encode()
    _amqp_send(talk, 11, _amqp_properties() + b"\x05PLAIN" + len(login).to_bytes(4, "big") + login + b"\x05en_US")
    tune = await _amqp_method(talk, _TUNE)
    _amqp_send(talk, 31, tune[:6] + b"\0\0")  # no heartbeats
    _amqp_send(talk, 40, b"\x01/\0\0")
    await _amqp_method(talk, _OPEN_OK)
    _amqp_send(talk, 50, struct.pack(">HBHH", 200, 0, 0, 0))
    await _amqp_method(talk, _CLOSE_OK)


def _amqp_properties() -> bytes:
    """What a client has to say of itself: that it wants to be told when its login fails."""
    ability = b"\x1cauthentication_failure_closet\x01"
    table = b"\x0ccapabilitiesF" + len(ability).to_bytes(4, "big") + ability
    return len(table).to_bytes(4, "big") + table


def _amqp_send(talk: Talk, method: int, arguments: bytes) -> None:
    payload = struct.pack(">HH", 10, method) + arguments
    talk.send(struct.pack(">BHI", _METHOD, 0, len(payload)) + payload + _FRAME_END)


async def _amqp_method(talk: Talk, wanted: tuple[int, int], *, kind: bytes = b"") -> bytes:
    """The arguments of the method that must come now."""
    for _ in range(10):
        head = kind + await talk.exactly(7 - len(kind))
        kind = b""
        payload = (await talk.exactly(int.from_bytes(head[3:], "big") + 1))[:-1]
        if head[0] == _HEARTBEAT:
            continue
        method = struct.unpack(">HH", payload[:4]) if head[0] == _METHOD and len(payload) >= 4 else None
        if method == wanted:
            return payload[4:]
        if method == _CLOSE and len(payload) > 6:
            raise ProbeFailed(_said(payload[7 : 7 + payload[6]]))
        break
    raise ProbeFailed("no AMQP 0-9-1 response")


# --- PostgreSQL (https://www.postgresql.org/docs/current/protocol-flow.html) ----------------------------------------------


async def postgres(talk: Talk, probe: ProbeSettings) -> None:
    """Without a user: ask whether TLS is spoken, which no server logs. It does not tell a server that still starts.

    With a user: its startup message; a request for a password is as good as a login, and an error in its place is not.
    """
    if probe.user:
        await _postgres_startup(talk, probe.user)
        return
    talk.send(struct.pack(">II", 8, 80877103))
    reply = await talk.exactly(1)
    if reply == b"E":
        raise ProbeFailed(await _postgres_error(talk))
    if reply not in (b"S", b"N"):
        raise ProbeFailed("no PostgreSQL response")
    if reply == b"S" and talk.writer.get_extra_info("sslcontext") is None:
        await _agree_on_tls(talk)


async def _postgres_startup(talk: Talk, user: str) -> None:
    body = struct.pack(">I", 3 << 16) + b"user\0" + user.encode() + b"\0database\0postgres\0\0"
    talk.send(struct.pack(">I", 4 + len(body)) + body)
    reply = await talk.exactly(1)
    if reply == b"E":
        raise ProbeFailed(await _postgres_error(talk))
    if reply != b"R":
        raise ProbeFailed("no PostgreSQL response")
    if await _postgres_body(talk) != b"\0\0\0\0":
        return  # it wants a password: a client that leaves now is silently let go
    while (kind := await talk.exactly(1)) != b"Z":
        if kind == b"E":
            raise ProbeFailed(await _postgres_error(talk))
        await _postgres_body(talk)
    talk.send(b"X\0\0\0\x04")


async def _postgres_body(talk: Talk) -> bytes:
    return await talk.exactly(max(0, int.from_bytes(await talk.exactly(4), "big") - 4))


async def _postgres_error(talk: Talk) -> str:
    for part in (await _postgres_body(talk)).split(b"\0"):
        if part[:1] == b"M":
            return _said(part[1:])
    return "the server says: an error"


async def _agree_on_tls(talk: Talk) -> None:
    """A handshake whose only purpose is that the server sees no half of one, which it would log."""
    await talk.writer.start_tls(_unverified())


@functools.cache
def _unverified() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# --- all of them ----------------------------------------------------------------------------------------------------------


def _said(text: bytes) -> str:
    """What a server said, fit for a log line."""
    words = "".join(char if char.isprintable() else "?" for char in text[:120].decode(errors="replace"))
    return f"the server says: {words}" if words else "no response"


def handshakes() -> dict[str, Callable[[Talk, ProbeSettings], Awaitable[None]]]:
    """By kind of probe."""
    from lbcore.discovery.mysql_handshake import mysql

    return {"amqp": amqp, "mqtt": mqtt, "mysql": mysql, "postgres": postgres, "redis": redis, "smtp": smtp}
