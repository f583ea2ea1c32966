"""What tells whether a backend can serve: probes, leases, comparison with others."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.secret import Secret
from lbcore.config.settings.base import Settings, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol, Self

    class Way(Protocol):
        """How a pool's traffic reaches its backends: what a probe has to know of the pool."""

        send_proxy: str
        tls: bool


def statuses(text: str, lowest: int = 100) -> list[tuple[int, int]]:
    """Ranges of "200,204,300-399". Raises ValueError."""
    found = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first, last = int(low), int(high if dash else low)
        if not lowest <= first <= last <= 599:
            raise ValueError
        found.append((first, last))
    return found


class ProbeSettings(Settings):
    """How a pool's backends are probed."""

    OPTIONS = options.PROBE
    __slots__ = slots(options.PROBE, "chosen", "tls_cert", "tls_key", "tls_name", but=("password_file",))
    KEY = "probe."

    kind: str
    path: str
    interval_ms: int
    timeout_ms: int
    rise: int
    fall: int
    port: int | None
    method: str
    status: str
    body: str | None
    host: str | None
    service: str | None
    send: str | None
    expect: str | None
    greeting: str | None
    user: str | None
    password: Secret | None
    headers: dict[str, Secret]
    send_proxy: str | None  # None: as the pool says
    chosen: bool
    """Was the kind asked for?"""
    tls: bool | None  # None: as the pool says
    tls_verify: bool | None  # likewise, or yes
    tls_ca: str | None
    tls_name: str | None  # this and the next: always the pool's
    tls_cert: str | None
    tls_key: str | None

    def _fill(self, values: dict[str, Any]) -> Iterable[str]:
        self.chosen = bool(values.pop("chosen", values.get("kind") is not None))
        return super()._fill(values)

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        for name in ("tls_name", "tls_cert", "tls_key"):  # no options: they are the pool's
            setattr(self, name, values.pop(name, None))
        self.headers = getattr(self, "headers", None) or {}
        yield from self.take_secret("password", values.pop("password_file", None))

    @property
    def speaks(self) -> bool:
        """Does a tcp probe say or expect anything?"""
        return bool(self.greeting or self.send or self.expect)

    def as_to(self, pool: Way) -> Self:
        """These settings for a pool's backends: a probe takes the way of the traffic, where they do not say otherwise."""
        way = self if self.send_proxy or self.port else self.replace(send_proxy=pool.send_proxy)
        return way._secured_as(pool)

    def _secured_as(self, pool: Way) -> Self:
        if not pool.tls or self.tls is False:
            return self.replace(tls=bool(self.tls))
        unsaid = [name for name in ("tls", "tls_verify", "tls_ca") if getattr(self, name) is None]
        return self.replace(**{name: getattr(pool, name) for name in (*unsaid, "tls_name", "tls_cert", "tls_key")})

    def is_good(self, status: int) -> bool:
        """Is that a status of a healthy backend?"""
        return any(low <= status <= high for low, high in statuses(self.status))

    def check(self) -> Iterable[str]:
        yield from self.out_of_scope("kind", (self.kind,))
        try:
            statuses(self.status)
        except ValueError:
            yield f'status: {self.status!r} is not allowed (allowed: statuses and ranges such as "200,204,300-399")'
        if self.body is not None and self.method == "HEAD":
            yield "body: a response to HEAD has none"
        if self.tls_ca is not None:
            try:
                import ssl

                ssl.create_default_context(cafile=self.tls_ca)
            except (OSError, ValueError) as error:
                yield f"tls_ca: {self.tls_ca!r} cannot be used ({getattr(error, 'strerror', None) or error})"
        if self.kind == "udp" and not self.send:
            yield "send: missing (what a udp probe sends)"
        if self.password is not None and self.user is None and self.kind in ("mysql", "mqtt", "amqp"):
            yield "password: requires user"
        if not is_token(self.method) or self.method == "CONNECT":
            yield f"method: {self.method!r} is not allowed (allowed: a method such as GET, HEAD or OPTIONS)"
        for name in self.headers:
            if name.lower() in ("connection", "content-length", "transfer-encoding", "expect", "upgrade"):
                yield f"headers: {name} is not allowed (allowed: headers that leave the message's length and end as they are)"
        if self.path == "*" and self.method == "OPTIONS":
            return
        if not self.path.startswith("/") or " " in self.path or not self.path.isascii():
            yield f"path: {self.path!r} is not allowed (allowed: an absolute path such as /health)"


class LeaseSettings(Settings):
    """What registered backends owe."""

    OPTIONS = options.LEASE
    __slots__ = slots(
        options.LEASE,
        but=(
            "hmac_key_file",
            "token_file",
        ),
    )
    KEY = "lease."

    heartbeat_ms: int
    missed: int
    port: int | None
    token: Secret | None
    hmac_key: Secret | None
    open: bool

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        for name in ("token", "hmac_key"):
            yield from self.take_secret(name, values.pop(f"{name}_file", None))

    def check(self) -> Iterable[str]:
        for name, least in (("token", 8), ("hmac_key", 16)):
            if getattr(self, name) is not None and len(getattr(self, name)) < least:
                yield f"{name}: too short (allowed: {least} characters or more)"
        if self.open and (self.token or self.hmac_key):
            yield "open: not with a token or a key of the pool's own"

    @property
    def length_ms(self) -> int:
        """How long a lease lives after a heartbeat."""
        return self.heartbeat_ms * self.missed


class OutlierSettings(Settings):
    """When a backend is ejected because it is worse than the others of its pool."""

    OPTIONS = options.OUTLIER
    __slots__ = slots(options.OUTLIER)
    KEY = "outlier."

    interval_ms: int
    min_requests: int
    success_gap: int
    latency_factor: int
    ejection_ms: int
    max_ejected: int

    def may_eject(self, size: int) -> int:
        """How many of so many may be ejected at once: never all."""
        return min(size - 1, max(1, size * self.max_ejected // 100)) if size > 1 and self.max_ejected else 0
