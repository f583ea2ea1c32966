"""What routes limit: how many requests of a key they let pass."""

from __future__ import annotations

from lbcore.config.settings.base import is_token
from lbcore.config.settings.rates import parse_rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BURST = 100_000
"""With the slowest rate, its time still has room in 64 bits of nanoseconds."""
PLAIN_KEYS = ("source", "route", "path", "api_key")
NAMED_KEYS = ("header", "cookie", "jwt")
RATES = "a number and s, minute, hour or day, such as 10/minute or 0.5/s; from 1/day to 1000000/s"


def key_parts(key: str | None) -> tuple[str, str]:
    """("header", "X-Api-Key") of "header:X-Api-Key"; ("source", "") where a route names none."""
    kind, _, name = (key or "source").partition(":")
    return kind, name


def limit_faults(rate: str | None, burst: int | None, limit_key: str | None) -> Iterable[str]:
    """What is wrong with a route's limits of requests."""
    if rate is not None:
        try:
            parse_rate(rate)
        except ValueError:
            yield f"rate: {rate!r} is not allowed (allowed: {RATES})"
    for key, value in (("burst", burst), ("limit_key", limit_key)):
        if value is not None and rate is None:
            yield f"{key}: requires rate"
    kind, name = key_parts(limit_key)
    named = (kind in NAMED_KEYS and is_token(name)) or (kind == "jwt" and _is_claim_name(name))
    if not named and (kind not in PLAIN_KEYS or limit_key not in (None, kind)):
        yield (
            f"limit_key: {limit_key!r} is not allowed (allowed: {', '.join(PLAIN_KEYS)},"
            f" {', '.join(f'{kind}:NAME' for kind in NAMED_KEYS)})"
        )


def _is_claim_name(name: str) -> bool:
    """Claims may be URIs (RFC 7519 4.2)."""
    return 0 < len(name) <= 255 and name.isascii() and name.isprintable() and not set(name) & set('"\\')
