"""Checked settings: what a Balancer takes. Built from keyword arguments here, from TOML in config.py, from flags in cli.

Every class fills its defaults from `lbcore.options`, checks each value and raises ConfigError with all that is wrong at once.
Durations are given in the forms of `parse_duration` (or as NAME_ms, in milliseconds) and kept as integer milliseconds.
"""

from __future__ import annotations

import ipaddress

from lbcore import options
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self

DEFAULT_POOL = "default"
PRIVATE_NETWORKS = [
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
]
"""Who may register by default: loopback (RFC 6890) and private (RFC 1918, RFC 4193) addresses. Not link-local ones: clouds keep
their metadata servers there."""

DEFAULT_QUEUE = 1024
IDLE_MS = {"udp": 30_000}
"""Where an idle_timeout is not said; of other modes OTHER_IDLE_MS."""
OTHER_IDLE_MS = 600_000
MAX_ERROR_BODY, MAX_ERROR_TYPE, MAX_TRUSTED, MAX_EXPRESSION = 1023, 95, 32, 1024
"""The room of their fields in csrc/shm_layout.h."""

MODES = ("tcp", "udp", "tls", "http")
LATER_MODES = ("https",)
ROUTED_MODES = ("http", "tls")


def is_token(text: str) -> bool:
    """May it name a field, a method or a cookie (RFC 9110 5.6.2), and is it short enough?"""
    return 0 < len(text) < 64 and text.isascii() and all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in text)


def parse_address(address: str) -> tuple[str, int]:
    """("10.0.0.5", 8000) of "10.0.0.5:8000"; IPv6 in brackets, "[::1]:8000". Raises ValueError."""
    host, port = split_host_port(address)
    if not 1 <= port <= 65_535:
        raise ValueError(f"{address!r} is not HOST:PORT with a port from 1 to 65535")
    return host, port


def split_host_port(address: str) -> tuple[str, int]:
    """As parse_address, with port 0 allowed."""
    wrong = ValueError(f"{address!r} is not HOST:PORT (an IPv6 host in brackets)")
    if not isinstance(address, str):
        raise wrong
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    plausible = host and colon and host.isascii() and host.isprintable() and " " not in host and "/" not in host
    if not plausible or (":" in host) != bracketed or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise wrong
    if int(port) > 65_535:
        raise ValueError(f"{address!r}: port {port} is not from 0 to 65535")
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise wrong from None
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """The text of an address, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(url: str) -> tuple[str, str, int]:
    """("tcp", "127.0.0.1", 8080) of "tcp://127.0.0.1:8080". Raises ValueError."""
    mode, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if mode in LATER_MODES and separator:
        raise ValueError(f"{url!r}: mode {mode} is not available in this version (allowed: {', '.join(MODES)})")
    if not separator or mode not in MODES:
        raise ValueError(f"{url!r} is not MODE://HOST:PORT with a mode of: {', '.join(MODES)}")
    host, port = split_host_port(rest)
    return mode, host, port


def datagram(text: str) -> bytes:
    """The bytes that "text" or "hex:0a0b" means. Raises ValueError."""
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def read_secret(path: Any) -> str:
    """The first line of a file. Raises ValueError, which names the file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} cannot be read ({getattr(error, 'strerror', error)})") from None


class Settings:
    """The common ground of all settings: keyword-only, checked, comparable, printable."""

    __slots__: tuple[str, ...] = ()
    OPTIONS: tuple[options.Option, ...] = ()
    KEY = ""
    """How errors name this kind of settings."""

    def __init__(self, **values: Any) -> None:
        problems = [f"{self.KEY}{problem}" for problem in self._fill(values)]
        if not problems:
            problems = [f"{self.KEY}{problem}" for problem in self.check()]
        if problems:
            raise ConfigError(problems)

    def _fill(self, values: dict[str, Any]) -> Iterable[str]:
        """Set what the options describe; yield what is wrong. What is left in values belongs to the subclass."""
        for option in self.OPTIONS:
            if option.attribute != option.name and option.attribute in values:
                values[option.name] = values.pop(option.attribute) / 1000
            if option.attribute not in self.__slots__:
                continue
            if values.get(option.name) is None:
                values.pop(option.name, None)
                setattr(self, option.attribute, option.default)
                continue
            try:
                setattr(self, option.attribute, option.parse(values.pop(option.name)))
            except ValueError as error:
                yield str(error)
        yield from self.take(values)
        for name in values:
            yield f"{name}: unknown key (allowed: {', '.join(option.name for option in self.OPTIONS)})"

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        """Set what the options do not describe, popping it; yield what is wrong."""
        return ()

    def take_secret(self, name: str, path: Any) -> Iterable[str]:
        """Set a secret from the first line of its file, if one is named."""
        if path is None:
            return
        try:
            setattr(self, name, read_secret(path))
        except ValueError as error:
            yield f"{name}_file: {error}"

    def check(self) -> Iterable[str]:
        """Yield what is wrong between values that are each right."""
        return ()

    def values(self) -> dict[str, Any]:
        """All values by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def replace(self, **changes: Any) -> Self:
        """A copy with changes, checked anew."""
        return type(self)(**{**self.values(), **changes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.values().items())
        return f"{type(self).__name__}({inside})"


def _statuses(text: str) -> list[tuple[int, int]]:
    """Ranges of "200,204,300-399". Raises ValueError."""
    found = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first, last = int(low), int(high if dash else low)
        if not 100 <= first <= last <= 599:
            raise ValueError
        found.append((first, last))
    return found


class ProbeSettings(Settings):
    """How a pool's backends are probed."""

    __slots__ = (
        "body",
        "chosen",
        "expect",
        "fall",
        "host",
        "interval_ms",
        "kind",
        "method",
        "path",
        "port",
        "rise",
        "send",
        "service",
        "status",
        "timeout_ms",
        "tls",
        "tls_ca",
        "tls_verify",
    )
    OPTIONS = options.PROBE
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
    chosen: bool
    """Was the kind asked for?"""
    tls: bool
    tls_ca: str | None
    tls_verify: bool

    def _fill(self, values: dict[str, Any]) -> Iterable[str]:
        self.chosen = bool(values.pop("chosen", values.get("kind") is not None))
        return super()._fill(values)

    def is_good(self, status: int) -> bool:
        """Is that a status of a healthy backend?"""
        return any(low <= status <= high for low, high in _statuses(self.status))

    def check(self) -> Iterable[str]:
        try:
            _statuses(self.status)
        except ValueError:
            yield f'status: {self.status!r} is not allowed (allowed: statuses and ranges such as "200,204,300-399")'
        if self.body is not None and self.method == "HEAD":
            yield "body: an answer to HEAD has none"
        if self.tls_ca is not None:
            try:
                import ssl

                ssl.create_default_context(cafile=self.tls_ca)
            except (OSError, ValueError) as error:
                yield f"tls_ca: {self.tls_ca!r} cannot be used ({getattr(error, 'strerror', None) or error})"
        if self.kind == "udp" and not self.send:
            yield "send: missing (what a udp probe sends)"
        for name in ("send", "expect"):
            try:
                datagram(getattr(self, name) or "")
            except ValueError:
                yield f"{name}: {getattr(self, name)!r} is not allowed (allowed: text, or hex: and pairs of hex digits)"
        if not self.path.startswith("/") or " " in self.path or not self.path.isascii():
            yield f"path: {self.path!r} is not allowed (allowed: an absolute path such as /health)"


class LeaseSettings(Settings):
    """What registered backends owe."""

    __slots__ = ("heartbeat_ms", "hmac_key", "missed", "port", "token")
    OPTIONS = options.LEASE
    KEY = "lease."

    heartbeat_ms: int
    missed: int
    port: int | None
    token: str | None
    hmac_key: str | None

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        for name in ("token", "hmac_key"):
            yield from self.take_secret(name, values.pop(f"{name}_file", None))

    def check(self) -> Iterable[str]:
        for name, least in (("token", 8), ("hmac_key", 16)):
            if getattr(self, name) is not None and len(getattr(self, name)) < least:
                yield f"{name}: too short (allowed: {least} characters or more)"

    @property
    def length_ms(self) -> int:
        """How long a lease lives after a heartbeat."""
        return self.heartbeat_ms * self.missed


class OutlierSettings(Settings):
    """When a backend is ejected because it is worse than the others of its pool."""

    __slots__ = ("ejection_ms", "interval_ms", "latency_factor", "max_ejected", "min_requests", "success_gap")
    OPTIONS = options.OUTLIER
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


class SourceSettings(Settings):
    """A place beside the configuration that names backends of a pool."""

    __slots__ = ("interval_ms", "kind", "max_ttl_ms", "name", "path", "port", "server")
    OPTIONS = options.SOURCE
    KEY = "source."

    kind: str
    name: str | None
    port: int | None
    path: str | None
    interval_ms: int
    max_ttl_ms: int
    server: str | None

    def check(self) -> Iterable[str]:
        needed = {"dns": ("name", "port"), "srv": ("name",), "file": ("path",)}[self.kind]
        for name in ("name", "port", "path"):
            if name in needed and getattr(self, name) is None:
                yield f"{name}: missing (a source of kind {self.kind} needs it)"
            if name not in needed and getattr(self, name) is not None:
                yield f"{name}: {getattr(self, name)!r} means nothing to a source of kind {self.kind}"
        if self.name is not None and (len(self.name) > 253 or not self.name.isascii() or " " in self.name):
            yield f"name: {self.name!r} is not allowed (allowed: a name in DNS)"
        if self.server is not None:
            try:
                ipaddress.ip_address(parse_address(self.server)[0])
            except ValueError:
                yield f"server: {self.server!r} is not allowed (allowed: IP:PORT)"


class BackendSettings(Settings):
    """A backend that the configuration names."""

    __slots__ = ("address", "weight")
    OPTIONS = options.BACKEND
    KEY = "backend."

    address: str
    weight: int

    def check(self) -> Iterable[str]:
        if self.address is None:
            yield "address: missing (HOST:PORT)"
            return
        try:
            self.address = join_host_port(*parse_address(self.address))
        except ValueError as error:
            yield f"address: {error}"

    @classmethod
    def parse(cls, text: str | BackendSettings) -> BackendSettings:
        """Of "10.0.0.5:8000" or "10.0.0.5:8000,weight=10". Raises ConfigError."""
        if isinstance(text, BackendSettings):
            return text
        address, *extras = text.split(",") if isinstance(text, str) else [repr(text)]
        values: dict[str, Any] = {"address": address}
        for extra in extras:
            name, equals, value = extra.partition("=")
            if name != "weight" or not equals:
                raise ConfigError(f"backend {text!r}: {extra!r} is not allowed (allowed: weight=N)")
            values["weight"] = value
        return cls(**values)


class PoolSettings(Settings):
    """A pool: its policy, its limits, its health rules, and the backends that the configuration names."""

    __slots__ = (
        "answer_timeout_ms",
        "backends",
        "connect_timeout_ms",
        "fail_after",
        "fail_answers",
        "hash",
        "hold_down_max_ms",
        "hold_down_ms",
        "keepalive_ms",
        "lease",
        "max_active",
        "max_cost",
        "name",
        "outlier",
        "policy",
        "probe",
        "queue",
        "queue_timeout_ms",
        "retries",
        "retry_after_ms",
        "retry_budget",
        "retry_floor",
        "reuse_max",
        "reuse_ms",
        "send_proxy",
        "slow_start_ms",
        "sources",
        "sticky",
        "sticky_secret",
        "user_timeout_ms",
    )
    OPTIONS = options.POOL

    name: str
    policy: str
    connect_timeout_ms: int
    retries: int
    retry_budget: int
    retry_floor: int
    fail_after: int
    retry_after_ms: int
    keepalive_ms: int
    user_timeout_ms: int
    hash: str
    max_active: int
    queue: int | None
    queue_timeout_ms: int
    answer_timeout_ms: int
    reuse_ms: int
    reuse_max: int
    fail_answers: int
    sticky: str | None
    sticky_secret: str | None
    slow_start_ms: int
    max_cost: int
    send_proxy: str
    hold_down_ms: int
    hold_down_max_ms: int
    probe: ProbeSettings
    lease: LeaseSettings
    outlier: OutlierSettings
    sources: list[SourceSettings]
    backends: list[BackendSettings]

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.probe = values.pop("probe", None) or ProbeSettings()
        self.lease = values.pop("lease", None) or LeaseSettings()
        self.outlier = values.pop("outlier", None) or OutlierSettings()
        self.sources = list(values.pop("sources", ()))
        self.backends = []
        for backend in values.pop("backends", ()):
            try:
                self.backends.append(BackendSettings.parse(backend))
            except ConfigError as error:
                yield from error.problems

    @property
    def queue_length(self) -> int:
        """Requests that may wait, each worker."""
        return self.queue if self.queue is not None else DEFAULT_QUEUE if self.max_active else 0

    @property
    def hash_parts(self) -> tuple[str, str]:
        """("header", "X-Tenant") of "header:X-Tenant"; ("address", "")."""
        kind, _, name = self.hash.partition(":")
        return kind, name

    def check(self) -> Iterable[str]:
        kind, name = self.hash_parts
        named = kind in ("header", "cookie")
        if kind not in ("address", "path", "header", "cookie") or named != is_token(name):
            yield f"hash: {self.hash!r} is not allowed (allowed: address, path, header:NAME, cookie:NAME)"
        if self.sticky is not None and not is_token(self.sticky):
            yield f"sticky: {self.sticky!r} is not allowed (allowed: the name of a cookie)"
        if self.sticky_secret is not None and len(self.sticky_secret) < 16:
            yield "sticky_secret: too short (allowed: 16 characters or more)"
        seen: set[str] = set()
        for backend in self.backends:
            if backend.address in seen:
                yield f"pool {self.name}: backend {backend.address} is named twice"
            seen.add(backend.address)


class ListenerSettings(Settings):
    """An address that clients connect to. Given as bind="tcp://HOST:PORT" or as mode, host and port."""

    __slots__ = (
        "accept_proxy",
        "backlog",
        "body_timeout_ms",
        "error_body",
        "error_type",
        "forwarded",
        "half_close",
        "half_closed_timeout_ms",
        "head_timeout_ms",
        "host",
        "idle_timeout_ms",
        "keepalive_timeout_ms",
        "max_body",
        "max_fields",
        "max_head",
        "max_target",
        "mode",
        "name",
        "pool",
        "port",
        "request_id",
        "responses",
        "trusted_proxies",
    )
    OPTIONS = options.LISTENER

    name: str  # empty until the balancer's settings name it
    mode: str
    host: str
    port: int
    pool: str | None  # likewise; None: only routes lead on
    idle_timeout_ms: int
    half_closed_timeout_ms: int
    backlog: int
    head_timeout_ms: int
    body_timeout_ms: int
    keepalive_timeout_ms: int
    max_head: int
    max_target: int
    max_fields: int
    max_body: int
    forwarded: str
    trusted_proxies: list[str]
    request_id: bool
    half_close: bool
    responses: int
    accept_proxy: bool
    error_body: str | None
    error_type: str | None

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        bind = values.pop("bind", None)
        if bind is None and "mode" in values:
            bind = f"{values.pop('mode')}://{join_host_port(values.pop('host'), values.pop('port'))}"
        self.mode, self.host, self.port = "tcp", "", 0
        self.trusted_proxies = self.trusted_proxies or []
        for name, most in (("error_body", MAX_ERROR_BODY), ("error_type", MAX_ERROR_TYPE)):
            if len((getattr(self, name) or "").encode()) > most:
                yield f"{name}: longer than {most} bytes"
        if len(self.trusted_proxies) > MAX_TRUSTED:
            yield f"trusted_proxies: {len(self.trusted_proxies)} are too many (allowed: at most {MAX_TRUSTED})"
        if bind is None:
            yield "bind: missing (MODE://HOST:PORT)"
            return
        try:
            self.mode, self.host, self.port = parse_listen(bind)
        except ValueError as error:
            yield f"bind: {error}"
        if self.idle_timeout_ms is None:
            self.idle_timeout_ms = IDLE_MS.get(self.mode, OTHER_IDLE_MS)
        if self.responses and self.mode != "udp":
            yield f"responses: only of mode udp, this is {self.mode}"
        if self.accept_proxy and self.mode == "udp":
            yield "accept_proxy: not of mode udp"
        if self.accept_proxy and not self.trusted_proxies:
            yield "accept_proxy: needs trusted_proxies, the networks whose word is taken"

    @property
    def url(self) -> str:
        """MODE://HOST:PORT as asked for: port 0 stays 0."""
        return f"{self.mode}://{join_host_port(self.host, self.port)}"


class RouteSettings(Settings):
    """Where requests go that fit: all that is named must hold."""

    __slots__ = ("alpn", "cookie", "cost", "header", "host", "listener", "method", "path", "path_prefix", "path_regex", "pool")
    OPTIONS = options.ROUTE
    KEY = "route."

    listener: str | None
    host: str | None
    path: str | None
    path_prefix: str | None
    path_regex: str | None
    pool: str
    cost: int | None
    alpn: str | None
    method: list[str]
    header: dict[str, str | bool]
    cookie: dict[str, str | bool]

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        method = values.pop("method", None) or []
        self.method = [method] if isinstance(method, str) else list(method)
        if not all(is_token(name) for name in self.method):
            yield f"method: {method!r} is not allowed (allowed: names of methods)"
        self.header, self.cookie = {}, {}
        for key in ("header", "cookie"):
            wanted = values.pop(key, None) or {}
            if not isinstance(wanted, dict) or not all(_is_condition(name, value) for name, value in wanted.items()):
                yield f'{key}: {wanted!r} is not allowed (allowed: a table of names, each with a value or true for "present")'
            else:
                setattr(self, key, dict(wanted))

    def check(self) -> Iterable[str]:
        if self.pool is None:
            yield "pool: missing (the pool that serves it)"
        if self.host is not None:
            self.host = self.host.lower().rstrip(".")
            name = self.host.removeprefix("*.")
            if not name or "*" in name or any(char in name for char in "/: ") or not name.isascii() or len(name) > 253:
                yield f"host: {self.host!r} is not allowed (allowed: api.example.com or *.example.com, without a port)"
        if self.alpn is not None and not (self.alpn.isascii() and 0 < len(self.alpn) < 256):
            yield f"alpn: {self.alpn!r} is not allowed (allowed: the name of a protocol, such as h2)"
        if self.alpn is not None and self.of_requests:
            yield f"alpn: a route of tls connections cannot ask for {self.of_requests[0]}"
        paths = [key for key in ("path", "path_prefix", "path_regex") if getattr(self, key) is not None]
        if len(paths) > 1:
            yield f"{paths[1]}: a route has one of path, path_prefix and path_regex"
        for key in ("path", "path_prefix"):
            value = getattr(self, key)
            if value is not None and (not value.startswith("/") or not value.isascii() or " " in value or "?" in value):
                yield f"{key}: {value!r} is not allowed (allowed: an absolute path without a query, such as /v2/)"
        if self.path_regex is not None:
            yield from _expression_faults(self.path_regex)

    @property
    def of_requests(self) -> list[str]:
        """What it asks for that only requests have."""
        return [
            key for key in ("path", "path_prefix", "path_regex", "method", "header", "cookie", "cost") if getattr(self, key)
        ]


def _is_condition(name: object, value: object) -> bool:
    return isinstance(name, str) and is_token(name) and (value is True or isinstance(value, str))


def _expression_faults(expression: str) -> Iterable[str]:
    from lbcore._engine import check_expression

    if not expression.isascii() or len(expression) > MAX_EXPRESSION:
        yield f"path_regex: {expression!r} is not allowed (allowed: at most {MAX_EXPRESSION} ASCII characters)"
    elif any(f"\\{digit}" in expression for digit in range(1, 10)):
        yield f"path_regex: {expression!r} refers back, which takes exponential time"
    else:
        fault = check_expression(expression.encode())
        if fault:
            yield f"path_regex: {expression!r} is not allowed ({fault})"


class AdminSettings(Settings):
    """Where the admin server listens, and whom it hears."""

    __slots__ = ("allow", "listen", "rate", "token")
    OPTIONS = options.ADMIN
    KEY = "admin."

    listen: str
    token: str | None
    allow: list[str]
    rate: int

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.allow = list(PRIVATE_NETWORKS) if self.allow is None else self.allow
        yield from self.take_secret("token", values.pop("token_file", None))

    def check(self) -> Iterable[str]:
        if self.token is not None and len(self.token) < 8:
            yield "token: too short (allowed: 8 characters or more)"
        if self.listen.startswith("unix:"):
            if not self.listen[5:].startswith("/") or len(self.listen) > 5 + 107:
                yield f"listen: {self.listen!r} is not allowed (allowed: unix:/ABSOLUTE/PATH of at most 107 bytes)"
            return
        try:
            host, _ = split_host_port(self.listen)
        except ValueError as error:
            yield f"listen: {error}"
            return
        if not is_loopback(host) and not self.token:
            yield f"listen: {self.listen!r} is not loopback, so a token is required (admin.token_file)"


def is_loopback(host: str) -> bool:
    """Does this host name or address stay on this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class BalancerSettings(Settings):
    """All of a balancer. path: the file it came from, or None."""

    __slots__ = (
        "admin",
        "datapath",
        "drain_delay_ms",
        "drain_timeout_ms",
        "listeners",
        "max_backends",
        "max_sessions",
        "name",
        "path",
        "pin",
        "pools",
        "routes",
        "state_file",
        "workers",
    )
    OPTIONS = options.TOP

    name: str
    workers: int | None
    datapath: str
    drain_timeout_ms: int
    drain_delay_ms: int
    state_file: str | None
    max_sessions: int
    max_backends: int
    pin: bool
    listeners: list[ListenerSettings]
    pools: list[PoolSettings]
    routes: list[RouteSettings]
    admin: AdminSettings | None
    path: str | None

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.listeners = list(values.pop("listeners", ()))
        self.pools = list(values.pop("pools", ())) or [PoolSettings(name=DEFAULT_POOL)]
        self.routes = list(values.pop("routes", ()))
        self.admin = values.pop("admin", None)
        self.path = values.pop("path", None)
        return ()

    def check(self) -> Iterable[str]:
        pools = [pool.name for pool in self.pools]
        yield from _twice("pool", pools)
        self.listeners = [self._named(index, listener) for index, listener in enumerate(self.listeners, 1)]
        self.pools = [self._probed(pool) for pool in self.pools]
        names = [str(listener.name) for listener in self.listeners]
        yield from _twice("listener", names)
        yield from _twice("bind", [entry.url for entry in self.listeners if entry.port])
        yield from self._route_faults(pools)
        yield from self._header_faults()
        for listener in self.listeners:
            if listener.pool is None and self._is_routed(listener):
                continue
            if listener.pool not in pools:
                yield (f"listener {listener.name}: pool {listener.pool!r} is unknown (known: {', '.join(pools)})")
        for kind, found, most in (("listeners", names, 64), ("pools", pools, 256)):
            if len(found) > most:
                yield f"{kind}: {len(found)} are too many (allowed: at most {most})"
        count = sum(len(pool.backends) for pool in self.pools)
        if count > self.max_backends:
            yield f"max_backends: {self.max_backends} is less than the {count} backends that are named"

    def _header_faults(self) -> Iterable[str]:
        """A PROXY header speaks of one client: connections that many clients' requests share cannot begin with one."""
        telling = {pool.name for pool in self.pools if pool.send_proxy != "off"}
        for listener in self.listeners:
            reached = {listener.pool} | {route.pool for route in self.routes if route.listener in (None, listener.name)}
            if listener.mode in ("http", "udp"):
                for name in sorted(telling & {name for name in reached if name}):
                    yield f"pool {name}: send_proxy: not for listeners of mode {listener.mode} ({listener.name})"

    def _route_faults(self, pools: list[str]) -> Iterable[str]:
        modes = {str(listener.name): listener.mode for listener in self.listeners if listener.mode in ROUTED_MODES}
        if self.routes and not modes:
            yield "route: needs a listener of mode http or tls"
        for at, route in enumerate(self.routes):
            if route.pool not in pools:
                yield f"route[{at}].pool: {route.pool!r} is unknown (known: {', '.join(pools)})"
            if route.listener is not None and modes and route.listener not in modes:
                yield f"route[{at}].listener: {route.listener!r} is no http or tls listener (known: {', '.join(modes)})"
            if modes.get(route.listener or "") == "tls" and route.of_requests:
                yield f"route[{at}].{route.of_requests[0]}: connections of mode tls have none: only host and alpn are known"
            if modes.get(route.listener or "") == "http" and route.alpn is not None:
                yield f"route[{at}].alpn: only of tls listeners"

    def _probed(self, pool: PoolSettings) -> PoolSettings:
        """A pool that only datagrams reach is not probed over TCP unless that was asked for."""
        modes = {listener.mode for listener in self.listeners if listener.pool == pool.name}
        routed = any(route.pool == pool.name for route in self.routes)
        if pool.probe.chosen or routed or modes != {"udp"}:
            return pool
        return pool.replace(probe=pool.probe.replace(kind="off", chosen=False))

    def _named(self, index: int, listener: ListenerSettings) -> ListenerSettings:
        """A listener with the defaults that depend on its neighbours."""
        listener = listener.replace(name=listener.name or f"listener-{index}")
        names = [pool.name for pool in self.pools]
        only: str | None = names[0] if len(names) == 1 else DEFAULT_POOL
        if self._is_routed(listener):
            only = None  # whom no route leads on is told 404, or closed
        return listener.replace(pool=listener.pool or only)

    def _is_routed(self, listener: ListenerSettings) -> bool:
        """Does any route lead on from there?"""
        if listener.mode == "tls":
            return any(route.listener in (None, listener.name) and not route.of_requests for route in self.routes)
        return listener.mode == "http" and bool(self.routes)


def _twice(kind: str, names: list[str]) -> Iterable[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{kind}: {name!r} is used twice"


def probe_of(health: str | None) -> ProbeSettings:
    """The probe that a --health flag means: a path, "tcp" or "off"; None: what suits the listeners. Raises ConfigError."""
    if health is None:
        return ProbeSettings()
    if health.startswith("/"):
        return ProbeSettings(kind="http", path=health)
    if health in ("tcp", "off"):
        return ProbeSettings(kind=health)
    raise ConfigError(f"health: {health!r} is not allowed (allowed: a path such as /health, tcp, off)")


def admin_of(admin: str | AdminSettings | None) -> AdminSettings | None:
    """The admin settings that an --admin flag means: "HOST:PORT", "unix:PATH", "off" or nothing. Raises ConfigError."""
    if isinstance(admin, AdminSettings):
        return admin
    return None if admin in (None, "off") else AdminSettings(listen=admin)


def simple(
    listen: str | Iterable[str] | None = None,
    backends: Iterable[str | BackendSettings] = (),
    *,
    policy: str | None = None,
    health: str | None = None,
    admin: str | AdminSettings | None = None,
    **top: Any,
) -> BalancerSettings:
    """Settings of one pool, "default", behind some listeners: what flags and Balancer's arguments can say.

    top: further keys of the top level (name, workers, datapath, drain_timeout, ...). Raises ConfigError.
    """
    urls = [] if listen is None else [listen] if isinstance(listen, str) else list(listen)
    problems: list[str] = []
    parts: dict[str, Any] = {}
    makers: Mapping[str, Any] = {
        "listeners": lambda: [ListenerSettings(bind=url) for url in urls],
        "pools": lambda: [PoolSettings(name=DEFAULT_POOL, policy=policy, probe=probe_of(health), backends=list(backends))],
        "admin": lambda: admin_of(admin),
    }
    for part, make in makers.items():
        try:
            parts[part] = make()
        except ConfigError as error:
            problems += [problem.replace("bind:", "listen:", 1) for problem in error.problems]
    try:
        settings = BalancerSettings(**parts, **top)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return settings
