"""The cookie that keeps a client with its backend: its attributes, and what is wrong with them."""

from __future__ import annotations

import re

from lbcore.config.settings.addresses import HTTP_MODES
from lbcore.config.settings.base import is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from lbcore.config.secret import Secret
    from lbcore.config.settings.listener import ListenerSettings

    class Pool(Protocol):
        """What a pool says of its cookie."""

        name: str
        said: frozenset[str]
        sticky: str | None
        sticky_secret: Secret | None
        sticky_samesite: str
        sticky_domain: str | None
        sticky_path: str
        sticky_max_age_ms: int | None


MAX_ATTRIBUTES, MAX_SHARED = 255, 4
"""The room in csrc/layout/segment.h, and LB_STICKY_PARTS of csrc/l7/sticky.h."""
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PATH = re.compile(r"/[!#-+\--:<-~]*")
_OF_COOKIE = ("sticky_secret", "sticky_drain", "sticky_samesite", "sticky_domain", "sticky_path", "sticky_max_age")


def sticky_attributes(pool: Pool) -> str:
    """What follows the value in Set-Cookie, but for Secure, which depends on the connection."""
    parts = [f"; Path={pool.sticky_path}"]
    if pool.sticky_domain is not None:
        parts.append(f"; Domain={pool.sticky_domain}")
    if pool.sticky_max_age_ms is not None:
        parts.append(f"; Max-Age={pool.sticky_max_age_ms // 1000}")
    return "".join([*parts, "; HttpOnly", f"; SameSite={pool.sticky_samesite.title()}"])


def is_secure(pool: Pool) -> bool:
    """Is the cookie Secure even where the connection is not? Browsers refuse it without, RFC 6265bis 4.1.3 and 5.7."""
    return pool.sticky_samesite == "none" or (pool.sticky or "").lower().startswith(("__secure-", "__host-"))


def sticky_faults(pool: Pool) -> Iterable[str]:
    """What is wrong with a pool's cookie."""
    if pool.sticky is None:
        yield from (f"{key}: requires sticky, the name of a cookie" for key in _OF_COOKIE if key in pool.said)
        return
    if not is_token(pool.sticky):
        yield f"sticky: {pool.sticky!r} is not allowed (allowed: the name of a cookie)"
    if pool.sticky_secret is not None and len(pool.sticky_secret) < 16:
        yield "sticky_secret: too short (allowed: 16 characters or more)"
    domain = pool.sticky_domain
    if domain is not None and (not _DOMAIN.fullmatch(domain) or domain.rpartition(".")[2].isdigit()):
        yield f"sticky_domain: {domain!r} is not allowed (allowed: a domain such as example.com)"
    if not _PATH.fullmatch(pool.sticky_path):
        yield f"sticky_path: {pool.sticky_path!r} is not allowed (allowed: an absolute path without blanks, ',' and ';')"
    if pool.sticky.lower().startswith("__host-") and (domain is not None or pool.sticky_path != "/"):
        yield f"sticky: {pool.sticky!r} can have no sticky_domain, and no sticky_path but /"
    if len(sticky_attributes(pool)) > MAX_ATTRIBUTES:
        yield f"sticky_domain: with sticky_path longer than {MAX_ATTRIBUTES} bytes"


def shared_faults(pools: Iterable[Pool]) -> Iterable[str]:
    """Pools that share a cookie have a part of it each, and there is room for few."""
    pools = list(pools)
    names = [pool.sticky for pool in pools if pool.sticky is not None]
    for name in sorted({name for name in names if names.count(name) > MAX_SHARED}):
        sharing = ", ".join(pool.name for pool in pools if pool.sticky == name)
        yield f"sticky: {name!r} is the cookie of too many pools: {sharing} (allowed: {MAX_SHARED}; give others another name)"


def plain_faults(pool: Pool, listeners: list[ListenerSettings]) -> Iterable[str]:
    """Browsers keep no cookie that is Secure and came over plain HTTP. listeners: those that lead to the pool."""
    plain = [entry for entry in listeners if entry.mode in HTTP_MODES]
    if pool.sticky is None or not is_secure(pool) or not plain:
        return
    if all(entry.mode == "http" and not entry.trusted_proxies for entry in plain):
        key = "sticky_samesite: none" if pool.sticky_samesite == "none" else f"sticky: {pool.sticky!r}"
        yield f"pool {pool.name}: {key} requires https, or trusted_proxies that speak it; its listeners are http"
