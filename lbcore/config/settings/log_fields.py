"""What a line of the access log may say."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LOG_FIELDS = (
    "time", "kind", "listener", "client", "method", "host", "path", "status", "grpc_status", "truncated", "id", "reason",
    "protocol", "backend_protocol", "reused", "pool", "backend", "tried", "tls", "bytes_in", "bytes_out", "accept_ms",
    "queue_ms", "connect_ms", "first_ms", "total_ms", "end", "by", "trace", "model", "user_agent", "referer",
)  # fmt: skip
_TEXTS = {"user_agent", "referer"}
"""What workers record only where it is asked for."""


def log_faults(form: str, fields: list[str] | None) -> Iterable[str]:
    """Of access_log_format and access_log_fields: fields that there are not, or that have no place in the format."""
    if fields is None:
        return
    if form != "json":
        yield f"access_log_fields: only with access_log_format json (it is {form})"
    for name in dict.fromkeys(fields):
        if name not in LOG_FIELDS:
            yield f"access_log_fields: {name!r} is unknown (known: {', '.join(LOG_FIELDS)})"
        elif fields.count(name) > 1:
            yield f"access_log_fields: {name!r} is named twice"


def wants_texts(form: str, fields: list[str] | None) -> bool:
    """Does such a log say what clients call themselves, and where they come from?"""
    return form == "combined" or bool(_TEXTS & set(fields or ()))
