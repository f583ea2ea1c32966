"""Formats of the access log that settings choose: fields by name, and nginx's combined format."""

from __future__ import annotations

import re
from json.encoder import encode_basestring_ascii as quoted

from lbcore.engine.codes import PROTOCOLS
from lbcore.observe.lines import Names, Parts, as_json, as_text, ended_by, parts, protocol, trace_id
from lbcore.observe.records import EXCHANGE, HTTP2, NEVER, REUSED, TLS, TRUNCATED, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings

    Line = Callable[[Record, Names], str]
    Field = Callable[[Record, Names, Parts], str]

CLIENT_LEFT = 499
"""What nginx logs for a client that left before there was a status."""
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\xff]')  # as nginx: ngx_http_log_escape of 1.22


def line_of(settings: BalancerSettings) -> Line:
    """How records are written by these settings."""
    if settings.access_log_format == "combined":
        return combined
    if settings.access_log_format == "text":
        return as_text
    return _chosen(settings.access_log_fields) if settings.access_log_fields else as_json


# --- fields by name ------------------------------------------------------------------------------------------------------


def _text(found: str) -> str:
    return quoted(found) if found else "null"


def _number(found: int) -> str:
    return str(found) if found else "null"


def _ms(us: int) -> str:
    return "null" if us == NEVER else f"{us / 1000:.3f}"


def _flag(found: int) -> str:
    return "true" if found else "false"


def _of_request(field: Field) -> Field:
    """What sessions have not."""
    return lambda record, names, texts: field(record, names, texts) if record.kind == EXCHANGE else "null"


_SPOKEN = {PROTOCOLS["http/1.1"]: "HTTP/1.1", PROTOCOLS["h2"]: "HTTP/2"}
FIELDS: dict[str, Field] = {
    "time": lambda record, names, _: f'"{names.time(record.ended_us)}"',
    "kind": lambda record, names, _: f'"{names.kind(record)}"',
    "listener": lambda record, names, _: _text(names.listener(record.listener)[0]),
    "client": lambda record, names, _: f'"{names.client(record.client, record.port)}"',
    "method": lambda _record, _names, texts: _text(texts.method),
    "host": lambda _record, _names, texts: _text(texts.host),
    "path": lambda _record, _names, texts: _text(texts.path),
    "status": lambda record, _names, _texts: _number(record.status),
    "grpc_status": lambda record, _names, _texts: str(record.grpc - 1) if record.grpc else "null",
    "truncated": lambda record, _names, _texts: _flag(record.flags & TRUNCATED),
    "id": lambda _record, _names, texts: _text(texts.id),
    "reason": lambda _record, _names, texts: _text(texts.reason),
    "protocol": _of_request(lambda record, _names, _texts: f'"{protocol(record)}"'),
    "backend_protocol": lambda record, _names, _texts: _text(_SPOKEN.get(record.spoken, "")),
    "reused": _of_request(lambda record, _names, _texts: _flag(record.flags & REUSED)),
    "pool": lambda record, names, _: _text(names.pool(record.pool)),
    "backend": lambda record, names, _: _text(names.backend(record.backend, record.generation)),
    "tried": lambda record, _names, _texts: str(record.tried),
    "tls": lambda record, _names, _texts: _flag(record.flags & TLS),
    "bytes_in": lambda record, _names, _texts: str(record.bytes_in),
    "bytes_out": lambda record, _names, _texts: str(record.bytes_out),
    "accept_ms": lambda record, _names, _texts: _ms(record.accept_us),
    "queue_ms": lambda record, _names, _texts: _ms(record.queue_us),
    "connect_ms": lambda record, _names, _texts: _ms(record.connect_us),
    "first_ms": lambda record, _names, _texts: _ms(record.first_us),
    "total_ms": lambda record, _names, _texts: _ms(record.total_us),
    "end": lambda record, _names, _texts: f'"{ended_by(record)[0]}"',
    "by": lambda record, _names, _texts: _text(ended_by(record)[1]),
    "trace": lambda record, _names, _texts: _text(trace_id(record)),
    "model": lambda record, names, _texts: _text(names.model(record.model)),
    "user_agent": lambda _record, _names, texts: _text(texts.agent),
    "referer": lambda _record, _names, texts: _text(texts.referer),
}
"""A field's value, as JSON. They are LOG_FIELDS of lbcore.config.settings."""


def _chosen(wanted: list[str]) -> Line:
    """One line of JSON with these fields, null where there is none."""
    fields = [(f'"{name}":', FIELDS[name]) for name in wanted]

    def line(record: Record, names: Names) -> str:
        texts = parts(record)
        return f"{{{','.join(key + value(record, names, texts) for key, value in fields)}}}\n"

    return line


# --- nginx's ------------------------------------------------------------------------------------------------------------


def combined(record: Record, names: Names) -> str:
    """A request as nginx 1.22 writes it by `log_format combined`; "" for a session. The path has no query."""
    if record.kind != EXCHANGE:
        return ""
    texts = parts(record)
    status = record.status or (CLIENT_LEFT if ended_by(record)[1] == "client" else 0)
    spoken = "HTTP/2.0" if record.minor == HTTP2 else protocol(record)
    return (
        f"{names.client_host(record.client)} - - [{names.time_local(record.ended_us)}]"
        f' "{_escaped(texts.method)} {_escaped(texts.path)} {spoken}" {status:03d} {record.bytes_out}'
        f' "{_escaped(texts.referer) or "-"}" "{_escaped(texts.agent) or "-"}"\n'
    )


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"\\x{ord(found[0]):02X}", text)
