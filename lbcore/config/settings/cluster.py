"""Several balancers that share their registrations."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

from lbcore.config import options
from lbcore.config.option import duration_text, slots
from lbcore.config.secret import Secret
from lbcore.config.settings.base import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lbcore.config.settings.pool import PoolSettings

LEAST_SECRET = 32
_PREFIX = re.compile(r"/([A-Za-z0-9_.:-]+/)+")


class ClusterSettings(Settings):
    """The store that they share, and who this one is."""

    OPTIONS = options.CLUSTER
    __slots__ = slots(options.CLUSTER, "secret", but=("password_file", "secret_file"))
    KEY = "cluster."

    kind: str
    endpoints: list[str]
    prefix: str
    node: str
    user: str | None
    password: Secret | None
    ca: str | None
    cert: str | None
    key: str | None
    secret: Secret | None
    keep_ms: int
    trust: str

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.secret = values.pop("secret", None)
        for name in ("password", "secret"):
            yield from self.take_secret(name, values.pop(f"{name}_file", None))
        if self.node is None:
            self.node = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:63] or "lbcore"

    def check(self) -> Iterable[str]:
        if self.endpoints is None:
            yield 'endpoints: missing (a list like ["http://10.0.0.1:2379"])'
            return
        for endpoint in self.endpoints:
            if not _is_endpoint(endpoint):
                yield f"endpoints: {endpoint!r} is not allowed (allowed: http://HOST:PORT, https://HOST:PORT)"
        if not _PREFIX.fullmatch(self.prefix) or len(self.prefix) > 200:
            yield f"prefix: {self.prefix!r} is not allowed (allowed: /NAME/, or several such parts, of at most 200 bytes)"
        secure = any(endpoint.startswith("https://") for endpoint in self.endpoints)
        for name in ("ca", "cert", "key"):
            if getattr(self, name) is not None and not secure:
                yield f"{name}: requires endpoints of https"
        if self.key is not None and self.cert is None:
            yield "key: requires cert"
        if (self.user is None) != (self.password is None):
            yield "password_file: requires user" if self.user is None else "user: requires password_file"
        if self.secret is not None and len(self.secret) < LEAST_SECRET:
            yield f"secret_file: its first line is too short (allowed: {LEAST_SECRET} characters or more)"

    def lease_faults(self, pools: Iterable[PoolSettings]) -> Iterable[str]:
        """A node dies: its backends are to be heard elsewhere before they leave."""
        for pool in pools:
            if pool.lease.length_ms > self.keep_ms:
                length, keep = duration_text(pool.lease.length_ms), duration_text(self.keep_ms)
                yield f"cluster.keep: {keep} is shorter than the leases of pool {pool.name} ({length})"


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port is not None and bare
