"""Records as lines of the access log: JSON, or a compact text. What clients sent is escaped, so that a line is a line."""

from __future__ import annotations

import re
import socket
import time
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from lbcore._layout import ffi
from lbcore.config.settings import UNIX
from lbcore.engine.codes import MODE_NAMES, PROTOCOLS
from lbcore.engine.segment import Segment, text
from lbcore.observe.records import (
    BY_BACKEND,
    BY_CLIENT,
    DATAGRAMS,
    EXCHANGE,
    HTTP2,
    NEVER,
    NO_POOL,
    NONE,
    REFUSED,
    REUSED,
    TLS,
    TRUNCATED,
    Record,
)

ENDS = {
    ffi.integer_const(f"LB_ENDED_{word.upper()}"): (shown, by)
    for word, shown, by in (
        ("done", "done", ""),
        ("client", "client_left", "client"),
        ("backend", "backend_broke_off", "backend"),
        ("idle", "idle", "balancer"),
        ("half", "half_closed", "balancer"),
        ("cut", "cut", "balancer"),
        ("stopped", "stopped", "balancer"),
        ("no_backend", "no_backend", "balancer"),
        ("unreachable", "unreachable", "balancer"),
        ("resource", "no_resource", "balancer"),
        ("local", "local_response", "balancer"),
        ("limited", "client_limited", "balancer"),
        ("slow", "client_slow", "balancer"),
        ("overdue", "overdue", "balancer"),
        ("denied", "client_denied", "balancer"),
    )
}
"""How each end is written, and who ended it."""

_NO_ADDRESS = bytes(16)
"""What stands for the address of a client at a unix socket: lb_net_as_v6 in csrc/core/net.h."""
_KEPT = 10_000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNSAFE = re.compile(r"[^!#-\[\]-~]")  # what is not printable ASCII, blanks, quotes and backslashes


def hexed(plain: str) -> str:
    """Latin-1 text with all that could be mistaken as \\xNN."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", plain)


class Names:
    """Names of listeners, pools, backends and clients. Those of rows are read anew after each `forget`."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._backends: dict[tuple[int, int], str] = {}
        self._clients: dict[bytes, str] = {}
        self._seconds: dict[int, str] = {}
        self.forget()

    def forget(self) -> None:
        """Settings may have changed, and clocks may have been set."""
        self._listeners: dict[int, tuple[str, str]] = {}
        self._pools: dict[int, str] = {}
        self._models: dict[int, str] = {}
        self._offset_us = int((time.time() - time.monotonic()) * 1e6)

    def time(self, monotonic_us: int) -> str:
        """ISO 8601 in UTC, with milliseconds."""
        second, us = divmod(self._offset_us + monotonic_us, 1_000_000)
        if second not in self._seconds:
            if len(self._seconds) > 100:
                self._seconds.clear()
            self._seconds[second] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._seconds[second]}.{us // 1000:03d}Z"

    def time_local(self, monotonic_us: int) -> str:
        """As nginx's $time_local, in UTC: "01/Dec/2026:04:24:03 +0000". Months are English in every locale."""
        parts = time.gmtime((self._offset_us + monotonic_us) // 1_000_000)
        return time.strftime(f"%d/{_MONTHS[parts.tm_mon - 1]}/%Y:%H:%M:%S +0000", parts)

    def unix_ns(self, monotonic_us: int) -> int:
        """Unix time in nanoseconds."""
        return (self._offset_us + monotonic_us) * 1000

    def listener(self, row: int) -> tuple[str, str]:
        """(name, mode)."""
        if row not in self._listeners:
            found = self._segment.listener(row)
            self._listeners[row] = text(found.name), MODE_NAMES.get(found.mode, "?")
        return self._listeners[row]

    def kind(self, record: Record) -> str:
        """http, tcp, tls, udp, or upgraded: what was http before."""
        if record.kind == EXCHANGE:
            return "http"
        mode = self.listener(record.listener)[1]
        if record.kind == REFUSED:
            return mode
        return "udp" if record.kind == DATAGRAMS else "upgraded" if mode in ("http", "https") else mode

    def pool(self, row: int) -> str:
        """Its name; "": none."""
        if row not in self._pools:
            self._pools[row] = "" if row == NO_POOL else text(self._segment.pool(row).name)
        return self._pools[row]

    def model(self, number: int) -> str:
        """Of a row and one; "": none."""
        if number not in self._models:
            self._models[number] = text(self._segment.model(number - 1).name) if number else ""
        return self._models[number]

    def backend(self, row: int, generation: int) -> str:
        """Its address; "": none, or one that is not known any more."""
        if row == NONE:
            return ""
        found = self._backends.get((row, generation))
        if found is None:
            if len(self._backends) > _KEPT:
                self._backends.clear()
            there = self._segment.backend(row)
            found = self._segment.texts(there)[0] if there.generation == generation else ""
            self._backends[row, generation] = found
        return found

    def client(self, ip: bytes, port: int) -> str:
        """HOST:PORT, or "unix:" for a client at a unix socket."""
        host = self.client_host(ip)
        return f"[{host}]:{port}" if host.count(":") > 1 else host if host == UNIX else f"{host}:{port}"

    def client_host(self, ip: bytes) -> str:
        """Its address, an IPv6 one without brackets; or "unix:"."""
        if ip == _NO_ADDRESS:
            return UNIX
        found = self._clients.get(ip)
        if found is None:
            if len(self._clients) > _KEPT:
                self._clients.clear()
            if ip.startswith(b"\0" * 10 + b"\xff\xff"):
                found = socket.inet_ntop(socket.AF_INET, ip[12:])
            else:
                found = socket.inet_ntop(socket.AF_INET6, ip)
            self._clients[ip] = found
        return found


class Parts(NamedTuple):
    """Texts of a record, as Latin-1: each byte a character."""

    method: str
    host: str
    path: str
    referer: str
    agent: str
    id: str
    reason: str


def parts(record: Record) -> Parts:
    """The texts of a record."""
    plain = record.text.decode("latin-1")
    found, at = [], 0
    for length in (
        record.method_length,
        record.host_length,
        record.path_length,
        record.referer_length,
        record.agent_length,
        record.id_length,
        record.reason_length,
    ):
        found.append(plain[at : at + length])
        at += length
    return Parts(*found)


def user(record: Record) -> str:
    """Whose credentials the request brought; "": none were asked for."""
    texts = (record.method_length, record.host_length, record.path_length, record.id_length, record.reason_length)
    return record.text[sum(texts) : sum(texts) + record.user_length].decode("latin-1")


def ended_by(record: Record) -> tuple[str, str]:
    """How it ended, and who ended it: client, backend, balancer, or "" for nobody in particular."""
    end, by = ENDS.get(record.end, ("?", ""))
    if record.flags & (BY_CLIENT | BY_BACKEND) and not by:
        by = "client" if record.flags & BY_CLIENT else "backend"
    return end, by


def trace_id(record: Record) -> str:
    """32 hexadecimal digits; "": none."""
    return f"{record.trace_high:016x}{record.trace_low:016x}" if record.trace_high or record.trace_low else ""


def protocol(record: Record) -> str:
    """What the client of a request spoke: HTTP/1.0, HTTP/1.1 or HTTP/2."""
    return "HTTP/2" if record.minor == HTTP2 else f"HTTP/1.{record.minor}"


_SPOKEN = {PROTOCOLS["http/1.1"]: '"HTTP/1.1"', PROTOCOLS["h2"]: '"HTTP/2"'}


def _ms(us: int) -> str:
    return "null" if us == NEVER else f"{us / 1000:.3f}"


def as_json(record: Record, names: Names) -> str:
    """One line of JSON, ASCII only."""
    end, by = ended_by(record)
    line = (
        f'{{"time":"{names.time(record.ended_us)}","kind":"{names.kind(record)}",'
        f'"listener":"{names.listener(record.listener)[0]}","client":"{names.client(record.client, record.port)}"'
    )
    method, host, path, _, _, id, reason = parts(record)
    if record.kind == EXCHANGE:
        line += f',"method":{quoted(method)},"host":{quoted(host)},"path":{quoted(path)},"status":{record.status or "null"}'
        if record.grpc:
            line += f',"grpc_status":{record.grpc - 1}'
        if record.flags & TRUNCATED:
            line += ',"truncated":true'
        if id:
            line += f',"id":{quoted(id)}'
        if record.user_length:
            line += f',"user":{quoted(user(record))}'
        if reason:
            line += f',"reason":{quoted(reason)}'
        if record.model:
            line += f',"model":{quoted(names.model(record.model))}'
        line += f',"protocol":"{protocol(record)}","backend_protocol":{_SPOKEN.get(record.spoken, "null")}'
        line += f',"reused":{"true" if record.flags & REUSED else "false"}'
    pool, backend = names.pool(record.pool), names.backend(record.backend, record.generation)
    trace = trace_id(record)
    return (
        f'{line},"pool":{quoted(pool) if pool else "null"},"backend":{quoted(backend) if backend else "null"},'
        f'"tried":{record.tried},"tls":{"true" if record.flags & TLS else "false"},'
        f'"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out},'
        f'"accept_ms":{_ms(record.accept_us)},"connect_ms":{_ms(record.connect_us)},"first_ms":{_ms(record.first_us)},'
        f'"total_ms":{record.total_us / 1000:.3f},"end":"{end}","by":{f"{chr(34)}{by}{chr(34)}" if by else "null"}'
        f"{f',{chr(34)}trace{chr(34)}:{chr(34)}{trace}{chr(34)}' if trace else ''}}}\n"
    )


def as_text(record: Record, names: Names) -> str:
    """One line of words apart by blanks, "-" for what there is not."""
    end, by = ended_by(record)
    method, host, path, _, _, id, reason = parts(record)
    asked = ""
    if record.kind == EXCHANGE:
        asked = f" {hexed(method) or '-'} {hexed(host) or '-'} {hexed(path) or '-'} {record.status or '-'}"
        asked += f" grpc={record.grpc - 1}" if record.grpc else ""
        asked += f" model={hexed(names.model(record.model).encode().decode('latin-1'))}" if record.model else ""
    first, connect = ("-" if us == NEVER else f"{us / 1000:.3f}" for us in (record.first_us, record.connect_us))
    return (
        f"{names.time(record.ended_us)} {names.listener(record.listener)[0]} {names.kind(record)}"
        f" {names.client(record.client, record.port)}{asked} {names.pool(record.pool) or '-'}"
        f" {names.backend(record.backend, record.generation) or '-'} in={record.bytes_in} out={record.bytes_out}"
        f"{f' protocol={protocol(record)}' if record.kind == EXCHANGE else ''}"
        f" accept={record.accept_us / 1000:.3f} connect={connect} first={first} total={record.total_us / 1000:.3f}"
        f" end={end} by={by or '-'}{f' id={hexed(id)}' if id else ''}"
        f"{f' user={hexed(user(record))}' if record.user_length else ''}{f' reason={quoted(reason)}' if reason else ''}\n"
    )
